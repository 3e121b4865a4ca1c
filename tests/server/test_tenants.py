"""Two owners on one server: a digest or an id that one knows gives nothing of the other's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from jupyter_remote import errors, wire
from jupyter_remote.http import Http
from jupyter_remote.model import JobId

from .conftest import Running, Worker, request, submit, until
from .test_blobs import digest_of, path_of
from .test_relay import closed, dialled, start_session

SECRET = random.Random(7).randbytes(100_000)
PIECES = [random.Random(n).randbytes(40_000) for n in range(3)]


@pytest.fixture
def mallory(server: Running) -> Iterator[Http]:
    stranger = Http(server.url, server.make_token("read", "submit", owner="mallory"))
    yield stranger
    stranger.close()


def naming(*contents: bytes, chunks: list[tuple[str, int]] | None = None) -> wire.SubmitRequest:
    """A job whose inputs are named by their digests alone."""
    segments = [wire.Segment(digest_of(c), len(c), chunks=chunks or []) for c in contents]
    spec = wire.JobSpec(kind="cell", code="print(x)", inputs=wire.Parcel(segments))
    return request(spec=spec)


def send_job(who: Http, body: wire.SubmitRequest) -> wire.Submitted:
    return who.call("POST", "/v1/jobs", body, wire.Submitted)


def file_of(server: Running, content: bytes) -> Path:
    [found] = Path(server.settings.home).rglob(f"*{digest_of(content)[4:]}*")
    return found


@pytest.mark.parametrize("damage", ["deleted", "cut short"])
def test_bytes_that_are_gone_are_asked_for_again(
    server: Running, worker: Worker, damage: str
) -> None:
    server.http.upload(path_of(SECRET), SECRET)
    file = file_of(server, SECRET)
    file.chmod(0o600)
    file.unlink() if damage == "deleted" else file.write_bytes(SECRET[:10])
    job = send_job(server.http, naming(SECRET))
    assert [m.digest for m in job.missing] == [digest_of(SECRET)]
    server.http.upload(path_of(SECRET), SECRET)
    assert worker.run().job == job.job.id
    assert b"".join(server.http.download(path_of(SECRET))) == SECRET


def test_bytes_that_a_worker_found_damaged_are_asked_for_again(
    server: Running, worker: Worker
) -> None:
    server.http.upload(path_of(SECRET), SECRET)
    file = file_of(server, SECRET)
    file.chmod(0o600)
    file.write_bytes(SECRET[::-1])
    assert send_job(server.http, naming(SECRET)).missing == []  # nobody has read them yet
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    error = wire.RemoteFailure(ename="DigestMismatch", evalue="the bytes are others")
    assert worker.complete(assign, outcome="failed", error=error).ok
    again = send_job(server.http, naming(SECRET))
    assert [m.digest for m in again.missing] == [digest_of(SECRET)]
    server.http.upload(path_of(SECRET), SECRET)
    assert worker.run().job == again.job.id
    assert b"".join(server.http.download(path_of(SECRET))) == SECRET


def test_a_submit_is_asked_for_bytes_that_only_another_owner_sent(
    server: Running, worker: Worker, mallory: Http
) -> None:
    server.http.upload(path_of(SECRET), SECRET)
    theft = naming(SECRET)
    for _ in range(2):
        assert [m.digest for m in send_job(mallory, theft).missing] == [digest_of(SECRET)]
    plan = wire.EstimateRequest(segments=[wire.Segment(digest_of(SECRET), len(SECRET))])
    told = mallory.call("POST", "/v1/plans", plan, wire.PlanReply).missing
    assert [m.digest for m in told] == [digest_of(SECRET)]
    server.http.upload(path_of(SECRET), SECRET)  # sent by its owner once more
    with pytest.raises(TimeoutError):
        worker.receive(timeout_s=0.2)
    with pytest.raises(errors.NotFound):
        list(mallory.download(path_of(SECRET)))
    with pytest.raises(errors.DigestMismatch):
        mallory.upload(path_of(SECRET), b"something else")
    mallory.upload(path_of(SECRET), SECRET)  # whoever has the bytes may use them
    assert worker.pull(wire.Assign).job == theft.id
    assert b"".join(mallory.download(path_of(SECRET))) == SECRET


def test_an_owner_sends_bytes_once_for_many_jobs(server: Running, worker: Worker) -> None:
    assert send_job(server.http, naming(SECRET)).missing
    server.http.upload(path_of(SECRET), SECRET)
    again = send_job(server.http, naming(SECRET))
    assert again.missing == []
    worker.run()
    worker.run()


def test_chunks_of_another_owner_make_no_segment(server: Running, mallory: Http) -> None:
    whole = b"".join(PIECES)
    chunks = [(digest_of(p), len(p)) for p in PIECES]
    for piece in PIECES:
        server.http.upload(path_of(piece), piece)
    assembly = wire.Assemble(len(whole), chunks)
    server.http.call("POST", path_of(whole), assembly, wire.BlobView)
    missing = send_job(mallory, naming(whole, chunks=chunks)).missing
    assert [m.chunks for m in missing] == [[c for c, _ in chunks]]
    for path, body in (
        (path_of(whole), assembly),
        (path_of(PIECES[0]), wire.Assemble(len(PIECES[0]), chunks[:1])),
    ):
        with pytest.raises(errors.NotFound, match="no chunk"):
            mallory.call("POST", path, body, wire.BlobView)
    with pytest.raises(errors.NotFound):
        list(mallory.download(path_of(whole)))
    for piece in PIECES:
        mallory.upload(path_of(piece), piece)
    mallory.call("POST", path_of(whole), assembly, wire.BlobView)
    assert b"".join(mallory.download(path_of(whole))) == whole


def test_a_result_cannot_name_another_owners_bytes(server: Running, mallory: Http) -> None:
    server.http.upload(path_of(SECRET), SECRET)
    accomplice = Worker(server, token=server.make_token("worker", owner="mallory"))
    accomplice.hello()
    send_job(mallory, request())
    assign = accomplice.pull(wire.Assign)
    accomplice.start(assign)
    segment = wire.Segment(digest_of(SECRET), len(SECRET))
    value = wire.Result(value=wire.Parcel([segment]))
    assert accomplice.complete(assign, result=value).code == "conflict"
    assert accomplice.complete(assign, log=segment).code == "conflict"
    with pytest.raises(errors.NotFound):
        list(mallory.download(path_of(SECRET)))
    accomplice.close()


def test_only_the_user_of_an_embedded_backend_may_spool(server: Running, mallory: Http) -> None:
    server.http.upload(path_of(SECRET), SECRET)
    info = mallory.call("GET", "/v1/server", reply=wire.ServerInfo)
    assert (info.blobs, info.spool) == ("", "")
    with pytest.raises(errors.InvalidRequest):
        mallory.call("PUT", path_of(SECRET), b"", headers={"X-Spool": "anything"})


def test_a_worker_uploads_for_whom_it_works_while_its_connection_is_down(
    server: Running, mallory: Http
) -> None:
    worker = Worker(server)
    worker.hello()
    id = send_job(mallory, request(visibility="private")).job.id
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    worker.close()
    until(lambda: not server.backend.fleet.links)
    carrier = Http(server.url, worker.token)
    carrier.upload(path_of(SECRET), SECRET)
    carrier.close()
    again = Worker(server, token=worker.token)
    assert again.hello(running=[(id, 1)]).keep == [(id, 1)]
    result = wire.Result(value=wire.Parcel([wire.Segment(digest_of(SECRET), len(SECRET))]))
    assert again.complete(assign, result=result).ok
    assert b"".join(mallory.download(path_of(SECRET))) == SECRET
    again.close()


@pytest.mark.parametrize("visibility", ["unlisted", "public"])
def test_a_result_that_is_shared_gives_others_neither_its_value_nor_its_job(
    server: Running, worker: Worker, mallory: Http, visibility: str
) -> None:
    made = submit(server, visibility=visibility).job
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    carrier = Http(server.url, worker.token)
    carrier.upload(path_of(SECRET), SECRET)
    carrier.close()
    result = wire.Result(value=wire.Parcel([wire.Segment(digest_of(SECRET), len(SECRET))]))
    assert worker.complete(assign, result=result).ok
    shared = mallory.call("GET", f"/v1/results/{made.results_uuid}", reply=wire.Results)
    assert (shared.jobs_uuid, shared.status) == (made.id, "completed")
    reader = {"Authorization": f"Bearer {server.make_token('read', owner='mallory')}"}
    closed = [f"/v1/jobs/{made.id}{part}" for part in ("", "/result", "/events", "/log", "/inputs")]
    for path in (*closed, path_of(SECRET), f"{path_of(SECRET)}?job={made.id}"):
        assert server.raw("GET", path, reader)[0] == 404, path
    with pytest.raises(errors.NotFound):
        mallory.call("POST", f"/v1/jobs/{made.id}/cancel", wire.CancelRequest(), wire.JobView)


def test_a_workers_id_stays_its_own_when_the_server_starts_anew(
    server: Running, worker: Worker
) -> None:
    id = submit(server).job.id
    worker.start(worker.pull(wire.Assign))
    worker.close()
    until(lambda: not server.backend.fleet.links)
    thief = Worker(server, id=worker.id)
    with pytest.raises(ConnectionClosed):
        thief.hello(running=[(id, 1)])
    assert server.backend.store.job(JobId(id)).status == "running"


def test_a_revoked_token_ends_what_is_connected_with_it(server: Running, worker: Worker) -> None:
    listed = server.http.call("GET", "/v1/tokens", reply=wire.TokenList).tokens
    [mine] = [t for t in listed if t.scopes == ["worker"]]
    server.http.call("DELETE", f"/v1/tokens/{mine.id}", reply=wire.TokenList)
    with pytest.raises(ConnectionClosed):
        worker.receive()
    with pytest.raises(InvalidStatus):
        Worker(server, token=worker.token)


def test_another_owners_session_looks_absent(
    server: Running, worker: Worker, mallory: Http
) -> None:
    id = start_session(server, worker).job
    assert mallory.call("GET", "/v1/sessions", reply=wire.SessionList).sessions == []
    with pytest.raises(errors.NotFound):
        mallory.call("GET", f"/v1/sessions/{id}", reply=wire.SessionView)
    stranger = server.make_token("submit", "read", owner="mallory")
    with dialled(server, id, stranger) as client:
        assert closed(client) == (wire.ABSENT, "there is no such session")
    with pytest.raises(TimeoutError):  # its worker is not even asked
        worker.receive(timeout_s=0.2)


def test_a_kill_is_told_again_to_a_worker_that_missed_it(server: Running, worker: Worker) -> None:
    id = submit(server).job.id
    worker.start(worker.pull(wire.Assign))
    worker.close()
    until(lambda: not server.backend.scheduler.board.agents)
    path = f"/v1/jobs/{id}/cancel"
    for force in (True, False):
        server.http.call("POST", path, wire.CancelRequest(force=force), wire.JobView)
    again = Worker(server, token=worker.token)
    again.hello(running=[(id, 1)])
    assert again.pull(wire.Cancel).how == "kill"
    again.close()
