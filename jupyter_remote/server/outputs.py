"""What a job showed, as the outputs of a cell: for notebooks that were not there to see it."""

from __future__ import annotations

import asyncio

import msgspec

from jupyter_remote import wire
from jupyter_remote.model import TERMINAL
from jupyter_remote.server.auth import allow
from jupyter_remote.server.events import Cursor
from jupyter_remote.server.jobs import own_job, views
from jupyter_remote.server.routing import Call, Endpoint

_error = msgspec.json.Decoder(wire.RemoteFailure)
_receipt = msgspec.json.Decoder(wire.Receipt)


def seen(error: wire.RemoteFailure) -> wire.RemoteFailure:
    """What is seen of an exception, without what it holds."""
    return wire.RemoteFailure(ename=error.ename, evalue=error.evalue, traceback=error.traceback)


class OutputsQuery(msgspec.Struct, frozen=True):
    """What of it."""

    after: Cursor | None = None  # nothing, if there is nothing after this


async def outputs(call: Call) -> wire.JobOutputs:
    job, backend = await own_job(call), call.backend  # whose state is not newer than its outputs
    transcript = backend.transcripts.of(job.id)
    async with transcript.lock, backend.pages:
        await asyncio.to_thread(transcript.read, backend.store)
        cursor = transcript.shown_at
        told = None if call.query.after == cursor else transcript.fold.outputs()
        updated = transcript.fold.updated()
    [shown] = await views(call, [job])
    is_over = job.state in TERMINAL
    return wire.JobOutputs(
        job=shown,
        cursor=cursor,
        outputs=told,
        cut=transcript.cut,
        cleared=transcript.fold.cleared,
        updated=updated,
        error=seen(_error.decode(job.error)) if is_over and job.error else None,
        receipt=_receipt.decode(job.receipt) if job.receipt else None,
    )


ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/v1/jobs/{id}/outputs",
        handler=outputs,
        summary="What a job printed and displayed, as the outputs of a cell",
        policy=allow("read", "submit"),
        query=OutputsQuery,
        reply=wire.JobOutputs,
    ),
]
