"""What widgets in a front end say to the code of a job."""

from __future__ import annotations

import msgspec
import pytest

from jupyter_remote import errors, wire
from jupyter_remote.http import Http

from .conftest import Running, Worker, submit

SAID = wire.CommMessage(
    id="m-1", content={"comm_id": "c", "data": {"x": 1}}, metadata={"y": 2}, buffers=[b"\0\xff"]
)


def tell(http: Http, id: str, message: wire.CommMessage = SAID) -> wire.JobView:
    return http.call("POST", f"/v1/jobs/{id}/comms", message, wire.JobView)


def test_a_message_reaches_the_worker_of_a_job_that_runs(server: Running, worker: Worker) -> None:
    id = submit(server).job.id
    assign = worker.pull(wire.Assign)
    with pytest.raises(errors.Conflict, match="widgets are disconnected"):
        tell(server.http, id)
    worker.start(assign)
    tell(server.http, id)
    assert worker.pull(wire.Comm) == wire.Comm(job=id, epoch=assign.epoch, message=SAID)
    worker.complete(assign)
    with pytest.raises(errors.Conflict, match="The job is completed"):
        tell(server.http, id)


def test_a_job_of_somebody_else_hears_nothing_and_is_not_there(
    server: Running, worker: Worker
) -> None:
    id = submit(server).job.id
    worker.start(worker.pull(wire.Assign))
    mallory = Http(server.url, server.make_token("submit", owner="mallory"))
    with pytest.raises(errors.NotFound):
        tell(mallory, id)
    reader = Http(server.url, server.make_token("read"))
    with pytest.raises(errors.NotAuthorized):
        tell(reader, id)
    mallory.close()
    reader.close()
    tell(server.http, id, msgspec.structs.replace(SAID, id="mine"))
    assert worker.pull(wire.Comm).message.id == "mine"


def test_a_message_that_is_too_large_or_of_no_known_kind_is_refused(server: Running) -> None:
    id = submit(server).job.id
    large = msgspec.structs.replace(SAID, buffers=[bytes(wire.COMM_BODY_BYTES)])
    with pytest.raises(errors.TooLarge):
        tell(server.http, id, large)
    unknown = {"msg_type": "execute_request", "content": {}}
    with pytest.raises(errors.InvalidRequest):
        server.http.call("POST", f"/v1/jobs/{id}/comms", unknown, wire.JobView)
