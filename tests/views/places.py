"""Where sessions run in these tests: beside the client, and where it cannot call them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec
import psutil

from jupyter_remote import connection
from jupyter_remote.client import embedded
from jupyter_remote.client.api import Client
from jupyter_remote.errors import JupyterRemoteError
from jupyter_remote.http import Http
from jupyter_remote.model import OwnerId, TokenRecord
from jupyter_remote.server.auth import hash_of, new_token
from jupyter_remote.settings import Settings
from jupyter_remote.store.sqlite import open_sqlite
from jupyter_remote.wire import WorkerList
from tests.e2e.waiting import until

QUICK = {
    "JUPYTER_REMOTE_HEARTBEAT_S": "0.5",
    # for longer than a server takes to start again and a worker rests before it dials once more
    "JUPYTER_REMOTE_LEASE_S": "12",
    "JUPYTER_REMOTE_DEAD_MAN_S": "10",
    "JUPYTER_REMOTE_SLOTS": "4",
}


def end_family(pid: int) -> None:
    """Kill a process with all that it started, at once."""
    family = [psutil.Process(pid)]
    family += family[0].children(recursive=True)
    for one in family:
        one.kill()
    psutil.wait_procs(family, 10)


class Near:
    """The embedded backend. ``relays``: the test sees to it that kernels are out of sight."""

    def __init__(self, folder: Path, *, relays: bool) -> None:
        self.relays = relays
        self._settings = Settings(home=str(folder / "state"), runtime=str(folder / "run"))
        self._home = connection.home_of(self._settings)

    def client(self) -> Client:
        return Client(settings=self._settings)

    def kill_worker(self) -> None:
        [pid] = self._workers()
        end_family(pid)

    def _workers(self) -> list[int]:
        files = (self._home / "workers").glob("*.process.json")
        pids = [int(msgspec.json.decode(file.read_bytes())["pid"]) for file in files]
        return [pid for pid in pids if psutil.pid_exists(pid)]

    def restart_server(self) -> None:
        """Killed; the next call starts another one."""
        found = embedded.running(self._settings)
        assert found is not None
        os.kill(found.pid, signal.SIGKILL)
        until(lambda: not embedded.is_backend(found))

    def close(self) -> None:
        found = embedded.running(self._settings)
        if found is not None:
            os.kill(found.pid, signal.SIGTERM)
            until(lambda: not embedded.is_backend(found))


class Far:
    """`jupyter remote serve`, not embedded, and a worker without the server's folders."""

    relays = True
    owner = "somebody"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        settings = Settings(home=str(folder / "state"), runtime=str(folder / "run"))
        self._environment = {
            **os.environ,
            "JUPYTER_REMOTE_HOME": settings.home,
            "JUPYTER_REMOTE_RUNTIME": settings.runtime,
        }
        state = connection.home_of(settings)
        state.mkdir(parents=True)
        self._database = state / "db.sqlite"
        self.token = self._make_token("submit", "read", "admin")
        self._worker_token = self._make_token("worker")
        self._start()
        self.agent = self._start_agent()
        until(self._has_worker)

    def client(self) -> Client:
        return Client(self.url, self.token)

    def kill_worker(self) -> None:
        end_family(self.agent.pid)
        self.agent.wait(10)

    def restart_server(self) -> None:
        """Killed, and started again on what it left."""
        self.server.kill()
        self.server.wait(10)
        self._start()

    def forget_blobs(self) -> None:
        """What its tidying does to bytes that no job needed for a day; and the worker's."""
        self.server.kill()
        self.server.wait(10)
        store = open_sqlite(self._database)
        forgotten = store.collect(time.time(), 0.0)
        store.close()
        assert forgotten
        for digest in forgotten:
            for file in self.folder.rglob(digest):
                file.unlink()
        self._start()

    def close(self) -> None:
        for process in (self.agent, self.server):
            if process.poll() is None:
                process.terminate()
                process.wait(20)

    def _make_token(self, *scopes: str) -> str:
        """While the server is down: the database is its own."""
        token = new_token(scopes)
        store = open_sqlite(self._database)
        record = TokenRecord(id=uuid.uuid4().hex, owner=OwnerId(self.owner), scopes=scopes)
        store.add_token(record, hash_of(token))
        store.close()
        return token

    def _start(self) -> None:
        self.server = self._run("serve", "--port", str(self.port))
        until(self._answers)

    def _start_agent(self) -> subprocess.Popen[bytes]:
        config = self.folder / "agent.json"
        fields: dict[str, Any] = {"url": self.url, "token": self._worker_token, "slots": 4}
        config.write_bytes(msgspec.json.encode({**fields, "home": str(self.folder / "agent")}))
        return self._run("worker", "--config", str(config))

    def _run(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "jupyter_remote", name, *options]
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, env=self._environment, stderr=log)

    def _answers(self) -> bool:
        return self._asked("/health", None) is not None

    def _has_worker(self) -> bool:
        found = self._asked("/v1/workers", WorkerList)
        return found is not None and any(worker.connected for worker in found.workers)

    def _asked(self, path: str, reply: Any) -> Any:
        http = Http(self.url, self.token)
        try:
            return http.call("GET", path, reply=reply or dict)
        except JupyterRemoteError:
            return None
        finally:
            http.close()


Place = Near | Far


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
