"""Results to share: opened by their address without a token, until they are taken back."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from blake3 import blake3

from jupyter_remote import errors, wire
from jupyter_remote.http import Http

from .conftest import LIMIT_S, Running, Worker, submit, until
from .payloads import TEXTS

MODULE = wire.NameInfo("np", "module", 72)
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


def event(type: str, seq: int, **data: Any) -> wire.WorkerEvent:
    return wire.WorkerEvent(type, wire.encode(data), seq)


def printed(text: str, seq: int = 1) -> wire.WorkerEvent:
    return event("stream", seq, name="stdout", text=text)


def ended(server: Running, worker: Worker, *events: wire.WorkerEvent, **changes: Any) -> Any:
    """A job that ended: its view as it was submitted."""
    outcome = {k: changes.pop(k) for k in ("outcome", "result", "error") if k in changes}
    job = submit(server, **{"visibility": "unlisted", **changes}).job
    assign = worker.pull(wire.Assign)
    assert worker.start(assign).ok
    assert worker.complete(assign, events=list(events), **outcome).ok
    until(lambda: server.backend.store.job(assign.job).ended_at)
    return job


def opened(server: Running, id: str) -> wire.Results:
    status, body = server.raw("GET", f"/v1/results/{id}")
    assert status == 200, body
    return msgspec.json.decode(body, type=wire.Results)


def share(server: Running, method: str, job: str, visibility: str = "") -> wire.ResultsView:
    body = wire.ShareRequest(visibility) if visibility else None  # type: ignore[arg-type]
    return server.http.call(method, f"/v1/jobs/{job}/share", body, wire.ResultsView)


def listed(server: Running, query: str = "") -> wire.ResultsList:
    return msgspec.json.decode(server.raw("GET", f"/v1/results{query}")[1], type=wire.ResultsList)


def headers_of(server: Running, path: str) -> dict[str, str]:
    plain = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT_S)
    plain.request("GET", path)
    found = {name.lower(): value for name, value in plain.getresponse().getheaders()}
    plain.close()
    return found


@pytest.fixture
def stranger(server: Running) -> Iterator[Http]:
    other = Http(server.url, server.make_token("read", "submit", owner="mallory"))
    yield other
    other.close()


def test_a_result_opens_without_a_token_when_its_job_has_ended(
    server: Running, worker: Worker
) -> None:
    job = submit(server, description="a test", visibility="unlisted").job
    assert job.visibility == "unlisted"
    paths = [f"/results/{job.results_uuid}", f"/v1/results/{job.results_uuid}"]
    assert [server.raw("GET", path)[0] for path in paths] == [404, 404]
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    assert [server.raw("GET", path)[0] for path in paths] == [404, 404]
    names = [wire.NameInfo("x", "int", 28), wire.NameInfo("_", "int"), MODULE]
    value = wire.Parcel([], names=names)
    worker.complete(assign, events=[printed("hello")], result=wire.Result(value=value))
    status, page = server.raw("GET", paths[0])
    assert status == 200
    assert b"a test" in page
    assert b"hello" in page
    found = opened(server, job.results_uuid)
    assert found.results_url == f"{server.url}/results/{job.results_uuid}"
    assert (found.jobs_uuid, found.status, found.reason) == (job.id, "completed", "")
    assert (found.description, found.price, found.version) == ("a test", 0.0, job.version)
    assert found.outputs == [{"output_type": "stream", "name": "stdout", "text": "hello"}]
    assert found.names == [wire.NameInfo("x", "int", 28)]


def test_the_page_runs_no_script_and_is_put_into_no_other(server: Running, worker: Worker) -> None:
    job = ended(server, worker, description=TEXTS["a script tag"])
    found = headers_of(server, f"/results/{job.results_uuid}")
    policy = [part.strip() for part in found["content-security-policy"].split(";")]
    assert policy == [
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "sandbox allow-downloads",
    ]
    assert found["content-type"] == "text/html; charset=utf-8"
    assert found["x-content-type-options"] == "nosniff"
    assert found["referrer-policy"] == "no-referrer"
    assert found["cache-control"] == "no-store"
    page = server.raw("GET", f"/results/{job.results_uuid}")[1]
    assert TEXTS["a script tag"].encode() not in page
    absent = headers_of(server, f"/results/{uuid.uuid4()}")
    assert absent["content-security-policy"] == found["content-security-policy"]


def test_what_is_not_shared_looks_absent(server: Running, worker: Worker) -> None:
    private = ended(server, worker, visibility="private")
    assert (private.visibility, private.results_uuid) == ("private", "")
    revoked = ended(server, worker)
    share(server, "DELETE", revoked.id)
    running = submit(server, visibility="public").job
    never = str(uuid.uuid4())
    ids = [never, private.id, revoked.id, revoked.results_uuid, running.id, running.results_uuid]
    for path in ("/results/{}", "/v1/results/{}", "/results/{}/notebook"):
        replies = {server.raw("GET", path.format(id)) for id in [*ids, "x", "%00"]}
        assert len(replies) == 1, path
        assert {status for status, _ in replies} == {404}
    assert listed(server).results == []


def test_a_result_that_was_taken_back_gets_another_address(server: Running, worker: Worker) -> None:
    job = ended(server, worker)
    first = share(server, "GET", job.id)
    assert (first.results_uuid, first.visibility) == (job.results_uuid, "unlisted")
    gone = share(server, "DELETE", job.id)
    assert (gone.results_uuid, gone.results_url, gone.visibility) == ("", "", "private")
    shown = server.http.call("GET", f"/v1/jobs/{job.id}", reply=wire.JobView)
    assert (shown.visibility, shown.results_uuid) == ("private", "")
    again = share(server, "POST", job.id, "unlisted")
    assert again.results_uuid not in ("", first.results_uuid)
    assert share(server, "POST", job.id, "unlisted").results_uuid == again.results_uuid
    assert opened(server, again.results_uuid).jobs_uuid == job.id
    assert server.raw("GET", f"/v1/results/{first.results_uuid}")[0] == 404
    assert uuid.UUID(again.results_uuid).version == 4


def test_a_private_result_can_be_shared_later(server: Running, worker: Worker) -> None:
    job = ended(server, worker, visibility="private")
    made = share(server, "POST", job.id, "public")
    assert opened(server, made.results_uuid).visibility == "public"
    [shown] = server.http.call("GET", "/v1/jobs", reply=wire.JobList).jobs
    assert (shown.visibility, shown.results_uuid) == ("public", made.results_uuid)


def test_public_results_are_listed_and_unlisted_ones_are_not(
    server: Running, worker: Worker
) -> None:
    ended(server, worker)
    jobs = [ended(server, worker, visibility="public", description=str(n)) for n in range(3)]
    assert [r.jobs_uuid for r in listed(server).results] == [job.id for job in jobs[::-1]]
    first = listed(server, "?limit=2")
    rest = listed(server, f"?limit=2&before={first.next}")
    assert [r.description for r in (*first.results, *rest.results)] == ["2", "1", "0"]
    assert rest.next == ""
    share(server, "POST", jobs[2].id, "unlisted")
    share(server, "DELETE", jobs[1].id)
    assert [r.description for r in listed(server).results] == ["0"]
    assert opened(server, jobs[2].results_uuid).visibility == "unlisted"
    assert server.raw("GET", f"/v1/results?before={uuid.uuid4()}")[0] == 404


def test_a_submit_that_is_sent_again_has_the_same_address(server: Running) -> None:
    id = str(uuid.uuid4())
    first, again = (submit(server, id=id, visibility="public").job for _ in range(2))
    assert first.results_uuid == again.results_uuid != ""


def test_a_failed_job_shows_its_error(server: Running, worker: Worker) -> None:
    error = wire.RemoteFailure(ename="ValueError", evalue="too small", traceback=["line 1"])
    whole = msgspec.structs.replace(error, args=["a secret"], attributes={"key": "a secret"})
    job = ended(server, worker, outcome="failed", error=whole)
    found = opened(server, job.results_uuid)
    assert (found.status, found.reason, found.error) == ("failed", "user_error", error)
    assert b"line 1" in server.raw("GET", f"/results/{job.results_uuid}")[1]


def test_only_what_the_last_attempt_showed_is_shown(server: Running, worker: Worker) -> None:
    job = submit(server, visibility="unlisted", retries=1).job
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    failure = wire.RemoteFailure(ename="ValueError", evalue="first")
    worker.complete(assign, events=[printed("first")], outcome="failed", error=failure)
    again = worker.pull(wire.Assign)
    worker.start(again)
    worker.complete(again, events=[printed("second")])
    until(lambda: server.backend.store.job(again.job).ended_at)
    assert [o["text"] for o in opened(server, job.results_uuid).outputs] == ["second"]


def test_a_flood_of_output_is_read_up_to_a_limit(
    server: Running, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [event("display_data", n, data={"text/plain": "x" * 1000}) for n in range(1, 40)]
    job = ended(server, worker, *events)
    assert not opened(server, job.results_uuid).cut
    monkeypatch.setattr("jupyter_remote.server.results.MOST_BYTES", 20_000)
    found = opened(server, job.results_uuid)
    assert found.cut
    assert 5 < len(found.outputs) < 20
    monkeypatch.setattr("jupyter_remote.server.results.MOST_BYTES", 10**9)
    monkeypatch.setattr("jupyter_remote.server.results.MOST_EVENTS", 12)
    assert opened(server, job.results_uuid).cut


@pytest.mark.parametrize("large", [False, True])
def test_an_executed_notebook_is_a_file(server: Running, worker: Worker, large: bool) -> None:
    content = json.dumps({"cells": [], "nbformat": 4, "pad": "x" * (100_000 * large)}).encode()
    digest = blake3(content).hexdigest()
    if large:
        server.http.upload(f"/v1/blobs/{digest}", content)
    segment = wire.Segment(digest, len(content), None if large else content)
    value = wire.Parcel([segment], format="raw")
    spec = wire.JobSpec(kind="notebook", name="my.ipynb")
    job = ended(server, worker, spec=spec, result=wire.Result(value=value))
    path = f"/results/{job.results_uuid}/notebook"
    assert server.raw("GET", path) == (200, content)
    found = headers_of(server, path)
    name = f"result-{job.id[:8]}.ipynb"
    assert found["content-disposition"] == f'attachment; filename="{name}"'
    assert found["content-type"] == "application/x-ipynb+json"
    assert found["x-content-type-options"] == "nosniff"
    assert b"Download" in server.raw("GET", f"/results/{job.results_uuid}")[1]
    share(server, "DELETE", job.id)
    assert server.raw("GET", path)[0] == 404


def test_a_value_is_no_file(server: Running, worker: Worker) -> None:
    value = wire.Parcel([wire.Segment(blake3(b"x").hexdigest(), 1, b"x")])
    job = ended(server, worker, result=wire.Result(value=value, text="<X object>"))
    assert server.raw("GET", f"/results/{job.results_uuid}/notebook")[0] == 404
    assert opened(server, job.results_uuid).text == "<X object>"


def test_nobody_else_shares_or_takes_back(server: Running, worker: Worker, stranger: Http) -> None:
    job = ended(server, worker)
    path = f"/v1/jobs/{job.id}/share"
    for method, body in (("GET", None), ("POST", wire.ShareRequest()), ("DELETE", None)):
        with pytest.raises(errors.NotFound):
            stranger.call(method, path, body, wire.ResultsView)
    assert opened(server, job.results_uuid).visibility == "unlisted"


def test_a_session_has_no_result(server: Running) -> None:
    spec = wire.JobSpec(kind="session", session="lab")
    job = submit(server, spec=spec, visibility="public").job
    assert job.results_uuid == ""
    with pytest.raises(errors.Conflict):
        share(server, "POST", job.id, "public")


def test_a_page_is_opened_by_a_link_from_elsewhere_and_by_nothing_else(
    server: Running, worker: Worker
) -> None:
    job = ended(server, worker, visibility="public")
    page = f"/results/{job.results_uuid}"
    for site in ("cross-site", "same-site", "none", "same-origin"):
        assert server.raw("GET", page, {**LINK, "Sec-Fetch-Site": site})[0] == 200
    for change in (
        {"Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Dest": "script", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Origin": "https://evil.example"},
        {"Host": "evil.example"},
    ):
        assert server.raw("GET", page, {**LINK, **change})[0] in (403, 421), change
    for path in (f"/v1/results/{job.results_uuid}", "/v1/results", "/health", "/v1/jobs"):
        assert server.raw("GET", path, LINK)[0] == 403, path
    assert server.raw("POST", page, LINK)[0] == 403
