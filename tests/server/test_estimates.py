from __future__ import annotations

import uuid
from typing import Any

import pytest

from jupyter_remote import wire
from jupyter_remote.errors import UsageError
from jupyter_remote.http import Http
from jupyter_remote.model import JobId, PastRun
from jupyter_remote.money.learning import LEAST_S
from jupyter_remote.money.meter import cost_ucredits
from jupyter_remote.server import estimates

from .conftest import LIMIT_S, Running, Worker, submit
from .test_checkpoints import with_checkpoint

A, B = "a" * 64, "b" * 64


def sent(server: Running, code_key: str = A, **changes: Any) -> wire.JobView:
    return submit(server, code_key=code_key, notebook="a.ipynb", **changes).job


def ran(server: Running, worker: Worker, code_key: str = A, **changes: Any) -> wire.JobView:
    job = sent(server, code_key, **changes)
    worker.run()
    return job


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short a run is, somebody asks how long it takes."""
    monkeypatch.setattr(estimates, "QUICK_S", 0.0)


def test_what_is_free_and_new_or_quick_has_no_estimate(
    server: Running, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimates, "QUICK_S", LIMIT_S)
    assert ran(server, worker).estimate is None
    assert ran(server, worker).estimate is None
    priced = sent(server, need=wire.Need(machine="g5.xlarge"))
    assert priced.estimate is not None


@pytest.mark.usefixtures("patient")
def test_a_job_is_expected_to_be_as_its_earlier_runs(server: Running, worker: Worker) -> None:
    for _ in range(3):
        ran(server, worker)
    estimate = sent(server).estimate
    assert estimate is not None
    assert estimate.run_s is not None
    assert 0 < estimate.run_s.low <= estimate.run_s.expected <= estimate.run_s.high
    earlier = server.backend.store.past_runs(server.backend.facts.owner, code_key=A)
    took_s = [max(LEAST_S, run.run_s) for run in earlier]
    assert 0.99 * min(took_s) < estimate.run_s.expected < 1.01 * max(took_s)
    assert estimate.ucredits == wire.Interval(0, 0, 0)
    assert (estimate.runs, estimate.basis) == (3, "3 earlier runs of this code on local")


@pytest.mark.usefixtures("patient")
def test_a_run_that_ends_counts_for_the_next_submit_at_once(
    server: Running, worker: Worker
) -> None:
    known = []
    for _ in range(4):
        estimate = ran(server, worker).estimate
        known.append(estimate.runs if estimate else 0)
    assert known == [0, 1, 2, 3]


def test_the_price_expected_is_that_of_the_machine_and_within_the_hold(
    server: Running, worker: Worker
) -> None:
    ran(server, worker)
    job = sent(server, need=wire.Need(machine="g5.xlarge"), max_cost_ucredits=10_000_000)
    assert job.estimate is not None
    assert job.estimate.run_s is not None
    assert job.estimate.ucredits is not None
    rate, run_s = job.money.rate_ucredits_per_h, job.estimate.run_s.expected
    assert job.estimate.ucredits.expected == min(cost_ucredits(rate, run_s), 10_000_000)
    assert job.estimate.ucredits.high <= job.money.hold_ucredits


def test_estimates_rest_on_runs_of_the_owner_alone(server: Running, worker: Worker) -> None:
    ran(server, worker)
    stranger = Http(server.url, server.make_token("submit", owner="mallory"))
    request = wire.SubmitRequest(
        id=str(uuid.uuid4()), spec=wire.JobSpec(kind="cell", code="1"), code_key=A
    )
    assert stranger.call("POST", "/v1/jobs", request, wire.Submitted).job.estimate is None
    stranger.close()


def test_a_session_has_no_estimate(server: Running, worker: Worker) -> None:
    ran(server, worker, code_key="")
    spec = wire.JobSpec(kind="session", session="lab")
    assert sent(server, "", spec=spec, need=wire.Need(machine="g5.xlarge")).estimate is None


@pytest.mark.usefixtures("patient")
def test_a_batch_has_one_estimate(server: Running, worker: Worker) -> None:
    ran(server, worker)
    ids = [str(uuid.uuid4()) for _ in range(3)]
    template = wire.SubmitRequest(id=ids[0], spec=wire.JobSpec(kind="call", name="f"), code_key=A)
    data = b"x"
    inputs = wire.Parcel([wire.Segment("d" * 64, len(data), data)])
    batch = wire.BatchRequest(id=str(uuid.uuid4()), template=template, ids=ids, inputs=[inputs] * 3)
    server.http.call("POST", "/v1/batches", batch, wire.BatchSubmitted)
    jobs = [server.backend.store.job(JobId(id)) for id in ids]
    assert len({job.estimate for job in jobs}) == 1
    assert jobs[0].estimate


@pytest.mark.usefixtures("patient")
def test_a_submit_reads_its_runs_once(
    server: Running, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimates, "LEARNED_FOR_S", 1e6)  # little is learned anew at once
    reads: list[str] = []
    verb = server.backend.store.past_runs

    def counted(owner: Any, **asked: Any) -> list[PastRun]:
        reads.append(next(iter(asked)))
        return verb(owner, **asked)

    server.backend.estimates._past_runs = counted
    for _ in range(4):
        ran(server, worker)
    assert reads == ["code_key", "notebook", "kind"]


@pytest.mark.usefixtures("patient")
def test_what_goes_on_from_a_checkpoint_has_no_estimate_and_teaches_nothing(
    server: Running, worker: Worker
) -> None:
    ran(server, worker)
    stopped = with_checkpoint(server, worker, code_key=A, notebook="a.ipynb")
    resumed = sent(server, resume=stopped.job)
    assert (resumed.resumes, resumed.estimate) == (stopped.job, None)
    worker.run()
    estimate = sent(server).estimate
    assert estimate is not None
    assert estimate.runs == 1


# --- plans -----------------------------------------------------------------------------------
def planned(server: Running, **asked: Any) -> wire.PlanReply:
    request = wire.EstimateRequest(
        **{"code_key": A, "notebook": "a.ipynb", "kind": "cell", **asked}
    )
    return server.http.call("POST", "/v1/plans", request, wire.PlanReply)


def test_a_plan_knows_earlier_runs_of_the_same_code(server: Running, worker: Worker) -> None:
    assert planned(server).estimate == wire.Estimate(basis="nothing like it has run yet")
    for _ in range(3):
        ran(server, worker)
    estimate = planned(server).estimate
    assert estimate.run_s is not None
    assert estimate.basis == "3 earlier runs of this code on local"
    new = planned(server, code_key=B).estimate
    assert new.basis == "1 other cell of yours; this code is new"
    stranger = Http(server.url, server.make_token("read", owner="mallory"))
    ask = wire.EstimateRequest(code_key=A, kind="cell")
    reply = stranger.call("POST", "/v1/plans", ask, wire.PlanReply)
    assert reply.estimate.run_s is None
    stranger.close()


def test_a_plan_compares_machines_with_the_chosen_one_first(
    server: Running, worker: Worker
) -> None:
    ran(server, worker)
    offers = planned(server, need=wire.Need(gpu="A10G")).offers
    assert [o.machine.id for o in offers][:2] == ["g5.xlarge", "g5.xlarge.od"]
    assert {o.machine.gpu for o in offers} == {"A10G"}
    [began_s] = server.backend.scheduler.board.waits
    assert all(o.warm and o.start_s == began_s and o.estimate.ucredits for o in offers)
    named = planned(server, need=wire.Need(machine="g5.xlarge")).offers
    assert named[0].machine.id == "g5.xlarge"
    assert all(o.machine.gpu for o in named)


def test_a_plan_says_whether_a_slot_is_free_and_how_long_starts_take(
    server: Running, worker: Worker
) -> None:
    before = planned(server)
    assert (before.warm, before.slots_free, before.jobs_waiting) == (True, 2, 0)
    for _ in range(3):
        sent(server)
    for _ in range(2):
        worker.start(worker.pull(wire.Assign))
    full = planned(server)
    assert (full.warm, full.slots_free, full.jobs_waiting) == (True, 0, 1)


def test_without_a_worker_a_plan_expects_a_cold_start(server: Running) -> None:
    reply = planned(server)
    assert (reply.warm, reply.slots_free) == (False, 0)
    assert reply.start_s == 2.0
    server.backend.scheduler.board.starts.extend([3.0, 4.0, 9.0])
    assert planned(server).start_s == 4.0


def test_a_plan_says_what_a_worker_has_unless_it_is_the_python_that_asks(
    server: Running,
) -> None:
    worker = Worker(server)
    there = wire.WorkerEnvironment(python="3.12.1", packages={"numpy": "1.26"})
    worker.hello(environment=there)
    assert planned(server).there == there
    same = planned(server, executable="/usr/bin/python3")
    assert (same.same_python, same.there) == (True, None)
    worker.close()


def test_a_limit_below_the_least_price_is_refused_with_that_price(server: Running) -> None:
    need = wire.Need(machine="g5.xlarge.od")
    for send in (lambda: planned(server, need=need, max_cost_ucredits=20_000),
                 lambda: sent(server, need=need, max_cost_ucredits=20_000)):  # fmt: skip
        with pytest.raises(UsageError, match=r"below the least price .* \(\$0.0003\) for 1.0 s"):
            send()
    assert server.backend.store.jobs(server.backend.facts.owner) == []
    assert sent(server, need=need, max_cost_ucredits=28_000).status == "queued"
    assert sent(server, max_cost_ucredits=1).status == "queued"  # what is free costs less


def test_machines_say_how_many_of_their_slots_are_free(server: Running, worker: Worker) -> None:
    sent(server)
    worker.start(worker.pull(wire.Assign))
    found = server.http.call("GET", "/v1/machines", reply=wire.MachineList)
    assert (found.slots, found.slots_free) == ({"local": 2}, {"local": 1})
