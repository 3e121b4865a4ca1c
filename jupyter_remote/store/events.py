"""Reading stored events."""

from __future__ import annotations

from jupyter_remote.model import JobId, OwnerId
from jupyter_remote.store import sql
from jupyter_remote.store.records import event_of
from jupyter_remote.store.session import Session
from jupyter_remote.wire import Event


def after(
    session: Session,
    cursor: int,
    owner: OwnerId | None,
    job: JobId | None,
    client: str | None,
    limit: int,
) -> list[Event]:
    """In order of their cursors. An absent job has none."""
    values = {"after": cursor, "owner": owner, "limit": limit, "client": client}
    if job is not None:
        seq = session.value(sql.SEQ, id=job)
        rows = session.rows(sql.EVENTS_OF_JOB, job=seq, **values)
    elif client:
        rows = session.rows(sql.EVENTS_OF_CLIENT, **values)
    else:
        rows = session.rows(sql.EVENTS, **values)
    return [event_of(row) for row in rows]
