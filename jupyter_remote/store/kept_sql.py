"""The statements of the cache: entries, what they refer to, what is counted."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import delete, func, insert, select, update

from jupyter_remote.store.schema import blob, cache, event, job, reference, spec
from jupyter_remote.store.sql import _all, _lit, _p

_mine = cache.c.owner == _p("owner")
_newest = cache.c.created_at.desc()
CACHED = select(
    cache.c.job, cache.c.cost_ucredits, cache.c.run_s, cache.c.created_at
).where(_mine, cache.c.key == _p("key"))  # fmt: skip
CACHED_CODE = (
    select(cache.c.parts).where(_mine, cache.c.code_key == _p("code_key"))
    .order_by(_newest).limit(_lit(1)).offset(_lit(0))
)  # fmt: skip
CACHED_NAME = (
    select(cache.c.parts)
    .join_from(cache, job)
    .where(_mine, cache.c.name == _p("name"), job.c.notebook == _p("notebook"))
    .order_by(_newest)
    .limit(_lit(1))
    .offset(_lit(0))
)
RAN = (
    select(job.c.seq)
    .where(
        job.c.owner == _p("owner"),
        job.c.code_key == _p("code_key"),
        job.c.state == _lit("succeeded"),
        job.c.code_key != _lit(""),
    )
    .limit(_lit(1))
    .offset(_lit(0))
)
ADD_CACHED = _all(cache)
UNCACHE = delete(cache).where(_mine, cache.c.key == _p("key"))
USED = (
    update(cache)
    .where(cache.c.owner == _p("owner_is"), cache.c.key == _p("key_is"))
    .values(
        hits=cache.c.hits + _lit(1),
        saved_ucredits=cache.c.saved_ucredits + _p("saved"),
        used_at=_p("used_at"),
    )
)
ASKED = select(spec.c.asked).where(spec.c.job == _p("job"))
KEPT_BLOBS = (
    select(blob.c.digest, blob.c.size_bytes, blob.c.present)
    .distinct()
    .join_from(reference, blob)
    .where(reference.c.job == _p("job"), reference.c.role.in_([_lit("result"), _lit("log")]))
)
EVENT_BYTES = select(func.sum(func.length(event.c.data))).where(
    event.c.job == _p("job"), event.c.seq > _lit(0)
)
COPY_REFERENCES = insert(reference).from_select(
    ["job", "digest", "role"],
    select(sa.cast(_p("job"), sa.Integer), reference.c.digest, reference.c.role).where(
        reference.c.job == _p("source"), reference.c.role != _lit("checkpoint")
    ),
)
SHOWN = (
    select(event.c.type, event.c.data, event.c.seq)
    .where(
        event.c.job == _p("job"),
        event.c.epoch == _p("epoch"),
        event.c.seq > _lit(0),
        event.c.type != _lit("ask"),
    )
    .order_by(event.c.cursor)
)
CACHE_OWNERS = select(cache.c.owner).distinct()
CACHE_BYTES = select(func.sum(cache.c.size_bytes)).where(_mine)
CACHE_SIZE = select(func.count(), func.sum(cache.c.size_bytes)).where(_mine)
CACHE_WORTH = select(
    cache.c.key, cache.c.size_bytes, cache.c.cost_ucredits, cache.c.run_s, cache.c.hits,
    cache.c.used_at,
).where(_mine)  # fmt: skip
CACHE_ENTRIES = (
    select(
        cache.c.key, job.c.id, cache.c.name, job.c.description, cache.c.size_bytes,
        cache.c.cost_ucredits, cache.c.run_s, cache.c.hits, cache.c.saved_ucredits,
        cache.c.created_at, cache.c.used_at,
    )
    .join_from(cache, job)
    .where(_mine)
    .order_by(_newest)
    .limit(_p("limit"))
    .offset(_lit(0))
)  # fmt: skip
_source = job.alias()
CACHE_HITS = (
    select(
        func.count(),
        func.sum(job.c.saved_ucredits),
        func.sum(_source.c.ended_at - _source.c.started_at),
    )
    .select_from(job.outerjoin(_source, _source.c.id == job.c.cached_from))
    .where(job.c.owner == _p("owner"), job.c.cached_from.is_not(None))
)
CACHE_MISSES = (
    select(func.count())
    .select_from(job.join(spec))
    .where(job.c.owner == _p("owner"), spec.c.asked.is_not(None))
)
# Inputs of old jobs that only stay because their results do.
_old_input = sa.and_(
    reference.c.role == _lit("input"),
    sa.exists().where(
        cache.c.job == reference.c.job, job.c.seq == cache.c.job, job.c.ended_at < _p("before")
    ),
)
OLD_INPUTS = select(reference.c.digest).distinct().where(_old_input)
FORGET_INPUT = delete(reference).where(reference.c.digest == _p("digest"), _old_input)
