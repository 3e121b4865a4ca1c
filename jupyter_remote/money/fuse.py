"""What a job's fuse allows: how long it may run, and when most of it is spent. Pure."""

from __future__ import annotations

from jupyter_remote.money.meter import MS_PER_H

WARN_SHARE = 0.8  # of what the fuse allows: from there on it is time to save what is done
WARNED = f"{WARN_SHARE:.0%}".replace("%", " %")
MOST_IS_SPENT = f"{WARNED} of what it may cost is spent"  # by --max-cost or by a budget


def run_left_s(rate_ucredits_per_h: int, left_ucredits: int, longest_s: float) -> float:
    """The longest that an attempt may run: by time, and by what is left of the hold."""
    if not rate_ucredits_per_h:
        return longest_s
    return min(longest_s, left_ucredits * MS_PER_H // rate_ucredits_per_h / 1000)


def allowed_ucredits(fuse: str, hold_ucredits: int, max_cost_ucredits: int | None) -> int:
    """What may be spent in all. Of ``--max-cost`` the hold may be less, because of a time limit; of
    a budget it is what is left."""
    if fuse == "max_cost" and max_cost_ucredits is not None:
        return max_cost_ucredits
    return hold_ucredits


def warn_after_s(
    *,
    fuse: str,
    rate_ucredits_per_h: int,
    hold_ucredits: int,
    spent_ucredits: int,
    max_cost_ucredits: int | None,
    longest_s: float,
) -> float | None:
    """Run seconds of an attempt at which most of what the fuse allows is spent; None: never, for
    there is no fuse, or it ends before."""
    if not fuse or not rate_ucredits_per_h:
        return None
    allowed = allowed_ucredits(fuse, hold_ucredits, max_cost_ucredits)
    left = max(0.0, WARN_SHARE * allowed - spent_ucredits)
    after_s = left * 3600 / rate_ucredits_per_h
    longest_s = run_left_s(rate_ucredits_per_h, hold_ucredits - spent_ucredits, longest_s)
    return after_s if after_s < longest_s else None
