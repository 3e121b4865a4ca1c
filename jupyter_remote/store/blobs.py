"""Rows and references of blobs; their bytes are elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from jupyter_remote.model import OwnerId, Stage
from jupyter_remote.store import sql
from jupyter_remote.store.apply import save_job, told
from jupyter_remote.store.base_parts import BlobRow, Changed
from jupyter_remote.store.records import Stored, stored_of
from jupyter_remote.store.session import Session
from jupyter_remote.wire import MissingSegment, Segment


def blob(session: Session, digest: str) -> BlobRow | None:
    """One row, with its references counted."""
    row = session.row(sql.BLOB, digest=digest)
    if row is None:
        return None
    size_bytes, present, unused = row
    return BlobRow(
        digest, size_bytes, present == 1, session.value(sql.REFERENCES, digest=digest), unused
    )


def _has(session: Session, digest: str, owner: OwnerId) -> int | None:
    """Size of a blob that is there and that ``owner`` may use; else None."""
    row = session.row(sql.BLOB, digest=digest)
    if row is None or row[1] != 1 or not may_read(session, digest, owner):
        return None
    size_bytes: int = row[0]
    return size_bytes


def missing(session: Session, segments: Sequence[Segment], owner: OwnerId) -> list[MissingSegment]:
    """Segments that ``owner`` has to send, each once, with the chunks of them to be sent.

    What is there and was never sent by ``owner`` is asked for all the same: who knows no more
    than the digest of somebody else's bytes must not get them.
    """
    unique = {segment.digest: segment for segment in segments}
    return [
        MissingSegment(digest, _missing_chunks(session, segment, owner))
        for digest, segment in unique.items()
        if _has(session, digest, owner) is None
    ]


def _missing_chunks(session: Session, segment: Segment, owner: OwnerId) -> list[str]:
    digests = dict.fromkeys(digest for digest, _ in segment.chunks)
    return [digest for digest in digests if _place_of(session, digest, owner) is None]


def _place_of(session: Session, digest: str, owner: OwnerId) -> tuple[str, int, int] | None:
    """In a segment, or as a blob of its own."""
    row = session.row(sql.CHUNK_PLACE, digest=digest, owner=owner)
    if row is not None:
        segment, at_byte, size_bytes = row
        return segment, at_byte, size_bytes
    size = _has(session, digest, owner)
    return (digest, 0, size) if size is not None else None


def chunk_places(
    session: Session, chunks: Sequence[str], owner: OwnerId
) -> dict[str, tuple[str, int, int]]:
    """Those that are there and that ``owner`` may use."""
    places = {digest: _place_of(session, digest, owner) for digest in chunks}
    return {digest: place for digest, place in places.items() if place is not None}


def add_chunks(session: Session, segment: str, chunks: Sequence[tuple[str, int]]) -> None:
    """In order, without gaps. Said again it is the same."""
    at_byte = 0
    for digest, size_bytes in chunks:
        if session.value(sql.CHUNK_KNOWN, digest=digest, segment=segment) is None:
            session.insert(
                sql.ADD_CHUNK,
                digest=digest,
                segment=segment,
                at_byte=at_byte,
                size_bytes=size_bytes,
            )
        at_byte += size_bytes


def refer(session: Session, job: int, segment: Segment, role: str) -> None:
    """Keep a blob, present or still to come, for as long as the job is kept."""
    row = session.row(sql.BLOB, digest=segment.digest)
    if row is None:
        _add(session, segment.digest, segment.size_bytes, present=0, unused_since_at=None)
    elif row[2] is not None:
        session.change(sql.MARK_USED, digest_is=segment.digest)
    known = session.value(sql.REFERRED, job=job, digest=segment.digest, role=role)
    if known is None:
        session.insert(sql.ADD_REFERENCE, job=job, digest=segment.digest, role=role)


def _add(
    session: Session, digest: str, size: int, *, present: int, unused_since_at: float | None
) -> None:
    session.insert(
        sql.ADD_BLOB,
        digest=digest,
        size_bytes=size,
        present=present,
        unused_since_at=unused_since_at,
    )


def arrived(
    session: Session, digest: str, size_bytes: int, now: float, owners: Sequence[OwnerId]
) -> list[Changed]:
    """``owners`` sent the bytes: jobs of theirs that waited for nothing else become ready."""
    for owner in owners:
        if session.value(sql.UPLOADED, digest=digest, owner=owner) is None:
            session.insert(sql.ADD_UPLOAD, digest=digest, owner=owner, at=now)
    row = session.row(sql.BLOB, digest=digest)
    if row is None:
        _add(session, digest, size_bytes, present=1, unused_since_at=now)
        return []
    if row[2] is not None:
        session.change(sql.MARK_UNUSED, digest_is=digest, now=now)
    session.change(sql.MARK_PRESENT, digest_is=digest, size_bytes=size_bytes)
    waiting = [stored_of(row) for row in session.rows(sql.WAITING_FOR, digest=digest)]
    return [
        _make_ready(session, stored, now)
        for stored in waiting
        if not session.value(sql.STILL_MISSING, job=stored.seq)
    ]


def _make_ready(session: Session, before: Stored, now: float) -> Changed:
    job = replace(before.job, ready=True, stage=Stage.WAITING)
    save_job(session, before, job)
    return told(session, Stored(before.seq, job), "ready", "inputs are there", now)


def may_read(session: Session, digest: str, owner: OwnerId) -> bool:
    """Sent by ``owner``, or part of a job of theirs that had it."""
    return session.value(sql.PROVEN, digest=digest, owner=owner) is not None


def collect(session: Session, unused_before: float) -> list[str]:
    """Forget blobs without references; returns their digests."""
    digests = [digest for (digest,) in session.rows(sql.UNUSED, before=unused_before)]
    for digest in digests:
        for statement in sql.FORGET_BLOB:
            session.change(statement, digest=digest)
    return digests
