"""Times, prices and machines of a plan as people read them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from jupyter_remote.amounts import duration
from jupyter_remote.money import meter
from jupyter_remote.money.offers import marks
from jupyter_remote.wire import EnvironmentSpec, Interval, Offer

HEADINGS = ("machine", "$/h", "starts", "takes", "costs", "")
PACKAGES = 6  # that are named
NUMBERS = (1,)  # columns that are set to the right


def times(run_s: Interval) -> str:
    """``2 min 05 s (1 min 50 s – 2 min 20 s)``."""
    low, middle, high = (duration(s) for s in (run_s.low, run_s.expected, run_s.high))
    if low == high:
        return middle
    return f"{middle} ({low} – {high})" if run_s.low >= 0.05 else f"{middle} (up to {high})"


def money(ucredits: Interval) -> str:
    """``1.20 credits, $0.0120 (0.0100–0.0150)``."""
    usd = meter.range_text(ucredits.low, ucredits.expected, ucredits.high)
    return f"{credits(ucredits.expected)}, {usd}"


def credits(ucredits: float) -> str:
    """As far as they can be foreseen: ``88.00 credits``, ``0.019 credits``."""
    amount = meter.credits_of(round(ucredits))
    return f"{amount:,.2f} credits" if amount >= 1 or not amount else f"{amount:.2g} credits"


def soon(start_s: float) -> str:
    """``in 2.0 s`` or ``at once``."""
    return f"in {duration(start_s)}" if start_s >= 0.1 else "at once"


def comparison(offers: Sequence[Offer]) -> list[list[str]]:
    """Machine types with what the job would take and cost there; empty where there is one."""
    if len(offers) < 2:
        return []
    return [_offer_row(offer, told) for offer, told in zip(offers, marks(offers), strict=True)]


def _offer_row(offer: Offer, told: list[str]) -> list[str]:
    machine, run_s, prices = offer.machine, offer.estimate.run_s, offer.estimate.ucredits
    free = not machine.usd_per_h
    costs = (
        "free"
        if free
        else money(prices)
        if prices
        else f"at most {meter.text_of(offer.hold_ucredits)}"
    )
    return [
        machine.id,
        "free" if free else f"{machine.usd_per_h:,.4g}",
        soon(offer.start_s),
        times(run_s) if run_s else "not known",
        costs,
        ", ".join(told),
    ]


def aligned(table: list[list[str]]) -> list[str]:
    """A table as lines of text."""
    lines = [list(HEADINGS), *table]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    return [
        "  ".join(
            cell.rjust(width) if i in NUMBERS else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def table_html(table: list[list[str]]) -> str:
    """The same for a front end."""
    if not table:
        return ""
    side = [
        f' style="text-align:{"right" if i in NUMBERS else "left"}"' for i in range(len(HEADINGS))
    ]
    head = "".join(
        f'<th scope="col"{s}>{escape(h)}</th>' for s, h in zip(side, HEADINGS, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{s}>{shown(c)}</td>" for s, c in zip(side, row, strict=True))
        + "</tr>"
        for row in table
    )
    caption = "<caption>Machines for it, the chosen one first</caption>"
    return (
        f'<div style="overflow-x:auto"><table>{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def shown(text: str) -> str:
    """Text for HTML. A front end would set ``$0.10 at $0.44`` as a formula: the signs are apart."""
    return escape(text).replace("$", "<span>$</span>")


def counted(count: int, what: str) -> str:
    """``1 package``, ``12 packages``."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def named_of(environment: EnvironmentSpec) -> str:
    """``pandas 2.2.3, scikit-learn 1.5.2 and 9 more``."""
    named = [f"{name} {version}" for name, version in environment.packages.items()]
    more = f" and {len(named) - PACKAGES} more" if len(named) > PACKAGES else ""
    return ", ".join(named[:PACKAGES]) + more
