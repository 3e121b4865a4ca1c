"""The receipt of a job, made in the transaction that ends it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from jupyter_remote import __version__
from jupyter_remote.model import AttemptRecord, JobId, MachineType, WorkerRecord
from jupyter_remote.money.receipt import Surroundings, receipt_of
from jupyter_remote.store import sql
from jupyter_remote.store.charges import Posting
from jupyter_remote.store.lifecycle import Step
from jupyter_remote.store.records import Stored, attempt_of, instance_of, worker_of
from jupyter_remote.store.session import Session
from jupyter_remote.store.views import Summary
from jupyter_remote.wire import encode

LOCAL = "local"  # what workers of this computer call their instance
_summaries = msgspec.json.Decoder(Summary)


def made(
    session: Session, before: Stored, step: Step, machines: Sequence[MachineType] = ()
) -> bytes:
    """JSON of the receipt of ``step.job``, which ends here. ``machines``: what else can be had."""
    job = step.job
    worker = _worker(session, job.worker)
    summary = _summaries.decode(job.summary) if job.summary else Summary()
    around = Surroundings(
        version=__version__,
        attempts=_attempts(session, before, step),
        charged=_charged(session, job.id, step.postings) if job.hold_ucredits else {},
        worker=worker,
        provider=_provider(session, worker),
        offer=summary.offer,
        machines=machines,
        end_text=step.text,
    )
    return encode(receipt_of(job, session.value(sql.SPEC, job=before.seq) or b"", around))


def _attempts(session: Session, before: Stored, step: Step) -> list[AttemptRecord]:
    """All of them, the last one as it ends."""
    if not before.job.epoch:
        return []
    rows = session.rows(sql.ATTEMPTS, job=before.seq)
    found = [attempt_of(before.job.id, row) for row in rows]
    last = step.attempt
    return [last if last is not None and a.epoch == last.epoch else a for a in found]


def _charged(
    session: Session, job: JobId, postings: Sequence[Posting]
) -> dict[tuple[str, int], int]:
    """What was posted for each attempt, and what is to be posted now."""
    found = {
        (kind, epoch): amount
        for kind, epoch, amount in session.rows(sql.POSTED_OF_ATTEMPTS, job=job)
    }
    new = {(p.kind, p.epoch): p.amount_ucredits for p in postings if p.epoch is not None}
    return found | new


def _worker(session: Session, id: str | None) -> WorkerRecord | None:
    row = session.row(sql.WORKER, id=id) if id else None
    return worker_of(row) if row is not None else None


def _provider(session: Session, worker: WorkerRecord | None) -> str:
    if worker is None or worker.instance == LOCAL:
        return LOCAL if worker is not None else ""
    row = session.row(sql.INSTANCE, id=worker.instance)
    return instance_of(row).provider if row is not None else ""
