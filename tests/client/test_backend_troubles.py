"""What a backend may do to a client: die, lose replies, cut streams, refuse, be another one."""

from __future__ import annotations

import copy
import logging
import pickle
import threading
import time
import traceback
from collections.abc import Iterator

import httpx
import pytest

from jupyter_remote import errors, wire
from jupyter_remote.client.api import Client
from jupyter_remote.client.context import Context
from jupyter_remote.client.link import Link
from jupyter_remote.http import Http
from jupyter_remote.settings import Settings

from .fake_backend import TOKEN, FakeBackend


def double(x: int) -> int:
    print("a line")
    return 2 * x


class Embedded:
    """Finds or starts a fake backend, as `embedded.ensure` does with the real one."""

    def __init__(self) -> None:
        self.backend = FakeBackend()
        self.starts = 1
        self._lock = threading.Lock()

    def ensure(self, settings: Settings) -> FakeBackend:
        with self._lock:
            if not self.backend._thread.is_alive():
                self.backend = FakeBackend(self.backend.state, TOKEN[:-1] + str(self.starts % 10))
                self.starts += 1
            return self.backend


@pytest.fixture
def embedded() -> Iterator[Embedded]:
    one = Embedded()
    yield one
    one.backend.state.hold.set()
    one.backend.kill()


@pytest.fixture
def client(embedded: Embedded) -> Iterator[Client]:
    with Client(settings=Settings()) as one:
        one._context.close()
        one._context = Context(Link(Settings(), ensure=embedded.ensure))
        yield one


def test_a_submit_whose_reply_is_lost_is_one_job(client: Client, embedded: Embedded) -> None:
    embedded.backend.swallow.add("POST/v1/jobs")
    assert client.submit(double, 2).result(60) == 4
    assert len(embedded.backend.state.submits) == 2
    assert len(set(embedded.backend.state.submits)) == 1


def test_a_backend_killed_between_jobs_is_started_again(client: Client, embedded: Embedded) -> None:
    assert client.submit(double, 1).result(60) == 2
    embedded.backend.kill()
    assert client.submit(double, 2).result(60) == 4
    assert embedded.starts == 2


def test_a_backend_killed_under_a_running_job_is_started_again(
    client: Client, embedded: Embedded
) -> None:
    embedded.backend.state.hold.clear()
    job = client.submit(double, 4)
    seen: list[int] = []
    client.listen(lambda event: seen.append(event.cursor))
    job.on_event(lambda event: None)
    embedded.backend.kill()
    state, fake = embedded.backend.state, embedded.ensure(Settings())
    [running] = state.jobs.values()
    state.run(running, fake) if state.hold.is_set() else None
    threading.Timer(0.3, state.hold.set).start()
    assert job.result(60) == 8
    assert seen == sorted(set(seen))


def test_an_idle_client_does_not_start_a_backend_again(client: Client, embedded: Embedded) -> None:
    client.submit(double, 1).result(60)
    stream = client._context.listener.stream
    embedded.backend.kill()
    wait_until(lambda: stream._thread is None)
    assert embedded.starts == 1


@pytest.mark.parametrize("after", [3, 40, 230, 640])
def test_a_stream_cut_anywhere_goes_on_without_gap_or_repeat(
    client: Client, embedded: Embedded, after: int
) -> None:
    embedded.backend.cut_streams_after = after
    seen: list[int] = []
    client.listen(lambda event: seen.append(event.cursor))
    job = client.submit(lambda: [print(i) for i in range(30)] and "done")
    assert job.result(60) == "done"
    assert job.stdout == "".join(f"{i}\n" for i in range(30))
    assert seen == list(range(1, len(seen) + 1))


def test_a_job_that_the_new_backend_does_not_know_is_lost(
    client: Client, embedded: Embedded
) -> None:
    embedded.backend.state.hold.clear()
    job = client.submit(double, 1)
    embedded.backend.state.jobs.clear()
    embedded.backend.kill()
    with pytest.raises(errors.JobLost, match="knows nothing"):
        job.result(60)


def test_a_backend_that_stays_away_does_not_hang_the_waiter(
    client: Client, embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded.backend.state.hold.clear()
    job = client.submit(double, 1)

    def broken(settings: Settings) -> FakeBackend:
        raise errors.BackendUnreachable("it does not start: the disk is full")

    monkeypatch.setattr("jupyter_remote.client.job.PATIENCE_S", 0.3)
    client._context.link._address = broken
    embedded.backend.kill()
    with pytest.raises(errors.BackendUnreachable, match="the disk is full"):
        job.result(60)
    assert not job.done()


def test_a_refused_submit_is_forgotten(client: Client, embedded: Embedded) -> None:
    client.info()
    embedded.backend._accept = lambda body: (_ for _ in ()).throw(  # type: ignore[method-assign]
        errors.InsufficientFunds("5 credits are missing", hint="ask for less")
    )
    with pytest.raises(errors.InsufficientFunds, match="5 credits are missing\nask for less"):
        client.submit(double, 1)
    assert client._context.listener.ids() == []


def test_a_closed_client_says_so(client: Client) -> None:
    client.submit(double, 1).result(60)
    client.close()
    with pytest.raises(errors.BackendUnreachable):
        client.submit(double, 1)


def test_a_job_of_a_closed_client_does_not_hang(client: Client, embedded: Embedded) -> None:
    embedded.backend.state.hold.clear()
    job = client.submit(double, 1)
    client.close()
    with pytest.raises(errors.BackendUnreachable, match="closed"):
        job.result(60)


def test_the_event_thread_ends_with_its_client(client: Client) -> None:
    client.submit(double, 1).result(60)
    thread = client._context.listener.stream._thread
    assert thread is not None
    client.close()
    thread.join(60)
    assert not thread.is_alive()


# --- a backend at an address ------------------------------------------------------------------
def test_nobody_at_the_address_is_told_with_the_next_step() -> None:
    with (
        Client("http://127.0.0.1:9", TOKEN) as client,
        pytest.raises(errors.BackendUnreachable, match=r"127\.0\.0\.1:9.*\n.*doctor"),
    ):
        client.submit(double, 1)


def test_a_url_without_a_token_is_told() -> None:
    with pytest.raises(errors.NotAuthenticated, match="JUPYTER_REMOTE_TOKEN"):
        Client("http://127.0.0.1:9", settings=Settings())


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://x", "http://", "http://a:b@c", "http://x:y"]
)
def test_a_wrong_address_is_told(url: str) -> None:
    with pytest.raises(errors.UsageError, match="address"):
        Http(url, TOKEN)


def test_a_wrong_token_ends_waiting_at_once(embedded: Embedded) -> None:
    with (
        Client(embedded.backend.url, "jr_s_wrong") as client,
        pytest.raises(errors.NotAuthenticated),
    ):
        client.submit(double, 1)
    assert len(embedded.backend.requests) == 1  # it was not tried again


def test_another_protocol_is_told_before_anything_is_sent(embedded: Embedded) -> None:
    embedded.backend.protocol = wire.PROTOCOL + 1
    with (
        Client(embedded.backend.url, TOKEN) as client,
        pytest.raises(errors.ProtocolMismatch, match=r"protocol 2[^\n]*\n.*client"),
    ):
        client.submit(double, 1)
    assert embedded.backend.state.submits == []


ANSWERS = [
    (401, b"", errors.NotAuthenticated),
    (403, b"<html>", errors.NotAuthorized),
    (404, b"<html>not here</html>", errors.ProtocolMismatch),
    (426, b"", errors.ProtocolMismatch),
    (301, b"", errors.ProtocolMismatch),
    (502, b"Bad Gateway", errors.BackendUnreachable),
    (500, b'{"title":"x","status":500,"code":"who_knows"}', errors.JupyterRemoteError),
    (507, b'{"title":"x","status":507,"code":"storage_full"}', errors.StorageFull),
    (200, b"<html>welcome</html>", errors.ProtocolMismatch),
    (200, b'{"version": 3}', errors.ProtocolMismatch),
]


@pytest.mark.parametrize(("status", "body", "error"), ANSWERS)
def test_every_answer_is_an_error_of_ours(status: int, body: bytes, error: type[Exception]) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(status, content=body))
    http = Http("http://example.org", TOKEN, transport=transport)
    with pytest.raises(errors.JupyterRemoteError) as caught:
        http.call("GET", "/v1/server", reply=wire.ServerInfo)
    assert type(caught.value) is error


def test_a_silent_stream_is_dead(monkeypatch: pytest.MonkeyPatch, embedded: Embedded) -> None:
    monkeypatch.setattr("jupyter_remote.http.SILENCE_S", 0.2)
    embedded.backend.silent = True
    http = Http(embedded.backend.url, TOKEN)
    events = http.events("/v1/events", {"client": "x", "after": 0})
    with pytest.raises(errors.BackendUnreachable):
        list(events)
    http.close()


# --- secrets ----------------------------------------------------------------------------------
def test_the_token_surfaces_nowhere(
    client: Client, embedded: Embedded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = embedded.backend.token
    job = client.submit(double, 1)
    job.result(60)
    http = client._context.link.http
    shown = [repr(x) for x in (client, job, http, client._context.link)]
    embedded.backend.kill()
    try:
        http.call("GET", "/v1/server", reply=wire.ServerInfo)
    except errors.BackendUnreachable as error:
        report = traceback.TracebackException.from_exception(error, capture_locals=False)
        shown += ["".join(report.format()), repr(error.__context__ and error.__suppress_context__)]
    assert not [text for text in [*shown, caplog.text] if secret in text]
    assert not [url for url in embedded.backend.requests if secret in str(url)]


def test_what_holds_the_token_is_not_pickled(client: Client) -> None:
    client.info()
    for holder in (client, client._context.link, client._context.link.http):
        for copied in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match="token"):
                copied(holder)  # type: ignore[operator]


def wait_until(condition: object, limit_s: float = 60.0) -> None:
    until = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until
        threading.Event().wait(0.01)
