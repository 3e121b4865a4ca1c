"""Routes about this server: health, description, workers, shutdown."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from jupyter_remote import connection, wire
from jupyter_remote.server.auth import OPEN, Caller, allow
from jupyter_remote.server.backend import Backend
from jupyter_remote.server.problems import Reply
from jupyter_remote.server.routing import Call, Endpoint, Socket


class HealthQuery(msgspec.Struct, frozen=True):
    """Who asks may want to know whether this is the backend of a connection file."""

    challenge: Annotated[str, msgspec.Meta(max_length=128)] = ""


async def health(call: Call) -> wire.Health:
    facts, challenge = call.backend.facts, call.query.challenge
    proof = connection.proof_of(facts.key, challenge) if facts.key and challenge else ""
    return wire.Health(server_id=facts.server_id, version=facts.version, proof=proof)


async def openapi(call: Call) -> ASGIApp:
    from jupyter_remote.server.openapi import document
    from jupyter_remote.server.table import ENDPOINTS as ALL

    return Reply(document(ALL, call.backend.facts.version))


def worker_views(backend: Backend) -> list[wire.WorkerView]:
    """Workers that are connected."""
    now = backend.clock.monotonic()
    return [
        wire.WorkerView(
            id=agent.id,
            machine=agent.pool,
            slots=agent.slots,
            busy=len(agent.jobs),
            draining=agent.draining,
            python=agent.python,
            seen_s=max(0.0, now - backend.fleet.links[agent.id].heard_at),
        )
        for agent in backend.scheduler.board.agents.values()
        if agent.id in backend.fleet.links
    ]


async def server(call: Call) -> wire.ServerInfo:
    backend, facts = call.backend, call.backend.facts
    board = backend.scheduler.board
    running = sum(a.started for a in board.active.values())
    queued = board.waiting + len(board.retry_at) + len(board.active) - running
    blobs = backend.blobs
    at_home = facts.embedded and call.caller.owner == facts.owner
    return wire.ServerInfo(
        version=facts.version,
        protocol=wire.PROTOCOL,
        embedded=facts.embedded,
        pid=facts.pid,
        started_at=facts.started_at,
        owner=call.caller.owner,
        scopes=sorted(call.caller.scopes),
        blobs=str(blobs.folder or "") if at_home else "",
        spool=str(blobs.spool or "") if at_home else "",
        links_bytes=backend.links_bytes,
        workers=worker_views(backend),
        jobs_queued=queued,
        jobs_running=running,
        listeners=backend.hub.listeners,
        idle_timeout_s=backend.settings.idle_timeout_s if facts.embedded else None,
    )


async def workers(call: Call) -> wire.WorkerList:
    return wire.WorkerList(worker_views(call.backend))


async def shutdown(call: Call) -> wire.Health:
    call.backend.stop()
    facts = call.backend.facts
    return wire.Health(server_id=facts.server_id, version=facts.version)


async def connect(backend: Backend, caller: Caller, websocket: WebSocket) -> None:
    await backend.fleet.connect(backend, caller, websocket)


READ = allow("read", "submit", "worker")

ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/health",
        handler=health,
        summary="Which server answers here",
        policy=OPEN,
        query=HealthQuery,
        reply=wire.Health,
    ),
    Endpoint(
        method="GET",
        path="/v1/openapi.json",
        handler=openapi,
        summary="This document",
        policy=READ,
    ),
    Endpoint(
        method="GET",
        path="/v1/server",
        handler=server,
        summary="What this server is and does",
        policy=READ,
        reply=wire.ServerInfo,
    ),
    Endpoint(
        method="GET",
        path="/v1/workers",
        handler=workers,
        summary="Workers that are connected",
        policy=READ,
        reply=wire.WorkerList,
    ),
    Endpoint(
        method="POST",
        path="/v1/server/shutdown",
        handler=shutdown,
        summary="End this server, in order",
        policy=allow("admin"),
        reply=wire.Health,
        status=202,
    ),
]

SOCKETS = [Socket(path="/v1/workers/connect", handler=connect, policy=allow("worker"))]
