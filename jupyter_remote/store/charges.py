"""What a job's money does: hold, capture, release, loss. Pure."""

from __future__ import annotations

import msgspec

from jupyter_remote.model import AttemptRecord, JobRecord, Reason
from jupyter_remote.money import fuse
from jupyter_remote.money.meter import cost_ucredits
from jupyter_remote.money.meter import credits_text as credits_text
from jupyter_remote.store.base_parts import Outcome


class Posting(msgspec.Struct, frozen=True):
    """``amount_ucredits`` go from one account to another, once for each ``key``."""

    kind: str
    source: str
    target: str
    amount_ucredits: int
    key: str
    epoch: int | None = None


def hold_of(job: JobRecord) -> tuple[Posting, ...]:
    """Set the price of the longest run aside."""
    if not job.hold_ucredits:
        return ()
    source, target = f"available:{job.owner}", f"held:{job.owner}"
    return (Posting("hold", source, target, job.hold_ucredits, f"hold:{job.id}"),)


def rest_of_hold(job: JobRecord) -> tuple[Posting, ...]:
    """Give back at the end what was not spent."""
    rest = job.hold_ucredits - job.cost_ucredits
    if not rest:
        return ()
    source, target = f"held:{job.owner}", f"available:{job.owner}"
    return (Posting("release", source, target, rest, f"release:{job.id}"),)


def stopped_at(attempt: AttemptRecord, outcome: Outcome | None, now: float) -> float:
    """When the meter stopped: its worker may have waited for us since then."""
    ran_s = outcome.ran_s if outcome else None
    if ran_s is None or attempt.started_at is None or not ran_s >= 0:
        return now
    return min(now, attempt.started_at + ran_s)


def charge_of(job: JobRecord, attempt: AttemptRecord, until: float) -> int:
    """Price of an attempt from its start to ``until``: within the longest run and the hold."""
    if attempt.started_at is None:
        return 0
    elapsed_s = min(until - attempt.started_at, job.limits.max_run_s)
    left = job.hold_ucredits - job.cost_ucredits
    return min(cost_ucredits(job.rate_ucredits_per_h, elapsed_s), left)


def capture_of(job: JobRecord, epoch: int, amount: int) -> tuple[Posting, ...]:
    """Charge ``amount`` for one attempt."""
    if not amount:
        return ()
    key = f"capture:{job.id}:{epoch}"
    return (Posting("capture", f"held:{job.owner}", "revenue", amount, key, epoch),)


def loss_of(job: JobRecord, attempt: AttemptRecord, now: float) -> tuple[Posting, ...]:
    """Pay for a lost attempt ourselves: revenue is all metered time, whoever paid it."""
    amount = charge_of(job, attempt, now)
    if not amount:
        return ()
    key = f"loss:{job.id}:{attempt.epoch}"
    return (Posting("platform_loss", "platform_loss", "revenue", amount, key, attempt.epoch),)


def run_left_s(job: JobRecord) -> float:
    """The longest that an attempt may run: by the job's limits, and by what is still held."""
    left = job.hold_ucredits - job.cost_ucredits
    return fuse.run_left_s(job.rate_ucredits_per_h, left, job.limits.max_run_s)


def warn_after_s(job: JobRecord) -> float | None:
    """Run seconds of its attempt at which most of what its fuse allows is spent; None: never."""
    return fuse.warn_after_s(
        fuse=job.fuse,
        rate_ucredits_per_h=job.rate_ucredits_per_h,
        hold_ucredits=job.hold_ucredits,
        spent_ucredits=job.cost_ucredits,
        max_cost_ucredits=job.limits.max_cost_ucredits,
        longest_s=job.limits.max_run_s,
    )


def limit_reason(job: JobRecord) -> Reason:
    """Which limit the longest run comes from."""
    asked = job.limits.timeout_s
    if asked is not None and run_left_s(job) >= asked:
        return Reason.TIME_LIMIT
    cut = job.limits.max_cost_ucredits is not None or bool(job.fuse)
    paid = cut or run_left_s(job) < job.limits.max_run_s
    return Reason.COST_LIMIT if paid else Reason.TIME_LIMIT
