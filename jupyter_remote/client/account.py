"""What this user's jobs are doing now, and what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_remote.money.meter import credits_of, text_of
from jupyter_remote.wire import AccountSummary

if TYPE_CHECKING:
    from jupyter_remote.client.context import Context

PATH = "/v1/account/summary"


class Account:
    """Part of a client."""

    _context: Context

    def summary(self) -> AccountSummary:
        """Jobs that run and wait, $/h now, spent today (a day of UTC), credits left and held."""
        return self._context.link.call("GET", PATH, reply=AccountSummary)


def line_of(summary: AccountSummary) -> str:
    """``2 jobs running at $1.46/h; $3.20 spent today; 812 credits left``."""
    counts = [(summary.running, "job"), (summary.sessions, "session")]
    what = " and ".join(f"{n} {word}{'s' if n != 1 else ''}" for n, word in counts if n)
    simulated = " (simulated)" if summary.simulated else ""
    rate = f" at ${summary.usd_per_h:,.4g}/h{simulated}" if summary.usd_per_h else ""
    runs = f"{what} running{rate}" if what else "nothing runs"
    queued = f", {summary.queued} queued" if summary.queued else ""
    left = credits_of(summary.available_ucredits)
    credits = f"{left:,.0f}" if left >= 100 else f"{left:,.2f}"
    spent = text_of(summary.spent_today_ucredits)
    return f"{runs}{queued}; {spent} spent today; {credits} credits left"
