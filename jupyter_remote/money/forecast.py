"""What a job is expected to take and to cost, from earlier runs. Pure.

The nearest runs that there are decide: of the same code, of other code of the same notebook, of
other code of the same kind. The interval holds nine cases of ten, by how far such predictions were
off before; where little is known it is wide.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import msgspec

from jupyter_remote.amounts import size
from jupyter_remote.model import PastRun
from jupyter_remote.money.billing import Billing, cost_of
from jupyter_remote.money.learning import (
    ALIKE,
    BESIDE,
    OTHERS_LEAST,
    RECENT,
    Ask,
    Guess,
    Learned,
    by_code,
    group_of,
    learn,
    log_bytes,
    of_code,
    of_others,
)
from jupyter_remote.wire import Estimate, Interval

LONGEST_S = 10 * 365 * 86_400.0
TOLD, TOLD_BYTES = 1.3, 64 * 1024  # a factor of inputs, and inputs, that are worth a word


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What turns a run time into money."""

    rate_ucredits_per_h: int
    billing: Billing = Billing()
    most_ucredits: int | None = None  # what is held: more is never charged

    def ucredits(self, run_s: float, sent_bytes: int = 0) -> int:
        total = cost_of(run_s, self.rate_ucredits_per_h, self.billing, sent_bytes=sent_bytes).total
        return total if self.most_ucredits is None else min(total, self.most_ucredits)


def estimate(
    history: Sequence[PastRun], ask: Ask, price: Price, learned: Learned | None = None
) -> Estimate:
    """Run time and price of what is asked.

    Parameters
    ----------
    history: runs of the same owner in any order, of the same code, notebook and kind as far as
        there are some.
    learned: from a history that may be older; else from this one.
    """
    learned = learn(history) if learned is None else learned
    found = _nearest(history, ask, learned)
    if found is None:
        return Estimate(basis="nothing like it has run yet")
    guess, group, basis = found
    half = learned.width(guess, group)
    run_s = Interval(
        *(min(LONGEST_S, math.exp(min(50.0, guess.middle + side * half))) for side in (-1, 0, 1))
    )
    prices = (price.ucredits(s, ask.inputs_bytes) for s in (run_s.low, run_s.expected, run_s.high))
    return Estimate(run_s=run_s, ucredits=Interval(*prices), basis=basis, runs=guess.runs)


def _nearest(
    history: Sequence[PastRun], ask: Ask, learned: Learned
) -> tuple[Guess, str, str] | None:
    """A guess, the class of its errors, and what it rests on."""
    codes = by_code(history)
    if ask.code_key and (mine := codes.pop(ask.code_key, None)):
        mine = mine[-RECENT:]
        guess = of_code(learned, mine, ask)
        return guess, group_of(guess.runs), basis_of(mine, ask, learned)
    latest = [runs[-1] for runs in codes.values()]
    beside = [run for run in latest if ask.notebook and run.notebook == ask.notebook]
    alike = [run for run in latest if run.kind == ask.kind]
    if len(beside) >= OTHERS_LEAST or (beside and not alike):
        cells = _count(len(beside), "other cell or call", "other cells and calls")
        where = f"{cells} of this notebook; this code is new"
        return of_others(learned, beside, ask), BESIDE, where
    if alike:
        where = f"{_count(len(alike), f'other {ask.kind}')} of yours; this code is new"
        return of_others(learned, alike, ask), ALIKE, where
    return None


def basis_of(runs: Sequence[PastRun], ask: Ask, learned: Learned) -> str:
    """In words: ``4 earlier runs of this code on g5.xlarge; inputs 2 × larger``."""
    machines = Counter(run.machine for run in runs)
    here = machines.pop(ask.machine, 0)
    places = [ask.machine] * bool(here) + list(machines)
    parts = [f"{_count(len(runs), 'earlier run')} of this code on {_listed(places)}"]
    if not here:
        parts.append(_conversion(machines.most_common(1)[0][0], ask, learned))
    return "; ".join([*parts, *_inputs(runs, ask)])


def _conversion(source: str, ask: Ask, learned: Learned) -> str:
    ratio, _, codes = learned.ratio(source, ask.machine, without=ask.code_key)
    if not codes:
        return f"how fast {ask.machine} is beside it is not known"
    what = _count(codes, "other piece of code", "other pieces of code")
    return f"{ask.machine} takes {math.exp(ratio):.2g} × as long, by {what}"


def _inputs(runs: Sequence[PastRun], ask: Ask) -> list[str]:
    usual = sorted(run.inputs_bytes for run in runs)[len(runs) // 2]
    factor = math.exp(log_bytes(ask.inputs_bytes) - log_bytes(usual))
    if 1 / TOLD < factor < TOLD or max(usual, ask.inputs_bytes) < TOLD_BYTES:
        return []
    if usual == 0:
        return [f"inputs {size(ask.inputs_bytes)}, none before"]
    more = factor if factor > 1 else 1 / factor
    return [f"inputs {more:.2g} × {'larger' if factor > 1 else 'smaller'}"]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"1 {one}" if number == 1 else f"{number} {many or one + 's'}"
