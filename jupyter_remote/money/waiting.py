"""What a session cost for calls and cells, and what for waiting until the next. Pure."""

from __future__ import annotations

import msgspec

from jupyter_remote.model import JobRecord
from jupyter_remote.wire import Metrics


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


def split_of(job: JobRecord, use: Metrics | None) -> Split | None:
    """Of a job that ended; None where it is no session, or did not say how long it was busy."""
    if job.kind != "session" or use is None or use.busy_s is None:
        return None
    if job.started_at is None or job.ended_at is None:
        return None
    return split(job.cost_ucredits, job.ended_at - job.started_at, use.busy_s)
