"""The checker is proven first: each seeded fault of the store must be seen by it.

A fault is put in by replacing one function or statement; then walks by chance compare the store
with the reference model and with its own audit until they differ.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from jupyter_remote.errors import Conflict
from jupyter_remote.model import ACTIVE, AttemptRecord, JobRecord, JobState, Reason
from jupyter_remote.money import budgets as rules
from jupyter_remote.store import apply as applying
from jupyter_remote.store import (
    attempts,
    blobs,
    budgets,
    cache,
    charges,
    jobs,
    kept_sql,
    lifecycle,
    money,
    schema,
    sql,
    sql_budgets,
)
from jupyter_remote.store.sqlite import SqliteStore, open_sqlite
from tests.store.checking import Checker

WALKS, STEPS = 100, 60
Patch = pytest.MonkeyPatch


def _changed(module: Any, name: str, wrap: Callable[..., Any]) -> Callable[[Patch], None]:
    """``wrap(original, *arguments)`` in place of a function."""
    original = getattr(module, name)
    return lambda patch: patch.setattr(module, name, lambda *a, **k: wrap(original, *a, **k))


def _no_attempt_guard(patch: Patch) -> None:
    patch.setattr(applying, "save_attempt", lambda *a: None)


def state_only_guard(patch: Patch) -> None:
    def fence(job: JobRecord, attempt: Any, epoch: int, states: Any = ACTIVE) -> Any:
        if job.state not in states or attempt is None:
            raise Conflict("state")
        return attempt

    patch.setattr(lifecycle, "fence", fence)


def id_only_guard(patch: Patch) -> None:
    patch.setattr(lifecycle, "fence", lambda job, attempt, epoch, states=ACTIVE: attempt)
    _no_attempt_guard(patch)


def ready_by_strangers(patch: Patch) -> None:
    arrived = blobs.arrived

    def careless(session: Any, digest: str, size: int, now: float, owners: Any) -> Any:
        return arrived(session, digest, size, now, ["ada", "bob"])

    patch.setattr(blobs, "arrived", careless)


def no_idempotency(patch: Patch) -> None:
    write = jobs._write
    patch.setattr(jobs, "submit", lambda session, new, now: write(session, new, now))


def _twice(post: Any, session: Any, posting: Any, *rest: Any) -> None:
    post(session, posting, *rest)
    if posting.kind == "capture":
        post(session, replace(posting, key=posting.key + "again"), *rest)


def double_refund(patch: Patch) -> None:
    rest = lifecycle.rest_of_hold
    patch.setattr(
        lifecycle,
        "rest_of_hold",
        lambda job: (*rest(job), *(replace(p, key=p.key + "!") for p in rest(job))),
    )


def reused_epoch(patch: Patch) -> None:
    def claim(job: JobRecord, *rest: Any) -> Any:
        return original(replace(job, epoch=max(0, job.epoch - 1)), *rest)

    original = lifecycle.claim
    patch.setattr(lifecycle, "claim", claim)


def _leaked(rest: Any, job: JobRecord) -> Any:
    return () if job.state is JobState.CANCELLED else rest(job)


def _from_claim(charge: Any, job: JobRecord, attempt: AttemptRecord, until: float) -> int:
    return charge(job, replace(attempt, started_at=attempt.claimed_at), until)


def _uncapped(charge: Any, job: JobRecord, attempt: AttemptRecord, until: float) -> int:
    endless = replace(job, limits=replace(job.limits, max_run_s=1e9), hold_ucredits=10**12)
    return charge(endless, attempt, until)


def _flag_lost(cancel: Any, job: JobRecord, *rest: Any) -> Any:
    step = cancel(job, *rest)
    return replace(step, job=replace(step.job, cancel_requested=False))


def _flag_ignored(lose: Any, job: JobRecord, *rest: Any) -> Any:
    step = lose(replace(job, cancel_requested=False), *rest)
    return replace(step, job=replace(step.job, cancel_requested=job.cancel_requested))


def _charged_when_lost(loss: Any, job: JobRecord, attempt: AttemptRecord, now: float) -> Any:
    held = f"held:{job.owner}"
    return tuple(replace(p, kind="capture", source=held) for p in loss(job, attempt, now))


def _charged_when_preempted(
    preempt: Any, job: JobRecord, attempt: AttemptRecord, *rest: Any
) -> Any:
    step, held = preempt(job, attempt, *rest), f"held:{job.owner}"
    charged = [replace(p, kind="capture", source=held) for p in step.postings]
    return replace(step, postings=tuple(charged))


def _preempted_though_cancelled(
    finish: Any, job: JobRecord, attempts: Any, outcome: Any, now: float, *rest: Any
) -> Any:
    if outcome.kind == "preempted":
        return lifecycle.preempt(job, attempts[-1], outcome, now)
    return finish(job, attempts, outcome, now, *rest)


def _endless_attempts(lose: Any, job: JobRecord, *rest: Any) -> Any:
    step = lose(replace(job, max_attempts=99), *rest)
    return replace(step, job=replace(step.job, max_attempts=job.max_attempts))


def _retried_unasked(fail: Any, job: JobRecord, *rest: Any) -> Any:
    step = fail(replace(job, retries=job.retries + 1), *rest)
    return replace(step, job=replace(step.job, retries=job.retries))


def _cancel_wins(succeed: Any, job: JobRecord, attempt: AttemptRecord, *rest: Any) -> Any:
    if job.cancel_requested:
        return lifecycle.cancelled_after_start(job, attempt, rest[1], rest[1])
    return succeed(job, attempt, *rest)


def _to_the_sweep(
    stop: Any, job: JobRecord, attempt: Any, now: float, until: float, *rest: Any
) -> Any:
    return stop(job, attempt, now, now, *rest)


def _no_poison(lose: Any, job: JobRecord, tries: Any, outcome: Any, *rest: Any) -> Any:
    return lose(job, tries, replace(outcome, signal=""), *rest)


def _started_anyway(start: Any, session: Any, job: Any, *rest: Any) -> Any:
    try:
        return start(session, job, *rest)
    except Conflict:
        return applying.Changed(applying.load(session, job).job, [])


def no_done_event(patch: Patch) -> None:
    patch.setattr(applying, "TERMINAL", frozenset())


def history_forgotten(patch: Patch) -> None:
    patch.setattr(sql, "ADD_HISTORY", sa.select(schema.history).where(sa.false()))


def lease_not_renewed(patch: Patch) -> None:
    beat = sql.BEAT.values(lease_until_at=schema.attempt.c.lease_until_at)
    patch.setattr(sql, "BEAT", beat)


def _all_leases(store_events: Any, session: Any, *rest: Any) -> Any:
    stored, attempt, events, now, lease_s, *stage = rest
    done = store_events(session, stored, attempt, events, now, lease_s, *stage)
    until = sa.update(schema.attempt).values(lease_until_at=sa.bindparam("until"))
    session.change(until.where(schema.attempt.c.ended_at.is_(None)), until=now + lease_s)
    return done


def events_repeated(patch: Patch) -> None:
    patch.setattr(sql, "SEQS", sa.select(schema.event.c.seq).where(sa.false()))


def events_dropped(patch: Patch) -> None:
    def add(session: Any, stored: Any, events: Any, acked: int, now: float) -> Any:
        return original(session, stored, [e for e in events if e.seq > acked], acked, now)

    original = attempts.add_worker_events
    patch.setattr(attempts, "add_worker_events", add)


def due_at_once(patch: Patch) -> None:
    waiting = schema.job.c.state == sa.literal_column("'retry_wait'")
    due = sa.select(*sql.JOB_LEAN).where(waiting, sa.bindparam("now") > sa.literal_column("0"))
    patch.setattr(sql, "DUE", due)


def unready_claimed(patch: Patch) -> None:
    def stored_of(row: Any) -> Any:
        stored = original(row)
        return replace(stored, job=replace(stored.job, ready=True))

    original = attempts.stored_of
    patch.setattr(attempts, "stored_of", stored_of)


FAULTS: dict[str, Callable[[Patch], None]] = {
    "guards on the state alone": state_only_guard,
    "guards on the id alone": id_only_guard,
    "writes a repeated submit again": no_idempotency,
    "takes another body under the same key": _changed(
        jobs, "submit", lambda f, s, new, now: f(s, replace(new, body_digest=_known(s, new)), now)
    ),
    "gives an epoch twice": reused_epoch,
    "captures twice": _changed(money, "post", _twice),
    "refunds twice": double_refund,
    "keeps the hold of a cancelled job": _changed(lifecycle, "rest_of_hold", _leaked),
    "charges from the claim": _changed(lifecycle, "charge_of", _from_claim),
    "charges above the cap": _changed(lifecycle, "charge_of", _uncapped),
    "charges what was lost": _changed(lifecycle, "loss_of", _charged_when_lost),
    "does not charge what failed": _changed(lifecycle, "charge_of", lambda f, *a: 0),
    "charges a lost cancel to the sweep": _changed(
        lifecycle, "cancelled_after_start", _to_the_sweep
    ),
    "admits without money": lambda patch: patch.setattr(money, "admit", lambda *a: None),
    "takes no hold": lambda patch: patch.setattr(jobs, "hold_of", lambda job: ()),
    "loses the cancel": _changed(lifecycle, "cancel", _flag_lost),
    "tries a cancelled job again": _changed(lifecycle, "lose", _flag_ignored),
    "charges what was preempted": _changed(lifecycle, "preempt", _charged_when_preempted),
    "counts a preemption as a loss": _changed(
        lifecycle, "preempt", lambda f, job, attempt, outcome, now: (
            lifecycle.lose(job, [attempt], outcome, now, 0.0)
        )
    ),
    "preempts what was cancelled": _changed(lifecycle, "finish", _preempted_though_cancelled),
    "does not count preemptions": _changed(
        lifecycle, "preempt", lambda f, job, *a: (
            replace(step := f(job, *a), job=replace(step.job, preemptions=job.preemptions))
        )
    ),
    "cancels what had finished": _changed(lifecycle, "_succeed", _cancel_wins),
    "lets anybody cancel": _changed(
        attempts, "cancel", lambda f, s, job, _, *a: f(s, job, applying.load(s, job).job.owner, *a)
    ),
    "tries for ever": _changed(lifecycle, "lose", _endless_attempts),
    "tries a user's error again unasked": _changed(lifecycle, "_fail", _retried_unasked),
    "lets a job kill workers": _changed(lifecycle, "lose", _no_poison),
    "allows a refused start": _changed(attempts, "start", _started_anyway),
    "does not renew the lease": lease_not_renewed,
    "renews everybody's lease": _changed(attempts, "_store_events", _all_leases),
    "never expires a lease": lambda patch: patch.setattr(
        SqliteStore, "expire_leases", lambda self, now: []
    ),
    "never expires a limit": lambda patch: patch.setattr(
        SqliteStore, "expire_limits", lambda self, now, grace_s: []
    ),
    "wakes too early": due_at_once,
    "claims before the inputs are there": unready_claimed,
    "is ready with an input missing": lambda patch: patch.setattr(
        blobs, "missing", lambda session, segments, owner: []
    ),
    "gives bytes to who knows their digest": lambda patch: patch.setattr(
        blobs, "may_read", lambda session, digest, owner: True
    ),
    "is ready when another owner sends": ready_by_strangers,
    "resumes for another worker": _changed(
        attempts, "resume", lambda f, s, w, job, *a: f(s, applying.load(s, job).job.worker, job, *a)
    ),
    "stores events twice": events_repeated,
    "drops events that come late": events_dropped,
    "does not tell the end": no_done_event,
    "writes no history": history_forgotten,
    "leaves the attempt open": _no_attempt_guard,
    "forgets the reason": _changed(
        lifecycle, "_reason_of", lambda f, outcome, default: Reason.COST_LIMIT
    ),
}  # fmt: skip

BUDGET_FAULTS: dict[str, Callable[[Patch], None]] = {
    "admits what a budget does not leave": lambda patch: patch.setattr(
        rules, "cut", lambda *a: None
    ),
    "forgets what others hold of a budget": lambda patch: patch.setattr(
        rules, "left", lambda limit, spent, held: max(0, limit - spent)
    ),
    "does not say which budget cut a job": _changed(
        rules, "cut", lambda f, *a: replace(cut, fuse="") if (cut := f(*a)) else None
    ),
    "cuts a hold and not the run": _changed(
        rules, "cut", lambda f, s, rate, run_s, hold: (
            replace(cut, max_run_s=run_s) if (cut := f(s, rate, run_s, hold)) else None
        )
    ),
    "never begins a new day": lambda patch: patch.setattr(rules, "day_of", lambda at: "1970-01-01"),
    "takes one notebook for another": lambda patch: patch.setattr(
        sql_budgets, "BUDGETS_OF_JOB",
        sql_budgets._of_budget.where(schema.budget.c.owner == sa.bindparam("owner_is")),
    ),
    "does not follow the ledger": _changed(
        budgets, "move", lambda f, s, job, postings, now: f(s, job, postings[:1], now)
    ),
    "grants twice with one key": _changed(
        money, "grant", lambda f, s, owner, n, key, now: f(s, owner, n, f"{key}{now}", now)
    ),
    "holds money for what it takes from the cache": _changed(
        cache, "as_taken", lambda f, new, hit: (
            replace(f(new, hit), hold_ucredits=new.hold_ucredits)
        )
    ),
    "gives the kept results of one owner to another": _changed(
        cache, "look", lambda f, s, new: f(s, replace(new, owner="ada"))
    ),
    "gives the output of another attempt": lambda patch: patch.setattr(
        kept_sql, "SHOWN", sa.select(
            schema.event.c.type, schema.event.c.data, schema.event.c.seq
        ).where(
            schema.event.c.job == sa.bindparam("job"), schema.event.c.seq > 0,
            schema.event.c.epoch < sa.bindparam("epoch"),
        ),
    ),
}  # fmt: skip


def _known(session: Any, new: Any) -> str:
    row = session.row(sql.BODY, id=new.id)
    return row[0] if row else new.body_digest


def _caught(folder: Path, walks: int = WALKS, *, budgets: bool = False) -> BaseException | None:
    for seed in range(walks):
        store = open_sqlite(folder / f"{seed}.sqlite", jitter=lambda: 0.0)
        try:
            Checker(store, budgets=budgets).walk(random.Random(seed), STEPS)
        except Exception as error:
            return error
        finally:
            store.close()
    return None


@pytest.mark.parametrize("fault", [*FAULTS, *BUDGET_FAULTS])
def test_the_checker_sees_a_store_that(
    fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    {**FAULTS, **BUDGET_FAULTS}[fault](monkeypatch)
    error = _caught(tmp_path, budgets=fault in BUDGET_FAULTS)
    assert error is not None
    assert not isinstance(error, TypeError | AttributeError | NameError), "the fault itself fails"


def test_the_faults_are_distinct_from_a_sound_store(tmp_path: Path) -> None:
    assert charges.charge_of is lifecycle.charge_of
    assert len(FAULTS) >= 25
    assert _caught(tmp_path, 8) is None
