"""Relayed calls at the server: who may, in what order, how much, and how they end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from jupyter_remote import wire
from jupyter_remote.clock import FakeClock
from jupyter_remote.http import Http
from jupyter_remote.multiplex import PIECE_BYTES, WINDOW_BYTES

from .conftest import LIMIT_S, Running, Worker, request, until
from .test_routes import VALUES, bearer


def start_session(server: Running, worker: Worker, name: str = "s") -> wire.Assign:
    """A session that runs and takes calls, as its worker says."""
    spec = wire.JobSpec(kind="session", name=name, session=name)
    id = server.http.call("POST", "/v1/jobs", request(spec=spec), wire.Submitted).job.id
    assign: wire.Assign = worker.pull(wire.Assign)
    assert assign.job == id
    assert worker.start(assign).ok
    worker.send(wire.Listening(id, assign.epoch, "@somewhere", "its key"))
    until(lambda: server.backend.switchboard.find(id))
    return assign


@contextlib.contextmanager
def dialled(server: Running, id: str, token: str = "") -> Iterator[ClientConnection]:
    url = server.url.replace("http", "ws") + f"/v1/sessions/{id}/connect"
    headers = {"Authorization": f"Bearer {token or server.token}"}
    options: dict[str, Any] = {"compression": None, "proxy": None, "close_timeout": 1}
    options["open_timeout"] = LIMIT_S
    with connect(url, additional_headers=headers, **options) as socket:
        yield socket


def closed(socket: ClientConnection) -> tuple[int, str]:
    """How the server closed it, after all that came before."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            socket.recv(LIMIT_S)
    return socket.close_code or 0, socket.close_reason or ""


@pytest.fixture
def assign(server: Running, worker: Worker) -> wire.Assign:
    return start_session(server, worker)


def test_bytes_pass_both_ways_in_their_order(
    server: Running, worker: Worker, assign: wire.Assign
) -> None:
    with dialled(server, assign.job) as client:
        opened = worker.pull(wire.Open)
        assert (opened.job, opened.epoch) == (assign.job, assign.epoch)
        client.send(b"first")
        client.send(b"second")
        sent = [worker.pull(wire.Data) for _ in range(2)]
        assert sent == [wire.Data(opened.channel, b"first"), wire.Data(opened.channel, b"second")]
        for piece in (b"a", b"b"):
            worker.send(wire.Data(opened.channel, piece))
        assert [client.recv(LIMIT_S) for _ in range(2)] == [b"a", b"b"]
    assert worker.pull(wire.Shut).channel == opened.channel


def test_what_the_session_said_before_its_end_comes_first(
    server: Running, worker: Worker, assign: wire.Assign
) -> None:
    with dialled(server, assign.job) as client:
        channel = worker.pull(wire.Open).channel
        for n in range(10):
            worker.send(wire.Data(channel, bytes([n]) * PIECE_BYTES))
        worker.send(wire.Shut(channel, "the session hung up"))
        for n in range(10):
            assert client.recv(LIMIT_S) == bytes([n]) * PIECE_BYTES
        assert closed(client) == (wire.HUNG_UP, "the session hung up")
    until(lambda: not server.backend.fleet.links[worker.id].channels)


def test_a_client_has_no_more_under_way_than_the_window(
    server: Running, worker: Worker, assign: wire.Assign
) -> None:
    with dialled(server, assign.job) as client:
        channel = worker.pull(wire.Open).channel
        for _ in range(2):  # one frame is cut into pieces
            client.send(b"x" * WINDOW_BYTES)
        came = [worker.pull(wire.Data) for _ in range(WINDOW_BYTES // PIECE_BYTES)]
        assert {len(data.data) for data in came} == {PIECE_BYTES}
        with pytest.raises(TimeoutError):
            worker.receive(timeout_s=0.2)
        worker.send(wire.Took(channel, 3 * PIECE_BYTES))
        for _ in range(3):
            worker.pull(wire.Data)
        with pytest.raises(TimeoutError):
            worker.receive(timeout_s=0.2)
        assert worker.ask(wire.Ping).ok  # nobody else waits for that


def test_what_a_client_took_is_told(server: Running, worker: Worker, assign: wire.Assign) -> None:
    with dialled(server, assign.job) as client:
        channel = worker.pull(wire.Open).channel
        pieces = WINDOW_BYTES // PIECE_BYTES
        for _ in range(pieces):
            worker.send(wire.Data(channel, b"x" * PIECE_BYTES))
        for _ in range(pieces):
            client.recv(LIMIT_S)
        told = 0
        while told < WINDOW_BYTES:
            told += worker.pull(wire.Took).size_bytes
        assert told == WINDOW_BYTES


def test_a_client_that_does_not_read_is_held_up_alone(
    server: Running, worker: Worker, assign: wire.Assign
) -> None:
    other = start_session(server, worker, "other")
    with dialled(server, assign.job), dialled(server, other.job) as quick:
        first, second = sorted(
            (worker.pull(wire.Open) for _ in range(2)), key=lambda o: o.job != assign.job
        )
        under_way = 0
        for _ in range(1000):
            if under_way + PIECE_BYTES > WINDOW_BYTES:
                try:
                    under_way -= worker.pull(wire.Took, timeout_s=0.5).size_bytes
                except TimeoutError:
                    break
            worker.send(wire.Data(first.channel, b"x" * PIECE_BYTES))
            under_way += PIECE_BYTES
        else:
            pytest.fail("a client that reads nothing took 64 MB")
        worker.send(wire.Data(second.channel, b"quick"))
        assert quick.recv(LIMIT_S) == b"quick"
        assert worker.ask(wire.Ping).ok


def test_a_client_that_has_no_room_is_not_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pongs stand behind what is not read of it."""

    class Impatient(uvicorn.Config):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{"ws_ping_timeout": 0.5, **options, "ws_ping_interval": 0.1})

    monkeypatch.setattr("jupyter_remote.server.serve.uvicorn.Config", Impatient)
    server = Running(tmp_path)
    worker = Worker(server)
    worker.hello()
    assign = start_session(server, worker)
    with dialled(server, assign.job) as client:
        for _ in range(3):
            client.send(b"x" * WINDOW_BYTES)
        with pytest.raises(TimeoutError):
            client.recv(1.5)
        for _ in range(WINDOW_BYTES // PIECE_BYTES):
            worker.pull(wire.Data)
    worker.close()
    server.stop()


def test_connections_to_one_worker_are_counted(
    server: Running, worker: Worker, assign: wire.Assign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_remote.server.relay.MOST_CHANNELS", 1)
    with dialled(server, assign.job):
        worker.pull(wire.Open)
        with dialled(server, assign.job) as second:
            assert closed(second) == (wire.AWAY, "its worker has 1 connections already")
    worker.pull(wire.Shut)
    until(lambda: not server.backend.fleet.links[worker.id].channels)
    with dialled(server, assign.job):
        worker.pull(wire.Open)


def test_a_worker_that_sends_more_than_it_may_is_hung_up_on(
    server: Running, worker: Worker, assign: wire.Assign
) -> None:
    with dialled(server, assign.job) as client:
        channel = worker.pull(wire.Open).channel
        worker.send(wire.Data(channel, b"x" * (WINDOW_BYTES + 1)))
        assert closed(client) == (wire.HUNG_UP, "it sent more than it may")
    assert worker.pull(wire.Shut).channel == channel
    assert worker.ask(wire.Ping).ok


def test_what_is_said_of_a_channel_that_is_not_there_is_dropped(
    server: Running, worker: Worker, assign: wire.Assign
) -> None:
    for message in (wire.Data(99, b"x"), wire.Took(99, 5), wire.Shut(99)):
        worker.send(message)
    assert worker.ask(wire.Ping).ok


def test_a_client_hears_why_there_is_no_way(server: Running, worker: Worker) -> None:
    assign = start_session(server, worker)
    for id in (VALUES["id"], "nonsense"):
        with dialled(server, id) as client:
            assert closed(client) == (wire.ABSENT, "there is no such session")
    assert worker.complete(assign).ok
    with dialled(server, assign.job) as client:
        assert closed(client) == (wire.HUNG_UP, "the session is over")


def test_a_worker_that_goes_away_takes_its_channels_along(
    server: Running, worker: Worker, assign: wire.Assign
) -> None:
    with dialled(server, assign.job) as client:
        worker.pull(wire.Open)
        worker.close()
        assert closed(client) == (wire.AWAY, "the connection to its worker was lost")
    until(lambda: not server.backend.fleet.links)
    with dialled(server, assign.job) as client:
        assert closed(client)[0] == wire.AWAY
    again = Worker(server, token=worker.token)
    again.hello(running=[(assign.job, assign.epoch)])
    with dialled(server, assign.job):
        assert again.pull(wire.Open).channel == 1
    again.close()


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_relayed_connection_ends_with_its_token(
    server: Running,
    worker: Worker,
    assign: wire.Assign,
    end: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock()  # it stands still: the token is good until the connection is open
    monkeypatch.setattr(server.backend.tokens, "_clock", clock)
    expires_at = clock.now() + 0.5 if end == "expired" else None
    token = server.make_token("submit", label="relayed", expires_at=expires_at)
    with dialled(server, assign.job, token) as client:
        channel = worker.pull(wire.Open).channel
        if end == "revoked":
            tokens = server.http.call("GET", "/v1/tokens", reply=wire.TokenList).tokens
            [record] = [t for t in tokens if t.label == "relayed"]
            server.http.call("DELETE", f"/v1/tokens/{record.id}", reply=wire.TokenList)
        assert closed(client) == (1008, "the token was revoked or has expired")
    assert worker.pull(wire.Shut).channel == channel
    clock.advance(1.0)
    with pytest.raises(InvalidStatus):
        dialled(server, assign.job, token).__enter__()


def test_text_is_refused(server: Running, worker: Worker, assign: wire.Assign) -> None:
    with dialled(server, assign.job) as client:
        client.send("text")
        assert closed(client) == (1003, "this takes no text")


def test_the_key_of_a_session_is_for_who_may_submit(
    server: Running, worker: Worker, assign: wire.Assign
) -> None:
    for scope, key in (("submit", "its key"), ("read", "")):
        http = Http(server.url, server.make_token(scope))
        view = http.call("GET", f"/v1/sessions/{assign.job}", reply=wire.SessionView)
        http.close()
        assert (view.listening, view.key) == (True, key)
        assert bool(view.address) is bool(key)
    listed = server.raw("GET", "/v1/sessions", bearer(server.make_token("read")))[1]
    assert b"its key" not in listed
