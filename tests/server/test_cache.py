"""The cache over HTTP, with a worker that the test plays."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import msgspec
import pytest

from jupyter_remote import errors, wire
from jupyter_remote.http import Http

from .conftest import Running, Worker, request, submit, until
from .test_checkpoints import with_checkpoint

KEY, CODE = "1" * 64, "c" * 64
ASK = wire.CacheAsk(key=KEY, name="x", parts=[wire.CachePart("code", CODE)])
VALUE = wire.Result(value=wire.Parcel([wire.Segment("e" * 64, 1, b"x")]))
UNSENT = wire.Segment("d" * 64, 1000)


def asking(**changes: object) -> wire.SubmitRequest:
    return request(cache=ASK, code_key=CODE, **changes)


def send(who: Http, body: wire.SubmitRequest) -> wire.Submitted:
    return who.call("POST", "/v1/jobs", body, wire.Submitted)


@pytest.fixture
def kept(server: Running, worker: Worker) -> str:
    """Id of a job whose result is in the cache."""
    id = send(server.http, asking()).job.id
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    worker.print(assign, 1, "hello")
    assert worker.complete(assign, result=VALUE).ok
    return id


@pytest.fixture
def stranger(server: Running) -> Iterator[Http]:
    other = Http(server.url, server.make_token("read", "submit", owner="mallory"))
    yield other
    other.close()


def events_of(server: Running, id: str) -> list[wire.Event]:
    headers = {"accept": "application/json"}
    path = f"/v1/jobs/{id}/events"
    return server.http.call("GET", path, reply=wire.EventPage, headers=headers).events


def test_a_hit_needs_no_inputs_and_no_worker(server: Running, worker: Worker, kept: str) -> None:
    spec = wire.JobSpec(kind="cell", code="1 + 1", inputs=wire.Parcel([UNSENT]))
    taken = send(server.http, asking(spec=spec))
    assert taken.missing == []
    assert (taken.job.status, taken.job.cached_from) == ("completed", kept)
    events = events_of(server, taken.job.id)
    assert [e.type for e in events] == ["status", "stream", "status", "done"]
    assert msgspec.json.decode(events[-1].data, type=wire.Done).result == VALUE
    next_ = submit(server).job.id
    assert worker.run().job == next_  # the first that it hears of since


def test_a_hit_is_given_when_all_money_is_spent_and_opens_at_its_address(
    server: Running, worker: Worker, kept: str
) -> None:
    body = wire.BudgetRequest(scope="account", limit_ucredits=0)
    server.http.call("PUT", "/v1/account/budgets", body, wire.BudgetList)
    need = wire.Need(machine="g5.xlarge.od")
    with pytest.raises(errors.BudgetExceeded):
        submit(server, need=need)
    job = send(server.http, asking(need=need, visibility="public", retries=3)).job
    assert (job.status, job.visibility, job.cached_from) == ("completed", "public", kept)
    assert server.raw("GET", f"/v1/results/{job.results_uuid}")[0] == 200


def test_what_was_taken_from_the_cache_can_be_repeated(
    server: Running, worker: Worker, kept: str
) -> None:
    taken = send(server.http, asking()).job
    body = wire.RepeatRequest(id=str(uuid.uuid4()))
    new = server.http.call("POST", f"/v1/jobs/{taken.id}/repeat", body, wire.Submitted).job
    assert (new.cached_from, new.status) == ("", "queued")
    assert worker.run().job == new.id


def test_listeners_hear_of_a_hit_at_once(server: Running, kept: str) -> None:
    heard: list[wire.Event] = []
    after = server.backend.store.last_cursor()
    taken = send(server.http, asking(client="listener"))
    params = {"client": "listener", "after": after}
    headers = {"accept": "application/json"}

    def page() -> list[wire.Event]:
        got = server.http.call("GET", "/v1/events", reply=wire.EventPage, params=params,
                               headers=headers)  # fmt: skip
        return got.events

    heard = until(page)
    assert [e.type for e in heard] == ["status", "stream", "status", "done"]
    assert {e.job for e in heard} == {taken.job.id}


def test_another_owner_is_given_nothing_and_sees_nothing(
    server: Running, kept: str, stranger: Http
) -> None:
    assert send(stranger, asking()).job.status == "queued"
    assert stranger.call("GET", "/v1/cache", reply=wire.CacheReply).entries == 0
    params = {"all": "true"}
    cleared = stranger.call("DELETE", "/v1/cache", reply=wire.CacheCleared, params=params)
    assert cleared.entries == 0
    assert server.http.call("GET", "/v1/cache", reply=wire.CacheReply).entries == 1


def test_a_plan_tells_of_a_hit(server: Running, kept: str) -> None:
    def planned(key: str) -> str:
        body = wire.EstimateRequest(cache_key=key)
        return server.http.call("POST", "/v1/plans", body, wire.PlanReply).cached_from

    assert planned(KEY) == kept
    assert planned("2" * 64) == planned("") == ""


def test_what_is_cleared_is_said(server: Running, kept: str) -> None:
    for params in ({}, {"which": "x", "all": "true"}):
        with pytest.raises(errors.InvalidRequest, match="which entries"):
            server.http.call("DELETE", "/v1/cache", reply=wire.CacheCleared, params=params)
    params = {"which": kept[:8]}
    cleared = server.http.call("DELETE", "/v1/cache", reply=wire.CacheCleared, params=params)
    assert cleared.entries == 1
    assert send(server.http, asking()).job.status == "queued"


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "short"},
        {"parts": [wire.CachePart("code", "x" * 5_000_000)]},
    ],
)
def test_a_key_that_is_none_is_refused(server: Running, changes: dict[str, object]) -> None:
    ask = msgspec.structs.replace(ASK, **changes)
    with pytest.raises((errors.InvalidRequest, errors.TooLarge)):
        send(server.http, request(cache=ask))


def test_a_job_that_resumes_is_not_taken_from_the_cache(
    server: Running, worker: Worker, kept: str
) -> None:
    stopped = with_checkpoint(server, worker)
    job = send(server.http, asking(resume=stopped.job)).job
    assert (job.resumes, job.cached_from) == (stopped.job, "")
