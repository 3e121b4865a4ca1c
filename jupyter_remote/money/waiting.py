"""What a session cost for calls and cells, and what for waiting until the next. Pure."""

from __future__ import annotations

import msgspec


class Split(msgspec.Struct, frozen=True):
    """The two parts of the time and of the cost of a session; they add up."""

    busy_s: float
    waiting_s: float
    busy_ucredits: int
    waiting_ucredits: int


def split(cost_ucredits: int, elapsed_s: float, busy_s: float) -> Split:
    """``busy_s`` was measured over there, by another clock: it is within ``elapsed_s``."""
    busy_s = min(max(0.0, busy_s), max(0.0, elapsed_s))
    share = busy_s / elapsed_s if elapsed_s > 0 else 1.0
    busy = round(cost_ucredits * share)
    return Split(busy_s, max(0.0, elapsed_s) - busy_s, busy, cost_ucredits - busy)
