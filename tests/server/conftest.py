"""A real server in a thread, on real files, with a worker that the test plays itself."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import http.client
import itertools
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.sync.client import ClientConnection, connect

from jupyter_remote import connection, wire
from jupyter_remote.http import Http
from jupyter_remote.model import OwnerId, TokenRecord
from jupyter_remote.providers.base import Provider
from jupyter_remote.server import elsewhere
from jupyter_remote.server.auth import hash_of, new_token
from jupyter_remote.server.backend import Backend
from jupyter_remote.server.package import Packages
from jupyter_remote.server.serve import Host, Options
from jupyter_remote.settings import Settings

LIMIT_S = 60.0


@functools.cache
def packages_folder() -> Path:
    """Where all servers keep what machines install: that is built once in a run of the tests."""
    folder = Path(tempfile.mkdtemp(prefix="packages-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def until(condition: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    """Wait for a condition; what it returned."""
    deadline = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)
    return value


class Running:
    """A server that runs in a thread of this process."""

    def __init__(
        self,
        home: Path,
        provider: Provider | None = None,
        *,
        elsewhere: Mapping[str, Provider] | None = None,
        embedded: bool = True,
        **changes: Any,
    ) -> None:
        self.settings = Settings(home=str(home / "state"), runtime=str(home / "run"), **changes)
        state = connection.home_of(self.settings)
        state.mkdir(parents=True, exist_ok=True)
        options = Options(embedded=embedded, drain_s=0.0)
        self.host = Host(options, self.settings, state, provider, elsewhere)
        self.thread = threading.Thread(target=asyncio.run, args=(self.host.run(),), daemon=True)
        self.thread.start()
        self.url, self.port = self.host.url, self.host.port
        until(lambda: hasattr(self.host, "backend") and self.backend.scheduler._main)
        self.backend.packages = Packages(packages_folder())
        if embedded:
            self.token = until(lambda: connection.read(self.host.file)).token
        else:
            self.token = self.make_token("submit", "read", "admin")
        self.http = Http(self.url, self.token)

    @property
    def backend(self) -> Backend:
        return self.host.backend

    def make_token(self, *scopes: str, owner: str = "", **changes: Any) -> str:
        token = new_token(scopes)
        record = TokenRecord(
            id=uuid.uuid4().hex,
            owner=OwnerId(owner or self.backend.facts.owner),
            scopes=scopes,
            **changes,
        )
        self.backend.writer.call_sync(self.backend.store.add_token, record, hash_of(token))
        return token

    def raw(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: Any = None
    ) -> tuple[int, bytes]:
        """A request just as it is given, without what a client would add."""
        plain = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        try:
            plain.request(method, path, body=body, headers=headers or {})
            reply = plain.getresponse()
            return reply.status, reply.read()
        finally:
            plain.close()

    def stop(self) -> None:
        self.http.close()
        self.host.stop()
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()


class Worker:
    """Plays an agent."""

    def __init__(self, server: Running, id: str = "w-1", slots: int = 2, token: str = "") -> None:
        self.id = id
        token = token or server.make_token("worker")
        url = server.url.replace("http", "ws") + "/v1/workers/connect"
        headers = {"Authorization": f"Bearer {token}"}
        self.token = token
        self.slots = slots
        self.stack = contextlib.ExitStack()
        self.socket: ClientConnection = self.stack.enter_context(
            connect(
                url,
                additional_headers=headers,
                compression=None,
                proxy=None,
                open_timeout=LIMIT_S,
            )
        )
        self.numbers = itertools.count(1)
        self.pushed: list[Any] = []

    def hello(self, running: list[tuple[str, int]] | None = None, **changes: Any) -> Any:
        hello = wire.Hello(
            worker=self.id,
            instance="local",
            machine="local",
            slots=self.slots,
            python="3.11.7",
            running=running or [],
            **changes,
        )
        self.send(hello)
        return self.receive()

    def send(self, message: wire.WorkerMessage) -> None:
        self.socket.send(msgspec.msgpack.encode(message))

    def receive(self, timeout_s: float = LIMIT_S) -> Any:
        data = self.socket.recv(timeout_s)
        assert isinstance(data, bytes)
        return msgspec.msgpack.decode(data, type=wire.ServerMessage)

    def ask(self, kind: type, **fields: Any) -> wire.Answer:
        """Send a request and wait for its answer; what is pushed meanwhile is kept."""
        req = next(self.numbers)
        self.send(kind(req=req, **fields))
        while True:
            message = self.receive()
            if isinstance(message, wire.Answer) and message.req == req:
                return message
            self.pushed.append(message)

    def pull(self, kind: type, timeout_s: float = LIMIT_S) -> Any:
        """The next message of a kind that was or is pushed."""
        for message in self.pushed:
            if isinstance(message, kind):
                self.pushed.remove(message)
                return message
        while not isinstance(message := self.receive(timeout_s), kind):
            self.pushed.append(message)
        return message

    def start(self, assign: wire.Assign) -> wire.Answer:
        return self.ask(wire.Start, job=assign.job, epoch=assign.epoch)

    def print(self, assign: wire.Assign, seq: int, text: str) -> wire.Answer:
        event = wire.WorkerEvent("stream", wire.encode({"name": "stdout", "text": text}), seq)
        return self.ask(wire.Beat, job=assign.job, epoch=assign.epoch, events=[event])

    def complete(self, assign: wire.Assign, **changes: Any) -> wire.Answer:
        fields = {"outcome": "succeeded", "result": wire.Result(), **changes}
        return self.ask(wire.Complete, job=assign.job, epoch=assign.epoch, **fields)

    def run(self) -> wire.Assign:
        """Take the next job and complete it."""
        assign: wire.Assign = self.pull(wire.Assign)
        assert self.start(assign).ok
        assert self.complete(assign).ok
        return assign

    def close(self) -> None:
        self.stack.close()


def request(code: str = "1 + 1", **changes: Any) -> wire.SubmitRequest:
    spec = changes.pop("spec", None) or wire.JobSpec(kind="cell", code=code)
    return wire.SubmitRequest(id=changes.pop("id", str(uuid.uuid4())), spec=spec, **changes)


def submit(server: Running, code: str = "1 + 1", **changes: Any) -> wire.Submitted:
    return server.http.call("POST", "/v1/jobs", request(code, **changes), wire.Submitted)


@pytest.fixture(autouse=True)
def _providers_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However late the thread is that asks them."""
    monkeypatch.setattr(elsewhere, "HERE_S", LIMIT_S)
    monkeypatch.setattr(elsewhere, "WAIT_S", LIMIT_S)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def worker(server: Running) -> Iterator[Worker]:
    played = Worker(server)
    assert isinstance(played.hello(), wire.Welcome)
    yield played
    played.close()
