from __future__ import annotations

import uuid
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3

from jupyter_remote import errors, wire
from jupyter_remote.scheduler.board import OVERDUE_S

from .conftest import Running, Worker, request, submit, until


def show(server: Running, id: str) -> wire.JobView:
    return server.http.call("GET", f"/v1/jobs/{id}", reply=wire.JobView)


def test_a_submit_is_answered_at_once_with_the_job(server: Running) -> None:
    job = submit(server, description="a test", visibility="unlisted").job
    assert (job.status, job.description, job.visibility) == ("queued", "a test", "unlisted")
    assert job.version
    assert job.money.cost_ucredits == 0


def test_submitting_twice_is_submitting_once(server: Running) -> None:
    once = request(client="notebook")
    replies = [server.http.call("POST", "/v1/jobs", once, wire.Submitted) for _ in range(3)]
    assert {r.job.id for r in replies} == {once.id}
    assert len(server.http.call("GET", "/v1/jobs", reply=wire.JobList).jobs) == 1


def test_the_same_id_with_another_body_is_refused(server: Running) -> None:
    job = submit(server).job
    with pytest.raises(errors.KeyReused):
        submit(server, "2 + 2", id=job.id)


def test_a_job_runs_on_a_worker_and_has_a_result(server: Running, worker: Worker) -> None:
    id = submit(server).job.id
    with pytest.raises(errors.Conflict):
        server.http.call("GET", f"/v1/jobs/{id}/result", reply=wire.Done)
    assign = worker.pull(wire.Assign)
    assert (assign.job, assign.epoch, assign.spec.code) == (id, 1, "1 + 1")
    assert worker.start(assign).ok
    assert show(server, id).status == "running"
    assert worker.print(assign, 1, "héllo\n").acked_seq == 1
    assert worker.complete(assign).ok
    done = server.http.call("GET", f"/v1/jobs/{id}/result", reply=wire.Done)
    assert (done.job.status, done.error) == ("completed", None)
    assert b"".join(server.http.download(f"/v1/jobs/{id}/log")).decode() == "héllo\n"
    history = server.http.call("GET", f"/v1/jobs/{id}/history", reply=wire.HistoryReply).history
    assert [h.event for h in history] == ["submit", "claim", "start", "complete"]


def test_the_receipt_is_there_when_the_job_ended_with_figures_price_and_advice(
    server: Running, worker: Worker
) -> None:
    id = submit(server, need=wire.Need(machine="g5.xlarge")).job.id
    with pytest.raises(errors.Conflict, match="no receipt yet"):
        server.http.call("GET", f"/v1/jobs/{id}/receipt", reply=wire.Receipt)
    assign = worker.pull(wire.Assign)
    assert worker.start(assign).ok
    gpu = wire.GpuMetrics("A10G", mean_percent=11.0, peak_percent=30.0, peak_memory_bytes=3 << 30)
    metrics = wire.Metrics(
        at=0.0,
        cpu_percent=0.0,
        memory_bytes=0,
        peak_memory_bytes=2 << 30,
        measured_s=90.0,
        peak_cpu_percent=100.0,
        gpus=[gpu],
    )
    assert worker.complete(assign, metrics=metrics).ok
    receipt = server.http.call("GET", f"/v1/jobs/{id}/receipt", reply=wire.Receipt)
    assert (receipt.id, receipt.status, receipt.machine) == (id, "completed", "g5.xlarge")
    assert receipt.use == metrics
    assert receipt.price.source
    assert receipt.offer is not None
    assert (receipt.offer.gpu, receipt.price.usd_per_h) == ("A10G", receipt.offer.usd_per_h)
    assert receipt.advice is not None
    assert "would have done" in receipt.advice.text
    done = server.http.call("GET", f"/v1/jobs/{id}/result", reply=wire.Done)
    assert done.receipt == receipt


def test_a_batch_is_one_request_and_many_jobs(server: Running, worker: Worker) -> None:
    ids = [str(uuid.uuid4()) for _ in range(5)]
    inputs = [wire.Parcel([wire.Segment("0" * 64, 1, b"x")]) for _ in ids]
    batch = wire.BatchRequest(id="b1", template=request(), ids=ids, inputs=inputs)
    reply = server.http.call("POST", "/v1/batches", batch, wire.BatchSubmitted)
    assert reply.ids == ids
    assert [worker.run().job for _ in ids] == ids
    listed = server.http.call("GET", "/v1/jobs", reply=wire.JobList, params={"batch": "b1"})
    assert {j.status for j in listed.jobs} == {"completed"}


def test_a_batch_does_not_write_its_function_down_a_thousand_times(server: Running) -> None:
    ids = [str(uuid.uuid4()) for _ in range(2000)]
    function = bytes(40_000)
    code = wire.Segment(blake3(function).hexdigest(), len(function), data=function)
    template = request(spec=wire.JobSpec(kind="call", function=wire.Parcel([code])))
    batch = wire.BatchRequest(id="b1", template=template, ids=ids, inputs=[wire.Parcel([])] * 2000)
    with pytest.raises(errors.TooLarge, match="as blobs"):
        server.http.call("POST", "/v1/batches", batch, wire.BatchSubmitted)


def test_a_cancel_before_the_start_is_free_and_final(server: Running) -> None:
    id = submit(server, need=wire.Need(machine="g5.xlarge.od")).job.id
    view = server.http.call("POST", f"/v1/jobs/{id}/cancel", wire.CancelRequest(), wire.JobView)
    assert (view.status, view.money.cost_ucredits) == ("cancelled", 0)
    with pytest.raises(errors.Conflict):
        server.http.call("POST", f"/v1/jobs/{id}/cancel", wire.CancelRequest(), wire.JobView)
    account = server.http.call("GET", "/v1/account", reply=wire.AccountReply)
    assert account.balance.held_ucredits == 0


def test_a_cancel_reaches_the_worker_at_once(server: Running, worker: Worker) -> None:
    id = submit(server).job.id
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    path = f"/v1/jobs/{id}/cancel"
    assert server.http.call("POST", path, wire.CancelRequest(), wire.JobView).status == "cancelling"
    assert worker.pull(wire.Cancel).how == "interrupt"
    server.http.call("POST", path, wire.CancelRequest(force=True), wire.JobView)
    assert worker.pull(wire.Cancel).how == "kill"
    assert worker.print(assign, 1, "still here").cancel == "kill"
    assert worker.complete(assign, outcome="cancelled", result=None).ok
    assert show(server, id).status == "cancelled"


def cancelled(server: Running, id: str, **how: object) -> wire.JobView:
    asked = msgspec.convert(how, wire.CancelRequest)
    return server.http.call("POST", f"/v1/jobs/{id}/cancel", asked, wire.JobView)


def test_a_cancel_tells_everybody_when_it_kills(tmp_path: Path) -> None:
    server = Running(tmp_path, force_after_s=300.0)
    worker = Worker(server)
    worker.hello()
    id = submit(server).job.id
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    now = server.backend.clock.now
    began = now()
    view = cancelled(server, id)
    assert began + 300 <= view.kill_at <= now() + 300  # as set
    assert view.kill_at - now() <= worker.pull(wire.Cancel).kill_in_s <= 300
    assert cancelled(server, id).kill_at == view.kill_at  # asked again it stays
    began = now()
    longer = cancelled(server, id, force_after_s=600)
    assert began + 600 <= longer.kill_at <= now() + 600
    assert show(server, id).kill_at == longer.kill_at
    assert longer.kill_at - now() <= worker.pull(wire.Cancel).kill_in_s <= 600
    left_s = worker.print(assign, 1, "x").kill_in_s
    assert longer.kill_at - now() <= left_s <= 600
    assert cancelled(server, id, force_after_s=0).kill_at is None
    assert worker.pull(wire.Cancel).kill_in_s == 0
    assert cancelled(server, id, force_after_s=0.001).kill_at is not None
    until(lambda: worker.print(assign, 2, "y").kill_in_s == OVERDUE_S)
    assert worker.complete(assign, outcome="cancelled", detail="killed", result=None).ok
    shown = show(server, id)
    assert (shown.status, shown.kill_at, shown.detail) == ("cancelled", None, "killed")
    worker.close()
    server.stop()


def test_a_worker_that_was_away_hears_how_long_is_left(server: Running, worker: Worker) -> None:
    id = submit(server).job.id
    worker.start(worker.pull(wire.Assign))
    worker.close()
    until(lambda: not server.backend.scheduler.board.agents)
    kill_at = cancelled(server, id, force_after_s=600).kill_at
    assert kill_at is not None
    again = Worker(server, token=worker.token)
    again.hello(running=[(id, 1)])
    told = again.pull(wire.Cancel)
    assert told.how == "interrupt"
    assert kill_at - server.backend.clock.now() <= told.kill_in_s <= 600
    again.close()


def test_a_worker_that_comes_back_too_late_interrupts_before_it_kills(
    server: Running, worker: Worker
) -> None:
    id = submit(server).job.id
    worker.start(worker.pull(wire.Assign))
    worker.close()
    until(lambda: not server.backend.scheduler.board.agents)
    kill_at = cancelled(server, id, force_after_s=0.001).kill_at
    until(lambda: server.backend.clock.now() > (kill_at or 0))
    again = Worker(server, token=worker.token)
    again.hello(running=[(id, 1)])
    told = again.pull(wire.Cancel)
    assert (told.how, told.kill_in_s) == ("interrupt", OVERDUE_S)
    again.close()


@pytest.mark.parametrize("after_s", [-1, 86_401, "soon"])
def test_a_cancel_with_a_senseless_time_is_refused(
    server: Running, worker: Worker, after_s: object
) -> None:
    id = submit(server).job.id
    worker.start(worker.pull(wire.Assign))
    path = f"/v1/jobs/{id}/cancel"
    with pytest.raises(errors.InvalidRequest, match="force_after_s"):
        server.http.call("POST", path, {"force_after_s": after_s}, wire.JobView)
    assert show(server, id).status == "running"


def test_a_job_cancelled_between_claim_and_start_does_not_start(
    server: Running, worker: Worker
) -> None:
    id = submit(server).job.id
    assign = worker.pull(wire.Assign)
    server.http.call("POST", f"/v1/jobs/{id}/cancel", wire.CancelRequest(), wire.JobView)
    assert worker.pull(wire.Cancel).how == "kill"
    answer = worker.start(assign)
    assert (answer.ok, answer.code) == (False, "conflict")


def test_jobs_are_found_by_the_beginning_of_their_id(server: Running) -> None:
    job = submit(server).job
    found = server.http.call("GET", "/v1/jobs", reply=wire.JobList, params={"prefix": job.id[:8]})
    assert [j.id for j in found.jobs] == [job.id]


def test_some_jobs_are_found_in_one_request(server: Running) -> None:
    first, _, third = (submit(server).job.id for _ in range(3))
    asked = {"ids": f"{first},{third},{uuid.uuid4()}", "limit": 3}
    found = server.http.call("GET", "/v1/jobs", reply=wire.JobList, params=asked)
    assert [j.id for j in found.jobs] == [third, first]
    assert server.http.call("GET", "/v1/jobs", reply=wire.JobList, params={"ids": ""}).jobs == []


def test_pages_of_jobs_are_newest_first_without_gap(server: Running) -> None:
    ids = [submit(server).job.id for _ in range(5)]
    seen, before = [], ""
    while True:
        page = server.http.call(
            "GET", "/v1/jobs", reply=wire.JobList, params={"limit": 2, "before": before}
        )
        seen += [j.id for j in page.jobs]
        if not (before := page.next):
            break
    assert seen == ids[::-1]


def test_a_simulated_machine_is_priced_and_held(server: Running, worker: Worker) -> None:
    job = submit(server, need=wire.Need(machine="g5.xlarge.od"), timeout_s=3600.0).job
    assert job.money.simulated
    assert job.money.hold_ucredits == job.money.rate_ucredits_per_h == 100_600_000
    assert worker.run().job == job.id
    until(lambda: show(server, job.id).status == "completed")
    account = server.http.call("GET", "/v1/account", reply=wire.AccountReply)
    assert account.balance.held_ucredits == 0
    assert account.balance.spent_ucredits > 0


def test_a_balance_too_small_refuses_before_anything_runs(server: Running) -> None:
    need = wire.Need(machine="p5.48xlarge.od")  # a day of it costs 132,096 of 1,000,000 credits
    for _ in range(7):
        submit(server, need=need)
    with pytest.raises(errors.InsufficientFunds, match="credits"):
        submit(server, need=need)
    assert len(server.http.call("GET", "/v1/jobs", reply=wire.JobList).jobs) == 7


def test_an_unknown_machine_names_the_nearest(server: Running) -> None:
    with pytest.raises(errors.UnknownMachine, match=r"g5\.xlarge"):
        submit(server, need=wire.Need(machine="g5.xlrge"))


def sized(size_bytes: int) -> wire.Parcel:
    return wire.Parcel([], names=[wire.NameInfo("x", "int", size_bytes)])


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "1"},
        {"id": "../../../etc/passwd"},
        {"timeout_s": -1.0},
        {"max_cost_ucredits": 10**30},
        {"retries": 10**400},
        {"max_attempts": 0},
        {"client": "a b"},
        {"spec": wire.JobSpec(kind="call", inputs=wire.Parcel([wire.Segment("xyz", 1)]))},
        {"spec": wire.JobSpec(kind="call", inputs=wire.Parcel([wire.Segment("a" * 64, -1)]))},
        {"spec": wire.JobSpec(kind="cell", inputs=sized(1 << 63))},
        {"spec": wire.JobSpec(kind="cell", inputs=sized(-1))},
        {
            "spec": wire.JobSpec(
                kind="cell", files=[wire.FileRef("../x", wire.Segment("a" * 64, 1))]
            )
        },
        {"spec": wire.JobSpec(kind="cell", files=[wire.FileRef("/x", wire.Segment("a" * 64, 1))])},
    ],
)
def test_nonsense_is_refused_by_name(server: Running, changes: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidRequest):
        submit(server, **changes)


def test_code_is_the_same_whatever_cell_it_was_in() -> None:
    same = wire.code_digest_of("", "f", ["def f(): ...", "x = 1"])
    assert same == wire.code_digest_of("", "f", ["x = 1", "def f(): ..."])
    assert same != wire.code_digest_of("", "g", ["x = 1", "def f(): ..."])
    assert wire.code_digest_of("", "abs") == ""
    assert wire.code_digest_of("1", "In [1]") == wire.code_digest_of("1", "In [2]")
