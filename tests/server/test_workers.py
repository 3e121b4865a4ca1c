"""Workers: fenced, resumed, refused."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from jupyter_remote import errors, wire
from jupyter_remote.model import WorkerId
from jupyter_remote.server import workers

from .conftest import LIMIT_S, Running, Worker, request, submit, until


def show(server: Running, id: str) -> wire.JobView:
    return server.http.call("GET", f"/v1/jobs/{id}", reply=wire.JobView)


def test_free_slots_are_filled_in_order_and_no_more(server: Running, worker: Worker) -> None:
    ids = [submit(server).job.id for _ in range(4)]
    first = [worker.pull(wire.Assign), worker.pull(wire.Assign)]
    assert [a.job for a in first] == ids[:2]
    info = server.http.call("GET", "/v1/server", reply=wire.ServerInfo)
    assert (info.workers[0].busy, info.jobs_queued) == (2, 4)
    worker.start(first[1])
    worker.complete(first[1])
    assert worker.pull(wire.Assign).job == ids[2]


def test_a_worker_cannot_touch_what_another_one_has(server: Running, worker: Worker) -> None:
    submit(server)
    assign = worker.pull(wire.Assign)
    thief = Worker(server, id="w-2")
    thief.hello()
    for answer in (
        thief.start(assign),
        thief.print(assign, 1, "x"),
        thief.complete(assign),
        thief.ask(wire.Release, job=assign.job, epoch=assign.epoch),
    ):
        assert (answer.ok, answer.code) == (False, "conflict")
    assert worker.start(assign).ok
    thief.close()


def test_a_stale_epoch_is_refused(server: Running, worker: Worker) -> None:
    submit(server)
    first = worker.pull(wire.Assign)
    worker.ask(wire.Release, job=first.job, epoch=first.epoch, reason="no slot")
    second = worker.pull(wire.Assign)
    assert (second.job, second.epoch) == (first.job, first.epoch + 1)
    assert worker.start(first).code == "conflict"
    assert worker.start(second).ok
    assert worker.complete(first).code == "conflict"
    assert worker.complete(second).ok
    assert worker.complete(second).code == "conflict"


def test_a_result_needs_its_segments(server: Running, worker: Worker) -> None:
    id = submit(server).job.id
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    absent = wire.Result(value=wire.Parcel([wire.Segment("cd" * 32, 100_000)]))
    assert worker.complete(assign, result=absent).code == "conflict"
    assert show(server, id).status == "running"
    assert worker.complete(assign).ok


def test_a_worker_that_comes_back_keeps_what_it_runs(server: Running, worker: Worker) -> None:
    id = submit(server).job.id
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    worker.print(assign, 1, "before ")
    worker.close()
    again = Worker(server, token=worker.token)
    welcome = again.hello(running=[(id, 1), (id, 7)])
    assert welcome.keep == [(id, 1)]
    assert again.print(assign, 1, "before ").ok  # sent again: it is stored once
    assert again.print(assign, 2, "after").ok
    assert again.complete(assign).ok
    assert b"".join(server.http.download(f"/v1/jobs/{id}/log")) == b"before after"
    again.close()


def test_a_worker_that_dials_anew_before_its_old_connection_ends_stays_connected(
    server: Running, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, old = server.backend, server.backend.fleet.links[WorkerId(worker.id)]
    resumed = workers.resumed

    async def when_the_old_one_is_gone(*args: Any) -> list[tuple[str, int]]:
        while backend.fleet.links.get(WorkerId(worker.id)) is old:
            await asyncio.sleep(0.01)
        return await resumed(*args)

    monkeypatch.setattr(workers, "resumed", when_the_old_one_is_gone)
    again = Worker(server, token=worker.token)
    assert isinstance(again.hello(), wire.Welcome)
    backend.writer.call_sync(lambda: None)  # type: ignore[attr-defined]
    assert [w.id for w in backend.store.snapshot(1).workers] == [worker.id]
    submit(server)
    again.run()
    again.close()


def test_an_assignment_that_did_not_arrive_is_made_again(server: Running, worker: Worker) -> None:
    id = submit(server).job.id
    lost = worker.pull(wire.Assign)
    worker.close()
    again = Worker(server, token=worker.token)
    again.hello()
    assign = again.pull(wire.Assign)
    assert (assign.job, assign.epoch) == (id, lost.epoch + 1)
    again.close()


def test_a_cancel_missed_while_away_is_told_again(server: Running, worker: Worker) -> None:
    id = submit(server).job.id
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    worker.close()
    until(lambda: not server.backend.scheduler.board.agents)
    server.http.call("POST", f"/v1/jobs/{id}/cancel", wire.CancelRequest(), wire.JobView)
    again = Worker(server, token=worker.token)
    again.hello(running=[(id, 1)])
    assert again.pull(wire.Cancel).job == id
    again.close()


def test_another_worker_cannot_take_over_an_id(server: Running, worker: Worker) -> None:
    thief = Worker(server, id=worker.id)
    with pytest.raises(ConnectionClosed) as closed:
        thief.hello()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert worker.ask(wire.Ping).ok


@pytest.mark.parametrize("changes", [{"protocol": 99}, {"slots": 0}, {"worker": "a b"}])
def test_a_hello_that_cannot_be_served_is_refused(
    server: Running, changes: dict[str, object]
) -> None:
    stranger = Worker(server)
    fields = {"worker": "w", "instance": "i", "machine": "local", "slots": 1, **changes}
    stranger.send(wire.Hello(**fields))
    with pytest.raises(ConnectionClosed) as closed:
        stranger.receive()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


@pytest.mark.parametrize("garbage", [b"", b"\xc1", b"\x81\xa4type\xa4nope", "text"])
def test_garbage_cuts_the_worker_off_and_nobody_else(
    server: Running, worker: Worker, garbage: bytes | str
) -> None:
    other = Worker(server, id="w-2")
    other.hello()
    other.socket.send(garbage)
    with pytest.raises(ConnectionClosed):
        other.receive()
    submit(server)
    worker.run()


def test_bars_are_shown_live_and_kept_as_the_latest(server: Running, worker: Worker) -> None:
    id = submit(server).job.id
    assign = worker.pull(wire.Assign)
    worker.start(assign)

    def bar(n: int) -> wire.WorkerEvent:
        return wire.WorkerEvent("progress", wire.encode(wire.Bar(id="b", n=n, total=10)))

    for n in range(10):
        assert worker.ask(wire.Beat, job=id, epoch=1, events=[bar(n)]).ok
    worker.complete(assign, events=[bar(10)])
    assert [(b.id, b.n) for b in show(server, id).progress] == [("b", 10)]
    kept = server.backend.store.events(after=0, job=assign.job)
    assert "progress" not in {e.type for e in kept}


def test_bars_that_do_not_move_any_more_are_kept(server: Running, worker: Worker) -> None:
    id = submit(server).job.id
    assign = worker.pull(wire.Assign)
    worker.start(assign)

    def beat(*bars: wire.Bar) -> wire.Answer:
        events = [wire.WorkerEvent("progress", wire.encode(bar)) for bar in bars]
        return worker.ask(wire.Beat, job=id, epoch=1, events=events, stage="executing")

    beat(wire.Bar(id="outer", n=4, total=10))
    beat(*(wire.Bar(id=f"inner {n}", n=1, state="close") for n in range(300)))
    beat(wire.Bar(id="last", n=1))
    told = show(server, id).progress
    assert (told[0].id, told[-1].id, len(told)) == ("outer", "last", 200)
    again = Worker(server, token=worker.token)
    again.hello(running=[(id, 1)])  # another connection goes on where this one was
    bar = wire.WorkerEvent("progress", wire.encode(wire.Bar(id="last", n=2)))
    assert again.complete(assign, events=[bar]).ok
    assert [(b.id, b.n) for b in show(server, id).progress][0::199] == [("outer", 4), ("last", 2)]
    again.close()


def test_a_beat_that_was_not_written_is_written_with_the_next(
    server: Running, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = submit(server).job.id
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    beat, refusals = server.backend.store.beat, [errors.StorageFull("full")]

    def refusing(*args: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return beat(*args)

    monkeypatch.setattr(server.backend.store, "beat", refusing)
    bar = wire.WorkerEvent("progress", wire.encode(wire.Bar(id="b", n=3)))
    assert worker.ask(wire.Beat, job=id, epoch=1, events=[bar]).code == "storage_full"
    assert worker.ask(wire.Beat, job=id, epoch=1).ok
    assert [b.n for b in show(server, id).progress] == [3]


@pytest.mark.parametrize(
    ("type", "data", "seq"),
    [("done", b"{}", 1), ("status", b"{}", 1), ("progress", b'{"id": "b", "n": 1}', 1),
     ("stream", b"{", 1), ("stream", b'"\xff"', 1), ("stream", b"{}", 0)],
)  # fmt: skip
def test_an_event_that_no_worker_makes_is_refused(
    server: Running, worker: Worker, type: str, data: bytes, seq: int
) -> None:
    id = submit(server).job.id
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    event = wire.WorkerEvent(type, data, seq)
    assert worker.ask(wire.Beat, job=id, epoch=1, events=[event]).code == "invalid_request"
    assert worker.complete(assign, events=[event]).code == "invalid_request"
    assert worker.complete(assign).ok
    assert {e.type for e in server.backend.store.events(after=0, job=assign.job)} == {
        "status",
        "done",
    }


def test_a_malformed_bar_is_refused_and_the_worker_goes_on(server: Running, worker: Worker) -> None:
    id = submit(server).job.id
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    bad = wire.WorkerEvent("progress", b'{"id": 5}')
    assert worker.ask(wire.Beat, job=id, epoch=1, events=[bad]).code == "invalid_request"
    assert worker.complete(assign).ok


def suspects_after(server: Running, seconds: float) -> None:
    scheduler = server.backend.scheduler
    scheduler._limits = msgspec.structs.replace(scheduler._limits, suspect_s=seconds)
    assert scheduler._main is not None
    scheduler._main.get_loop().call_soon_threadsafe(scheduler.wake)


def test_a_worker_that_is_silent_is_shown_as_that_until_it_speaks(
    server: Running, worker: Worker
) -> None:
    id = submit(server, client="me").job.id
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    heard: list[str] = []
    events = iter(server.http.events("/v1/events", {"client": "me", "after": 0}))
    assert next(events).cursor  # from now on nothing is missed
    suspects_after(server, 1.0)
    for one in events:
        if one.type != "status" or one.cursor:
            continue
        heard.append(msgspec.json.decode(one.data)["detail"])
        assert show(server, id).detail == heard[-1]
        if not heard[-1]:
            break
        worker.socket.close()  # it dials anew, and has its job still
        worker = Worker(server, token=worker.token)
        assert worker.hello(running=[(id, 1)]).keep == [(id, 1)]
        suspects_after(server, LIMIT_S)
    assert heard == ["no word of its worker", ""]
    assert worker.complete(assign).ok
    worker.close()


def test_the_budget_left_is_told_with_every_answer(server: Running, worker: Worker) -> None:
    need = wire.Need(machine="g5.xlarge.od")
    submit(server, need=need, timeout_s=3600.0)
    assign = worker.pull(wire.Assign)
    assert assign.rate_ucredits_per_h == 100_600_000
    left = worker.start(assign).budget_left_ucredits
    assert left is not None
    assert 0 < left <= assign.hold_ucredits


def test_a_job_waits_for_its_inputs(server: Running, worker: Worker) -> None:
    from blake3 import blake3

    content = b"x" * 100_000
    digest = blake3(content).hexdigest()
    inputs = wire.Parcel([wire.Segment(digest, len(content))])
    spec = wire.JobSpec(kind="call", function=inputs, inputs=inputs)
    body = request(spec=spec)
    reply = server.http.call("POST", "/v1/jobs", body, wire.Submitted)
    assert [m.digest for m in reply.missing] == [digest]
    with pytest.raises(TimeoutError):
        worker.receive(timeout_s=0.2)
    server.http.upload(f"/v1/blobs/{digest}", content)
    assert worker.pull(wire.Assign).job == body.id
    reading = server.raw("GET", f"/v1/blobs/{digest}", {"Authorization": f"Bearer {worker.token}"})
    assert reading == (200, content)


def test_what_is_asked_before_the_claim_is_written_is_answered_after_it(
    server: Running, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow disk: the assignment goes ahead of the commit, and the worker is quick."""
    backend, may_write = server.backend, threading.Event()
    claim = backend.store.claim

    def slow_claim(*args: Any) -> Any:
        assert may_write.wait(LIMIT_S)
        return claim(*args)

    monkeypatch.setattr(backend.store, "claim", slow_claim)
    monkeypatch.setattr(backend.writer, "_usual_s", 1.0)
    monkeypatch.setattr(backend.writer, "_run", backend.writer._commit)  # it does not get quicker
    submitting = threading.Thread(target=submit, args=(server,))
    submitting.start()
    assign = worker.pull(wire.Assign)
    worker.send(wire.Start(req=1, job=assign.job, epoch=assign.epoch))
    with pytest.raises(TimeoutError):
        worker.receive(timeout_s=0.2)
    may_write.set()
    answer = worker.receive()
    assert (answer.req, answer.ok) == (1, True)
    assert worker.complete(assign).ok
    submitting.join()


def test_an_assignment_whose_job_is_refused_is_taken_back(server: Running, worker: Worker) -> None:
    known = submit(server)
    worker.run()
    with pytest.raises(errors.KeyReused):
        submit(server, "another body", id=known.job.id)
    assign = worker.pull(wire.Assign)
    withdrawn = worker.pull(wire.Cancel)
    assert (withdrawn.job, withdrawn.epoch, withdrawn.how) == (assign.job, assign.epoch, "kill")
    assert worker.start(assign).code == "conflict"
    assert [submit(server).job.id for _ in range(2)] == [worker.run().job for _ in range(2)]
