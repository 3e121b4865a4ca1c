"""Bars of one line: of what workers do, and of waiting for them."""

from __future__ import annotations

import sys
import uuid
from typing import Any

from jupyter_remote.wire import Bar

WIDTH = 30


def _line(name: str, done: float, total: float | None, elapsed_s: float) -> str:
    if not total:
        return f"{name}: {done:g} [{elapsed_s:.1f} s]"
    share = min(1.0, done / total)
    full = round(WIDTH * share)
    left = f", {elapsed_s * (1 - share) / share:.0f} s left" if 0 < share < 1 else ""
    bar = "█" * full + "░" * (WIDTH - full)
    return f"{name}: {bar} {done:g}/{total:g} [{elapsed_s:.1f} s{left}]"


class _InPlace:
    """A line that is written over itself: a display in a kernel, the end of a terminal."""

    def __init__(self) -> None:
        self._id = ""
        self._shown = ""

    def show(self, line: str, last: bool = False) -> None:
        if _in_kernel():
            if line != self._shown:
                self._display(line)
        else:
            sys.stderr.write(f"\r{line}   " + ("\n" if last else ""))
            sys.stderr.flush()
        self._shown = line

    def _display(self, line: str) -> None:
        from IPython.display import publish_display_data

        update = bool(self._id)
        self._id = self._id or uuid.uuid4().hex
        transient = {"display_id": self._id}
        data = {"text/plain": line}
        publish_display_data(data, transient=transient, update=update)  # type: ignore[no-untyped-call]


def _in_kernel() -> bool:
    module = sys.modules.get("IPython")
    shell: Any = None if module is None else module.get_ipython()
    return getattr(shell, "kernel", None) is not None


class BarLines:
    """Those of a call: in a kernel each in its place, in a terminal when it ends."""

    def __init__(self) -> None:
        self._places: dict[tuple[int | None, str], _InPlace] = {}

    def show(self, worker: int | None, bar: Bar) -> None:
        over = bar.state == "close"
        if not over and not _in_kernel():
            return
        place = self._places.setdefault((worker, bar.id), _InPlace())
        name = bar.description or "progress"
        who = "" if worker is None else f"[{worker}] "
        line = _line(f"{who}{name}", bar.n, bar.total, bar.elapsed_s)
        if bar.leave or not over:
            place.show(line, last=over)
        elif _in_kernel():
            place.show("")

    def end(self) -> None:
        """Those of the next call have places of their own."""
        self._places.clear()


class WaitBar:
    """How many of several calls are done. ``total``: None as long as it is not known."""

    def __init__(self, name: str, total: int | None) -> None:
        self.total = total
        self._name = name
        self._place = _InPlace()

    def show(self, done: int, elapsed_s: float, last: bool = False) -> None:
        if self.total is None:
            line = f"{self._name}: {done} done [{elapsed_s:.1f} s]"
        else:
            line = _line(self._name, done, self.total, elapsed_s)
        self._place.show(line, last=last)
