import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_remote.errors import BudgetExceeded
from jupyter_remote.model import Budget
from jupyter_remote.money import budgets
from jupyter_remote.money.meter import cost_ucredits

CREDIT = 10**6


def budget(scope: str, limit: int, spent: int = 0, held: int = 0, name: str = "") -> Budget:
    return Budget(
        scope=scope,
        name=name,
        limit_ucredits=limit,
        spent_ucredits=spent,
        held_ucredits=held,
        left_ucredits=budgets.left(limit, spent, held),
        day="2026-11-26" if scope == "day" else "",
    )


def test_a_job_that_fits_into_every_budget_is_not_cut():
    plenty = [budget("account", 100 * CREDIT), budget("day", 8 * CREDIT)]
    assert budgets.cut(plenty, 3600 * CREDIT, 8.0, 8 * CREDIT) is None
    assert budgets.cut([], 3600 * CREDIT, 8.0, 8 * CREDIT) is None


def test_the_tightest_budget_cuts_what_it_does_not_cover():
    both = [budget("account", 100 * CREDIT), budget("day", 8 * CREDIT, 2 * CREDIT, 1 * CREDIT)]
    cut = budgets.cut(both, 3600 * CREDIT, 86_400.0, 86_400 * CREDIT)
    assert cut == budgets.Cut(5.0, 5 * CREDIT, "budget day")


@given(
    st.lists(st.integers(0, 10**12), min_size=1, max_size=3),
    st.integers(1, 10**12),
    st.floats(0.001, 10**6),
)
def test_what_is_left_is_never_overshot(limits: list[int], rate: int, run_s: float):
    hold = cost_ucredits(rate, run_s)
    set_ = [budget(scope, limit) for scope, limit in zip(budgets.SCOPES, limits, strict=False)]
    try:
        cut = budgets.cut(set_, rate, run_s, hold)
    except BudgetExceeded:
        assert min(limits) < cost_ucredits(rate, budgets.LEAST_RUN_S)
        return
    held = hold if cut is None else cut.hold_ucredits
    assert held <= min(limits)
    if cut is not None:
        assert cost_ucredits(rate, cut.max_run_s) <= held
        assert budgets.LEAST_RUN_S <= cut.max_run_s <= run_s


def test_a_short_run_that_fits_is_admitted_also_below_a_second():
    assert budgets.cut([budget("day", CREDIT)], 3600 * CREDIT, 0.5, CREDIT // 2) is None


def test_a_budget_that_is_used_up_says_which_how_far_and_what_to_do():
    used = budget("day", 5 * CREDIT, 3 * CREDIT, 2 * CREDIT)
    with pytest.raises(BudgetExceeded) as told:
        budgets.cut([used], 3600 * CREDIT, 60.0, 60 * CREDIT)
    assert told.value.message == (
        "the budget of the day (2026-11-26, UTC) leaves 0 credits ($0), and a second of this job "
        "is 1 credit ($0.0100): 3 credits ($0.0300) spent and 2 credits ($0.0200) held of "
        "5 credits ($0.0500)"
    )
    assert told.value.hint == (
        "Wait until running jobs give back what they do not need, or give jobs a --timeout or "
        "--max-cost, so that each holds less, or wait for the next day (00:00 UTC), or "
        "allow more with `%remote budget day 0.12`; `%remote budget` shows all"
    )


@pytest.mark.parametrize(
    ("limit", "spent", "typed"),
    [(5, 3000, "60"), (6000, 6000, "120"), (0, 0, "0.02"), (0, 123_456, "2469")],
)
def test_the_budget_that_is_proposed_is_enough_and_can_be_typed(limit, spent, typed):
    used = budget("day", limit * CREDIT, spent * CREDIT)
    with pytest.raises(BudgetExceeded) as told:
        budgets.cut([used], 3600 * CREDIT, 60.0, 60 * CREDIT)
    assert f"`%remote budget day {typed}`" in str(told.value.hint)


def test_each_budget_is_named():
    assert budgets.words(budget("account", 1)) == "the budget of the account"
    named = budget("notebook", 1, name="train.ipynb")
    assert budgets.words(named) == "the budget of the notebook 'train.ipynb'"


def test_a_limit_below_what_is_spent_leaves_nothing():
    assert budgets.left(5, 4, 3) == 0


def test_a_day_is_one_of_utc():
    assert budgets.day_of(1_795_651_199.9) == "2026-11-25"
    assert budgets.day_of(1_795_651_200.0) == "2026-11-26"
    assert budgets.begin_of("2026-11-26") == 1_795_651_200.0


def test_the_fuse_of_a_job_is_told_in_words():
    assert budgets.fuse_words("budget day") == "all that the budget of the day left"
    assert budgets.fuse_words("max_cost") == "--max-cost"
    assert budgets.fuse_words("") == ""
