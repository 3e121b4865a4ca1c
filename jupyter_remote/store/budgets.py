"""Budgets: set, shown, moved with the ledger, and what they leave for a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from jupyter_remote.errors import TooLarge
from jupyter_remote.model import Budget, BudgetRename, JobRecord, OwnerId
from jupyter_remote.money import budgets
from jupyter_remote.money.budgets import NOTEBOOK
from jupyter_remote.money.meter import MOST_UCREDITS
from jupyter_remote.store import sql_budgets as sql
from jupyter_remote.store.base_parts import NewJob
from jupyter_remote.store.charges import Posting
from jupyter_remote.store.session import Session

MOST = 1000  # of one owner


def set_budget(
    session: Session, owner: OwnerId, scope: str, name: str, limit_ucredits: int, now: float
) -> Budget:
    """In place of the one that there was; what was spent and is held is read from the ledger."""
    session.change(sql.CLEAR_BUDGET, owner=owner, scope=scope, name=name)
    if session.value(sql.COUNT_BUDGETS, owner=owner) >= MOST:
        raise TooLarge(f"{MOST} budgets are set", hint="Clear some that are not needed any more.")
    day = budgets.day_of(now) if scope == budgets.DAY else ""
    spent, held = _counted(session, owner, name, budgets.begin_of(day) if day else 0.0)
    session.insert(
        sql.ADD_BUDGET,
        owner=owner,
        scope=scope,
        name=name,
        limit_ucredits=limit_ucredits,
        spent_ucredits=spent,
        held_ucredits=held,
        day=day,
        set_at=now,
    )
    return _budget_of((scope, name, limit_ucredits, spent, held, day, now), now)


def _counted(session: Session, owner: OwnerId, name: str, since: float = 0.0) -> tuple[int, int]:
    """What the ledger says is spent since then, and is held."""
    which = {"held": f"held:{owner}", "notebook": name or None}
    spent = session.value(sql.CHARGED, since=since, **which)
    return spent, session.value(sql.HELD, **which) - session.value(sql.NOT_HELD_ANY_MORE, **which)


def clear_budget(session: Session, owner: OwnerId, scope: str, name: str) -> bool:
    """Was there one?"""
    return session.change(sql.CLEAR_BUDGET, owner=owner, scope=scope, name=name) > 0


def rename_budgets(
    session: Session, owner: OwnerId, renames: Sequence[BudgetRename], now: float
) -> None:
    """All at once: two notebooks may change places. What was spent under a name stays with it in
    the ledger, so the new limit is what is left, and what others spent under that name before."""
    there = {(b.name, b.set_at): b for b in listed(session, owner, now) if b.scope == NOTEBOOK}
    found = [(rename, there.pop((rename.name, rename.set_at), None)) for rename in renames]
    moved = [(rename, budget) for rename, budget in found if budget is not None]
    for rename, _ in moved:
        clear_budget(session, owner, NOTEBOOK, rename.name)
    for rename, budget in moved:
        which = {"held": f"held:{owner}", "notebook": rename.to, "sent_since": rename.since}
        own = session.value(sql.HELD_BY_SENT, **which)
        own -= session.value(sql.GIVEN_BACK_BY_SENT, **which)
        others = sum(_counted(session, owner, rename.to)) - own
        limit = min(budget.left_ucredits + others, MOST_UCREDITS)
        set_budget(session, owner, NOTEBOOK, rename.to, limit, now)


def listed(session: Session, owner: OwnerId, now: float) -> list[Budget]:
    """All of an owner."""
    return [_budget_of(row, now) for row in session.rows(sql.BUDGETS, owner=owner)]


def fit(session: Session, new: NewJob, now: float) -> tuple[NewJob, bool]:
    """The job, cut to what its budgets leave; and whether there are any.

    Raises BudgetExceeded.
    """
    if not new.hold_ucredits:
        return new, False
    rows = session.rows(sql.BUDGETS_OF_JOB, owner_is=new.owner, notebook=new.notebook)
    found = [_budget_of(row, now) for row in rows]
    limits = new.limits
    cut = budgets.cut(found, new.rate_ucredits_per_h, limits.max_run_s, new.hold_ucredits)
    if cut is not None:
        limits = replace(limits, max_run_s=cut.max_run_s)
        new = replace(new, limits=limits, hold_ucredits=cut.hold_ucredits, fuse=cut.fuse)
    return new, bool(found)


def move(session: Session, job: JobRecord, postings: Sequence[Posting], now: float) -> None:
    """Follow the ledger: what of ``postings`` holds or charges the owner's money."""
    spent = sum(p.amount_ucredits for p in postings if p.kind == "capture")
    given_back = sum(p.amount_ucredits for p in postings if p.kind == "release")
    held = sum(p.amount_ucredits for p in postings if p.kind == "hold")
    if not (spent or given_back or held):
        return
    held -= spent + given_back
    owner, notebook = job.owner, job.notebook
    if session.change(sql.MOVE_BUDGETS, owner_is=owner, notebook=notebook, spent=spent, held=held):
        session.change(sql.BEGIN_DAY, owner_is=owner, day_is=budgets.day_of(now), spent=spent)


def _budget_of(row: tuple[Any, ...], now: float) -> Budget:
    """As of ``now``. A day that was reached does not come again when the clock goes back."""
    scope, name, limit, spent, held, day, set_at = row
    if scope == budgets.DAY and day < (today := budgets.day_of(now)):
        day, spent = today, 0
    return Budget(
        scope=scope,
        name=name,
        limit_ucredits=limit,
        spent_ucredits=spent,
        held_ucredits=held,
        left_ucredits=budgets.left(limit, spent, held),
        day=day,
        set_at=set_at,
    )
