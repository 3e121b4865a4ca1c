"""Times, sizes, counts and money as people read them. Pure."""

from __future__ import annotations

from math import ceil

from jupyter_remote.amounts import duration, size
from jupyter_remote.money.meter import range_text, text_of
from jupyter_remote.money.meter import rate_text as price
from jupyter_remote.outputs import dropped

__all__ = [
    "count",
    "deadline",
    "dropped",
    "duration",
    "interval",
    "money",
    "price",
    "rate",
    "short",
    "size",
    "unpriced",
]


def count(value: float) -> str:
    """``12``, ``1,200``, ``3.5``."""
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1e5 else f"{value:,.2f}"


def rate(value: float | None, unit: str) -> str:
    """``3.2 it/s`` or ``4.0 s/it``; empty when not known."""
    if not value or value <= 0:
        return ""
    return f"{value:,.1f} {unit}/s" if value >= 1 else f"{duration(1 / value)}/{unit}"


def money(ucredits: float) -> str:
    """``$0``, ``$0.0123``, ``$12.30``; a trace of money is never shown as nothing."""
    return text_of(round(ucredits))


def interval(ucredits: tuple[int, int, int]) -> str:
    """``$0.42 (0.36–0.51)``: expected, low and high."""
    return range_text(*ucredits)


def unpriced(kind: str, session: str, machine: str) -> str:
    """What a job costs that has no price of its own: ``free``, or it is its session that costs."""
    return "paid by its session" if kind == "cell" and session and machine != "local" else "free"


def deadline(kill_at: float | None, now: float) -> str:
    """When a job that is cancelling is killed: counted in whole seconds, as the live card does."""
    if kill_at is None:
        return "not killed while its code goes on"
    left_s = ceil(kill_at - now)
    if left_s <= 0:
        return "killing…"
    return f"killed in {left_s} s" if left_s < 60 else f"killed in {duration(left_s)}"


def short(job_id: str) -> str:
    """Enough of a job's id to name it."""
    return job_id[:8]
