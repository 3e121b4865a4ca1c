"""The server under test: a process of its own that is killed and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from jupyter_remote import connection, errors, wire
from jupyter_remote.connection import Connection
from jupyter_remote.http import Http
from tests.conftest import isolate

START_S = 60.0
HTTP_S = 20.0


class Backend:
    """``jupyter remote serve --embedded`` with its state in ``folder``, always at the same port."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.environment = isolate(folder) | environment
        self.state = folder / "state"
        self.environment["JUPYTER_REMOTE_HOME"] = str(self.state)
        self.environment["JUPYTER_REMOTE_RUNTIME"] = str(folder / "runtime")
        self.kills = 0
        self._file = folder / "runtime" / connection.FILE_NAME
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def start(self) -> None:
        """Returns when it answers."""
        with self._lock:
            before = connection.read(self._file)
            command = [sys.executable, "-m", "jupyter_remote", "serve", "--embedded"]
            with (self.folder / "server.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [*command, "--port", str(self.port)],
                    env={**os.environ, **self.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._wait_for_another_than(before)

    def _wait_for_another_than(self, before: Connection | None) -> None:
        assert self._process is not None
        end = time.monotonic() + START_S
        while (found := connection.read(self._file)) is None or found == before:
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server does not start:\n{self.log[-3000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """``kill -9``; at once, from any thread."""
        process = self._process
        if process is not None and process.poll() is None:
            self.kills += 1
            process.send_signal(signal.SIGKILL)
            process.wait(10)

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """As its user ends it."""
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def end(self) -> None:
        """It, and every process of this computer that it or those before it started."""
        self.kill()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                mine = process.environ().get("JUPYTER_REMOTE_HOME") == str(self.state)
                if mine and process.pid != os.getpid():
                    process.kill()

    # -- asking it
    def call(self, method: str, path: str, body: Any = None, reply: Any = None) -> Any:
        """Raises JupyterRemoteError."""
        found = connection.read(self._file)
        if found is None:
            raise errors.BackendUnreachable("no connection file")
        with contextlib.closing(
            Http(found.url, found.token, key=found.key, timeout_s=HTTP_S)
        ) as http:
            return http.call(method, path, body, reply)

    def submit(self, request: wire.SubmitRequest) -> None:
        """Raises BackendUnreachable when it is not known whether that arrived."""
        self.call("POST", "/v1/jobs", request, wire.Submitted)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Of its database, read from outside; none as long as that is not there."""
        file = self.state / "db.sqlite"
        try:
            with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
                return database.execute(query, values).fetchall()
        except sqlite3.OperationalError:  # not yet, or just being written
            return []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
