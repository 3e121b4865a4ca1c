"""What is said at the notebook to code that runs: an answer to ``input()``, a widget's message."""

from __future__ import annotations

from collections.abc import Callable

from jupyter_remote import errors, wire
from jupyter_remote.model import JobRecord
from jupyter_remote.server.auth import allow
from jupyter_remote.server.jobs import own_job, view
from jupyter_remote.server.routing import Call, Endpoint


async def answer(call: Call) -> wire.JobView:
    def message(job: str, epoch: int) -> wire.Input:
        return wire.Input(job=job, epoch=epoch, text=call.body.text, refused=call.body.refused)

    return view(call, await _told(call, message, "it asks for nothing"))


async def comm(call: Call) -> wire.JobView:
    def message(job: str, epoch: int) -> wire.Comm:
        return wire.Comm(job=job, epoch=epoch, message=call.body)

    return view(call, await _told(call, message, "its widgets are disconnected"))


async def _told(
    call: Call, message: Callable[[str, int], wire.Input | wire.Comm], otherwise: str
) -> JobRecord:
    """The job of the path, whose attempt was told. Raises Conflict where none runs."""
    backend, job = call.backend, await own_job(call)
    active = backend.scheduler.board.active.get(job.id)
    runs = active is not None and active.started
    if (
        not runs
        or active is None
        or not await backend.fleet.send(active.worker, message(job.id, active.epoch))
    ):
        raise errors.Conflict(
            f"The job is {job.status.value}: {otherwise}.",
            hint="Its worker may be away; try again.",
        )
    return job


SUBMIT = allow("submit")

ENDPOINTS = [
    Endpoint(
        method="POST",
        path="/v1/jobs/{id}/input",
        handler=answer,
        summary="Answer what a job asked with input()",
        policy=SUBMIT,
        body=wire.InputRequest,
        reply=wire.JobView,
    ),
    Endpoint(
        method="POST",
        path="/v1/jobs/{id}/comms",
        handler=comm,
        summary="Hand a message of a widget in a front end to the code of a job",
        policy=SUBMIT,
        body=wire.CommMessage,
        reply=wire.JobView,
        body_bytes=wire.COMM_BODY_BYTES,
    ),
]
