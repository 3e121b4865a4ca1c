"""How fast a kernel may send outputs: shared by all jobs that are shown in it.

jupyter_server passes on 1,000 messages and 1 MB of streams a second, on average of three seconds,
and drops the rest. Programs that run notebooks have no such limit, but ZeroMQ drops what a reader
is a thousand messages behind with.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple


class Rate(NamedTuple):
    """Of messages and of bytes of text. A burst is what may come at once after a pause."""

    messages_per_s: float
    message_burst: float
    bytes_per_s: float
    byte_burst: float


SERVER = Rate(800, 480, 750_000, 450_000)
DIRECT = Rate(2000, 800, 50_000_000, 50_000_000)


class Pace:
    """Two token buckets. Called from any thread."""

    def __init__(self, rate: Rate = SERVER, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._at = clock()
        self._messages = rate.message_burst
        self._bytes = rate.byte_burst

    def wait_s(self, size_bytes: int = 0) -> float:
        """Seconds until a message with so much text may go. One that is larger than a burst goes
        when the bucket is full, and is paid off by those after it."""
        with self._lock:
            self._refill()
            lacking = min(size_bytes, self._rate.byte_burst) - self._bytes
            wait = max((1 - self._messages) / self._rate.messages_per_s, 0.0)
            return max(wait, lacking / self._rate.bytes_per_s) if size_bytes else wait

    def spend(self, size_bytes: int = 0) -> None:
        """One message goes."""
        with self._lock:
            self._refill()
            self._messages -= 1
            self._bytes -= size_bytes

    @property
    def is_short(self) -> bool:
        """Is more than half of the burst used up?"""
        with self._lock:
            self._refill()
            return 2 * self._messages < self._rate.message_burst

    def _refill(self) -> None:
        now = self._clock()
        passed, self._at = now - self._at, now
        rate = self._rate
        self._messages = min(rate.message_burst, self._messages + passed * rate.messages_per_s)
        self._bytes = min(rate.byte_burst, self._bytes + passed * rate.bytes_per_s)
