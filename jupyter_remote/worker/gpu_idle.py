"""When a job is stopped because it uses no GPU. Pure: time and figures are arguments."""

from __future__ import annotations

from collections.abc import Sequence

from jupyter_remote.amounts import duration
from jupyter_remote.model import Reason
from jupyter_remote.wire import GpuMetrics
from jupyter_remote.worker.supervise import Stop

USED_PERCENT = 5.0  # less is what a driver does by itself
NOTICE = 0.25  # of the limit before the end it is announced,
NOTICE_S = 60.0  # but not earlier than that

ABSENT = "no GPU can be seen here: --gpu-idle has no effect"
USED_AGAIN = "a GPU is used again: the job goes on"


class GpuIdle:
    """Watches one attempt: when none of the machine's GPUs was used for ``limit_s``, it ends.

    None or 0: never. That is announced first, always. Time counts from the first look, which is
    when user code has begun: until then a job can use nothing.
    """

    def __init__(self, limit_s: float | None) -> None:
        self._limit_s = limit_s or 0.0
        self._notice_s = min(NOTICE_S, NOTICE * self._limit_s)
        self._used_at: float | None = None
        self._stop_at: float | None = None  # it is announced
        self._told_absent = False

    def saw(self, gpus: Sequence[GpuMetrics], now: float) -> str | Stop | None:
        """A line for the user, or that it is to be stopped now."""
        if not self._limit_s:
            return None
        if not gpus:
            told, self._told_absent = self._told_absent, True
            return None if told else ABSENT
        if any(gpu.use_percent >= USED_PERCENT for gpu in gpus):
            announced, self._stop_at, self._used_at = self._stop_at, None, now
            return None if announced is None else USED_AGAIN
        if self._used_at is None:
            self._used_at = now
        idle_s = now - self._used_at
        if self._stop_at is None:
            return self._announced(idle_s, now)
        if now < self._stop_at:
            return None
        return Stop("expired", Reason.GPU_IDLE, f"no GPU was used for {duration(idle_s)}")

    def _announced(self, idle_s: float, now: float) -> str | None:
        if idle_s < self._limit_s - self._notice_s:
            return None
        self._stop_at = now + self._notice_s
        return (
            f"no GPU was used for {duration(idle_s)}: the job is stopped in "
            f"{duration(self._notice_s)} unless it uses one (--gpu-idle)"
        )
