"""Reading stored events, a page at a time."""

from __future__ import annotations

from typing import Any

from jupyter_remote.model import JobId, OwnerId
from jupyter_remote.store import sql
from jupyter_remote.store.records import event_of
from jupyter_remote.store.session import Session
from jupyter_remote.wire import Event

DATA = 5  # which column has the data
PAGE_BYTES = 4 * 1024 * 1024  # of data in a page; a picture may have as much by itself


def after(
    session: Session,
    cursor: int,
    owner: OwnerId | None,
    job: JobId | None,
    client: str | None,
    limit: int,
) -> list[Event]:
    """In order of their cursors; an empty page is the end. An absent job has none."""
    values = {"after": cursor, "owner": owner, "limit": limit, "client": client}
    if job is not None:
        seq = session.value(sql.SEQ, id=job)
        rows = session.some(sql.EVENTS_OF_JOB, _bytes_of, PAGE_BYTES, job=seq, **values)
    elif client:
        rows = session.some(sql.EVENTS_OF_CLIENT, _bytes_of, PAGE_BYTES, **values)
    else:
        rows = session.some(sql.EVENTS, _bytes_of, PAGE_BYTES, **values)
    return [event_of(row) for row in rows]


def _bytes_of(row: tuple[Any, ...]) -> int:
    return len(row[DATA])
