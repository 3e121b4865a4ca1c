"""What is told of all jobs is what each of them tells of itself."""

from __future__ import annotations

from jupyter_remote.model import Balance, JobRecord, JobState
from jupyter_remote.store.base_parts import Outcome, Totals
from jupyter_remote.store.sqlite import open_sqlite
from jupyter_remote.store.views import account_of, midnight, money_of
from tests.conformance.store import ADA, LEASE_S, W1, new_job, new_session, running

BALANCE = Balance(available_ucredits=5, held_ucredits=3, spent_ucredits=2)


def records(tmp_path) -> list[JobRecord]:
    """A job that is charged for its second try, a session, and one that was only claimed."""
    store = open_sqlite(tmp_path / "db", jitter=lambda: 0.0)
    store.grant(ADA, 10**9, "start", 0.0)
    priced = {"credits_per_h": 3600, "hold_credits": 60}
    job = running(store, new_job("a", retries=1, simulated=True, **priced), now=100.0)
    store.finish(job, 1, Outcome(kind="failed"), 105.0)
    store.wake(120.0)
    store.claim(job, W1, 120.0, LEASE_S)
    store.start(job, 2, 120.0)
    running(store, new_session("s", "lab", **priced), now=130.0)
    store.submit([new_job("c", **priced)], 130.0)
    store.claim(new_job("c").id, W1, 130.0, LEASE_S)
    active = store.totals(ADA, 0.0).active
    store.close()
    return active


def test_the_sums_are_those_of_the_cards(tmp_path):
    active = records(tmp_path)
    totals = Totals(active=active, queued=4, captured_ucredits=5_000_000, balance=BALANCE)
    found = account_of(totals, 140.0)
    assert (found.running, found.sessions, found.queued) == (1, 1, 5)
    assert found.rate_ucredits_per_h == 2 * 3_600_000_000
    assert found.usd_per_h == 72.0
    assert found.simulated
    costs = {job.id: money_of(job, 140.0).cost_ucredits for job in active}
    assert costs == {"a": 25_000_000, "s": 10_000_000, "c": 0}
    assert found.spent_today_ucredits == sum(costs.values())  # of "a" 5 credits are captured
    assert (found.available_ucredits, found.held_ucredits) == (5, 3)


def test_nothing_costs_nothing():
    found = account_of(Totals(active=[], queued=0, captured_ucredits=0, balance=BALANCE), 0.0)
    assert (found.running, found.usd_per_h, found.spent_today_ucredits) == (0, 0.0, 0)
    assert not found.simulated


def test_the_cost_of_a_running_job_is_never_above_its_hold(tmp_path):
    active = [j for j in records(tmp_path) if j.state is JobState.RUNNING and j.kind != "session"]
    totals = Totals(active=active, queued=0, captured_ucredits=5_000_000, balance=BALANCE)
    assert account_of(totals, 10.0**6).spent_today_ucredits == 60_000_000


def test_a_day_begins_at_midnight_in_utc():
    noon = 1_795_694_400.0  # 2026-11-26 12:00 UTC
    assert midnight(noon) == noon - 12 * 3600
    assert midnight(midnight(noon)) == midnight(noon)
    assert midnight(midnight(noon) - 0.001) == midnight(noon) - 86_400
