"""Machines behind the simulated API that really run their user data, unmodified.

Two ways of being a machine. *Namespaces* (:mod:`tests.cloud.namespaces`, as root on Linux) is the
nearer to a real one. *Processes* (:class:`ProcessMachine`, anywhere) is a process tree with folders
and commands of its own; it shares files and network with this computer, so its user data must
write below ``$HOME`` or ``$TMPDIR``, and finds its metadata at
``$AWS_EC2_METADATA_SERVICE_ENDPOINT``.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import psutil

from tests.cloud import commands
from tests.cloud import init as first_process
from tests.cloud.imds import Metadata, MetadataService

Gpu = tuple[str, int]  # name, MiB
BASE_PYTHON = str(getattr(sys, "_base_executable", sys.executable))  # not a virtual environment's
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
END_S = 60.0


class Machine(Protocol):
    """What runs behind an instance. ``on_end`` is called once, from a thread, when it ends by
    itself."""

    id: str
    metadata: Metadata

    def boot(self, on_end: Callable[[], None]) -> None: ...

    def kill(self) -> None:
        """All of it, at once. May be called again, and before it booted."""
        ...

    def partition(self) -> None:
        """Nothing comes through its network, in either direction, until :meth:`heal`."""
        ...

    def heal(self) -> None: ...

    def console(self) -> bytes: ...

    def processes(self) -> list[psutil.Process]:
        """All that belong to it and are there."""
        ...


class RealMachine:
    """What both kinds have: a first process at a cord, a folder, a metadata service."""

    def __init__(self, metadata: Metadata, folder: Path, gpus: list[Gpu]) -> None:
        self.id: str = metadata.instance.id
        self.metadata = metadata
        self.folder = folder
        self.state = folder / "state"  # as seen from this computer
        self._gpus = gpus
        self._lock = threading.Lock()
        self._gone = False
        self._first: subprocess.Popen[bytes] | None = None
        self._cord = -1
        self._service: MetadataService | None = None
        self._last_words = b""

    def boot(self, on_end: Callable[[], None]) -> None:
        with self._lock:
            if self._gone:
                return
            self._write_state()
            inner, self._cord = os.pipe()
            try:
                self._first = self._start(inner)
            finally:
                os.close(inner)
        threading.Thread(target=self._wait, args=(self._first, on_end), daemon=True).start()

    def _wait(self, first: subprocess.Popen[bytes], on_end: Callable[[], None]) -> None:
        first.wait()
        with self._lock:
            by_itself, self._gone = not self._gone, True
        if by_itself:
            self._clean()
            on_end()

    def kill(self) -> None:
        with self._lock:
            if self._gone:
                return
            self._gone = True
            if self._first is not None:
                self._end(self._first)
        self._clean()

    def console(self) -> bytes:
        try:
            return (self.state / "console.log").read_bytes()
        except OSError:  # it never booted, or its disk is no more
            return self._last_words

    def processes(self) -> list[psutil.Process]:
        mark = self.id
        return [
            p for p in psutil.process_iter() if _environment(p).get("SIMULATED_MACHINE") == mark
        ]

    def environment(self) -> dict[str, str]:
        """Of services and of the user data. As on EC2 there is no HOME in it."""
        return {"PATH": PATH, "LANG": "C.UTF-8", "SIMULATED_MACHINE": self.id}

    def _write_state(self) -> None:
        self.state.mkdir(parents=True)
        for program in (first_process, commands):
            shutil.copy(str(program.__file__), self.state)
        (self.state / "user-data").write_bytes(self.metadata.user_data)
        (self.state / "gpus.json").write_text(json.dumps(self._gpus))
        (self.state / "environment.json").write_text(json.dumps(self.environment()))

    def _clean(self) -> None:
        self._last_words = self.console()
        if self._cord >= 0:
            os.close(self._cord)
        if self._service is not None:
            self._service.close()

    # -- what differs
    def _start(self, cord: int) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _end(self, first: subprocess.Popen[bytes]) -> None:
        raise NotImplementedError


class ProcessMachine(RealMachine):
    """A tree of processes. ``cut`` tells a proxy that its connections hang."""

    def __init__(self, metadata: Metadata, folder: Path, gpus: list[Gpu]) -> None:
        super().__init__(metadata, folder, gpus)
        self.cut = False

    def environment(self) -> dict[str, str]:
        bound = self._service.socket.getsockname() if self._service else ("", 0)
        return super().environment() | {
            "PATH": f"{self.folder / 'bin'}:{PATH}",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{bound[1]}",
            "JUPYTER_REMOTE_MACHINE_HOME": str(self.folder / "home"),
            "JUPYTER_REMOTE_MACHINE_USER": "",  # no new user on this computer
        }

    def _write_state(self) -> None:
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        self._service = MetadataService(bound, self.metadata)
        for name in ("home", "tmp"):
            (self.folder / name).mkdir(parents=True)
        commands.install(self.folder / "bin", str(self.state), BASE_PYTHON)
        super()._write_state()

    def _start(self, cord: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [BASE_PYTHON, "-I", f"{self.state}/init.py", str(self.state), str(cord)],
            env=self.environment(),
            pass_fds=[cord],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _end(self, first: subprocess.Popen[bytes]) -> None:
        os.close(self._cord)  # its first process kills all others, then ends
        self._cord = -1
        first.wait(END_S)

    def partition(self) -> None:
        self.cut = True

    def heal(self) -> None:
        self.cut = False

    def has_connection(self, port: int) -> bool:
        """Is this the machine whose connection has this local port?"""
        for process in self.processes():
            try:
                if any(c.laddr.port == port for c in process.net_connections("tcp")):
                    return True
            except psutil.Error:  # it ended meanwhile
                continue
        return False


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return {} if process.status() == psutil.STATUS_ZOMBIE else process.environ()
    except psutil.Error:
        return {}


def remove(folder: Path) -> None:
    """What a machine wrote; it may have changed permissions of its folders."""
    shutil.rmtree(folder, ignore_errors=True)
