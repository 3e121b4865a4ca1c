"""Results that are kept to be taken again."""

from __future__ import annotations

import msgspec


class CachePart(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a result depends on."""

    name: str  # "code", "global scale", "input df", "module helpers", "package numpy", "Python"
    digest: str  # of its content, or its version
    text: str = ""  # for people, where it is short and no secret: "2", "2.4.5"


class CacheAsk(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """May the result be taken from the cache, and kept there?"""

    key: str  # 64 hex digits: digest of all parts
    name: str  # of the function, or what the cell assigns: an entry of it explains a miss
    parts: list[CachePart]
    is_told: bool = True  # a notice says why there is none; the history does in any case


class CacheEntry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A result that is kept."""

    key: str
    job: str  # that made it
    name: str
    description: str = ""
    size_bytes: int = 0
    cost_ucredits: int = 0
    run_s: float = 0.0
    hits: int = 0
    saved_ucredits: int = 0
    created_at: float
    used_at: float


class CacheReply(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``GET /v1/cache``. Hits and misses are those of jobs that are not forgotten yet."""

    hits: int = 0
    misses: int = 0
    entries: int = 0
    size_bytes: int = 0
    limit_bytes: int = 0
    saved_ucredits: int = 0
    saved_s: float = 0.0
    newest: list[CacheEntry] = []


class CacheCleared(msgspec.Struct, frozen=True):
    """``DELETE /v1/cache``: what went."""

    entries: int
    size_bytes: int
