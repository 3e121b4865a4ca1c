"""Bars that are open, and when each was shown last."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from jupyter_remote.wire import Bar
from jupyter_remote.worker.ticker import Ticker

PERIOD_S = 0.1  # between two updates of one bar


class Bars:
    """``sink`` is called with each bar that is to be shown.

    A bar that moves says so, at most ten times a second. Where it stands still afterwards, its
    last step is seen by the ticker.
    """

    def __init__(self, sink: Callable[[Bar], None]) -> None:
        self.active = False
        self.streams: tuple[Any, ...] = ()  # what is drawn into these is seen in the cell
        self._sink = sink
        self._open: dict[str, Bar] = {}
        self._said: dict[str, float] = {}
        self._lock = threading.RLock()
        self._ticker = Ticker(PERIOD_S)
        os.register_at_fork(after_in_child=self._in_child)

    def _in_child(self) -> None:
        """Bars of a forked child have no way to the notebook: they are printed there."""
        self.active, self._lock, self._open = False, threading.RLock(), {}

    def replaces(self, file: Any) -> bool:
        """Is a bar that would be drawn into ``file`` to be data instead?"""
        file = getattr(file, "rich_proxied_file", file)
        return self.active and any(file is stream for stream in self.streams)

    def opened(self, bar: Bar, look: Callable[[], Bar | None] | None = None) -> None:
        """``look`` makes the bar as it stands now; None when it is gone. Without it, the bar
        has a ticker of its own."""
        with self._lock:
            self._say(bar, "open")
        if look is not None:
            self._ticker.add(bar.id, lambda at_once: self._look(bar.id, look, at_once))

    def moved(self, id: str, make: Callable[[], Bar]) -> None:
        """At most ten times a second a bar; ``make`` is called only when it is time."""
        if id in self._open and time.monotonic() - self._said[id] >= PERIOD_S:
            self._update(make())

    def closed(self, bar: Bar) -> None:
        self._ticker.remove(bar.id)
        with self._lock:
            if self._open.pop(bar.id, None) is not None:
                self._sink(msgspec.structs.replace(bar, state="close"))

    def relay(self, bar: Bar) -> None:
        """A bar of :mod:`inside`, which keeps the pace itself."""
        if bar.state == "close":
            self.closed(bar)
        elif bar.state == "open":
            self.opened(bar)
        else:
            self._update(bar)

    def close_all(self) -> None:
        """At the end of a job: bars that its code left open, as they stand."""
        self.say_all()
        for bar in list(self._open.values()):
            self.closed(bar)

    def say_all(self) -> None:
        """Bars that moved since they were shown last."""
        self._ticker.look_now()

    def _look(self, id: str, look: Callable[[], Bar | None], at_once: bool) -> bool:
        """Called by the ticker."""
        before = self._open.get(id)
        if before is None or (bar := look()) is None:
            return False
        due = at_once or time.monotonic() - self._said[id] >= PERIOD_S
        if due and _face(bar) != _face(before):
            self._update(bar)
        return True

    def _update(self, bar: Bar) -> None:
        with self._lock:
            if bar.id in self._open:  # it may have been closed since it was looked at
                self._say(bar, "update")

    def _say(self, bar: Bar, state: str) -> None:
        bar = msgspec.structs.replace(bar, state=state)
        self._open[bar.id] = bar
        self._said[bar.id] = time.monotonic()
        self._sink(bar)


def _face(bar: Bar) -> tuple[Any, ...]:
    """What of a bar changes only when it is moved."""
    return bar.n, bar.total, bar.description, bar.postfix
