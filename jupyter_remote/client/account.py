"""An owner's money: balance, ledger, budgets, and what jobs cost now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_remote.client.origin import notebook_name
from jupyter_remote.errors import UsageError
from jupyter_remote.model import Balance, Budget, Entry
from jupyter_remote.money import meter
from jupyter_remote.money.budgets import NOTEBOOK, SCOPES
from jupyter_remote.money.meter import credits_of, text_of
from jupyter_remote.wire import (
    AccountReply,
    AccountSummary,
    BudgetList,
    BudgetRequest,
    EntryList,
)

if TYPE_CHECKING:
    from jupyter_remote.client.context import Context

BUDGETS = "/v1/account/budgets"
SUMMARY = "/v1/account/summary"


class Account:
    """What a client may ask of the account that its jobs are paid from."""

    _context: Context
    namespace: dict[str, Any]

    def balance(self) -> Balance:
        """Credits (in micro-credits) available, held and spent."""
        return self._context.link.call("GET", "/v1/account", reply=AccountReply).balance

    def summary(self) -> AccountSummary:
        """Jobs that run and wait, $/h now, spent today (a day of UTC), credits left and held."""
        return self._context.link.call("GET", SUMMARY, reply=AccountSummary)

    def ledger(self, limit: int = 100) -> list[Entry]:
        """The latest entries of the account, newest first."""
        params = {"limit": limit}
        path = "/v1/account/entries"
        return self._context.link.call("GET", path, reply=EntryList, params=params).entries

    def budgets(self) -> list[Budget]:
        """What may be spent in all, a day (UTC) and for notebooks, and what is left of it."""
        return self._context.link.call("GET", BUDGETS, reply=BudgetList).budgets

    def set_budget(self, scope: str, usd: float | None, notebook: str | None = None) -> None:
        """Let the jobs of a scope spend no more than ``usd``; None lifts the budget.

        Parameters
        ----------
        scope: "account" (in all), "day" (each day of UTC) or "notebook" (in all for its jobs).
        notebook: which, this one by default.

        What jobs hold counts as spent, so that no budget is overshot. A job that does not fit into
        what is left is cut to it: it is stopped there. Raises UsageError.
        """
        name = self._budget_name(scope, notebook)
        link = self._context.link
        if usd is None:
            params = {"scope": scope, "name": name}
            link.call("DELETE", BUDGETS, reply=BudgetList, params=params)
            return
        if isinstance(usd, bool) or not 0 <= usd <= meter.usd_of(meter.MOST_UCREDITS):
            raise UsageError(f"{usd!r} is not an amount in USD", hint="write 2, or 0 for nothing")
        limit = meter.ucredits_of_usd(usd)
        request = BudgetRequest(scope=scope, name=name, limit_ucredits=limit)
        link.call("PUT", BUDGETS, request, reply=BudgetList)

    def _budget_name(self, scope: str, notebook: str | None) -> str:
        if scope not in SCOPES:
            raise UsageError(f"there is no budget of {scope!r}", hint=f"of {', '.join(SCOPES)}")
        if scope != NOTEBOOK:
            return ""
        name = notebook_name(self.namespace) if notebook is None else notebook
        if not name:
            raise UsageError(
                "which notebook this is, is not known here",
                hint="say it: %remote budget notebook 2 --notebook train.ipynb, or notebook= here",
            )
        return name


def line_of(summary: AccountSummary) -> str:
    """``2 jobs running at $1.46/h; 2 machines rented at $1.46/h; $3.20 spent today; 812 credits
    left``."""
    counts = [(summary.running, "job"), (summary.sessions, "session")]
    what = " and ".join(f"{n} {word}{'s' if n != 1 else ''}" for n, word in counts if n)
    simulated = " (simulated)" if summary.simulated else ""
    usd_per_h = meter.rate_text(meter.ucredits_of_usd(summary.usd_per_h))
    rate = f" at {usd_per_h}{simulated}" if summary.usd_per_h else ""
    runs = f"{what} running{rate}" if what else "nothing runs"
    queued = f", {summary.queued} queued" if summary.queued else ""
    machines = f"{summary.machines} machine{'s' if summary.machines != 1 else ''}"
    at = meter.rate_text(meter.ucredits_of_usd(summary.machines_usd_per_h))
    rented = f"; {machines} rented at {at}" if summary.machines else ""
    left = credits_of(summary.available_ucredits)
    credits = f"{left:,.0f}" if left >= 100 else f"{left:,.2f}"
    spent = text_of(summary.spent_today_ucredits)
    return f"{runs}{queued}{rented}; {spent} spent today; {credits} credits left"
