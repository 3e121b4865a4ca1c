"""Routes of the cache; and whether a submit will be answered from it."""

from __future__ import annotations

import msgspec

from jupyter_remote import errors, wire
from jupyter_remote.model import OwnerId
from jupyter_remote.server.auth import allow
from jupyter_remote.server.backend import Backend
from jupyter_remote.server.routing import Call, Endpoint
from jupyter_remote.server.submitting import check_digest


class ClearQuery(msgspec.Struct, frozen=True):
    """Which entries: of a name, or of a job by the beginning of its id; or all of them."""

    which: str = ""
    all: bool = False


async def answers(backend: Backend, owner: OwnerId, ask: wire.CacheAsk | None) -> bool:
    """Is there a result for this, and are its bytes what they should be?

    They are read here, so that a damaged result is a miss and not a surprise at home.
    """
    if ask is None:
        return False
    found = await backend.look(backend.store.cached, owner, ask.key)
    if found is None:
        return False
    await backend.shelf.look_for(found.segments)
    await backend.shelf.check(found.segments)
    rows = [backend.store.blob(segment.digest) for segment in found.segments]
    return all(row is not None and row.present for row in rows)


async def would_be_given(call: Call, key: str) -> str:
    """Id of the job whose result a submit with this key would be given; empty: it would run."""
    if not key:
        return ""
    backend = call.backend
    found = await backend.look(backend.store.cached, call.caller.owner, check_digest(key))
    return found.job if found is not None else ""


async def stats(call: Call) -> wire.CacheReply:
    reply: wire.CacheReply = await call.backend.read(
        call.backend.store.cache_stats, call.caller.owner
    )
    return reply


async def clear(call: Call) -> wire.CacheCleared:
    query: ClearQuery = call.query
    if bool(query.which) is query.all:
        raise errors.InvalidRequest(
            "Say which entries, or all.", hint="?which=NAME, ?which=ID of a job, or ?all=true"
        )
    store, owner = call.backend.store, call.caller.owner
    cleared: wire.CacheCleared = await call.backend.commit(store.clear_cache, owner, query.which)
    return cleared


ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/v1/cache",
        handler=stats,
        summary="Results that you keep: hits, misses, what they saved",
        policy=allow("read", "submit"),
        reply=wire.CacheReply,
    ),
    Endpoint(
        method="DELETE",
        path="/v1/cache",
        handler=clear,
        summary="Drop results that you keep",
        policy=allow("submit"),
        query=ClearQuery,
        reply=wire.CacheCleared,
    ),
]
