"""How far calls are, and how long they took."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from jupyter_remote.client.views.parts import Part


class Timed:
    """What an AsyncResult tells of its calls."""

    _parts: list[Part]
    _begun: float

    def _ready_or_raise(self) -> None:
        raise NotImplementedError

    @property
    def progress(self) -> int:
        """Calls, or items of a map, that are done."""
        return sum(part.size for part in self._parts if part.request.done)

    @property
    def elapsed(self) -> float:
        """Seconds since it was submitted, until it was done."""
        done = all(part.request.done for part in self._parts)
        return self._wall_s() if done and self._parts else time.time() - self._begun

    @property
    def serial_time(self) -> float:
        """Seconds that the calls took, added up. Raises TimeoutError when it is not done."""
        self._ready_or_raise()
        replies = [part.request.reply for part in self._parts]
        return sum(r.ended_at - r.began_at for r in replies if r is not None)

    @property
    def wall_time(self) -> float:
        """Seconds from the first submit to the last reply. Raises TimeoutError, as above."""
        self._ready_or_raise()
        return self._wall_s()

    def _wall_s(self) -> float:
        received = max((p.request.received_at for p in self._parts), default=0.0)
        sent = [p.request.sent_at for p in self._parts if p.request.sent_at]
        return max(0.0, received - min(sent, default=received))

    @property
    def speedup(self) -> float:
        """How much quicker it was than one worker alone."""
        return self.serial_time / self.wall_time if self.wall_time else 0.0

    def timedelta(
        self,
        start: Any,
        end: Any,
        start_key: Callable[..., Any] = min,
        end_key: Callable[..., Any] = max,
    ) -> float:
        """Seconds between two times of the metadata, or two lists of them."""
        first = start_key(start) if isinstance(start, Sequence) else start
        last = end_key(end) if isinstance(end, Sequence) else end
        delta: timedelta = last - first
        return delta.total_seconds()
