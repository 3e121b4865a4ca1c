"""What an owner's jobs are doing now, and what they cost: read often, by few rows of indexes."""

from __future__ import annotations

from sqlalchemy import bindparam, func, literal_column, select

from jupyter_remote.model import OwnerId
from jupyter_remote.store import money, schema
from jupyter_remote.store.base_parts import Totals
from jupyter_remote.store.records import JOB_LEAN, job_of
from jupyter_remote.store.session import Session

_job, _attempt, _posting = schema.job, schema.attempt, schema.posting

ACTIVE = (
    select(*JOB_LEAN)
    .join_from(_attempt, _job)
    .where(_attempt.c.ended_at.is_(None), _job.c.owner == bindparam("owner"))
)
QUEUED = (
    select(func.count())
    .select_from(_job)
    .where(
        _job.c.owner == bindparam("owner"),
        _job.c.state.in_([literal_column("'queued'"), literal_column("'retry_wait'")]),
    )
)
CAPTURED = select(func.sum(_posting.c.amount_ucredits)).where(
    _posting.c.kind == literal_column("'capture'"),
    _posting.c.source == bindparam("held"),
    _posting.c.at >= bindparam("since"),
)


def totals(session: Session, owner: OwnerId, since: float) -> Totals:
    """All of one moment, within a snapshot."""
    return Totals(
        active=[job_of(row) for row in session.rows(ACTIVE, owner=owner)],
        queued=session.value(QUEUED, owner=owner),
        captured_ucredits=session.value(CAPTURED, held=f"held:{owner}", since=since) or 0,
        balance=money.balance(session, owner),
    )
