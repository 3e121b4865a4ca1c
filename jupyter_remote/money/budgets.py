"""Budgets: what is left of them, and how far a job is cut to that. Pure.

What the jobs that are not over hold counts as spent, so that together they cannot spend more than
the limit. Each charge counts on the day of UTC on which it is posted, which is when a job ends; so
a hold counts on every day until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from jupyter_remote.errors import BudgetExceeded
from jupyter_remote.model import Budget
from jupyter_remote.money.meter import amount_text, cost_ucredits, longest_run_s, text_of, usd_of

ACCOUNT, DAY, NOTEBOOK = SCOPES = ("account", "day", "notebook")
LEAST_RUN_S = 1.0  # less is not worth a start
FUSE = "budget "  # before the scope, in the field `fuse` of a job


class Cut(msgspec.Struct, frozen=True):
    """What a job may run and hold at most."""

    max_run_s: float
    hold_ucredits: int
    fuse: str


def day_of(at: float) -> str:
    """``2026-11-26``, of UTC."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def begin_of(day: str) -> float:
    """When that day begins."""
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


def left(limit_ucredits: int, spent_ucredits: int, held_ucredits: int) -> int:
    """Nothing when the limit was lowered below what is spent and held already."""
    return max(0, limit_ucredits - spent_ucredits - held_ucredits)


def concerned(budgets: Sequence[Budget], notebook: str) -> list[Budget]:
    """Those that a job of this notebook counts on."""
    return [budget for budget in budgets if budget.scope != NOTEBOOK or budget.name == notebook]


def cut(
    budgets: Sequence[Budget], rate_ucredits_per_h: int, max_run_s: float, hold_ucredits: int
) -> Cut | None:
    """What the tightest budget leaves of a job; None: it has all that it asked for.

    Raises BudgetExceeded when that is less than a second's run.
    """
    tightest = min(budgets, key=lambda budget: budget.left_ucredits, default=None)
    if tightest is None or hold_ucredits <= tightest.left_ucredits:
        return None
    run_s = longest_run_s(rate_ucredits_per_h, max_run_s, None, tightest.left_ucredits)
    if run_s < LEAST_RUN_S:
        raise _used_up(tightest, cost_ucredits(rate_ucredits_per_h, LEAST_RUN_S))
    return Cut(run_s, tightest.left_ucredits, FUSE + tightest.scope)


def _used_up(budget: Budget, least_ucredits: int) -> BudgetExceeded:
    steps = []
    if budget.held_ucredits:
        steps.append("wait until running jobs give back what they do not need")
        steps.append("give jobs a --timeout or --max-cost, so that each holds less")
    if budget.scope == DAY:
        steps.append("wait for the next day (00:00 UTC)")
    taken = budget.spent_ucredits + budget.held_ucredits
    more = usd_of(2 * max(budget.limit_ucredits, taken + least_ucredits))
    steps.append(f"allow more with `%remote budget {budget.scope} {_to_type(more)}`")
    hint = f"{', or '.join(steps)}; `%remote budget` shows all"
    return BudgetExceeded(
        f"{words(budget)} leaves {amount_text(budget.left_ucredits)}, and a second of this job is "
        f"{amount_text(least_ucredits)}: {amount_text(budget.spent_ucredits)} spent and "
        f"{amount_text(budget.held_ucredits)} held of {amount_text(budget.limit_ucredits)}",
        hint=hint[0].upper() + hint[1:],
    )


def _to_type(usd: float) -> str:
    """To two figures: it is the double of what is needed."""
    return f"{usd:.0f}" if usd >= 10 else f"{max(usd, 0.001):.2g}"


def words(budget: Budget) -> str:
    """Which one it is."""
    if budget.scope == DAY:
        return f"the budget of the day ({budget.day}, UTC)"
    if budget.scope == NOTEBOOK:
        return f"the budget of the notebook {budget.name!r}"
    return "the budget of the account"


def fuse_words(fuse: str) -> str:
    """What bounds the cost of a job, for its history; empty: the longest run alone."""
    if fuse.startswith(FUSE):
        return f"all that the budget of the {fuse.removeprefix(FUSE)} left"
    return "--max-cost" if fuse == "max_cost" else ""


def notices_of_cut(fuse: str, hold_ucredits: int) -> list[str]:
    """What is told at once of a job that a budget has cut."""
    if not fuse.startswith(FUSE):
        return []
    held = text_of(hold_ucredits)
    scope = fuse.removeprefix(FUSE)
    return [f"it is stopped when it has cost {held}: the budget of the {scope} leaves no more"]
