"""A job's state in a terminal or a log: a line a status, and bars that do not flood it."""

from __future__ import annotations

import time
from collections.abc import Callable

from jupyter_remote.cards.render import bar_text, meter, plain, status_line, text_of
from jupyter_remote.cards.state import CardState, fraction
from jupyter_remote.wire import Bar

EVERY_S = 10.0
STEP = 0.1


class TextCard:
    """Writes a line at each change of status, and of a bar every 10 s or 10 %."""

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._write = write
        self._clock = clock
        self._status: tuple[str, float | None] | None = None  # as written, and when it is killed
        self._bars: dict[str, tuple[float, float]] = {}  # id -> (when, fraction) of its last line
        self._full: set[str] = set()  # bars that have had their last line

    @property
    def is_shown(self) -> bool:
        return self._status is not None

    def draw(self, state: CardState, *, force: bool = False) -> float | None:
        """Shows what is new; never asks to be called again."""
        now = self._clock()
        for bar in state.bars:
            if self._is_news(bar, now):
                self._bars[bar.id] = (now, fraction(bar) or 0.0)
                label = plain(bar.description)
                self._write(f"{label + ': ' if label else ''}{meter(bar)}{bar_text(bar)}")
        self._full |= {bar.id for bar in state.bars if _is_full(bar)}
        if (status := (status_line(state), state.kill_at)) != self._status:
            self._status = status
            self._write(text_of(state, now).split("\n")[0])
        return None

    def _is_news(self, bar: Bar, now: float) -> bool:
        if bar.id not in self._bars or _is_full(bar):
            return bar.id not in self._full
        at, done = self._bars[bar.id]
        return now - at >= EVERY_S or (fraction(bar) or 0.0) - done >= STEP


def _is_full(bar: Bar) -> bool:
    return bar.state == "close" or fraction(bar) == 1.0
