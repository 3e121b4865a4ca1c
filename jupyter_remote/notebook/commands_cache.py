"""``%remote cache``: on, off, stats, clear."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from jupyter_remote.cards import words as say
from jupyter_remote.errors import UsageError
from jupyter_remote.notebook.commands import Command, Given
from jupyter_remote.notebook.options import Option, no_such
from jupyter_remote.notebook.tables import Table

if TYPE_CHECKING:
    from jupyter_remote.notebook.context import Context
    from jupyter_remote.wire import CacheEntry, CacheReply

ACTIONS = ("on", "off", "stats", "clear")


def cache(context: Context, given: Given, words: list[str]) -> Table | None:
    action, *rest = words or ["state"]
    if action not in ("state", *ACTIONS):
        raise no_such("word", action, ACTIONS)
    if action != "clear" and (rest or given):
        raise UsageError(f"%remote cache {action} takes no more", hint="clear takes ID or NAME")
    match action:
        case "clear":
            _clear(context, given, rest)
        case "stats":
            return _stats(context.client.cache_stats())
        case "state":
            _say_state(context)
        case _:
            _switch(context, action == "on")
    return None


def _switch(context: Context, on: bool) -> None:
    context.defaults["cache"] = on
    _say_state(context)


def _say_state(context: Context) -> None:
    if context.defaults.get("cache"):
        print("on: cells and @remote functions keep their results, and take them where nothing")
        print("changed; --no-cache or cache=False runs one all the same")
    else:
        print("off: --cache or cache=True keeps a result, and takes it where nothing changed")


def _clear(context: Context, given: Given, rest: list[str]) -> None:
    if len(rest) > 1 or bool(rest) is bool(given.get("all")):
        raise UsageError("say what to clear", hint="the ID of a job, the NAME of a cell, or --all")
    which = rest[0] if rest else ""
    cleared = context.client.clear_cache(which)
    if which and not cleared.entries:
        raise UsageError(f"the cache has nothing of {which!r}", hint="%remote cache stats lists it")
    print(f"cleared {_count(cleared.entries, 'entry', 'entries')} ({say.size(cleared.size_bytes)})")


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _stats(found: CacheReply) -> Table:
    hits, misses = _count(found.hits, "hit", "hits"), _count(found.misses, "miss", "misses")
    entries = _count(found.entries, "entry", "entries")
    room = f"{say.size(found.size_bytes)} of {say.size(found.limit_bytes)}"
    saved = f"saved {say.money(found.saved_ucredits)} and {say.duration(found.saved_s)}"
    note = f"{hits}, {misses}; {saved}; {entries}, {room}"
    return Table(
        ["job", "what", "made", "ran", "cost", "size", "hits", "saved"],
        [_row(entry) for entry in found.newest],
        empty=f"nothing is kept yet: {note}",
        note=note,
        numbers=(3, 4, 5, 6, 7),
        whole=(0, 2),
    )


def _row(entry: CacheEntry) -> list[str]:
    return [
        say.short(entry.job),
        entry.name or entry.description,
        time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.created_at)),
        say.duration(entry.run_s),
        say.money(entry.cost_ucredits),
        say.size(entry.size_bytes),
        str(entry.hits),
        say.money(entry.saved_ucredits),
    ]


_CLEAR = (Option(("-a", "--all"), "with clear: everything"),)
_WORDS = f"[{'|'.join(ACTIONS)}] [ID|NAME]"
COMMANDS = (Command("cache", cache, "results that are kept, to be taken again", _WORDS, _CLEAR),)
