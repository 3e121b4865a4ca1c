"""What is said of all jobs of an owner is what each of them says."""

from __future__ import annotations

import pytest

from jupyter_remote import wire
from jupyter_remote.http import Http

from .conftest import Running, Worker, submit, until

PRICED = {"need": wire.Need(machine="g5.xlarge.od"), "timeout_s": 3600.0}


def summary(http: Http) -> wire.AccountSummary:
    return http.call("GET", "/v1/account/summary", reply=wire.AccountSummary)


def test_running_jobs_sessions_and_what_waits_are_told_with_their_rate_and_cost(
    server: Running, worker: Worker
) -> None:
    before = summary(server.http)
    assert (before.running, before.sessions, before.queued, before.usd_per_h) == (0, 0, 0, 0.0)
    spec = wire.JobSpec(kind="session", session="lab")
    for changes in ({}, {"spec": spec}):
        submit(server, **{**PRICED, **changes})
        assert worker.start(worker.pull(wire.Assign)).ok
    submit(server, "waits", **PRICED)
    submit(server, "waits, too", **PRICED)
    found = until(lambda: s if (s := summary(server.http)).queued == 2 else None)
    assert (found.running, found.sessions) == (1, 1)
    jobs = server.http.call("GET", "/v1/jobs", reply=wire.JobList).jobs
    running = [j.money for j in jobs if j.status == "running"]
    assert found.rate_ucredits_per_h == sum(m.rate_ucredits_per_h for m in running)
    assert found.usd_per_h == pytest.approx(2 * 1.006)
    assert found.simulated
    assert 0 < found.spent_today_ucredits <= sum(m.cost_ucredits for m in running)
    assert found.held_ucredits == sum(j.money.hold_ucredits for j in jobs)
    assert found.available_ucredits == before.available_ucredits - found.held_ucredits
    assert found.since_at % 86_400 == 0
    assert 0 <= found.at - found.since_at < 86_400


def test_what_was_charged_stays_spent(server: Running, worker: Worker) -> None:
    submit(server, **PRICED)
    worker.run()
    account = until(
        lambda: (
            a.balance
            if (
                a := server.http.call("GET", "/v1/account", reply=wire.AccountReply)
            ).balance.spent_ucredits
            else None
        )
    )
    found = summary(server.http)
    assert found.spent_today_ucredits == account.spent_ucredits
    assert (found.running, found.usd_per_h, found.simulated) == (0, 0.0, False)


def test_nobody_elses_jobs_are_in_it(server: Running, worker: Worker) -> None:
    submit(server, **PRICED)
    worker.start(worker.pull(wire.Assign))
    other = Http(server.url, server.make_token("read", owner="mallory"))
    found = summary(other)
    assert (found.running, found.queued, found.spent_today_ucredits) == (0, 0, 0)
    other.close()
