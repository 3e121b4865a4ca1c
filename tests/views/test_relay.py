"""The same calls over both ways to a session: its own socket, and bytes relayed by the server."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from websockets.sync.client import connect

from jupyter_remote import Reference, calls, errors, values
from jupyter_remote.client.api import Client
from jupyter_remote.client.views.session import Session
from jupyter_remote.pickling.versions import MAGIC, PYTHON
from jupyter_remote.wire import SessionView, TokenList, TokenRequest, TokenView
from tests.e2e.waiting import until
from tests.views.places import QUICK, Far, Near, Place

PLACES = ["direct", "relayed", "far"]


def out_of_sight(address: str) -> Any:
    def dial() -> Any:
        raise ConnectionRefusedError(f"{address} is of another computer")

    return dial


def made(kind: str, folder: Path) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICK.items():
            patch.setenv(name, value)
        if kind == "relayed":
            patch.setattr("jupyter_remote.client.views.engine.here", out_of_sight)
        place = Far(folder) if kind == "far" else Near(folder, relays=kind == "relayed")
        yield place
        place.close()


@pytest.fixture(scope="module", params=PLACES)
def calm_place(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Place]:
    """Shared by the tests that end nothing."""
    yield from made(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(params=PLACES)
def rough_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    yield from made(request.param, tmp_path)


@pytest.fixture
def session(calm_place: Place, request: pytest.FixtureRequest) -> Iterator[Session]:
    with calm_place.client() as client:
        one = client.session(f"s{abs(hash(request.node.name))}")
        assert one.apply_sync(os.getpid) != os.getpid()
        assert bool(client._views.space.relay._running) is calm_place.relays
        yield one
        one.stop()


def test_a_call_gives_its_value(session: Session) -> None:
    assert session.apply_sync(lambda a, b=1: {"sum": a + b}, 2, b=3) == {"sum": 5}


def test_an_exception_is_raised_here(session: Session) -> None:
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        session.apply_sync(lambda: 1 // 0)
    assert session.apply_sync(lambda: "goes on") == "goes on"


def test_output_is_there_before_the_reply(session: Session) -> None:
    def speak() -> int:
        print("x" * 3_000_000)
        print("the end")
        return 7

    result = session.apply_async(speak)
    assert result.get(60) == 7
    assert result.stdout == "x" * 3_000_000 + "\nthe end\n"


def test_names_are_pushed_and_pulled(session: Session) -> None:
    session.push({"a": 1, "b": [2, 3]}, block=True)
    assert session.pull(["a", "b"], block=True) == [1, [2, 3]]
    with pytest.raises(NameError, match="nothing_there"):
        session.pull("nothing_there", block=True)


def test_a_large_array_goes_there_and_another_comes_back(session: Session) -> None:
    sent = np.random.default_rng(1).random(30_000_000 // 8)
    session["array"] = sent
    digest = session.apply_sync(lambda a: hashlib.sha256(a).hexdigest(), Reference("array"))
    assert digest == hashlib.sha256(sent).hexdigest()
    session.execute("array = array + 1", block=True)
    assert np.array_equal(session["array"], sent + 1)
    assert np.array_equal(session["array"], sent + 1)  # what is there already is not moved again


def test_the_first_call_may_bring_a_large_value(calm_place: Place) -> None:
    sent = np.random.default_rng(4).random(3_000_000 // 8)
    with calm_place.client() as client:
        session = client.session("begins-large")
        assert session.apply_sync(lambda a: float(a.sum()), sent) == float(sent.sum())
        session.stop()


def test_a_large_function_goes_there(session: Session) -> None:
    table = np.random.default_rng(2).random(3_000_000 // 8)

    def look(at: int) -> float:
        return float(table[at])

    assert session.apply_sync(look, 5) == table[5]


def test_a_running_call_is_interrupted(session: Session) -> None:
    def spin() -> None:
        print("on my way", flush=True)
        threading.Event().wait(60)

    result = session.apply_async(spin)
    until(lambda: "on my way" in result.stdout)
    result.cancel()
    with pytest.raises(KeyboardInterrupt):
        result.get(20)
    assert session.apply_sync(lambda: "goes on") == "goes on"


def test_more_calls_than_there_is_room_for_all_end(session: Session) -> None:
    piece = np.random.default_rng(3).bytes(300_000)
    session.apply_async(time.sleep, 0.5)  # meanwhile the kernel reads nothing
    results = [session.apply_async(lambda p, n: (len(p), n), piece, n) for n in range(40)]
    assert [r.get(60) for r in results] == [(300_000, n) for n in range(40)]


def test_two_clients_share_a_session(session: Session, calm_place: Place) -> None:
    session["common"] = 5
    with calm_place.client() as other:
        again = other.session(session.name)
        assert again["common"] == 5
        again["common"] = 6
    assert session["common"] == 6


def test_a_kernel_that_dies_in_a_call_is_told_as_dead(rough_place: Place) -> None:
    with rough_place.client() as client:
        session = client.session("mortal")
        result = session.apply_async(lambda: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(errors.EngineError, match=r"session 'mortal'\) is gone"):
            result.get(15)
        with pytest.raises(errors.EngineError, match="is gone"):
            session.apply_sync(os.getpid)
        assert not session.alive


def test_calls_to_a_worker_that_is_killed_end_with_an_error(rough_place: Place) -> None:
    with rough_place.client() as client:
        session = client.session("mortal")
        result = session.apply_async(begin_and_wait)
        until(lambda: result.stdout)
        rough_place.kill_worker()
        with pytest.raises(errors.EngineError):
            result.get(20)


def test_a_server_that_starts_anew_keeps_the_session(rough_place: Place) -> None:
    with rough_place.client() as client:
        session = client.session("lasting")
        session["kept"] = 5
        result = session.apply_async(begin_and_wait)
        until(lambda: result.stdout)
        began_at = time.monotonic()
        rough_place.restart_server()
        if rough_place.relays:
            with pytest.raises(errors.EngineError, match="broke"):
                result.get(10)
            assert time.monotonic() - began_at < 8
        session._group.engines[0].connection.stop(result._parts[0].request)
        assert session["kept"] == 5  # once the call of before is interrupted
        if not rough_place.relays:
            with pytest.raises(KeyboardInterrupt):
                result.get(10)


def begin_and_wait() -> None:
    print("on my way", flush=True)
    threading.Event().wait(60)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Place]:
    yield from made("far", tmp_path)


def test_bytes_that_the_backend_forgot_are_sent_again(far: Far) -> None:
    sent = np.random.default_rng(5).random(3_000_000 // 8)
    with far.client() as client:
        session = client.session("forgotten")
        session["a"] = sent
        far.forget_blobs()
        session["b"] = sent
        assert np.array_equal(session["b"], sent)


def test_a_token_that_may_only_read_calls_nothing(far: Far) -> None:
    with far.client() as owner:
        owner.session("mine").apply_sync(os.getpid)
        link = owner._context.link
        made = link.call("POST", "/v1/tokens", TokenRequest(scopes=["read"]), reply=TokenView)
    reader = Client(far.url, made.token)
    with reader, pytest.raises(errors.NotAuthorized, match="scope submit"):
        reader.session("mine").apply_sync(os.getpid)


def test_a_token_that_is_revoked_calls_nothing_more(far: Far) -> None:
    with far.client() as owner:
        link = owner._context.link
        wanted = TokenRequest(scopes=["submit", "read"])
        made = link.call("POST", "/v1/tokens", wanted, reply=TokenView)
        with Client(far.url, made.token) as guest:
            session = guest.session("open")
            result = session.apply_async(begin_and_wait)
            until(lambda: result.stdout)
            link.call("DELETE", f"/v1/tokens/{made.id}", reply=TokenList)
            with pytest.raises(errors.EngineError, match="the token was revoked"):
                result.get(10)
            with pytest.raises(errors.NotAuthenticated):
                session.apply_sync(os.getpid)


@contextlib.contextmanager
def unread_call(place: Far, session: Session, function: Any) -> Iterator[None]:
    """A relayed connection on which this function is called, and that is not read."""
    id = session.job.id
    with place.client() as client:
        view = client._context.link.call("GET", f"/v1/sessions/{id}", reply=SessionView)
    parcel = values.pack(function, chunked=False).parcel
    hi = calls.Hi(key=view.key, client="raw", python=PYTHON, magic=MAGIC)
    call = calls.Call(1, 1, parcel, values.dumps(((), {}), {}, 1 << 20))
    with connect(
        f"ws://127.0.0.1:{place.port}/v1/sessions/{id}/connect",
        additional_headers={"Authorization": f"Bearer {place.token}"},
        compression=None,
        proxy=None,
        ping_interval=None,
    ) as raw:
        raw.send(calls.packed(hi) + calls.packed(call))
        yield


def flood(journal: str) -> None:
    with open(journal, "a", buffering=1) as told:
        for _ in range(600):
            print("y" * 200_000)
            told.write(".")
            told.flush()


def test_a_client_that_does_not_read_costs_the_others_nothing(far: Far, tmp_path: Path) -> None:
    journal = tmp_path / "printed"
    journal.touch()
    with far.client() as client:
        flooded, other = client.session("flooded"), client.session("other")
        flooded.apply_sync(os.getpid)

        def stands_still() -> bool:
            before = journal.stat().st_size
            assert [other.apply_sync(lambda n=n: n) for n in range(100)] == list(range(100))
            return 0 < before == journal.stat().st_size

        stands_still()
        processes = [psutil.Process(p.pid) for p in (far.agent, far.server)]
        before = [process.memory_info().rss for process in processes]
        with unread_call(far, flooded, functools.partial(flood, str(journal))):
            until(stands_still)
            assert journal.stat().st_size < 300  # of 600
            for process, rss in zip(processes, before, strict=True):
                assert process.memory_info().rss - rss < 30_000_000
        assert flooded.apply_sync(lambda: "goes on") == "goes on"
