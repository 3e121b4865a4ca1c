"""The account over HTTP: budgets, grants, and what cannot be an amount."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jupyter_remote import errors, wire
from jupyter_remote.http import Http
from jupyter_remote.model import Budget, BudgetRename

from .conftest import LIMIT_S, Running, Worker, request, submit, until

CREDIT = 10**6
BUDGETS = "/v1/account/budgets"
G5 = wire.Need(machine="g5.xlarge.od")  # 100.6 credits an hour


def set_budget(server: Running, scope: str, credits: float, name: str = "") -> list[Budget]:
    body = wire.BudgetRequest(scope=scope, name=name, limit_ucredits=round(credits * CREDIT))
    return server.http.call("PUT", BUDGETS, body, wire.BudgetList).budgets


def account(server: Running) -> wire.AccountReply:
    return server.http.call("GET", "/v1/account", reply=wire.AccountReply)


def history(server: Running, id: str) -> list[str]:
    reply = server.http.call("GET", f"/v1/jobs/{id}/history", reply=wire.HistoryReply)
    return [line.text for line in reply.history]


def test_a_budget_is_set_shown_and_lifted(server: Running) -> None:
    assert server.http.call("GET", BUDGETS, reply=wire.BudgetList).budgets == []
    [budget] = set_budget(server, "day", 500)
    assert (budget.scope, budget.limit_ucredits, budget.left_ucredits) == (
        "day",
        500 * CREDIT,
        500 * CREDIT,
    )
    assert budget.day
    assert len(set_budget(server, "notebook", 7, "a.ipynb")) == 2
    params = {"scope": "notebook", "name": "a.ipynb"}
    left = server.http.call("DELETE", BUDGETS, reply=wire.BudgetList, params=params)
    assert left.budgets == [budget]
    with pytest.raises(errors.NotFound, match="no such budget"):
        server.http.call("DELETE", BUDGETS, reply=wire.BudgetList, params=params)


def test_a_budget_follows_a_notebook_that_is_renamed(server: Running) -> None:
    [budget] = set_budget(server, "notebook", 7, "a.ipynb")
    rename = BudgetRename(name="a.ipynb", to="b.ipynb", set_at=budget.set_at, since=budget.set_at)
    for _ in range(2):
        body = wire.BudgetRenames([rename])
        reply = server.http.call("POST", f"{BUDGETS}/rename", body, wire.BudgetList)
        assert [(b.name, b.left_ucredits) for b in reply.budgets] == [("b.ipynb", 7 * CREDIT)]
    nameless = wire.BudgetRenames([msgspec.structs.replace(rename, to="")])
    with pytest.raises(errors.InvalidRequest):
        server.http.call("POST", f"{BUDGETS}/rename", nameless, wire.BudgetList)


@pytest.mark.parametrize(
    "body",
    [
        '{"scope": "week", "limit_ucredits": 1}',
        '{"scope": "day", "limit_ucredits": -1}',
        '{"scope": "day", "limit_ucredits": NaN}',
        '{"scope": "day", "limit_ucredits": 1e40}',
        '{"scope": "day", "limit_ucredits": 9223372036854775808}',
        '{"scope": "day", "name": "a.ipynb", "limit_ucredits": 1}',
        '{"scope": "notebook", "limit_ucredits": 1}',
        '{"scope": "day"}',
    ],
)
def test_what_is_no_budget_is_told_and_changes_nothing(server: Running, body: str) -> None:
    set_budget(server, "day", 3)
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    status, reply = server.raw("PUT", BUDGETS, headers, body)
    assert status == 422
    assert msgspec.json.decode(reply)["code"] == "invalid_request"
    [budget] = server.http.call("GET", BUDGETS, reply=wire.BudgetList).budgets
    assert budget.limit_ucredits == 3 * CREDIT


def test_a_token_that_may_only_read_sets_no_budget(server: Running) -> None:
    reader = Http(server.url, server.make_token("read"))
    assert reader.call("GET", BUDGETS, reply=wire.BudgetList).budgets == []
    body = wire.BudgetRequest(scope="day", limit_ucredits=1)
    with pytest.raises(errors.NotAuthorized):
        reader.call("PUT", BUDGETS, body, wire.BudgetList)
    reader.close()


def test_a_job_is_cut_to_its_budget_and_says_so(server: Running, worker: Worker) -> None:
    set_budget(server, "day", 5)
    job = submit(server, need=G5, timeout_s=3600.0).job
    assert (job.fuse, job.money.hold_ucredits) == ("budget day", 5 * CREDIT)
    text = history(server, job.id)[0]
    assert "price of 2025-11-15 frozen: $1.006/h (g5.xlarge.od)" in text
    assert "held 5 credits ($0.0500)" in text
    assert "all that the budget of the day left" in text
    assign = worker.pull(wire.Assign)
    assert worker.start(assign).budget_left_ucredits == 5 * CREDIT
    worker.complete(assign, outcome="expired", reason="cost_limit", detail="reached its cost limit")
    view = server.http.call("GET", f"/v1/jobs/{job.id}", reply=wire.JobView)
    assert view.detail == "reached its cost limit: all that the budget of the day left"
    assert "given back" in history(server, job.id)[-1]


def test_a_job_that_was_sent_ahead_of_its_cut_is_warned_by_what_was_left(
    server: Running, worker: Worker
) -> None:
    set_budget(server, "day", 5)
    submit(server, need=G5, max_cost_ucredits=50 * CREDIT)
    assign = worker.pull(wire.Assign)
    assert assign.warn_s == pytest.approx(0.8 * 50 / 100.6 * 3600)  # it knows of --max-cost alone
    answer = worker.start(assign)
    assert answer.warn_s == pytest.approx(0.8 * 5 / 100.6 * 3600)
    assert answer.budget_left_ucredits == 5 * CREDIT


def test_a_plan_shows_what_a_budget_leaves(server: Running, worker: Worker) -> None:
    set_budget(server, "notebook", 5, "a.ipynb")
    ask = wire.EstimateRequest(need=G5, notebook="a.ipynb", kind="cell")

    def planned(**changes: Any) -> wire.PlanReply:
        body = msgspec.structs.replace(ask, **changes)
        return server.http.call("POST", "/v1/plans", body, wire.PlanReply)

    plan = planned()
    assert (plan.hold_ucredits, plan.fuse) == (5 * CREDIT, "budget notebook")
    assert plan.max_run_s == pytest.approx(5 / 100.6 * 3600, abs=0.01)
    assert all(offer.hold_ucredits <= 5 * CREDIT for offer in plan.offers)
    assert planned(notebook="b.ipynb").fuse == ""
    assert planned(need=wire.Need(machine="local")).fuse == ""
    set_budget(server, "account", 0)
    assert "the budget of the account leaves 0 credits ($0)" in planned().refused


def test_what_a_job_is_expected_to_cost_is_within_its_budget(
    server: Running, worker: Worker
) -> None:
    set_budget(server, "day", 0.03)
    submit(server, code_key="a" * 64)
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 0.3)
    worker.complete(assign)
    job = submit(server, need=G5, code_key="a" * 64).job
    assert job.estimate is not None
    assert job.estimate.ucredits is not None
    assert job.estimate.ucredits.high == job.money.hold_ucredits == 0.03 * CREDIT


def test_a_budget_that_is_used_up_refuses_with_what_is_spent(server: Running) -> None:
    set_budget(server, "account", 5)
    submit(server, need=G5)
    with pytest.raises(errors.BudgetExceeded, match=r"0 credits \(\$0\) spent and 5 credits"):
        submit(server, need=G5)
    assert len(server.http.call("GET", "/v1/jobs", reply=wire.JobList).jobs) == 1


def test_what_an_earlier_try_cost_is_not_left_for_the_next(server: Running, worker: Worker) -> None:
    submit(server, need=G5, timeout_s=3600.0, retries=1)
    first = worker.pull(wire.Assign)
    held = worker.start(first).budget_left_ucredits
    assert held == first.hold_ucredits
    worker.complete(first, outcome="failed", result=None)
    second = worker.pull(wire.Assign)
    spent = account(server).balance.spent_ucredits
    assert spent > 0
    assert worker.start(second).budget_left_ucredits == held - spent


def test_what_is_missing_is_told_in_credits_and_usd(server: Running) -> None:
    need = wire.Need(machine="p5.48xlarge.od")
    for _ in range(7):
        submit(server, need=need)
    with pytest.raises(errors.InsufficientFunds, match=r"56,768 credits \(\$567\.68\) are missing"):
        submit(server, need=need)


def test_the_longest_run_of_any_job_is_a_limit_of_time_and_a_fuse_one_of_cost(
    server: Running, worker: Worker
) -> None:
    submit(server, need=G5)
    submit(server, need=G5, max_cost_ucredits=CREDIT)
    assert worker.pull(wire.Assign).limits_timeout_s == server.backend.settings.longest_run_s
    assert worker.pull(wire.Assign).limits_timeout_s is None


def test_a_backend_that_watches_gpus_tells_its_workers(tmp_path: Path) -> None:
    server = Running(tmp_path, gpu_idle_stop_s=600.0)
    worker = Worker(server)
    assert worker.hello().gpu_idle_s == 600.0
    worker.close()
    server.stop()


# --- grants ----------------------------------------------------------------------------------
def grant(server: Running, amount: int, key: str) -> wire.AccountReply:
    body = wire.GrantRequest(owner="", amount_ucredits=amount, key=key)
    return server.http.call("POST", "/v1/account/grants", body, wire.AccountReply)


def test_a_grant_sent_twice_with_one_key_is_given_once(server: Running) -> None:
    before = account(server).credits
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: grant(server, 5 * CREDIT, "again"), range(8)))
    assert account(server).credits == before + 5
    assert grant(server, 5 * CREDIT, "other").credits == before + 10


@pytest.mark.parametrize("amount", [0, -1, 1 << 61, 1 << 70])
def test_what_cannot_be_granted_is_told(server: Running, amount: int) -> None:
    before = account(server)
    with pytest.raises(errors.InvalidRequest):
        grant(server, amount, "key")
    assert account(server) == before


def test_grants_end_before_the_database_cannot_count_them(server: Running) -> None:
    for n in range(3):
        grant(server, 1 << 60, f"key-{n}")
    before = account(server)
    with pytest.raises(errors.InvalidRequest, match="are too many"):
        grant(server, 1 << 60, "key-4")
    assert account(server) == before
    assert server.backend.store.audit() == []


@pytest.mark.parametrize("usd", [float("nan"), float("inf"), -1.0, 1e30])
def test_a_machine_without_a_sound_price_is_told_and_nothing_is_held(
    server: Running, usd: float
) -> None:
    machines = server.backend.machines
    at = next(i for i, m in enumerate(machines) if m.id == G5.machine)
    machines[at] = msgspec.structs.replace(machines[at], usd_per_h=usd)
    with pytest.raises(errors.UnknownMachine, match="which cannot be"):
        submit(server, need=G5)
    assert account(server).balance.held_ucredits == 0


# --- many at once ----------------------------------------------------------------------------
def together(count: int, do: Any) -> list[Any]:
    """Each in a thread of its own, as far as a computer has some; results and errors."""
    begin = threading.Barrier(20)

    def one(number: int) -> Any:
        if number < 20:
            begin.wait(LIMIT_S)
        try:
            return do(number)
        except errors.JupyterRemoteError as error:
            return error

    with ThreadPoolExecutor(20) as pool:
        return list(pool.map(one, range(count)))


def test_of_1000_submitters_on_a_balance_for_ten_exactly_ten_are_admitted(server: Running) -> None:
    owner = "crowd"
    token = server.make_token("submit", "read", owner=owner)
    price = submit(server, need=G5, timeout_s=3600.0).job.money.hold_ucredits
    body = wire.GrantRequest(owner=owner, amount_ucredits=10 * price + price - 1, key="ten")
    server.http.call("POST", "/v1/account/grants", body, wire.AccountReply)
    crowd = Http(server.url, token)

    def one(number: int) -> wire.Submitted:
        asked = request(need=G5, timeout_s=3600.0)
        return crowd.call("POST", "/v1/jobs", asked, wire.Submitted)

    told = together(1000, one)
    admitted = [t.job.id for t in told if isinstance(t, wire.Submitted)]
    refused = [t for t in told if isinstance(t, errors.InsufficientFunds)]
    assert (len(admitted), len(refused)) == (10, 990)
    balance = crowd.call("GET", "/v1/account", reply=wire.AccountReply).balance
    assert (balance.available_ucredits, balance.held_ucredits) == (price - 1, 10 * price)
    assert server.backend.store.audit() == []
    crowd.close()


@pytest.mark.parametrize(("scope", "name"), [("account", ""), ("day", ""), ("notebook", "n.ipynb")])
def test_racing_submits_overshoot_no_budget(server: Running, scope: str, name: str) -> None:
    set_budget(server, scope, 1000, name)

    def one(number: int) -> wire.Submitted:
        seconds = 3600.0 * (1 + number % 5)
        return submit(server, need=G5, timeout_s=seconds, notebook="n.ipynb")

    told = together(60, one)
    held = sum(t.job.money.hold_ucredits for t in told if isinstance(t, wire.Submitted))
    assert held == 1000 * CREDIT
    assert any(isinstance(t, errors.BudgetExceeded) for t in told)
    [budget] = server.http.call("GET", BUDGETS, reply=wire.BudgetList).budgets
    assert budget.held_ucredits == held
    assert server.backend.store.audit() == []


def unfinished(server: Running) -> int:
    info = server.http.call("GET", "/v1/server", reply=wire.ServerInfo)
    return info.jobs_queued + info.jobs_running


def test_a_race_of_submits_ends_and_cancels_leaves_the_budget_with_the_ledger(
    server: Running, worker: Worker
) -> None:
    set_budget(server, "account", 300)

    def one(number: int) -> None:
        job = submit(server, need=G5, timeout_s=3600.0).job
        if number % 2:
            server.http.call("POST", f"/v1/jobs/{job.id}/cancel", wire.CancelRequest())

    together(40, one)
    while unfinished(server):
        assign = worker.pull(wire.Assign)
        if worker.start(assign).ok:  # else it was cancelled first
            worker.complete(assign)
    until(lambda: account(server).balance.held_ucredits == 0)
    [budget] = server.http.call("GET", BUDGETS, reply=wire.BudgetList).budgets
    assert budget.spent_ucredits == account(server).balance.spent_ucredits
    assert budget.held_ucredits == 0
    assert server.backend.store.audit() == []
