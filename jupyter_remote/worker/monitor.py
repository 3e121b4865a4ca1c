"""What an attempt uses, looked at some times a second while its code runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jupyter_remote.wire import Assign, GpuMetrics, Metrics, encode
from jupyter_remote.worker.gpu_idle import GpuIdle
from jupyter_remote.worker.job_output import JobOutput
from jupyter_remote.worker.means import Means
from jupyter_remote.worker.metrics import Meter, Process, Use, oom_kills, own_bytes, use_of
from jupyter_remote.worker.outbox import Outbox
from jupyter_remote.worker.supervise import Action, Stop, Supervisor
from jupyter_remote.worker.traffic import Traffic

FIRST_SAMPLE_S = 0.5  # of figures, after user code began
SAMPLE_S = 1.0


class Monitor:
    """Of one attempt: sends its figures, and stops it when it uses too much memory or no GPU.

    Parameters
    ----------
    act: does to the kernel what the supervisor says.
    busy_s: for how long a session was used so far; None: of no session.
    """

    def __init__(
        self,
        assign: Assign,
        means: Means,
        supervisor: Supervisor,
        outbox: Outbox,
        output: JobOutput,
        act: Callable[[Action], None],
        busy_s: Callable[[], float | None],
    ) -> None:
        self._assign = assign
        self._means = means
        self._supervisor = supervisor
        self._outbox = outbox
        self._output = output
        self._act = act
        self._busy_s = busy_s
        self._meter = Meter(assign.memory_bytes)
        self._traffic = Traffic()
        idle_s = assign.spec.gpu_idle_s
        self._gpu_idle = GpuIdle(means.gpu_idle_s if idle_s is None else idle_s)
        self._sample_at = float("inf")
        self._oom_kills = 0

    def begin(self) -> None:
        """User code does."""
        self._oom_kills = self._means.oom_kills
        self._sample_at = self._means.clock.monotonic() + FIRST_SAMPLE_S

    def look(self, pid: int, folder: Path | None, table: list[Process], now: float) -> None:
        """At the group of the process ``pid``. ``table``: of all processes."""
        use = use_of(pid, table)
        self._meter.saw(use.memory_bytes)
        if self._supervisor.over_memory(use.memory_bytes):
            exact = own_bytes(use.pids, fallback=use.memory_bytes)
            self._act(self._supervisor.memory(exact))
        if now >= self._sample_at:
            self._sample_at = now + SAMPLE_S
            self._sample(use, folder, now)

    def final(self) -> Metrics | None:
        """The last figures; None for a job that was quickly done."""
        return self._meter.final(self._busy_s())

    @property
    def oom_killed(self) -> bool:
        """Did the system kill something for its memory since user code began?"""
        return oom_kills() > self._oom_kills

    def _sample(self, use: Use, folder: Path | None, now: float) -> None:
        gpus = self._means.gpus.read(self._assign.gpus)
        counters = self._traffic.look(use.pids, folder)
        at, busy_s = self._means.clock.now(), self._busy_s()
        metrics = self._meter.sample(use, at, now, gpus, busy_s, counters)
        self._heed(gpus, now)
        self._outbox.add_latest("metrics", "metrics", encode(metrics))

    def _heed(self, gpus: list[GpuMetrics], now: float) -> None:
        said = self._gpu_idle.saw(gpus, now)
        if isinstance(said, Stop):
            self._act(self._supervisor.give_up(said, now))
        elif said:
            self._output.note(said)
