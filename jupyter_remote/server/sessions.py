"""Routes of sessions: which there are, and where their kernels take calls."""

from __future__ import annotations

from typing import Annotated

import msgspec

from jupyter_remote import wire
from jupyter_remote.model import TERMINAL, JobRecord
from jupyter_remote.server.auth import allow
from jupyter_remote.server.jobs import not_found, own_job, view
from jupyter_remote.server.relay import connect
from jupyter_remote.server.routing import Call, Endpoint, Socket

LONGEST_WAIT_S = 60.0


class SessionQuery(msgspec.Struct, frozen=True):
    """How long to wait until it takes calls or is over, seconds."""

    wait_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_WAIT_S)] = 0.0


class SessionsQuery(msgspec.Struct, frozen=True):
    """Which: all that are not over, or the latest of a name."""

    name: str = ""


async def list_sessions(call: Call) -> wire.SessionList:
    store, name = call.backend.store, call.query.name
    jobs = await call.backend.read(store.sessions, call.caller.owner, name)
    return wire.SessionList([_view(call, job) for job in jobs])


async def show_session(call: Call) -> wire.SessionView:
    job = await own_job(call)
    if job.kind != "session":
        raise not_found()
    switchboard = call.backend.switchboard
    found = switchboard.find(job.id)
    listens = found is not None and found.epoch == job.epoch
    if job.state not in TERMINAL and not listens and call.query.wait_s:
        await switchboard.wait(job.id, call.query.wait_s)
        job = await own_job(call)
    return _view(call, job)


def _view(call: Call, job: JobRecord) -> wire.SessionView:
    found = call.backend.switchboard.find(job.id)
    if found is None or job.state in TERMINAL or found.epoch != job.epoch:
        return wire.SessionView(name=job.session, job=view(call, job))
    calls = "submit" in call.caller.scopes
    return wire.SessionView(
        name=job.session,
        job=view(call, job),
        listening=True,
        address=found.address if calls and call.backend.facts.embedded else "",
        key=found.key if calls else "",
    )


ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/v1/sessions",
        handler=list_sessions,
        summary="Your sessions that are not over, newest first; or the latest of a name",
        policy=allow("read", "submit", "page"),
        query=SessionsQuery,
        reply=wire.SessionList,
    ),
    Endpoint(
        method="GET",
        path="/v1/sessions/{id}",
        handler=show_session,
        summary="One session; waits until it takes calls, if asked to",
        policy=allow("read", "submit"),
        query=SessionQuery,
        reply=wire.SessionView,
    ),
]

SOCKETS = [Socket(path="/v1/sessions/{id}/connect", handler=connect, policy=allow("submit"))]
