"""When a session ends because nobody uses it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from jupyter_remote.worker import hygiene

FOREVER_S = 3600.0  # without a limit the main thread looks up that often
LOOKS = 4  # within the limit: whether something goes on in the background
WORKS = 0.05  # of a core that threads or child processes use: that is work


class Idle:
    """Nobody called for ``limit_s``, and nothing goes on either."""

    def __init__(
        self,
        limit_s: float | None,
        has_tasks: Callable[[], bool],
        cpu_s: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``has_tasks``: of asyncio, that wait for something."""
        self.limit_s = limit_s
        self._has_tasks = has_tasks
        self._cpu_s = cpu_s or cpu_of_all
        self._clock = clock
        self._used_at = self._looked_at = clock()
        self._used_cpu_s: float | None = None  # at the last look, if nobody called since

    def touch(self) -> None:
        """Somebody uses it."""
        self._used_at = self._looked_at = self._clock()
        self._used_cpu_s = None

    def wait_s(self) -> float:
        """Until it is to be asked again whether it is over."""
        if self.limit_s is None:
            return FOREVER_S
        next_at = min(self._looked_at + self.limit_s / LOOKS, self._used_at + self.limit_s)
        return max(0.0, next_at - self._clock())

    def over(self) -> bool:
        """Asked when there is nothing to do."""
        if self.limit_s is None:
            return False
        now = self._clock()
        if now >= min(self._looked_at + self.limit_s / LOOKS, self._used_at + self.limit_s):
            if self._works(now):
                self._used_at = now
            self._looked_at = now
        return now >= self._used_at + self.limit_s

    def _works(self, now: float) -> bool:
        before, self._used_cpu_s = self._used_cpu_s, self._cpu_s()
        if self._has_tasks():
            return True
        return before is not None and self._used_cpu_s - before > WORKS * (now - self._looked_at)


def cpu_of_all() -> float:
    """Seconds that this process and its descendants have used until now."""
    own = os.times()
    used = own.user + own.system + own.children_user + own.children_system
    if hygiene.has_children():
        import psutil

        for child in psutil.Process().children(recursive=True):
            try:
                times = child.cpu_times()
            except psutil.Error:
                continue
            used += times.user + times.system
    return used
