"""The history of a job, in plain words. Pure."""

from __future__ import annotations

import msgspec

from jupyter_remote.amounts import duration
from jupyter_remote.model import TERMINAL, JobRecord, Reason
from jupyter_remote.money.budgets import FUSE, fuse_words
from jupyter_remote.money.meter import amount_text, credits_text, rate_text
from jupyter_remote.money.waiting import split_of
from jupyter_remote.wire import Metrics

_metrics = msgspec.json.Decoder(Metrics)
_LIMITS = {
    Reason.COST_LIMIT: "cost limit",
    Reason.TIME_LIMIT: "time limit",
    Reason.GPU_IDLE: "limit of time without a GPU being used",
}


def submitted(job: JobRecord, missing: int) -> str:
    """Queued; at which price, that stands from now on; with how much held, and why so much."""
    parts = ["queued"]
    if missing:
        parts.append(f"waiting for {missing} input{'s' if missing > 1 else ''}")
    if job.rate_ucredits_per_h:
        dated = f" of {job.priced_on}" if job.priced_on else ""
        price = rate_text(job.rate_ucredits_per_h)
        parts.append(f"price{dated} frozen: {price} ({job.machine})")
    if job.hold_ucredits:
        longest = duration(job.limits.max_run_s)
        held = f"held {amount_text(job.hold_ucredits)} for a run of at most {longest}"
        parts.append(f"{held}: {fuse_words(job.fuse)}" if job.fuse else held)
    return "; ".join(parts)


def how_it_is_stopped(now: float, force: bool, saves: bool, kill_at: float | None) -> str:
    """``after a checkpoint, killed after 40 s``; empty: when its code ends."""
    if force:
        return "killed at once"
    killed = "" if kill_at is None else f"killed after {duration(kill_at - now)}"
    return ", ".join(filter(None, ("after a checkpoint" if saves else "", killed)))


def with_money(text: str, before: JobRecord, after: JobRecord) -> str:
    """What a step charges, and at the end what is given back; silent about what is free."""
    charged = after.cost_ucredits - before.cost_ucredits
    if not after.hold_ucredits or not (charged or after.state in TERMINAL):
        return text
    parts = [_charged(charged, before)]
    if after.state in TERMINAL and (rest := after.hold_ucredits - after.cost_ucredits):
        parts.append(f"{credits_text(rest)} given back")
    return f"{text.removesuffix('.')}{'; ' if ': ' in text else ': '}{', '.join(parts)}"


def _charged(charged: int, before: JobRecord) -> str:
    if charged:
        return f"charged {credits_text(charged)}"
    return "nothing more is charged" if before.cost_ucredits else "not charged"


def with_waiting(text: str, job: JobRecord) -> str:
    """Of a session that ended: what of its cost was for calls and cells, and what for waiting."""
    parts = split_of(job, _metrics.decode(job.metrics) if job.metrics else None)
    if parts is None or not job.cost_ucredits:
        return text
    busy, waiting = credits_text(parts.busy_ucredits), credits_text(parts.waiting_ucredits)
    return (
        f"{text}; of that {busy} for calls and cells ({duration(parts.busy_s)}), {waiting} for "
        f"waiting ({duration(parts.waiting_s)})"
    )


def preempted(job: JobRecord, ran_s: float) -> str:
    """Its machine was taken away after so long; how it goes on."""
    if job.checkpoint is None:
        how = "begins anew"
    elif job.kind == "session":
        how = "goes on with what was saved of its namespace"
    else:
        how = "goes on from its checkpoint"
    return f"preempted after {duration(ran_s)}: its machine is taken away; {how} on another one"


def limit(job: JobRecord, reason: Reason) -> str:
    """Which one was reached, after ``its``."""
    name = _LIMITS.get(reason, reason.value.replace("_", " "))
    fuse = fuse_words(job.fuse) if reason is Reason.COST_LIMIT else ""
    return f"{name} ({fuse})" if fuse else name


def detail_of_limit(job: JobRecord, reason: Reason, detail: str) -> str:
    """What the worker says of it, and which budget it was, which the worker does not know."""
    if not detail:
        return f"reached its {limit(job, reason)}"
    budget = reason is Reason.COST_LIMIT and job.fuse.startswith(FUSE)
    return f"{detail}: {fuse_words(job.fuse)}" if budget else detail
