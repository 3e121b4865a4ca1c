"""Sessions as the server has them: names, where they listen, cells pinned to them, their end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_remote import errors, wire
from jupyter_remote.model import JobId, JobState

from .conftest import LIMIT_S, Running, Worker, request, submit, until
from .test_retention import tidy


def new(name: str = "lab", **changes: Any) -> wire.SubmitRequest:
    return request(spec=wire.JobSpec(kind="session", session=name, **changes))


def begin(server: Running, name: str = "lab") -> wire.JobView:
    return server.http.call("POST", "/v1/jobs", new(name), wire.Submitted).job


def pinned(server: Running, session: str, code: str = "1") -> wire.JobView:
    spec = wire.JobSpec(kind="cell", code=code, session=session)
    return submit(server, spec=spec).job


def show(server: Running, id: str, wait_s: float = 0.0) -> wire.SessionView:
    path = f"/v1/sessions/{id}"
    return server.http.call("GET", path, reply=wire.SessionView, params={"wait_s": wait_s})


def listed(server: Running, name: str = "") -> list[str]:
    found = server.http.call("GET", "/v1/sessions", reply=wire.SessionList, params={"name": name})
    return [session.name for session in found.sessions]


def started(server: Running, worker: Worker, name: str = "lab") -> wire.Assign:
    begin(server, name)
    assign: wire.Assign = worker.pull(wire.Assign)
    assert worker.start(assign).ok
    worker.send(wire.Listening(assign.job, assign.epoch, "@there", "secret"))
    until(lambda: show(server, assign.job).listening)
    return assign


def test_two_that_ask_for_one_name_at_once_get_one_session(server: Running) -> None:
    conflicts: list[str] = []
    ready = threading.Barrier(8)

    def ask() -> None:
        ready.wait()
        try:
            server.http.call("POST", "/v1/jobs", new(), wire.Submitted)
        except errors.Conflict as error:
            conflicts.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(conflicts) == 7
    assert "there is a session 'lab' already" in conflicts[0]
    assert listed(server) == ["lab"]


def test_sent_again_a_session_is_the_same(server: Running) -> None:
    body = new()
    first = server.http.call("POST", "/v1/jobs", body, wire.Submitted)
    again = server.http.call("POST", "/v1/jobs", body, wire.Submitted)
    assert first.job.id == again.job.id


def test_the_name_is_free_when_the_session_is_over(server: Running, worker: Worker) -> None:
    assign = started(server, worker)
    with pytest.raises(errors.Conflict):
        begin(server)
    assert worker.complete(assign, result=None, detail="nobody used it for 5 s").ok
    gone = show(server, assign.job)
    assert (gone.listening, gone.job.status) == (False, "completed")
    assert gone.job.detail == "nobody used it for 5 s"
    assert listed(server) == []
    assert listed(server, "lab") == ["lab"]  # the latest of that name, for whoever asks
    begin(server)


@pytest.mark.parametrize(
    "spec",
    [
        wire.JobSpec(kind="session"),
        wire.JobSpec(kind="call", session="lab"),
        wire.JobSpec(kind="session", session="lab", idle_timeout_s=0.0),
        wire.JobSpec(kind="session", session="x" * 1000),
    ],
    ids=["no name", "a call in one", "no idle time", "long name"],
)
def test_what_is_no_session_is_refused(server: Running, spec: wire.JobSpec) -> None:
    with pytest.raises(errors.InvalidRequest):
        server.http.call("POST", "/v1/jobs", request(spec=spec), wire.Submitted)


def test_a_session_is_never_tried_again(server: Running, worker: Worker) -> None:
    assign = started(server, worker)
    assert worker.complete(assign, outcome="died", reason="lost", result=None).ok
    assert show(server, assign.job).job.status == "failed"


def test_a_restarted_worker_connection_says_again_where_it_listens(
    server: Running, worker: Worker
) -> None:
    assign = started(server, worker)
    server.backend.switchboard.forget(JobId(assign.job))  # as after a restart of the server
    assert not show(server, assign.job).listening
    waiting: list[wire.SessionView] = []
    asks = threading.Thread(target=lambda: waiting.append(show(server, assign.job, 30.0)))
    asks.start()
    until(lambda: server.backend.switchboard._waiting)
    worker.send(wire.Listening(assign.job, assign.epoch, "@there", "secret"))
    asks.join(LIMIT_S)
    assert (waiting[0].address, waiting[0].key) == ("@there", "secret")


def test_whoever_waits_for_a_session_hears_that_it_is_over(server: Running) -> None:
    job = begin(server)
    waiting: list[wire.SessionView] = []
    asks = threading.Thread(target=lambda: waiting.append(show(server, job.id, 30.0)))
    asks.start()
    until(lambda: server.backend.switchboard._waiting)
    server.http.call("POST", f"/v1/jobs/{job.id}/cancel", wire.CancelRequest(), wire.JobView)
    asks.join(LIMIT_S)
    assert waiting[0].job.status == "cancelled"


def test_only_the_worker_that_has_it_says_where_it_listens(server: Running, worker: Worker) -> None:
    assign = started(server, worker)
    thief = Worker(server, id="w-2")
    thief.hello()
    thief.send(wire.Listening(assign.job, assign.epoch, "@thief", "x"))
    thief.send(wire.Listening("no such job", 1, "@thief", "x"))
    assert thief.ask(wire.Ping).ok
    assert show(server, assign.job).address == "@there"
    thief.close()


def test_somebody_elses_session_is_not_there(server: Running, worker: Worker) -> None:
    from jupyter_remote.http import Http

    assign = started(server, worker)
    other = Http(server.url, server.make_token("submit", "read", owner="bob"))
    with pytest.raises(errors.NotFound):
        other.call("GET", f"/v1/sessions/{assign.job}", reply=wire.SessionView)
    assert other.call("GET", "/v1/sessions", reply=wire.SessionList).sessions == []
    spec = wire.JobSpec(kind="cell", code="1", session=assign.job)
    with pytest.raises(errors.NotFound, match="no such session"):
        other.call("POST", "/v1/jobs", request(spec=spec), wire.Submitted)
    other.call("POST", "/v1/jobs", new(), wire.Submitted)  # the name is free for them
    other.close()


def test_who_may_only_read_is_not_told_the_key(server: Running, worker: Worker) -> None:
    from jupyter_remote.http import Http

    assign = started(server, worker)
    reader = Http(server.url, server.make_token("read"))
    view = reader.call("GET", f"/v1/sessions/{assign.job}", reply=wire.SessionView)
    assert (view.listening, view.address, view.key) == (True, "", "")
    reader.close()


# --- cells -----------------------------------------------------------------------------------
def test_pinned_cells_take_no_slot_and_run_only_where_their_session_is(
    server: Running, worker: Worker
) -> None:
    assign = started(server, worker)
    other = Worker(server, id="w-2", slots=8)
    other.hello()
    cells = [pinned(server, assign.job).id for _ in range(5)]
    got = [worker.pull(wire.Assign) for _ in cells]
    assert [a.job for a in got] == cells
    assert all(a.aside for a in got)
    busy = {
        w.id: w.busy for w in server.http.call("GET", "/v1/server", reply=wire.ServerInfo).workers
    }
    assert busy == {"w-1": 0, "w-2": 0}
    other.close()


def test_a_cell_waits_for_its_session_to_start(server: Running, worker: Worker) -> None:
    session = begin(server)
    cell = pinned(server, session.id)
    first = worker.pull(wire.Assign)
    assert first.job == session.id
    worker.start(first)
    assert worker.pull(wire.Assign).job == cell.id


def test_a_cell_for_a_session_that_has_just_ended_is_refused(
    server: Running, worker: Worker
) -> None:
    assign = started(server, worker)
    worker.complete(assign, result=None)
    until(lambda: show(server, assign.job).job.status == "completed")
    with pytest.raises(errors.Conflict, match="is over: completed"):
        pinned(server, assign.job)
    with pytest.raises(errors.NotFound):
        pinned(server, "00000000-0000-0000-0000-000000000000")


def test_cells_that_wait_for_a_session_that_ends_are_cancelled_and_say_why(
    server: Running, worker: Worker
) -> None:
    session = begin(server)
    assert worker.pull(wire.Assign).job == session.id
    cells = [pinned(server, session.id).id for _ in range(3)]
    server.http.call("POST", f"/v1/jobs/{session.id}/cancel", wire.CancelRequest(), wire.JobView)
    store = server.backend.store
    until(lambda: all(store.job(JobId(id)).state is JobState.CANCELLED for id in cells))
    assert "because its session is over" in store.history(JobId(cells[0]))[-1].text
    assert store.audit() == []


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path, unused_blobs_s=0.0, retention_s=0.0)
    yield running
    running.stop()


def test_a_session_is_forgotten_as_other_jobs_are_but_not_while_it_runs(
    forgetful: Running,
) -> None:
    worker = Worker(forgetful)
    worker.hello()
    assign = started(forgetful, worker)
    cell = pinned(forgetful, assign.job)
    got = worker.pull(wire.Assign)
    worker.start(got)
    worker.complete(got)
    until(lambda: forgetful.backend.store.job(JobId(cell.id)).ended_at)
    tidy(forgetful)
    assert show(forgetful, assign.job).listening
    with pytest.raises(errors.NotFound):
        forgetful.http.call("GET", f"/v1/jobs/{cell.id}", reply=wire.JobView)
    worker.complete(assign, result=None)
    until(lambda: forgetful.backend.store.job(JobId(assign.job)).ended_at)
    tidy(forgetful)
    with pytest.raises(errors.NotFound):
        show(forgetful, assign.job)
    assert listed(forgetful, "lab") == []
    begin(forgetful)
    worker.close()


def test_jobs_of_a_batch_run_in_no_session(server: Running, worker: Worker) -> None:
    lab = started(server, worker)
    for kind, session in (("cell", lab.job), ("session", "other")):
        template = request(spec=wire.JobSpec(kind=kind, code="1", session=session))  # type: ignore[arg-type]
        batch = wire.BatchRequest(
            id="b", template=template, ids=[request().id], inputs=[wire.Parcel([])]
        )
        with pytest.raises(errors.InvalidRequest, match="no session"):
            server.http.call("POST", "/v1/batches", batch, wire.BatchSubmitted)
