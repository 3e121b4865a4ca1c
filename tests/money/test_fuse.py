"""When most of what a job may cost is spent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_remote.money.fuse import run_left_s, warn_after_s
from jupyter_remote.money.meter import cost_ucredits

HOUR = 3600_000_000  # a credit a second, in micro-credits an hour


def after_s(**changes: Any) -> float | None:
    values: dict[str, Any] = {
        "fuse": "max_cost",
        "rate_ucredits_per_h": HOUR,
        "hold_ucredits": 10_000_000,
        "spent_ucredits": 0,
        "max_cost_ucredits": 10_000_000,
        "longest_s": 86_400.0,
    }
    return warn_after_s(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 8.0),
        ({"fuse": ""}, None),
        ({"rate_ucredits_per_h": 0}, None),
        ({"spent_ucredits": 3_000_000}, 5.0),
        ({"spent_ucredits": 9_000_000}, 0.0),  # by attempts before: at once
        ({"fuse": "day", "max_cost_ucredits": None}, 8.0),
        ({"fuse": "day", "max_cost_ucredits": 90_000_000}, 8.0),  # the budget leaves less
        # a time limit comes first: of the hold most is spent, of what was allowed little
        ({"longest_s": 2.0, "hold_ucredits": 2_000_000}, None),
        ({"longest_s": 9.0, "hold_ucredits": 9_000_000}, 8.0),
    ],
)
def test_the_warning_comes_when_most_is_spent(
    changes: dict[str, Any], expected: float | None
) -> None:
    assert after_s(**changes) == expected


@given(
    rate=st.integers(1, 10**12),
    hold=st.integers(0, 10**12),
    spent=st.integers(0, 10**12),
    longest_s=st.floats(0.001, 1e7),
)
def test_what_an_attempt_may_run_never_costs_more_than_is_left(
    rate: int, hold: int, spent: int, longest_s: float
) -> None:
    spent = min(spent, hold)
    run_s = run_left_s(rate, hold - spent, longest_s)
    assert run_s <= longest_s
    assert spent + cost_ucredits(rate, run_s) <= hold or run_s == longest_s
    warn_s = after_s(
        rate_ucredits_per_h=rate, hold_ucredits=hold, spent_ucredits=spent, longest_s=longest_s
    )
    assert warn_s is None or 0 <= warn_s < run_s
