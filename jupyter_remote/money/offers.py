"""Machine types for one job, compared; and limits that do not fit it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from jupyter_remote.money.meter import cost_ucredits, text_of, ucredits_of_usd
from jupyter_remote.wire import Estimate, Offer

CHEAPEST, FASTEST, CHOSEN = "cheapest", "fastest", "chosen"
ALIKE = 1.05  # a difference below this is none


def marks(offers: Sequence[Offer]) -> list[list[str]]:
    """What is to be said of each; the first is the chosen one.

    By the price that is expected, or by the hour where that is not known. Of machines that would
    take equally long none is the fastest.
    """
    found: list[list[str]] = [[CHOSEN], *([] for _ in offers[1:])]
    if len(offers) < 2:
        return found
    prices = [_price(offer) for offer in offers]
    for i, price in enumerate(prices):
        if price == min(prices):
            found[i].append(CHEAPEST)
    times = [o.estimate.run_s.expected + o.start_s if o.estimate.run_s else None for o in offers]
    known = sorted(t for t in times if t is not None)
    if len(known) > 1 and known[0] * ALIKE < known[1]:
        found[times.index(known[0])].append(FASTEST)
    return found


def _price(offer: Offer) -> float:
    expected = offer.estimate.ucredits
    return expected.expected if expected else ucredits_of_usd(offer.machine.usd_per_h)


def too_little(
    max_cost_ucredits: int | None, rate_ucredits_per_h: int, estimate: Estimate | None
) -> str:
    """A word on a limit that the job will hit if it takes as long as it is expected to; "" else."""
    if max_cost_ucredits is None or estimate is None or estimate.run_s is None:
        return ""
    low = cost_ucredits(rate_ucredits_per_h, estimate.run_s.low)
    if max_cost_ucredits >= low:
        return ""
    return (
        f"--max-cost {text_of(max_cost_ucredits)} is less than this is expected to cost, "
        f"{text_of(low)} or more ({estimate.basis}): it will be stopped before its end."
    )
