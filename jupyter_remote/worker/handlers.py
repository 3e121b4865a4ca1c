"""Signal handlers of user code run in user code and between calls, never in the midst of ours."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from jupyter_remote.worker.process_state import NUMBERS, handler_of

# Ours raise only where it is right. Those of asyncio do nothing: what tells it is another way.
_HARMLESS = ("jupyter_remote", "asyncio")


class UsersHandlers:
    """Of a session. They may raise anything, also an OSError: half-way through a message that would
    lose it, or be taken for the end of a connection."""

    def __init__(self) -> None:
        self._kept: dict[int, Any] = {}
        self._seen: list[Any] = []
        self.came: list[int] = []  # signals for which they did not run yet

    def hold(self) -> None:
        """From now on they wait."""
        if (now := list(map(handler_of, NUMBERS))) == self._seen:
            return
        for number, handler in zip(NUMBERS, now, strict=True):
            if callable(handler) and not _is_harmless(handler):
                self._kept[number] = handler
                signal.signal(number, self._on_signal)
        self._seen = list(map(handler_of, NUMBERS))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.came.append(number)

    def put_back(self) -> None:
        """User code runs next. One that came while they waited waits on."""
        while self._kept:  # whatever one that is back already raises, the others are not lost
            number = next(iter(self._kept))
            signal.signal(number, self._kept[number])
            del self._kept[number]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """They run now, and in the block. Raises what they raise."""
        self.put_back()
        try:
            while self.came:
                signal.raise_signal(self.came.pop(0))
            yield
        finally:
            self.hold()


def _is_harmless(handler: Any) -> bool:
    return (getattr(handler, "__module__", None) or "").partition(".")[0] in _HARMLESS
