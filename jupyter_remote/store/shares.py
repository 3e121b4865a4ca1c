"""Addresses at which results open without a token. A job has one at a time; a revoked one is never
good again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, insert, literal_column, select, update

from jupyter_remote.errors import Conflict, NotFound
from jupyter_remote.model import JobId, JobRecord, OwnerId, Share
from jupyter_remote.store import schema
from jupyter_remote.store.apply import load
from jupyter_remote.store.records import JOB_LEAN, job_of
from jupyter_remote.store.session import Session

_share, _job = schema.share, schema.job
_COLUMNS = [_share.c[name] for name in Share.__struct_fields__]
_good = _share.c.revoked_at.is_(None)
_listed = sa.and_(_share.c.visibility == literal_column("'public'"), _good)
_at = sa.tuple_(_share.c.created_at, _share.c.id)

ADD = insert(_share).values({c: bindparam(c.name) for c in _share.c})
OF_JOB = select(*_COLUMNS).where(_share.c.job == bindparam("job"), _good)
SHOW_AS = (
    update(_share)
    .where(_share.c.job == bindparam("job_is"), _good)
    .values(visibility=bindparam("visibility"))
)
REVOKE = (
    update(_share)
    .where(_share.c.job == bindparam("job_is"), _good)
    .values(revoked_at=bindparam("now"))
)
OPENED = (
    select(*JOB_LEAN)
    .join_from(_share, _job, _share.c.job == _job.c.id)
    .where(_share.c.id == bindparam("id"), _good, _job.c.ended_at.is_not(None))
)
CREATED_AT = select(_share.c.created_at).where(_share.c.id == bindparam("id"))
PUBLIC = (
    select(*_COLUMNS, *JOB_LEAN)
    .join_from(_share, _job, _share.c.job == _job.c.id)
    .where(
        _listed,
        _job.c.ended_at.is_not(None),
        _at < sa.tuple_(bindparam("before_at"), bindparam("before")),
    )
    .order_by(_share.c.created_at.desc(), _share.c.id.desc())
    .limit(bindparam("limit"))
    .offset(literal_column("0"))
)
LATEST = 1e18  # later than any


def open_at(session: Session, id: str, job: JobRecord, visibility: str, now: float) -> Share:
    """Give a job that has none an address."""
    made = Share(id=id, job=job.id, owner=job.owner, visibility=visibility, created_at=now)
    session.insert(ADD, revoked_at=None, **_values_of(made))
    return made


def _values_of(share: Share) -> dict[str, Any]:
    return {name: getattr(share, name) for name in Share.__struct_fields__}


def share(
    session: Session, job: JobId, owner: OwnerId, visibility: str, id: str, now: float
) -> Share:
    """At ``id``, or where it is shared already: a request that is sent twice is one."""
    record = load(session, job, owner).job
    if record.kind == "session":
        raise Conflict("A session has no result to share.", hint="Share one of its cells.")
    if (row := session.row(OF_JOB, job=job)) is None:
        return open_at(session, id, record, visibility, now)
    session.change(SHOW_AS, job_is=job, visibility=visibility)
    return _share_of((*row[:3], visibility, row[4]))


def _share_of(row: tuple[Any, ...]) -> Share:
    return Share(**dict(zip(Share.__struct_fields__, row, strict=True)))


def revoke(session: Session, job: JobId, owner: OwnerId, now: float) -> None:
    """Raises NotFound when the job is not the owner's."""
    load(session, job, owner)
    session.change(REVOKE, job_is=job, now=now)


def of_jobs(session: Session, jobs: Sequence[JobId]) -> dict[JobId, Share]:
    """Of those that have an address."""
    rows = (session.row(OF_JOB, job=job) for job in jobs)
    found = [_share_of(row) for row in rows if row is not None]
    return {share.job: share for share in found}


def opened(session: Session, id: str) -> JobRecord:
    """The job that ended and whose result opens here. Raises NotFound."""
    if (row := session.row(OPENED, id=id)) is None:
        raise NotFound("There is no such result.")
    return job_of(row)


def public(session: Session, limit: int, before: str) -> list[tuple[Share, JobRecord]]:
    """The newest first. Raises NotFound for a page after an address that never was."""
    before_at = session.value(CREATED_AT, id=before) if before else LATEST
    if before_at is None:
        raise NotFound("There is no such result.")
    rows = session.rows(PUBLIC, before_at=before_at, before=before, limit=limit)
    width = len(_COLUMNS)
    return [(_share_of(row[:width]), job_of(row[width:])) for row in rows]
