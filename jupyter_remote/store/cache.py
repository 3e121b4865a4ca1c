"""Results that are kept to be taken again: found, given out, added, dropped. Of one owner only."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from jupyter_remote.model import JobId, JobRecord, JobState, OwnerId
from jupyter_remote.money import caching
from jupyter_remote.money.meter import text_of
from jupyter_remote.store import blobs, kept_sql, sql
from jupyter_remote.store.apply import add_event, apply
from jupyter_remote.store.base_parts import NewJob, Source
from jupyter_remote.store.charges import credits_text
from jupyter_remote.store.lifecycle import Step, cached
from jupyter_remote.store.records import Stored, stored_of
from jupyter_remote.store.session import Session
from jupyter_remote.wire import (
    CacheAsk,
    CacheCleared,
    CacheEntry,
    CachePart,
    CacheReply,
    Event,
    Segment,
    encode,
)

NEWEST = 20  # entries that the statistics list
EVERY = 1 << 31
# What the result of a job is told in terms of: it stays together.
_OF_THE_SOURCE = ("function", "inputs", "files", "unwatched", "fixed")

_raw = msgspec.json.Decoder(dict[str, msgspec.Raw])
_asks = msgspec.json.Decoder(CacheAsk)
_part_lists = msgspec.json.Decoder(list[CachePart])


class _Segment(msgspec.Struct, frozen=True):
    digest: str
    data: str | None = None


class _Parcel(msgspec.Struct, frozen=True):
    segments: list[_Segment] = []


class _Spec(msgspec.Struct, frozen=True):
    inputs: _Parcel | None = None


class _Result(msgspec.Struct, frozen=True):
    refers: bool = False


_specs = msgspec.json.Decoder(_Spec)
_results = msgspec.json.Decoder(_Result)


class Hit(NamedTuple):
    """An entry whose result is whole."""

    source: Stored
    cost_ucredits: int
    run_s: float
    created_at: float


# --- taking ----------------------------------------------------------------------------------
def source_of(session: Session, owner: OwnerId, key: str) -> Source | None:
    """The job whose result stands for this key, with the blobs of that."""
    row = session.row(kept_sql.CACHED, owner=owner, key=key)
    if row is None:
        return None
    source = _source(session, row[0])
    kept = session.rows(kept_sql.KEPT_BLOBS, job=source.seq)
    return Source(source.job.id, [Segment(digest, size) for digest, size, _ in kept])


def look(session: Session, new: NewJob) -> Hit | str:
    """The entry for a new job, or why there is none."""
    ask = new.cache
    assert ask is not None
    row = session.row(kept_sql.CACHED, owner=new.owner, key=ask.key)
    if row is None:
        return _why(session, new, ask)
    source, *rest = row
    hit = Hit(_source(session, source), *rest)
    if not _is_whole(session, hit.source):
        session.change(kept_sql.UNCACHE, owner=new.owner, key=ask.key)
        return caching.DAMAGED
    return hit


def _source(session: Session, seq: int) -> Stored:
    [row] = session.rows(sql.WHOLE_JOB_BY_SEQ, seq=seq)
    return stored_of(row)


def _is_whole(session: Session, source: Stored) -> bool:
    """Are its bytes there; and its inputs, if the result refers to parts of these?"""
    if any(not present for _, _, present in session.rows(kept_sql.KEPT_BLOBS, job=source.seq)):
        return False
    rows = [session.row(sql.BLOB, digest=digest) for digest in _referred(source.job)]
    return all(row is not None and row[1] == 1 for row in rows)


def _referred(job: JobRecord) -> list[str]:
    """Digests of its inputs, if its result refers to parts of them."""
    if job.result is None or not _results.decode(job.result).refers:
        return []
    inputs = _specs.decode(job.spec).inputs or _Parcel()
    return [segment.digest for segment in inputs.segments if segment.data is None]


def _why(session: Session, new: NewJob, ask: CacheAsk) -> str:
    code = {"owner": new.owner, "code_key": new.code_key}
    row = session.row(kept_sql.CACHED_CODE, **code) if new.code_key else None
    if row is None:
        named = {"owner": new.owner, "name": ask.name, "notebook": new.notebook}
        row = session.row(kept_sql.CACHED_NAME, **named)
    if row is not None:
        return caching.why_missed(_part_lists.decode(row[0]), ask.parts)
    return caching.FIRST if session.row(kept_sql.RAN, **code) is None else caching.NOT_KEPT


def as_taken(new: NewJob, hit: Hit) -> NewJob:
    """The job to be written: it costs nothing, and what its result refers to is its own input."""
    mine, theirs = _raw.decode(new.spec), _raw.decode(hit.source.job.spec)
    spec = {name: value for name, value in mine.items() if name not in _OF_THE_SOURCE}
    spec |= {name: theirs[name] for name in _OF_THE_SOURCE if name in theirs}
    return replace(
        new, spec=encode(spec), segments=[], hold_ucredits=0, rate_ucredits_per_h=0, fuse=""
    )


def take(session: Session, stored: Stored, hit: Hit, key: str, now: float) -> list[Event]:
    """QUEUED to SUCCEEDED with the result and the output of another job; the events of that."""
    source, job = hit.source, stored.job
    session.change(kept_sql.COPY_REFERENCES, source=source.seq, job=stored.seq)
    for digest in _referred(source.job):  # the source's own may be forgotten by now
        blobs.refer(session, stored.seq, Segment(digest, 0), "input")
    shown = [
        add_event(session, stored, type_, data, now, seq)
        for type_, data, seq in session.rows(kept_sql.SHOWN, job=source.seq, epoch=source.job.epoch)
    ]
    session.change(
        kept_sql.USED, owner_is=job.owner, key_is=key, saved=hit.cost_ucredits, used_at=now
    )
    origin = caching.taken_text(source.job.id, hit.created_at, now)
    cost = hit.cost_ucredits
    is_much = cost >= caching.LEAST_UCREDITS
    credits, money = (credits_text(cost), text_of(cost)) if is_much else ("", "")
    saved = caching.saved_text(credits, hit.run_s), caching.saved_text(money, hit.run_s)
    text = "; ".join(filter(None, (f"taken from the cache: {origin}", saved[0])))
    detail = " · ".join(filter(None, ("from the cache", saved[1])))
    step = cached(job, source.job, now, text, detail)
    return [*shown, *apply(session, stored, step, now).events]


# --- keeping ---------------------------------------------------------------------------------
def keep(session: Session, stored: Stored, step: Step, limit_bytes: int, now: float) -> Step:
    """An entry for a job that is about to have succeeded, if it asked for one; the latest wins.

    Gives the step with what is said of that.
    """
    if step.job.state is not JobState.SUCCEEDED:
        return step
    asked = session.value(kept_sql.ASKED, job=stored.seq)
    if asked is None:
        return step
    if not step.job.ran_whole:
        return _saying(step, caching.NOT_WHOLE)
    size = _size_of(session, stored.seq, step.job)
    if size > limit_bytes:
        return _saying(step, caching.too_large_text(size, limit_bytes))
    ask, owner = _asks.decode(asked), step.job.owner
    started_at = now if step.job.started_at is None else step.job.started_at
    session.change(kept_sql.UNCACHE, owner=owner, key=ask.key)
    session.insert(
        kept_sql.ADD_CACHED,
        owner=owner,
        key=ask.key,
        job=stored.seq,
        name=ask.name,
        code_key=step.job.code_key,
        parts=encode(ask.parts),
        size_bytes=size,
        cost_ucredits=step.job.cost_ucredits,
        run_s=max(0.0, now - started_at),
        hits=0,
        saved_ucredits=0,
        created_at=now,
        used_at=now,
    )
    _trim(session, owner, limit_bytes, now)
    return _saying(step, caching.added_text(size))


def _saying(step: Step, text: str) -> Step:
    job = step.job if step.job.detail else replace(step.job, detail=text)
    return replace(step, text=f"{step.text}; {text}", job=job)


def _size_of(session: Session, seq: int, job: JobRecord) -> int:
    """Bytes of its result and its output."""
    kept = sum(size for _, size, _ in session.rows(kept_sql.KEPT_BLOBS, job=seq))
    events = session.value(kept_sql.EVENT_BYTES, job=seq) or 0
    return int(kept + events + len(job.result or b""))


def trim(session: Session, limit_bytes: int, now: float) -> int:
    """Drop the least valuable entries of whoever has too much; how many."""
    owners = session.rows(kept_sql.CACHE_OWNERS)
    return sum(_trim(session, OwnerId(owner), limit_bytes, now) for (owner,) in owners)


def _trim(session: Session, owner: OwnerId, limit_bytes: int, now: float) -> int:
    if (session.value(kept_sql.CACHE_BYTES, owner=owner) or 0) <= limit_bytes:
        return 0
    kept = [
        caching.Kept(
            key=key, size_bytes=size, cost_ucredits=cost, run_s=run_s, hits=hits, used_at=used_at
        )
        for key, size, cost, run_s, hits, used_at in session.rows(kept_sql.CACHE_WORTH, owner=owner)
    ]
    gone = caching.least_valuable(kept, limit_bytes, now)
    for key in gone:
        session.change(kept_sql.UNCACHE, owner=owner, key=key)
    return len(gone)


# --- for people ------------------------------------------------------------------------------
def clear(session: Session, owner: OwnerId, which: str) -> CacheCleared:
    """Drop entries: of a name, of a job by the beginning of its id, or all; what went."""
    entries = [
        _entry(row) for row in session.rows(kept_sql.CACHE_ENTRIES, owner=owner, limit=EVERY)
    ]
    gone = [
        e for e in entries if not which or e.name == which or (e.job and e.job.startswith(which))
    ]
    for entry in gone:
        session.change(kept_sql.UNCACHE, owner=owner, key=entry.key)
    return CacheCleared(len(gone), sum(e.size_bytes for e in gone))


def stats(session: Session, owner: OwnerId, limit_bytes: int) -> CacheReply:
    """Hits, misses, what was saved, what is there."""
    hits, saved, saved_s = session.row(kept_sql.CACHE_HITS, owner=owner) or (0, 0, 0.0)
    entries, size = session.row(kept_sql.CACHE_SIZE, owner=owner) or (0, 0)
    newest = session.rows(kept_sql.CACHE_ENTRIES, owner=owner, limit=NEWEST)
    return CacheReply(
        hits=hits,
        misses=session.value(kept_sql.CACHE_MISSES, owner=owner) or 0,
        entries=entries,
        size_bytes=size or 0,
        limit_bytes=limit_bytes,
        saved_ucredits=saved or 0,
        saved_s=saved_s or 0.0,
        newest=[_entry(row) for row in newest],
    )


def _entry(row: tuple[Any, ...]) -> CacheEntry:
    key, job, name, description, size, cost, run_s, hits, saved, created_at, used_at = row
    return CacheEntry(
        key=key,
        job=JobId(job),
        name=name,
        description=description,
        size_bytes=size,
        cost_ucredits=cost,
        run_s=run_s,
        hits=hits,
        saved_ucredits=saved,
        created_at=created_at,
        used_at=used_at,
    )
