"""Fuses, checkpoints, and jobs that go on from one or run once more."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blake3 import blake3

from jupyter_remote import errors, wire
from jupyter_remote.http import Http
from jupyter_remote.model import JobId
from jupyter_remote.scheduler.loop import assignment

from .conftest import Running, Worker, request, submit, until
from .test_workers import show

DATA = b"what is done"
PRICED = wire.Need(machine="g5.xlarge.od")


def segment_of(server: Running, data: bytes = DATA) -> wire.Segment:
    """Sent as a worker does."""
    digest = blake3(data).hexdigest()
    server.http.upload(f"/v1/blobs/{digest}", data)
    return wire.Segment(digest, len(data))


def save(worker: Worker, assign: wire.Assign, *segments: wire.Segment, **more: Any) -> wire.Answer:
    value = wire.Parcel(list(segments))
    fields = {"job": assign.job, "epoch": assign.epoch, "value": value, "why": "budget"}
    return worker.ask(wire.Saved, **(fields | more))


def started(server: Running, worker: Worker, **changes: Any) -> wire.Assign:
    submit(server, **changes)
    assign: wire.Assign = worker.pull(wire.Assign)
    assert worker.start(assign).ok
    return assign


def with_checkpoint(server: Running, worker: Worker, **changes: Any) -> wire.Assign:
    """A job that was stopped at its limit and had saved something."""
    assign = started(server, worker, **changes)
    assert save(worker, assign, segment_of(server)).ok
    assert worker.complete(assign, outcome="expired", reason="cost_limit", result=None).ok
    return assign


def history(server: Running, id: str) -> list[str]:
    reply = server.http.call("GET", f"/v1/jobs/{id}/history", reply=wire.HistoryReply)
    return [line.text for line in reply.history]


def repeat(server: Running, id: str, **fields: Any) -> wire.Submitted:
    body = wire.RepeatRequest(id=fields.pop("new", str(uuid.uuid4())), **fields)
    return server.http.call("POST", f"/v1/jobs/{id}/repeat", body, wire.Submitted)


def held(server: Running) -> int:
    return server.http.call("GET", "/v1/account", reply=wire.AccountReply).balance.held_ucredits


def test_a_worker_hears_when_most_of_the_cost_limit_is_spent(
    server: Running, worker: Worker
) -> None:
    submit(server, need=PRICED, max_cost_ucredits=1_006_000)  # a hundredth of an hour
    submit(server, need=PRICED)
    fused, free = worker.pull(wire.Assign), worker.pull(wire.Assign)
    assert (fused.max_run_s, fused.warn_s, free.warn_s) == (36.0, pytest.approx(28.8), None)


def test_a_warning_and_a_checkpoint_are_told_to_who_watches(
    server: Running, worker: Worker
) -> None:
    assign = started(server, worker, need=PRICED, max_cost_ucredits=1_006_000)
    for _ in range(2):  # the first reply was lost
        assert worker.ask(wire.Warned, job=assign.job, epoch=1).ok
        assert save(worker, assign, segment_of(server)).ok
    view = show(server, assign.job)
    assert view.warned_at is not None
    assert (view.checkpoint_bytes, view.fuse) == (len(DATA), "max_cost")
    _, _, _, warned, saved = history(server, assign.job)
    assert warned.startswith("warning at 80 %: ")
    assert warned.endswith(" of 1.006 credits are spent")
    assert saved == "checkpoint saved: 12 B"


def test_a_checkpoint_of_a_stale_attempt_or_with_parts_missing_is_refused(
    server: Running, worker: Worker
) -> None:
    assign = started(server, worker)
    there = segment_of(server)
    assert save(worker, assign, there, epoch=2).code == "conflict"
    assert save(worker, assign, wire.Segment("cd" * 32, 5)).code == "conflict"
    assert save(worker, assign, wire.Segment("no digest", 5)).code == "invalid_request"
    assert show(server, assign.job).checkpoint_at is None
    assert save(worker, assign, there).ok


def test_a_new_job_is_given_the_checkpoint_of_an_old_one(server: Running, worker: Worker) -> None:
    old = with_checkpoint(server, worker)
    new = submit(server, "2 + 2", resume=old.job)
    assert new.missing == []
    assign = worker.pull(wire.Assign)
    assert assign.spec.checkpoint == wire.Parcel([segment_of(server)])
    assert show(server, new.job.id).resumes == old.job
    told = history(server, new.job.id)[0]
    assert told.startswith(f"queued; resumes from the checkpoint of job {old.job[:8]} of ")


def test_the_jobs_of_a_batch_all_go_on_from_it(server: Running, worker: Worker) -> None:
    old = with_checkpoint(server, worker)
    template = request(resume=old.job)
    ids = [str(uuid.uuid4()) for _ in range(2)]
    inputs = [wire.Parcel([wire.Segment(blake3(b"x").hexdigest(), 1, b"x")])] * 2
    body = wire.BatchRequest(id=template.id, template=template, ids=ids, inputs=inputs)
    server.http.call("POST", "/v1/batches", body, wire.BatchSubmitted)
    assigned = [worker.pull(wire.Assign) for _ in ids]
    assert all(a.spec.checkpoint is not None for a in assigned)


def test_a_job_that_runs_can_be_gone_on_from(server: Running, worker: Worker) -> None:
    old = started(server, worker)
    save(worker, old, segment_of(server))
    assert submit(server, resume=old.job).job.resumes == old.job
    assert worker.pull(wire.Assign).spec.checkpoint is not None


def test_what_cannot_be_gone_on_from_is_refused_with_the_reason(
    server: Running, worker: Worker
) -> None:
    running = started(server, worker)
    with pytest.raises(errors.Conflict, match="it has saved none yet"):
        submit(server, resume=running.job)
    worker.complete(running)
    with pytest.raises(errors.Conflict, match="it saved none") as none:
        submit(server, resume=running.job)
    assert "@jr.on_checkpoint" in none.value.hint
    with pytest.raises(errors.NotFound, match="There is no job"):
        submit(server, resume=str(uuid.uuid4()))
    id = str(uuid.uuid4())
    with pytest.raises(errors.InvalidRequest, match="its own checkpoint"):
        submit(server, id=id, resume=id)
    with pytest.raises(errors.InvalidRequest, match="lower-case UUID"):
        submit(server, resume="last")


def test_nobody_goes_on_from_somebody_elses_checkpoint(server: Running, worker: Worker) -> None:
    old = with_checkpoint(server, worker, visibility="public")
    bob = Http(server.url, server.make_token("submit", "read", owner="bob"))
    with pytest.raises(errors.NotFound, match="There is no job"):
        bob.call("POST", "/v1/jobs", request(resume=old.job), wire.Submitted)
    body = wire.RepeatRequest(id=str(uuid.uuid4()), resume=True)
    with pytest.raises(errors.NotFound):
        bob.call("POST", f"/v1/jobs/{old.job}/repeat", body, wire.Submitted)
    bob.close()


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_checkpoint_that_is_gone_is_told_and_holds_nothing(
    server: Running, worker: Worker, harm: Any
) -> None:
    old = with_checkpoint(server, worker)
    digest = blake3(DATA).hexdigest()
    path = Path(str(server.backend.blobs.folder)) / digest[:2] / digest
    path.chmod(0o600)
    harm(path)
    wanted = request(resume=old.job, need=PRICED, timeout_s=60.0)
    with pytest.raises(errors.Conflict, match="is damaged, or gone; nothing was charged"):
        server.http.call("POST", "/v1/jobs", wanted, wire.Submitted)
    with pytest.raises(errors.NotFound):
        show(server, wanted.id)
    assert held(server) == 0


def test_a_request_that_is_sent_again_is_the_same_job_whatever_became_of_the_old_one(
    server: Running, worker: Worker
) -> None:
    old = with_checkpoint(server, worker)
    wanted = request(resume=old.job)
    server.http.call("POST", "/v1/jobs", wanted, wire.Submitted)
    store = server.backend.store
    server.backend.writer.call_sync(store.forget_jobs, server.backend.clock.now() + 1)
    again = server.http.call("POST", "/v1/jobs", wanted, wire.Submitted)
    assert again.job.resumes == old.job


def test_an_attempt_after_others_gets_their_checkpoint_and_what_is_left_of_the_money(
    server: Running, worker: Worker
) -> None:
    assign = started(server, worker, need=PRICED, max_cost_ucredits=1_006_000)
    save(worker, assign, segment_of(server))
    record = server.backend.store.job(JobId(assign.job))
    record = msgspec.structs.replace(record, cost_ucredits=503_000)
    spec = msgspec.json.decode(record.spec, type=wire.JobSpec)
    second = assignment(record, 2, spec, 45.0)
    assert second.spec.checkpoint == wire.Parcel([segment_of(server)])
    assert (second.max_run_s, second.warn_s) == (18.0, pytest.approx(10.8))


def test_after_a_loss_the_next_attempt_goes_on_from_there(server: Running, worker: Worker) -> None:
    assign = started(server, worker)
    save(worker, assign, segment_of(server))
    assert worker.complete(assign, outcome="died", detail="lost", result=None).ok
    second = worker.pull(wire.Assign)
    assert (second.job, second.epoch) == (assign.job, 2)
    assert second.spec.checkpoint == wire.Parcel([segment_of(server)])


def test_a_cancel_with_a_checkpoint_is_told_as_that_until_it_is_forced(
    server: Running, worker: Worker
) -> None:
    assign = started(server, worker)

    def cancel(**how: bool) -> None:
        path = f"/v1/jobs/{assign.job}/cancel"
        server.http.call("POST", path, wire.CancelRequest(**how), wire.JobView)

    cancel(checkpoint=True)
    assert worker.pull(wire.Cancel).how == "checkpoint"
    assert worker.print(assign, 1, "x").cancel == "checkpoint"
    cancel()
    assert worker.print(assign, 2, "x").cancel == "checkpoint"
    worker.close()
    until(lambda: not server.backend.scheduler.board.agents)
    again = Worker(server, token=worker.token)
    again.hello(running=[(assign.job, 1)])
    assert again.pull(wire.Cancel).how == "checkpoint"
    cancel(force=True)
    assert again.pull(wire.Cancel).how == "kill"
    again.close()


# --- once more -------------------------------------------------------------------------------
def test_a_job_is_repeated_as_it_was(server: Running, worker: Worker) -> None:
    limits = {"timeout_s": 60.0, "max_cost_ucredits": 5_000_000, "retries": 2}
    submit(server, "7", need=PRICED, description="seven", notebook="a.ipynb", **limits)
    old = worker.run()
    new = repeat(server, old.job).job
    assign = worker.pull(wire.Assign)
    assert (assign.job, assign.spec.code, assign.spec.checkpoint) == (new.id, "7", None)
    assert (new.machine, new.description, new.notebook) == ("g5.xlarge.od", "seven", "a.ipynb")
    assert (new.timeout_s, new.max_cost_ucredits) == (60.0, 5_000_000)
    assert server.backend.store.job(JobId(new.id)).retries == 2


def test_a_job_is_repeated_with_other_limits_elsewhere(server: Running, worker: Worker) -> None:
    submit(server, need=PRICED, timeout_s=60.0)
    old = worker.run()
    new = repeat(server, old.job, need=wire.Need(machine="local"), timeout_s=5.0, client="me").job
    assert (new.machine, new.timeout_s, new.client) == ("local", 5.0, "me")


def test_a_repeat_that_is_sent_again_is_one_job(server: Running, worker: Worker) -> None:
    submit(server)
    old, new = worker.run(), str(uuid.uuid4())
    assert [repeat(server, old.job, new=new).job.id for _ in range(2)] == [new, new]
    assert worker.pull(wire.Assign).job == new
    with pytest.raises(errors.KeyReused):
        repeat(server, old.job, new=new, timeout_s=5.0)


def test_a_repeat_goes_on_from_the_checkpoint_if_asked(server: Running, worker: Worker) -> None:
    old = with_checkpoint(server, worker)
    new = repeat(server, old.job, resume=True).job
    assign = worker.pull(wire.Assign)
    assert (assign.spec.checkpoint is not None, new.resumes) == (True, old.job)
    worker.start(assign)
    worker.complete(assign)
    again = repeat(server, new.id).job  # as it was: from there, too
    assert worker.pull(wire.Assign).spec.checkpoint == assign.spec.checkpoint
    assert again.resumes == old.job
    assert f"from the same checkpoint as job {new.id[:8]}" in history(server, again.id)[0]


def test_a_repeat_does_not_give_out_again_what_was_taken_back(
    server: Running, worker: Worker
) -> None:
    submit(server, visibility="public")
    old = worker.run()
    assert repeat(server, old.job).job.visibility == "public"
    server.http.call("DELETE", f"/v1/jobs/{old.job}/share", None, wire.ResultsView)
    new = repeat(server, old.job).job
    assert (new.visibility, new.results_uuid) == ("private", "")


def test_a_checkpoint_that_travels_inline_is_sent_with_a_repeat(
    server: Running, worker: Worker
) -> None:
    old = started(server, worker)
    inline = wire.Segment(blake3(DATA).hexdigest(), len(DATA), DATA)
    assert save(worker, old, inline).ok
    worker.complete(old, outcome="expired", reason="cost_limit", result=None)
    repeat(server, old.job, resume=True)
    assert worker.pull(wire.Assign).spec.checkpoint == wire.Parcel([inline])


def test_what_is_no_longer_there_is_named_and_nothing_is_held(
    server: Running, worker: Worker
) -> None:
    data = segment_of(server, b"a file")
    table = segment_of(server, b"a table")
    names = [wire.NameInfo("df", "DataFrame", 7), wire.NameInfo("n", "int", 28)]
    spec = wire.JobSpec(
        kind="cell",
        code="df",
        inputs=wire.Parcel([table], names=names),
        files=[wire.FileRef("data.csv", data)],
    )
    submit(server, spec=spec, need=PRICED, timeout_s=60.0)
    old = worker.run()
    for segment in (data, table):
        server.backend.writer.call_sync(server.backend.store.blob_lost, segment.digest)
    with pytest.raises(errors.Conflict) as gone:
        repeat(server, old.job)
    assert "there any more: df (7 B), n (28 B); the file data.csv. Nothing was" in str(gone.value)
    assert held(server) == 0


def test_a_call_of_a_batch_is_repeated_alone(server: Running, worker: Worker) -> None:
    ids = [str(uuid.uuid4()) for _ in range(2)]
    template = wire.SubmitRequest(id=ids[0], spec=wire.JobSpec(kind="call", name="f"))
    parcels = [wire.Parcel([wire.Segment(blake3(x).hexdigest(), 1, x)]) for x in (b"x", b"y")]
    batch = wire.BatchRequest(id=str(uuid.uuid4()), template=template, ids=ids, inputs=parcels)
    server.http.call("POST", "/v1/batches", batch, wire.BatchSubmitted)
    worker.run(), worker.run()
    new = repeat(server, ids[1]).job
    assert (new.batch, worker.pull(wire.Assign).spec.inputs) == (None, parcels[1])


def test_a_cell_of_a_session_is_repeated_there_until_that_is_over(
    server: Running, worker: Worker
) -> None:
    session = started(server, worker, spec=wire.JobSpec(kind="session", session="lab"))
    submit(server, spec=wire.JobSpec(kind="cell", code="1", session=session.job))
    cell = worker.run()
    assert repeat(server, cell.job).job.session == session.job
    assert worker.run().spec.session == session.job
    worker.complete(session, outcome="cancelled")
    with pytest.raises(errors.Conflict, match="The session 'lab' is over"):
        repeat(server, cell.job)


def test_a_session_is_not_repeated(server: Running, worker: Worker) -> None:
    id = submit(server, spec=wire.JobSpec(kind="session", session="lab")).job.id
    with pytest.raises(errors.InvalidRequest, match="A session is no job to be repeated"):
        repeat(server, id)


def test_a_job_whose_machine_is_taken_away_goes_on_elsewhere_from_its_checkpoint(
    server: Running, worker: Worker
) -> None:
    assign = started(server, worker)
    ends_at = server.backend.clock.now() + 120
    for _ in range(2):  # it dials anew, and says it again
        assert worker.ask(wire.Notice, ends_at=ends_at).drain
    assert show(server, assign.job).detail.startswith("its machine is taken away at ")
    there = segment_of(server)
    assert save(worker, assign, there, why="preempted").ok
    assert worker.complete(assign, outcome="preempted", result=None).ok
    view = show(server, assign.job)
    assert (view.status, view.detail.split()[:2]) == ("queued", ["preempted", "after"])
    other = Worker(server, "w-2")
    other.hello()
    again = other.pull(wire.Assign)
    assert (again.job, again.epoch) == (assign.job, 2)
    assert again.spec.checkpoint == wire.Parcel([there])
    assert other.start(again).ok
    assert other.complete(again).ok
    told = history(server, assign.job)
    assert len([line for line in told if line.startswith("its machine is taken away at")]) == 1
    assert told[-4].endswith("goes on from its checkpoint on another one; not charged")
    other.close()


def test_a_machine_that_is_taken_away_is_given_nothing_more(
    server: Running, worker: Worker
) -> None:
    assert worker.ask(wire.Notice, ends_at=float("nan")).ok
    queued = submit(server)
    other = Worker(server, "w-2")
    other.hello()
    assert other.run().job == queued.job.id
    assert worker.pushed == []
    other.close()
