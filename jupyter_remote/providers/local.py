"""This computer: machines are agent processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec
import psutil

from jupyter_remote import processes
from jupyter_remote.model import InstanceState, MachineType
from jupyter_remote.providers.base import Launch, Seen
from jupyter_remote.settings import Settings

MARK = ".process.json"
STOP_S = 5.0  # between SIGTERM and SIGKILL
KEPT_LOGS = 5  # of agents that ended
MIB = 1024 * 1024
SECRETS = ("JUPYTER_REMOTE_TOKEN",)  # of the backend's environment; user code has no use for them


class Mark(msgspec.Struct, frozen=True):
    """What is written down of an agent: which process, and since when, for pids come back."""

    pid: int
    mark: str  # see `processes`


class LocalProvider:
    """Agents as processes of their own sessions, with their state in ``home/workers``.

    They survive this process when it is killed and are found again by its successor;
    :meth:`close` ends them.
    """

    name = "local"
    near = True

    def __init__(self, home: Path, settings: Settings | None = None) -> None:
        self._folder = home / "workers"
        self._settings = settings or Settings()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._known: set[str] = set()

    def machines(self) -> list[MachineType]:
        """This computer, free of charge."""
        name, count, memory_bytes = _gpus()
        return [
            MachineType(
                id="local",
                cpus=float(cpus()),
                memory_bytes=memory(),
                gpu=name,
                gpu_count=count,
                gpu_memory_bytes=memory_bytes,
                provider=self.name,
            )
        ]

    def zones(self, machine: str) -> list[str]:
        return []

    async def launch(self, launch: Launch) -> Seen:
        """Start an agent, unless the one with this id has been started already."""
        mark = self._mark(launch.id)
        if mark is None:
            mark = self._start(launch)
        return self._seen(launch.id, mark)

    async def describe(self, ids: Sequence[str]) -> list[Seen]:
        marks = [(id, self._mark(id)) for id in ids]
        return [self._seen(id, mark) for id, mark in marks if mark is not None]

    async def listed(self) -> list[Seen]:
        """Every agent that was started from this home and still runs."""
        ids = [file.name.removesuffix(MARK) for file in self._folder.glob(f"*{MARK}")]
        return [s for s in await self.describe(ids) if s.state is not InstanceState.TERMINATED]

    async def terminate(self, id: str) -> None:
        """Ask the agent to end; it is killed if it does not within some seconds."""
        mark = self._mark(id)
        if mark is None or not self._alive(id, mark):
            return
        _signal(mark.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                while self._alive(id, mark):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            _signal(mark.pid, signal.SIGKILL)

    async def tidy(self, keep: Sequence[str]) -> None:
        """Folders of jobs may be large; the latest logs stay, for whoever looks for a cause."""
        await asyncio.to_thread(self._tidy, set(keep))

    def _tidy(self, keep: set[str]) -> None:
        if not self._folder.exists():
            return
        files = list(self._folder.iterdir())
        logs = sorted((f for f in files if f.suffix == ".log"), key=lambda f: f.stat().st_mtime)
        latest = {log.name for log in logs[-KEPT_LOGS:]}
        for file in files:
            id = file.name.partition(".")[0]
            mark = self._mark(id)
            if id in keep or file.name in latest or (mark and self._alive(id, mark)):
                continue
            if file.is_dir():
                shutil.rmtree(file, ignore_errors=True)
            else:
                file.unlink(missing_ok=True)

    async def close(self) -> None:
        """End every agent that was started here, or was found running."""
        await asyncio.gather(*(self.terminate(id) for id in self._known))
        for child in self._children.values():
            child.wait(timeout=STOP_S)

    # -- processes
    def _start(self, launch: Launch) -> Mark:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        config = self._write_config(launch)
        command = [sys.executable, "-m", "jupyter_remote.worker.agent", "--config", str(config)]
        with self._path(launch.id, "log").open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env={k: v for k, v in os.environ.items() if k not in SECRETS},
                start_new_session=True,
            )
        self._children[launch.id] = child
        mark = Mark(child.pid, processes.mark_of(child.pid))
        draft, file = self._path(launch.id, "process.draft"), self._path(launch.id, "process.json")
        draft.write_bytes(msgspec.json.encode(mark))
        draft.replace(file)
        return mark

    def _write_config(self, launch: Launch) -> Path:
        settings = self._settings
        path = self._path(launch.id, "config.json")
        config = {
            "url": launch.server_url,
            "token": launch.enrolment_token,
            "instance": launch.id,
            "machine": launch.machine,
            "slots": launch.slots,
            "connection_file": launch.connection_file,
            "home": str(self._path(launch.id, "home")),
            "environments": str(self._folder.parent / "environments"),
            "once": True,
            "interrupt_grace_s": settings.interrupt_grace_s,
            "checkpoint_s": settings.checkpoint_s,
            "live_output_bytes": settings.live_output_bytes,
            "live_output_bytes_per_s": settings.live_output_bytes_per_s,
        }
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.encode(config))
        return path

    def _path(self, id: str, what: str) -> Path:
        if id != Path(id).name:
            raise ValueError(f"{id!r} is not the id of an instance")
        return self._folder / f"{id}.{what}"

    def _mark(self, id: str) -> Mark | None:
        try:
            return msgspec.json.decode(self._path(id, "process.json").read_bytes(), type=Mark)
        except (OSError, msgspec.DecodeError):
            return None

    def _alive(self, id: str, mark: Mark) -> bool:
        child = self._children.get(id)
        if child is not None:
            ended: int | None = child.poll()
            return ended is None
        return bool(mark.mark) and processes.mark_of(mark.pid) == mark.mark

    def _seen(self, id: str, mark: Mark) -> Seen:
        self._known.add(id)
        if self._alive(id, mark):
            return Seen(id=id, provider_id=str(mark.pid), state=InstanceState.READY)
        detail = f"its log: {self._path(id, 'log')}"
        state = InstanceState.TERMINATED
        return Seen(id=id, provider_id=str(mark.pid), state=state, detail=detail)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended just now
        os.killpg(pid, number)


def cpus() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> int:
    """Memory of this computer or, in a container, the container's limit; in bytes."""
    total: int = psutil.virtual_memory().total
    limits = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ]
    for path in limits:
        try:
            text = Path(path).read_text().strip()
        except OSError:  # no such controller
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


@cache
def _gpus() -> tuple[str, int, int]:
    """Name, number and memory (bytes) of the GPUs, as NVIDIA's tool says; none without it."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):  # no driver here, or it does not answer
        return "", 0, 0
    return parse_gpus(done.stdout)


def parse_gpus(listing: str) -> tuple[str, int, int]:
    """Name of the first GPU, number of all, memory of the first in bytes (0: not told)."""
    lines = [line.rsplit(",", 1) for line in listing.splitlines() if "," in line]
    if not lines:
        return "", 0, 0
    name, mib = (word.strip() for word in lines[0])
    memory_bytes = int(mib) * MIB if mib.isdigit() else 0  # "[N/A]" where CPU and GPU share it
    return name.removeprefix("NVIDIA "), len(lines), memory_bytes
