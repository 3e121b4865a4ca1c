"""Time as an argument, so that everything that decides by time is tested without waiting."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the scheduler, the store and the meter ask for the time."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC: for records that people read."""
        ...

    def monotonic(self) -> float:
        """Seconds that only go forward and count suspend: for durations and leases."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        # CLOCK_BOOTTIME goes on while the machine sleeps; CLOCK_MONOTONIC does not (Linux).
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()


class SteadyClock:
    """Wall time as it was once, plus what passed since: steps of the wall clock change nothing.

    ``offset_s`` is the wall time at which ``clock.monotonic()`` was 0; by default as it is now.
    """

    def __init__(self, clock: Clock, offset_s: float | None = None) -> None:
        self._clock = clock
        self.offset_s = clock.now() - clock.monotonic() if offset_s is None else offset_s

    def now(self) -> float:
        return self.offset_s + self._clock.monotonic()

    def monotonic(self) -> float:
        return self._clock.monotonic()


class FakeClock:
    """A clock that stands still until told to advance; for tests and simulations."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._monotonic = 0.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on both clocks."""
        self._now += seconds
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock off by ``seconds`` without time passing (an NTP step)."""
        self._now += seconds
