"""Why a result is not in the cache, what is worth keeping there, and how that is said. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import msgspec

from jupyter_remote.amounts import duration, size
from jupyter_remote.wire import CachePart

SHOWN = 3  # changes that one line names
HALF_LIFE_S = 7 * 86_400.0  # unused for so long, an entry is half as likely to be used
SECOND_UCREDITS = 30_000  # what a second of waiting is worth, about $1 an hour
DAY_S = 86_400.0
LEAST_S = 0.1  # of a run that is worth a word
LEAST_UCREDITS = 10_000  # $0.0001

_NAMED = frozenset({"input", "global", "variable", "function", "class", "module", "file"})

FIRST = "first run"
NOT_KEPT = "this code ran before, and no result of it is kept"
NOT_WHOLE = "not kept in the cache: it went on from a checkpoint"
DAMAGED = "its stored result is damaged or gone; it runs again"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry takes and what it saves."""

    key: str
    size_bytes: int
    cost_ucredits: int  # of the run that made it
    run_s: float
    hits: int
    used_at: float  # last; made, if never


# --- why it missed ---------------------------------------------------------------------------
def why_missed(before: Sequence[CachePart], now: Sequence[CachePart]) -> str:
    """What differs from an entry that is there, in the order in which a run names its parts."""
    old, new = {p.name: p for p in before}, {p.name: p for p in now}
    changed = [_changed(old[p.name], p) for p in now if p.name in old and old[p.name] != p]
    if not changed:  # else what is used now, or not any more, follows from that
        changed = [f"{_called(p.name)} is used now" for p in now if p.name not in old]
        changed += [f"{_called(p.name)} is not used any more" for p in before if p.name not in new]
    if not changed:
        return NOT_KEPT
    more = f", and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return ", ".join(changed[:SHOWN]) + more


def _changed(old: CachePart, new: CachePart) -> str:
    kind, _, _ = new.name.partition(" ")
    if kind in ("package", "Python"):
        return f"{new.name}: {old.text or 'none'} → {new.text or 'none'}"
    told = f"{_called(new.name)} changed"
    return f"{told}: {old.text} → {new.text}" if old.text and new.text else told


def _called(name: str) -> str:
    """``global scale`` is "global `scale`"."""
    kind, _, which = name.partition(" ")
    return f"{kind} `{which}`" if kind in _NAMED else name


# --- what stays ------------------------------------------------------------------------------
def worth(entry: Kept, now: float) -> float:
    """What it is expected to save, for each byte."""
    saves = entry.cost_ucredits + SECOND_UCREDITS * entry.run_s
    idle = max(0.0, now - entry.used_at) / HALF_LIFE_S
    return float(saves * (1 + entry.hits) * 0.5**idle / max(1, entry.size_bytes))


def least_valuable(entries: Iterable[Kept], limit_bytes: int, now: float) -> list[str]:
    """Keys of those that have to go, so that the others fit."""
    ordered = sorted(entries, key=lambda e: (worth(e, now), e.used_at, e.key))
    surplus = sum(e.size_bytes for e in ordered) - limit_bytes
    gone = []
    for entry in ordered:
        if surplus <= 0:
            break
        gone.append(entry.key)
        surplus -= entry.size_bytes
    return gone


# --- in words --------------------------------------------------------------------------------
def clock_text(at: float, now: float) -> str:
    """``12:03``; with its date when it is older than a day."""
    form = "%H:%M" if now - at < DAY_S else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(at))


def taken_text(job: str, at: float, now: float) -> str:
    """Where a result comes from."""
    return f"the result of job {job[:8]} of {clock_text(at, now)}"


def saved_text(money: str, run_s: float) -> str:
    """``saved $0.12 and 2.0 s``; empty for next to nothing, as ``money`` is."""
    time_ = duration(run_s) if run_s >= LEAST_S else ""
    both = " and ".join(part for part in (money, time_) if part)
    return f"saved {both}" if both else ""


def added_text(size_bytes: int) -> str:
    """What a run left in the cache."""
    return f"added 1 entry to the cache ({size(size_bytes)})"


def too_large_text(size_bytes: int, limit_bytes: int) -> str:
    """Why a run left nothing."""
    return f"not kept in the cache: {size(size_bytes)} of {size(limit_bytes)} in all"
