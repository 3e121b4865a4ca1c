"""What a job showed, as the outputs of a cell."""

from __future__ import annotations

import pytest

from jupyter_remote import errors, wire
from jupyter_remote.http import Http
from jupyter_remote.server import transcripts
from tests.server.conftest import submit


def outputs(server, id, after=None):
    params = {} if after is None else {"after": str(after)}
    return server.http.call("GET", f"/v1/jobs/{id}/outputs", reply=wire.JobOutputs, params=params)


def test_what_a_job_shows_grows_and_is_told_once(server, worker):
    submit(server)
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    nothing = outputs(server, assign.job)
    assert (nothing.cursor, nothing.outputs) == (0, [])
    worker.print(assign, 1, "one ")
    worker.print(assign, 2, "two\n")
    told = outputs(server, assign.job)
    assert told.outputs == [{"output_type": "stream", "name": "stdout", "text": "one two\n"}]
    assert outputs(server, assign.job, told.cursor).outputs is None
    assert not told.job.ended_at
    assert told.receipt is None


def test_what_jobs_showed_is_told_however_many_are_followed(server, worker, monkeypatch):
    monkeypatch.setattr(transcripts, "KEPT", 2)
    for n in range(transcripts.KEPT + 2):
        submit(server, "1")
        assign = worker.pull(wire.Assign)
        worker.start(assign)
        worker.print(assign, 1, f"{n}\n")
        worker.complete(assign)
        [output] = outputs(server, assign.job).outputs
        assert output["text"] == f"{n}\n"


def test_what_was_more_than_a_cell_holds_is_cut_and_it_is_said(server, worker, monkeypatch):
    monkeypatch.setattr(transcripts, "MOST_BYTES", 100)
    submit(server)
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    for seq in range(1, 10):
        worker.print(assign, seq, "x" * 30)
    told = outputs(server, assign.job)
    assert told.cut
    assert 30 <= len(told.outputs[0]["text"]) <= 120


def test_of_fifty_jobs_that_are_followed_none_is_read_anew_unless_they_showed_much(monkeypatch):
    kept = transcripts.Transcripts()
    jobs = [f"job {n}" for n in range(50)]
    assert [kept.of(job) for job in jobs] == [kept.of(job) for job in jobs]
    monkeypatch.setattr(transcripts, "KEPT_BYTES", 100)
    for job in jobs:
        kept.of(job).fold.size_bytes = 60
    latest = kept.of(jobs[-1])
    assert kept.of(jobs[0]).fold.size_bytes == 0
    assert kept.of(jobs[-1]) is latest


def test_a_job_that_cleared_its_cell_says_so(server, worker):
    submit(server)
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    worker.print(assign, 1, "one\n")
    assert not outputs(server, assign.job).cleared
    clear = wire.WorkerEvent("clear_output", wire.encode({"wait": False}), 2)
    worker.ask(wire.Beat, job=assign.job, epoch=assign.epoch, events=[clear])
    told = outputs(server, assign.job)
    assert (told.cleared, told.outputs) == (True, [])


def test_which_displays_a_job_updated_is_told(server, worker):
    submit(server)
    assign = worker.pull(wire.Assign)
    worker.start(assign)

    def shows(seq: int, type: str, id: str, text: str) -> None:
        content = {"data": {"text/plain": text}, "metadata": {}, "transient": {"display_id": id}}
        event = wire.WorkerEvent(type, wire.encode(content), seq)
        worker.ask(wire.Beat, job=assign.job, epoch=assign.epoch, events=[event])

    shows(1, "display_data", "a", "0 %")
    shows(2, "display_data", "b", "a figure")
    assert outputs(server, assign.job).updated == []
    shows(3, "update_display_data", "a", "100 %")
    told = outputs(server, assign.job)
    assert told.updated == [0]
    assert [output["data"]["text/plain"] for output in told.outputs] == ["100 %", "a figure"]
    assert all("transient" not in output for output in told.outputs)


def test_nobody_elses_job_is_shown(server, worker):
    submit(server)
    job = worker.run().job
    bob = Http(server.url, server.make_token("read", owner="bob"))
    with pytest.raises(errors.NotFound):
        bob.call("GET", f"/v1/jobs/{job}/outputs", reply=wire.JobOutputs)
    bob.close()


def test_jobs_are_found_by_their_notebook(server, worker):
    for notebook in ("a.ipynb", "b.ipynb", ""):
        submit(server, notebook=notebook, cell="c1", cell_code="0badcafe")
    found = server.http.call("GET", "/v1/jobs", reply=wire.JobList, params={"notebook": "a.ipynb"})
    assert [(j.notebook, j.cell, j.cell_code) for j in found.jobs] == [
        ("a.ipynb", "c1", "0badcafe")
    ]
    none = server.http.call("GET", "/v1/jobs", reply=wire.JobList, params={"notebook": ""})
    assert none.jobs == []
