"""A machine that boots from its user data, as processes of this computer.

It has folders of its own, programs of its own in front of the others, and a `poweroff` that writes
down that it was called. Everything that it started is ended at the end.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from jupyter_remote.model import InstanceRecord, InstanceState
from jupyter_remote.server import enrolment
from jupyter_remote.server.backend import Backend

from ..server.conftest import Running, until

NAME = f"python3.{sys.version_info.minor}"
OF_ALL = Path("/usr/bin", NAME)  # another user can run it
PYTHON = OF_ALL if OF_ALL.exists() else Path(sys.base_prefix, "bin", NAME)
BOOT_S = 120.0  # two cores may be busy
T = TypeVar("T")


def on_loop(server: Running, work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine where the server runs."""
    main = server.backend.scheduler._main
    assert main is not None
    return asyncio.run_coroutine_threadsafe(work, main.get_loop()).result(BOOT_S)


def instance(server: Running, id: str = "i-1", **changes: Any) -> InstanceRecord:
    """A machine that was asked for."""
    backend = server.backend
    facts = {
        "provider": "ec2",
        "machine": "g5.xlarge",
        "state": InstanceState.PENDING,
        "created_at": backend.clock.now(),
        "owner": backend.facts.owner,
    }
    record = InstanceRecord(id=id, **(facts | changes))
    backend.writer.call_sync(backend.store.put_instance, record)
    if record.provider in backend.offers.providers:
        on_loop(server, _taken_up(backend, record))
    return record


async def _taken_up(backend: Backend, record: InstanceRecord) -> None:
    backend.scheduler.fleet.take_up([record])


def user_data(server: Running, record: InstanceRecord, url: str = "") -> tuple[str, str]:
    return on_loop(server, enrolment.user_data(server.backend, record, url or server.url))


class Machine:
    """Runs a script until it is turned off."""

    def __init__(self, script: str, *, user: str = "", **environ: str) -> None:
        self.folder = folder = Path(tempfile.mkdtemp(prefix="jupyter-remote-machine-"))
        folder.chmod(0o711)  # another user passes through it
        self.home = folder / "machine"
        self.programs = folder / "programs"
        self.off = folder / "off"
        self.script = folder / "user-data"
        self.output = folder / "output"
        self.scratch = folder / "scratch"
        for each in (self.programs, self.scratch):
            each.mkdir()
        self.script.write_text(script)
        (self.programs / "off").write_text(f'#!/bin/sh\necho "off $*" >>{self.off}\n')
        (self.programs / "off").chmod(0o755)
        self.program(NAME, f'exec {PYTHON} "$@"')
        self._mark = f"JUPYTER_REMOTE_MACHINE_HOME={self.home}"
        self.environ = {
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "HOME": str(folder),
            "JUPYTER_REMOTE_MACHINE_HOME": str(self.home),
            "JUPYTER_REMOTE_MACHINE_USER": user,
            "JUPYTER_REMOTE_POWEROFF": str(self.programs / "off"),
            "TMPDIR": str(self.scratch),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1",
            **environ,
        }

    def program(self, name: str, text: str) -> None:
        """Stands in front of another program."""
        (self.programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.programs / name).chmod(0o755)

    def boot(self) -> subprocess.Popen[bytes]:
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                ["/bin/bash", str(self.script)],
                env=self.environ,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self.process

    def booted(self) -> int:
        """The script has come to its end; its exit status."""
        return self.process.wait(BOOT_S)

    def until_off(self, limit_s: float = BOOT_S) -> None:
        until(self.off.exists, limit_s)

    def processes(self) -> dict[int, str]:
        """All that run on this machine, with their command lines."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:  # it ended meanwhile, or is another user's
                continue
        return found

    def end(self) -> None:
        """Nothing of it is left."""
        while found := self.processes():
            for pid in found:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        self.process.wait()
        shutil.rmtree(self.folder)
