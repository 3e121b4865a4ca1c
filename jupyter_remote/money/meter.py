"""From time to money and back. Integers: micro-credits (1 credit = 1_000_000 = 0.01 USD)."""

from __future__ import annotations

import math

UCREDITS_PER_CREDIT = 1_000_000
UCREDITS_PER_USD = 100 * UCREDITS_PER_CREDIT
MS_PER_H = 3_600_000
MOST_UCREDITS = 1 << 60  # of one grant or limit


def ucredits_of_usd(usd: float) -> int:
    """Micro-credits of an amount in USD, rounded to the nearest."""
    return round(usd * UCREDITS_PER_USD)


def usd_of(ucredits: int) -> float:
    """USD of an amount in micro-credits."""
    return ucredits / UCREDITS_PER_USD


def credits_of(ucredits: int) -> float:
    """Credits of an amount in micro-credits."""
    return ucredits / UCREDITS_PER_CREDIT


def cost_ucredits(rate_ucredits_per_h: int, seconds: float) -> int:
    """Cost of ``seconds`` at a rate: whole milliseconds begun, rounded up to a micro-credit."""
    # rounded first: 66729.6 s is 66729600.00000001 ms in floating point, not one more
    ms = math.ceil(round(max(0.0, seconds) * 1000, 3))
    return -(-rate_ucredits_per_h * ms // MS_PER_H)


def longest_run_s(
    rate_ucredits_per_h: int,
    longest_s: float,
    timeout_s: float | None = None,
    max_cost_ucredits: int | None = None,
) -> float:
    """The longest run that the limits allow: by time, and by what ``max_cost`` pays for."""
    longest = min(longest_s, timeout_s) if timeout_s is not None else longest_s
    if max_cost_ucredits is not None and rate_ucredits_per_h > 0:
        longest = min(longest, max_cost_ucredits * MS_PER_H // rate_ucredits_per_h / 1000)
    return longest


def credits_text(ucredits: int) -> str:
    """``12.3 credits``: at most six decimals, none that are zero."""
    text = f"{credits_of(ucredits):,.6f}".rstrip("0").rstrip(".")
    return f"{text} credit" if text == "1" else f"{text} credits"


def amount_text(ucredits: int) -> str:
    """For people, in both: ``12.3 credits ($0.1230)``."""
    return f"{credits_text(ucredits)} ({text_of(ucredits)})"


def text_of(ucredits: int) -> str:
    """For people: ``$0.0123``; free is ``$0``, and a trace of money is never shown as nothing."""
    usd = usd_of(ucredits)
    if usd == 0:
        return "$0"
    if 0 < usd < 0.00005:
        return "<$0.0001"
    return f"${usd:,.2f}" if abs(usd) >= 0.99995 else f"${usd:.4f}"


def range_text(low: float, expected: float, high: float) -> str:
    """Of micro-credits ``$0.42 (0.36–0.51)``."""
    least, middle, most = (text_of(round(u)) for u in (low, expected, high))
    ends = f"{least}–{most}".replace("$", "")
    return middle if least == most else f"{middle} ({ends})"


def rate_text(ucredits_per_h: float) -> str:
    """``free`` or ``$1.01/h``."""
    return f"${ucredits_per_h / UCREDITS_PER_USD:,.4g}/h" if ucredits_per_h else "free"
