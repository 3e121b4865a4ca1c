"""Figures of a job's processes and of the machine's GPUs."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from jupyter_remote.wire import GpuMetrics, Metrics
from jupyter_remote.worker.traffic import Counters

LINUX = sys.platform == "linux"
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Process(msgspec.Struct, frozen=True):
    """One process at one moment."""

    pid: int
    parent: int
    group: int
    session: int
    cpu_s: float
    memory_bytes: int


class Use(msgspec.Struct, frozen=True):
    """What the processes of one job use."""

    pids: list[int]
    cpu_s: float
    memory_bytes: int


def processes() -> list[Process]:
    """All processes that can be seen, in one pass."""
    return list(_from_proc() if LINUX else _from_psutil())


def _from_proc() -> Iterable[Process]:
    for name in os.listdir("/proc"):
        if name.isdigit() and (process := _read_stat(int(name))) is not None:
            yield process


def _read_stat(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            stat = file.read()
    except OSError:  # it ended meanwhile
        return None
    f = stat[stat.rindex(b")") + 2 :].split()  # the name before may hold anything
    cpu_s = (int(f[11]) + int(f[12])) / TICKS_PER_S
    return Process(pid, int(f[1]), int(f[2]), int(f[3]), cpu_s, int(f[21]) * PAGE_BYTES)


def _from_psutil() -> Iterable[Process]:
    import psutil

    for process in psutil.process_iter():
        try:
            cpu = process.cpu_times()
            pid, memory = process.pid, process.memory_info().rss
            group, session = os.getpgid(pid), os.getsid(pid)
            parent = process.ppid()
        except (psutil.Error, OSError):  # ended meanwhile, or another user's
            continue
        yield Process(pid, parent, group, session, cpu.user + cpu.system, memory)


def use_of(leader: int, table: Iterable[Process]) -> Use:
    """The processes of ``leader``: its session, its group and all descendants of these."""
    table = list(table)
    mine = {p.pid for p in table if leader in (p.pid, p.group, p.session)}
    children: dict[int, list[int]] = {}
    for process in table:
        children.setdefault(process.parent, []).append(process.pid)
    todo = list(mine)
    while todo:
        new = set(children.get(todo.pop(), ())) - mine
        mine |= new
        todo.extend(new)
    members = [p for p in table if p.pid in mine]
    return Use(
        [p.pid for p in members],
        sum(p.cpu_s for p in members),
        sum(p.memory_bytes for p in members),
    )


def own_bytes(pids: Iterable[int], fallback: int) -> int:
    """Memory that would be free if these processes ended: shared pages count by their share.

    Resident memory counts pages shared after a fork once for each process, and mapped inputs,
    which the system may drop at any time. This is slower and exact. ``fallback`` is returned
    where the system cannot say.
    """
    parts = [_own_bytes(pid) for pid in pids] if LINUX else [None]
    known = [part for part in parts if part is not None]
    return sum(known) if known else fallback


def _own_bytes(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it ended meanwhile, or the system is too old
        return None
    found = re.findall(r"^(?:Pss_Anon|Pss_Shmem):\s+(\d+) kB", text, re.MULTILINE)
    return sum(int(kb) for kb in found) * 1024 if found else None


def oom_kills() -> int:
    """How often the system has killed a process for want of memory: to compare before and after."""
    total = 0
    for path in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):
        try:
            with open(path, "rb", buffering=0) as file:
                text = b"\n" + file.read()
        except OSError:  # not Linux, or no such controller
            continue
        at = text.find(b"\noom_kill ")
        if at >= 0:
            total += int(text[at + len(b"\noom_kill ") :].split(None, 1)[0])
    return total


class Mean:
    """Mean over time, and peak, of a figure that is read now and then."""

    def __init__(self) -> None:
        self.peak = 0.0
        self._sum = self._seconds = self._last = 0.0

    def add(self, value: float, seconds: float) -> None:
        """It was ``value`` for the last ``seconds``."""
        self.peak, self._last = max(self.peak, value), value
        self._sum += value * seconds
        self._seconds += seconds

    @property
    def mean(self) -> float:
        """Of a single look what was seen."""
        return round(self._sum / self._seconds if self._seconds else self._last, 1)


class Rates:
    """What counters say a second, and their peaks."""

    FLOWS = ("read", "written", "received", "sent")

    def __init__(self) -> None:
        self._last: Counters | None = None
        self._peaks = dict.fromkeys(self.FLOWS, 0.0)
        self._peak_disk_bytes = 0

    def sample(self, counters: Counters, since_s: float) -> dict[str, Any]:
        """Fields of Metrics."""
        self._peak_disk_bytes = max(self._peak_disk_bytes, counters.disk_bytes)
        found: dict[str, Any] = {
            "disk_bytes": counters.disk_bytes,
            "disk_total_bytes": counters.disk_total_bytes,
            "peak_disk_bytes": self._peak_disk_bytes,
        }
        last, self._last = self._last, counters
        for flow in self.FLOWS:
            rate = 0.0
            if last is not None and since_s:
                grown = getattr(counters, f"{flow}_bytes") - getattr(last, f"{flow}_bytes")
                rate = round(max(0, grown) / since_s, 1)  # an interface that went took its count
            self._peaks[flow] = max(self._peaks[flow], rate)
            found[f"{flow}_bytes_per_s"] = rate
            found[f"peak_{flow}_bytes_per_s"] = self._peaks[flow]
        return found


class Meter:
    """Figures of one job from one sample to the next, and over all of them."""

    def __init__(self, limit_bytes: int | None) -> None:
        self._limit_bytes = limit_bytes or 0
        self._peak_bytes = 0
        self._last: tuple[float, float] | None = None
        self._first_at: float | None = None
        self._cpu = Mean()
        self._gpus: dict[int, tuple[Mean, Mean, Mean, Mean]] = {}  # see _with_means, by its index
        self._rates = Rates()
        self.latest: Metrics | None = None

    def sample(
        self,
        use: Use,
        at: float,
        now: float,
        gpus: list[GpuMetrics],
        busy_s: float | None = None,
        counters: Counters | None = None,
    ) -> Metrics:
        """``at``: wall clock; ``now``: monotonic, both in seconds."""
        self._peak_bytes = max(self._peak_bytes, use.memory_bytes)
        self._first_at = now if self._first_at is None else self._first_at
        since_s = max(0.0, now - self._last[1]) if self._last else 0.0
        cpu_percent = self._cpu_percent(use.cpu_s, now)
        if since_s:
            self._cpu.add(cpu_percent, since_s)
        self.latest = Metrics(
            at=at,
            cpu_percent=cpu_percent,
            memory_bytes=use.memory_bytes,
            peak_memory_bytes=self._peak_bytes,
            memory_limit_bytes=self._limit_bytes,
            gpus=[self._with_means(gpu, since_s) for gpu in gpus],
            busy_s=busy_s,
            measured_s=round(now - self._first_at, 3),
            mean_cpu_percent=self._cpu.mean,
            peak_cpu_percent=self._cpu.peak,
            **(self._rates.sample(counters, since_s) if counters is not None else {}),
        )
        return self.latest

    def _with_means(self, gpu: GpuMetrics, since_s: float) -> GpuMetrics:
        new = (Mean(), Mean(), Mean(), Mean())
        use, memory, power, heat = self._gpus.setdefault(gpu.index, new)
        use.add(gpu.use_percent, since_s)
        memory.add(gpu.memory_bytes, since_s)
        power.add(gpu.power_w, since_s)
        heat.add(gpu.temperature_c, since_s)
        return msgspec.structs.replace(
            gpu,
            mean_percent=use.mean,
            peak_percent=use.peak,
            peak_memory_bytes=int(memory.peak),
            peak_power_w=power.peak,
            peak_temperature_c=heat.peak,
        )

    def saw(self, memory_bytes: int) -> None:
        """A look between two samples."""
        self._peak_bytes = max(self._peak_bytes, memory_bytes)

    def final(self, busy_s: float | None = None) -> Metrics | None:
        """The last sample with the highest memory seen; None for a job that was quickly done."""
        if self.latest is None:
            return None
        peak = self._peak_bytes
        return msgspec.structs.replace(self.latest, peak_memory_bytes=peak, busy_s=busy_s)

    def _cpu_percent(self, cpu_s: float, now: float) -> float:
        last, self._last = self._last, (cpu_s, now)
        if last is None or now <= last[1]:
            return 0.0
        return round(max(0.0, 100 * (cpu_s - last[0]) / (now - last[1])), 1)


class Gpus:
    """NVIDIA's GPUs through its library, if both are there."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        self._names: list[str] = []
        self._opened = False

    def read(self, own: Sequence[int] = ()) -> list[GpuMetrics]:
        """Figures of these GPUs, by their index, or of every one; empty without any."""
        if not self._opened:
            self._opened = True
            self._open()
        every = enumerate(self._handles)
        return [self._read(i, handle) for i, handle in every if not own or i in own]

    def _open(self) -> None:
        try:
            import pynvml
        except ImportError:
            return
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
            names = [pynvml.nvmlDeviceGetName(handle) for handle in self._handles]
            self._names = [n.decode() if isinstance(n, bytes) else n for n in names]
        except pynvml.NVMLError:  # the library without a driver
            self._handles = []
        self._nvml = pynvml

    def _read(self, index: int, handle: Any) -> GpuMetrics:
        nvml = self._nvml
        return GpuMetrics(
            name=self._names[index],
            use_percent=self._or_zero(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            memory_bytes=int(self._or_zero(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used)),
            memory_total_bytes=int(
                self._or_zero(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).total)
            ),
            power_w=self._or_zero(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
            temperature_c=self._or_zero(
                lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
            ),
            index=index,
        )

    def _or_zero(self, figure: Any) -> float:
        try:
            return float(figure())
        except self._nvml.NVMLError:  # this model does not measure it, or the GPU has failed
            return 0.0
