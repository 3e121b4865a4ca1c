"""What happens at the same moment, made to happen in one commit."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from jupyter_remote import wire

from .conftest import LIMIT_S, Running, Worker, submit, until
from .test_blobs import path_of
from .test_tenants import naming, send_job

CONTENT = b"x" * 100_000


class Gate:
    """Holds the store's next commits back until it is opened, and with it the writer's thread."""

    def __init__(self, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        self._writer: Any = server.backend.writer
        self._open = threading.Event()
        self._open.set()
        self._threads: list[threading.Thread] = []
        self._put: list[Any] = []  # calls that the thread was ever given
        run_group = server.backend.store.run_group  # type: ignore[attr-defined]
        put = self._writer._put

        def held_back(calls: Sequence[Any]) -> Any:
            assert self._open.wait(LIMIT_S)
            return run_group(calls)

        def counted(call: Any) -> None:
            put(call)
            self._put.append(call)

        monkeypatch.setattr(server.backend.store, "run_group", held_back)
        monkeypatch.setattr(self._writer, "_put", counted)
        monkeypatch.setattr(self._writer, "_may_run_here", lambda *_: False)

    def close(self) -> None:
        self._open.clear()
        self.queue(1, self._writer.call_sync, lambda: None)

    def queue(self, calls: int, do: Any, *arguments: Any) -> None:
        """Begin something that writes, and wait until its calls are behind those before."""
        before = len(self._put)
        self._threads.append(threading.Thread(target=do, args=arguments))
        self._threads[-1].start()
        until(lambda: len(self._put) >= before + calls)

    def open(self) -> None:
        self._open.set()
        for thread in self._threads:
            thread.join(LIMIT_S)


def test_inputs_that_come_while_their_job_is_being_claimed_are_seen(
    server: Running, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(server, monkeypatch)
    body = naming(CONTENT)
    gate.close()
    gate.queue(2, send_job, server.http, body)  # and its claim
    gate.queue(1, server.http.upload, path_of(CONTENT), CONTENT)
    gate.open()
    assert worker.pull(wire.Assign).job == body.id


def test_a_job_that_nobody_was_told_of_is_found(server: Running, worker: Worker) -> None:
    scheduler = server.backend.scheduler
    worker.send(wire.Ping(req=1))
    first = submit(server).job.id
    assert worker.run().job == first
    note, scheduler.note = scheduler.note, lambda _: None  # type: ignore[method-assign, assignment]
    scheduler.board.closing = True
    lost = submit(server).job.id
    scheduler.note, scheduler.board.closing = note, False  # type: ignore[method-assign]
    scheduler.board.done_at["refill"] = 0.0
    submit(server)
    assert {worker.run().job, worker.run().job} >= {lost}
