"""Routes of machines that were rented, and which of them a worker speaks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from jupyter_remote import errors, wire
from jupyter_remote.model import InstanceRecord, InstanceState, JobId
from jupyter_remote.money.meter import usd_of
from jupyter_remote.server.auth import allow
from jupyter_remote.server.enrolment import worker_id
from jupyter_remote.server.routing import Call, Endpoint

if TYPE_CHECKING:
    from jupyter_remote.scheduler.machines import Machine
    from jupyter_remote.server.backend import Backend

OVER = (InstanceState.TERMINATING, InstanceState.TERMINATED, InstanceState.ORPHAN)
SHOWN = 100
_TOKEN = worker_id("")


async def machine_of(backend: Backend, instance: str, token: str) -> InstanceRecord | None:
    """The machine elsewhere that a worker with this token is on; None: it is on none.

    What it is and whose is what was written when it was rented, whatever its worker says. Raises
    NotAuthorized for another machine's token, Conflict when the machine is being ended.
    """
    own = token.removeprefix(_TOKEN) if token.startswith(_TOKEN) else ""
    for id in {instance[:200], own}:
        row: InstanceRecord | None = await backend.look(backend.store.instance, id)
        if row is None or not row.owner:
            continue
        if not own == instance == row.id:
            raise errors.NotAuthorized("This token is not of that machine's worker.")
        if row.state in OVER:
            raise errors.Conflict(f"This machine is {row.state.value}.")
        return row
    return None


def view_of(
    backend: Backend, row: InstanceRecord, known: Mapping[str, Machine]
) -> wire.InstanceView:
    """A machine as its owner sees it. ``known``: which the scheduler had before the row was read.

    One that ends is written, then forgotten: of what is forgotten meanwhile the row may be older.
    """
    board, limits = backend.scheduler.board, backend.settings
    machine, agent = board.machines.get(row.id) or known.get(row.id), board.agent_on(row.id)
    idle_since = machine.idle_since if machine is not None else None
    there = row.state is not InstanceState.TERMINATED
    state = machine.state if machine is not None else row.state  # which is written after it
    return wire.InstanceView(
        id=row.id,
        provider=row.provider,
        machine=row.machine,
        state=state.value,
        provider_id=row.provider_id,
        zone=row.zone,
        spot=row.spot,
        owner=row.owner,
        job=row.job,
        usd_per_h=0.0 if state is InstanceState.TERMINATED else usd_of(row.rate_ucredits_per_h),
        created_at=row.created_at,
        ready_at=row.ready_at,
        ended_at=None if there else row.changed_at,
        step=row.step,
        detail=row.detail,
        slots=agent.slots if agent is not None else machine.slots if machine is not None else 0,
        busy=agent.slots - agent.free if agent is not None and not agent.draining else 0,
        idle_since_at=idle_since,
        ends_at=None if idle_since is None else idle_since + limits.machine_idle_s,
    )


async def instances(call: Call) -> wire.InstanceList:
    backend, caller = call.backend, call.caller
    owner = None if "admin" in caller.scopes else caller.owner
    known = dict(backend.scheduler.board.machines)
    rows = await backend.read(backend.store.instances, owner, limit=SHOWN)
    return wire.InstanceList([view_of(backend, row, known) for row in rows if row.owner])


async def _own(call: Call) -> InstanceRecord:
    """By its id, or that of a job that it was asked for or that ran on it. Raises NotFound."""
    backend, caller, id = call.backend, call.caller, call.path["id"]
    row: InstanceRecord | None = await backend.look(backend.store.instance, id)
    if row is None:
        found = await backend.read(backend.store.instances, None, job=id, limit=1)
        row = found[0] if found else await _of_worker(backend, id)
    if row is None or not ("admin" in caller.scopes or (row.owner and row.owner == caller.owner)):
        raise errors.NotFound(
            "There is no such machine.", hint="`%remote machines --running` lists yours."
        )
    return row


async def _of_worker(backend: Backend, job: str) -> InstanceRecord | None:
    try:
        worker = (await backend.look(backend.store.job, JobId(job))).worker
    except errors.NotFound:
        return None
    instance = backend.scheduler.board.homes.get(worker) if worker is not None else None
    row: InstanceRecord | None = await backend.look(backend.store.instance, instance or "")
    return row


async def boot_log(call: Call) -> wire.BootLog:
    row = await _own(call)
    return wire.BootLog(row.id, row.step, (row.boot_log or b"").decode(errors="replace"))


async def end(call: Call) -> wire.InstanceView:
    known = dict(call.backend.scheduler.board.machines)
    row = await _own(call)
    call.backend.scheduler.fleet.end(row.id, "its owner ended it")
    return view_of(call.backend, row, known)


READ = allow("read", "submit")

ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/v1/machines/instances",
        handler=instances,
        summary="Machines rented for you, newest first; what those cost that are there",
        policy=allow("read", "submit", "page"),
        reply=wire.InstanceList,
    ),
    Endpoint(
        method="GET",
        path="/v1/machines/instances/{id}/log",
        handler=boot_log,
        summary="How far the bootstrap of a machine came; also by the id of a job that it was for",
        policy=READ,
        reply=wire.BootLog,
    ),
    Endpoint(
        method="DELETE",
        path="/v1/machines/instances/{id}",
        handler=end,
        summary="End a machine: it takes no more jobs, and goes when those that it has are over",
        policy=allow("submit"),
        reply=wire.InstanceView,
    ),
]
