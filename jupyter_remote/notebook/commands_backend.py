"""``%remote`` connect, status, doctor, on, off, use."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from jupyter_remote.amounts import memory_text, seconds_text
from jupyter_remote.cards import words as say
from jupyter_remote.client import doctor as checks
from jupyter_remote.client.account import line_of
from jupyter_remote.errors import UsageError
from jupyter_remote.money.catalog import choose
from jupyter_remote.notebook import run
from jupyter_remote.notebook.commands import Command, Given, one_word
from jupyter_remote.notebook.options import RUN_OPTIONS, Option, run_options

if TYPE_CHECKING:
    from jupyter_remote.notebook.context import Context


def connect(context: Context, given: Given, words: list[str]) -> None:
    if len(words) > 1:
        raise UsageError("say one URL, or none for the embedded backend")
    context.connect(words[0] if words else None)
    status(context, {}, [])


def status(context: Context, given: Given, words: list[str]) -> None:
    info = context.client.info()
    where = "embedded backend" if info.embedded else "backend"
    since = f", up {say.duration(time.time() - info.started_at)}" if info.started_at else ""
    print(f"{where} {info.version} at {context.client.url}{since}")
    slots = sum(worker.slots for worker in info.workers if worker.connected)
    workers = f"{len(info.workers)} workers with {slots} slots"
    print(f"{workers}, {info.jobs_running} jobs running, {info.jobs_queued} queued")
    print(line_of(context.client.summary()))
    toggle = "on: cells and @remote functions go there" if context.enabled else "off: all runs here"
    print(f"%remote is {toggle}")


def doctor(context: Context, given: Given, words: list[str]) -> None:
    for finding in checks.examine(context.chosen_settings()):
        print(f"{_MARKS[finding.level]} {finding.text}")
        if finding.step:
            print(f"    → {finding.step}")


_MARKS = {"ok": "✓", "warn": "!", "error": "✗"}


def on(context: Context, given: Given, words: list[str]) -> None:
    context.enabled = True
    print("on: @remote functions and %%remote_run cells go to the backend")


def off(context: Context, given: Given, words: list[str]) -> None:
    context.enabled = False
    print("off: @remote functions and %%remote_run cells run here, and are waited for")


def use(context: Context, given: Given, words: list[str]) -> None:
    if words:
        given = {"machine": one_word(words, "machine type"), **given}
    if given.pop("reset", False):
        context.defaults = {}
    options = run_options(given)  # what cannot be done is refused now, not at each cell
    if NEEDS & given.keys():
        client = run.configured(context, options)
        choose(client.options.need, client.machines())
    context.defaults |= given
    if not context.defaults:
        print("no defaults: cells run on the local machine type unless they say otherwise")
    for field, value in sorted(context.defaults.items()):
        print(f"--{field.replace('_', '-')} {_shown(field, value)}")


def _shown(field: str, value: Any) -> str:
    if field in ("timeout", "memory"):
        return seconds_text(value) if field == "timeout" else memory_text(value)
    if isinstance(value, tuple):
        return ":".join(str(part) for part in value)
    return ",".join(value) if isinstance(value, list) else str(value)


_OFF = "cells and @remote functions run here; --out, --name, --plan hold"
NEEDS = {"machine", "gpu", "cpus", "memory"}
_USE = (*RUN_OPTIONS, Option(("--reset",), "forget all defaults first"))
COMMANDS = (
    Command("connect", connect, "use another backend; without URL the embedded one", "[URL]"),
    Command("status", status, "which backend, is it well, what does it do"),
    Command("doctor", doctor, "what is wrong and how to mend it"),
    Command("on", on, "cells and @remote functions go to the backend"),
    Command("off", off, _OFF),
    Command("use", use, "defaults for this notebook; alone, shows them", "[MACHINE]", _USE),
)
