"""What every store does with budgets. Subclass it and give a fixture ``store``."""

from __future__ import annotations

import pytest

from jupyter_remote.errors import BudgetExceeded, TooLarge
from jupyter_remote.model import Budget, BudgetRename, JobState, Limits, Reason
from jupyter_remote.store import budgets as stored
from jupyter_remote.store.base import Store
from jupyter_remote.store.base_parts import NewJob, Outcome
from tests.conformance.store import ADA, BOB, new_job, running

CREDIT = 10**6
DAY_S = 86_400.0
TODAY = 20_000 * DAY_S  # midnight


def paid(job: str = "job-1", seconds: float = 8, **changes: object) -> NewJob:
    """A credit a second."""
    hold = int(seconds)
    limits = Limits(max_run_s=seconds)
    return new_job(job, credits_per_h=3600, hold_credits=hold, limits=limits, **changes)


def only(store: Store, now: float = TODAY) -> Budget:
    [budget] = store.budgets(ADA, now)
    return budget


def ran(store: Store, new: NewJob, at: float, seconds: float) -> None:
    """Submitted and started at one time, completed after so many seconds."""
    store.submit([new], at)
    got = store.claim(new.id, "w1", at, 45.0)  # type: ignore[arg-type]
    assert got is not None
    store.start(new.id, 1, at)
    store.finish(new.id, 1, Outcome(kind="succeeded"), at + seconds)


class BudgetConformance:
    @pytest.fixture(autouse=True)
    def _with_money(self, store: Store) -> None:
        store.grant(ADA, 1000 * CREDIT, "start", 0.0)

    def test_a_job_is_cut_to_what_the_budget_leaves(self, store: Store) -> None:
        store.set_budget(ADA, "account", "", 5 * CREDIT, 0.0)
        [written] = store.submit([paid(seconds=100)], 1.0)
        job = written.job
        assert (job.hold_ucredits, job.limits.max_run_s) == (5 * CREDIT, 5.0)
        assert job.fuse == "budget account"
        assert store.balance(ADA).held_ucredits == 5 * CREDIT
        assert "all that the budget of the account left" in store.history(job.id)[0].text

    def test_a_job_that_fits_keeps_its_own_fuse(self, store: Store) -> None:
        store.set_budget(ADA, "account", "", 500 * CREDIT, 0.0)
        [written] = store.submit([paid(fuse="max_cost")], 1.0)
        assert (written.job.fuse, written.job.limits.max_run_s) == ("max_cost", 8.0)

    def test_what_others_hold_counts(self, store: Store) -> None:
        store.set_budget(ADA, "day", "", 10 * CREDIT, TODAY)
        store.submit([paid("one")], TODAY)
        [second] = store.submit([paid("two")], TODAY)
        assert second.job.hold_ucredits == 2 * CREDIT
        with pytest.raises(BudgetExceeded, match=r"0 credits \(\$0\) spent and 10 credits"):
            store.submit([paid("three")], TODAY)
        assert [job.id for job in store.jobs(ADA)] == ["two", "one"]

    def test_what_is_given_back_is_there_for_others(self, store: Store) -> None:
        store.set_budget(ADA, "account", "", 10 * CREDIT, 0.0)
        ran(store, paid("one"), 10.0, 3.0)
        budget = only(store)
        assert (budget.spent_ucredits, budget.held_ucredits) == (3 * CREDIT, 0)
        assert budget.left_ucredits == 7 * CREDIT
        store.submit([paid("two")], 20.0)
        store.cancel(store.jobs(ADA)[0].id, ADA, 21.0)
        assert only(store).left_ucredits == 7 * CREDIT

    def test_a_job_that_reaches_its_budget_is_stopped_by_it(self, store: Store) -> None:
        store.set_budget(ADA, "account", "", 5 * CREDIT, 0.0)
        job = running(store, paid(seconds=100))
        [stopped] = store.expire_limits(16.0, 0.5)
        assert (stopped.job.state, stopped.job.reason) == (JobState.EXPIRED, Reason.COST_LIMIT)
        assert stopped.job.cost_ucredits == 5 * CREDIT
        assert "the budget of the account" in store.history(job)[-1].text
        assert only(store).left_ucredits == 0

    def test_each_day_begins_anew(self, store: Store) -> None:
        store.set_budget(ADA, "day", "", 10 * CREDIT, TODAY)
        ran(store, paid("one"), TODAY, 8.0)
        assert only(store).left_ucredits == 2 * CREDIT
        tomorrow = only(store, TODAY + DAY_S)
        assert (tomorrow.spent_ucredits, tomorrow.left_ucredits) == (0, 10 * CREDIT)
        ran(store, paid("two"), TODAY + DAY_S, 7.0)
        assert only(store, TODAY + DAY_S).left_ucredits == 3 * CREDIT

    def test_a_job_counts_on_the_day_on_which_it_ends(self, store: Store) -> None:
        store.set_budget(ADA, "day", "", 10 * CREDIT, TODAY)
        ran(store, paid("one"), TODAY + DAY_S - 2, 8.0)
        assert only(store, TODAY + DAY_S).spent_ucredits == 8 * CREDIT

    def test_a_clock_that_goes_back_does_not_begin_a_day_again(self, store: Store) -> None:
        store.set_budget(ADA, "day", "", 10 * CREDIT, TODAY + DAY_S)
        ran(store, paid("one"), TODAY + DAY_S, 8.0)
        ran(store, paid("two", seconds=2), TODAY, 1.0)
        back = only(store, TODAY)
        assert (back.spent_ucredits, back.day) == (9 * CREDIT, only(store, TODAY + DAY_S).day)

    def test_a_notebook_has_a_budget_of_its_own(self, store: Store) -> None:
        store.set_budget(ADA, "notebook", "a.ipynb", 5 * CREDIT, 0.0)
        ran(store, paid("one", notebook="b.ipynb"), 1.0, 8.0)
        ran(store, paid("two", notebook="a.ipynb"), 20.0, 4.0)
        ran(store, paid("three"), 30.0, 4.0)
        budget = only(store)
        assert (budget.name, budget.spent_ucredits) == ("a.ipynb", 4 * CREDIT)
        [cut] = store.submit([paid("four", notebook="a.ipynb")], 40.0)
        assert (cut.job.hold_ucredits, cut.job.fuse) == (CREDIT, "budget notebook")

    @pytest.mark.parametrize(
        ("scope", "name", "spent", "held"),
        [("account", "", 9, 8), ("day", "", 6, 8), ("notebook", "a.ipynb", 3, 8)],
    )
    def test_a_budget_that_is_set_late_knows_what_was_before(
        self, store: Store, scope: str, name: str, spent: int, held: int
    ) -> None:
        ran(store, paid("one", notebook="a.ipynb"), TODAY - 100, 3.0)
        ran(store, paid("two", notebook="b.ipynb"), TODAY, 6.0)
        store.submit([paid("three", notebook="a.ipynb")], TODAY + 10)
        store.forget_jobs(TODAY + 20)
        budget = store.set_budget(ADA, scope, name, 100 * CREDIT, TODAY + 20)
        assert (budget.spent_ucredits, budget.held_ucredits) == (spent * CREDIT, held * CREDIT)
        assert only(store) == budget

    def test_a_budget_is_replaced_and_cleared(self, store: Store) -> None:
        store.set_budget(ADA, "day", "", 5 * CREDIT, TODAY)
        store.set_budget(ADA, "day", "", 6 * CREDIT, TODAY)
        assert only(store).limit_ucredits == 6 * CREDIT
        assert store.budgets(BOB, TODAY) == []
        assert not store.clear_budget(BOB, "day", "")
        assert store.clear_budget(ADA, "day", "")
        assert not store.clear_budget(ADA, "day", "")
        [free] = store.submit([paid(seconds=100)], TODAY)
        assert free.job.hold_ucredits == 100 * CREDIT

    def test_a_limit_below_what_is_held_takes_nothing_from_running_jobs(self, store: Store) -> None:
        running(store, paid())
        budget = store.set_budget(ADA, "account", "", CREDIT, 12.0)
        assert (budget.held_ucredits, budget.left_ucredits) == (8 * CREDIT, 0)
        assert store.finish(store.jobs(ADA)[0].id, 1, Outcome(kind="succeeded"), 17.0)
        assert only(store).spent_ucredits == 7 * CREDIT

    def test_a_free_job_needs_no_budget(self, store: Store) -> None:
        store.set_budget(ADA, "account", "", 0, 0.0)
        [free] = store.submit([new_job()], 1.0)
        assert free.job.fuse == ""
        with pytest.raises(BudgetExceeded):
            store.submit([paid("paid")], 1.0)

    def test_a_submit_that_is_repeated_is_not_cut_again(self, store: Store) -> None:
        store.set_budget(ADA, "account", "", 10 * CREDIT, 0.0)
        store.submit([paid()], 1.0)
        [again] = store.submit([paid()], 2.0)
        assert (again.created, again.job.hold_ucredits) == (False, 8 * CREDIT)
        assert only(store).held_ucredits == 8 * CREDIT

    def test_a_batch_that_does_not_fit_leaves_no_trace_in_its_budget(self, store: Store) -> None:
        store.set_budget(ADA, "account", "", 10 * CREDIT, 0.0)
        with pytest.raises(BudgetExceeded):
            store.submit([paid(f"job-{n}") for n in range(3)], 1.0)
        assert only(store).left_ucredits == 10 * CREDIT

    def test_what_is_left_of_a_budget_follows_the_new_name_of_its_notebook(
        self, store: Store
    ) -> None:
        ran(store, paid("of-another", notebook="new"), 1.0, 2.0)
        was = store.set_budget(ADA, "notebook", "old", 100 * CREDIT, 5.0)
        ran(store, paid("before", notebook="old"), 10.0, 3.0)
        store.submit([paid("runs", notebook="old")], 15.0)
        ran(store, paid("after", notebook="new"), 20.0, 4.0)
        store.submit([paid("goes-on", notebook="new")], 30.0)
        store.set_budget(BOB, "notebook", "old", 9 * CREDIT, 5.0)
        rename = BudgetRename(name="old", to="new", set_at=was.set_at, since=20.0)
        for _ in range(2):  # a request may be sent again
            [moved] = store.rename_budgets(ADA, [rename], 40.0)
            assert (moved.name, moved.left_ucredits) == ("new", (100 - 3 - 8 - 4 - 8) * CREDIT)
            assert (moved.spent_ucredits, moved.held_ucredits) == (6 * CREDIT, 8 * CREDIT)
        assert [b.name for b in store.budgets(BOB, 40.0)] == ["old"]
        assert not store.audit()

    def test_budgets_of_notebooks_that_change_places_change_theirs(self, store: Store) -> None:
        for name, credits in (("a", 1), ("b", 2)):
            store.set_budget(ADA, "notebook", name, credits * CREDIT, 5.0)
        turns = [
            BudgetRename(name=name, to=to, set_at=5.0, since=6.0)
            for name, to in (("a", "b"), ("b", "a"))
        ]
        found = store.rename_budgets(ADA, turns, 10.0)
        assert [(b.name, b.left_ucredits) for b in found] == [("a", 2 * CREDIT), ("b", CREDIT)]

    def test_a_budget_that_is_renamed_twice_at_once_follows_one(self, store: Store) -> None:
        store.set_budget(ADA, "notebook", "old", CREDIT, 5.0)
        twice = [BudgetRename(name="old", to=to, set_at=5.0, since=6.0) for to in ("a", "b")]
        assert [b.name for b in store.rename_budgets(ADA, twice, 10.0)] == ["a"]

    def test_a_budget_that_was_set_since_does_not_follow(self, store: Store) -> None:
        later = store.set_budget(ADA, "notebook", "old", CREDIT, 7.0)
        rename = BudgetRename(name="old", to="new", set_at=5.0, since=6.0)
        assert store.rename_budgets(ADA, [rename], 10.0) == [later]

    def test_there_are_not_ever_more_budgets(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stored, "MOST", 2)
        for name in ("a", "b"):
            store.set_budget(ADA, "notebook", name, CREDIT, 0.0)
        with pytest.raises(TooLarge, match="2 budgets are set"):
            store.set_budget(ADA, "notebook", "c", CREDIT, 0.0)
        store.set_budget(ADA, "notebook", "b", 2 * CREDIT, 0.0)
        assert len(store.budgets(ADA, 0.0)) == 2
