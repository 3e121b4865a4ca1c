"""The first words with a worker: who it is, and which of its attempts still stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jupyter_remote import wire
from jupyter_remote.model import JobId, WorkerId, WorkerRecord

if TYPE_CHECKING:
    from jupyter_remote.server.backend import Backend

DEAD_BEFORE_LEASE = 2 / 3  # a worker gives up for certain before its lease ends here


def record_of(hello: wire.Hello, token: str, now: float) -> WorkerRecord:
    return WorkerRecord(
        id=WorkerId(hello.worker),
        instance=hello.instance[:200],
        machine=hello.machine[:200],
        slots=hello.slots,
        connected=True,
        draining=False,
        seen_at=now,
        python=hello.python[:50],
        platform=hello.platform[:200],
        token=token,
    )


async def resumed(
    backend: Backend, worker: WorkerId, running: Sequence[tuple[str, int]]
) -> list[tuple[str, int]]:
    """Which attempts of a worker still stand. Those it was given and never got go back."""
    keep = []
    now, lease_s = backend.clock.now(), backend.settings.lease_s
    for job, epoch in running:
        stands = await backend.commit(backend.store.resume, worker, JobId(job), epoch, now, lease_s)
        if stands:
            keep.append((job, epoch))
    held = {(str(a.job), a.epoch) for a in backend.scheduler.board.held_by(worker)}
    for job, epoch in held - set(running):
        active = backend.scheduler.board.active.get(JobId(job))
        if active is not None and not active.started and epoch:
            await backend.scheduler.release(JobId(job), epoch, "it did not reach its worker")
    return keep


def welcome(
    backend: Backend, keep: list[tuple[str, int]], *, elsewhere: bool = False
) -> wire.Welcome:
    settings, blobs = backend.settings, backend.blobs
    shares_disk = backend.facts.embedded and not elsewhere
    return wire.Welcome(
        version=backend.facts.version,
        heartbeat_s=settings.heartbeat_s,
        gpu_idle_s=settings.gpu_idle_stop_s,
        dead_man_s=min(settings.dead_man_s, DEAD_BEFORE_LEASE * settings.lease_s),
        keep=keep,
        blobs=str(blobs.folder or "") if shares_disk else "",
        spool=str(blobs.spool or "") if shares_disk else "",
        links_bytes=backend.links_bytes,
    )
