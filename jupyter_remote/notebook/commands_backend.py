"""``%remote`` connect, status, doctor, on, off, use."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from jupyter_remote.amounts import memory_text, seconds_text
from jupyter_remote.cards import words as say
from jupyter_remote.client import doctor as checks
from jupyter_remote.client.account import line_of
from jupyter_remote.client.comparison import clients_of
from jupyter_remote.client.page import lines_of as lines_of_link
from jupyter_remote.errors import LaunchRefused, UnknownMachine, UsageError
from jupyter_remote.money.catalog import choose
from jupyter_remote.notebook import quantities
from jupyter_remote.notebook.commands import Command, Given, one_word
from jupyter_remote.notebook.options import RUN_OPTIONS, Option, over, run_options
from jupyter_remote.notebook.prepare import configured

if TYPE_CHECKING:
    from jupyter_remote.notebook.context import Context
    from jupyter_remote.wire import MachineList, Need


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
    print(f"{_count(len(info.workers), 'worker')} with {_count(slots, 'slot')}")
    print(line_of(context.client.summary()))
    toggle = "on: cells and @remote functions go there" if context.enabled else "off: all runs here"
    print(f"%remote is {toggle}")


def page(context: Context, given: Given, words: list[str]) -> None:
    print("\n".join(lines_of_link(context.client.page(), time.time())))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


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
    client = configured(context, options)
    if NEEDS & given.keys():
        _check(client.options.need, client.machine_list())
    if "env" in given and client.options.environment not in ("auto", "none"):
        from jupyter_remote.client import requirements

        requirements.read(client.options.environment, os.getcwd())
    if options.compare is not None:
        clients_of(client, options.compare)
    context.defaults = over(context.defaults, given)
    if not context.defaults:
        print("no defaults: cells run on the local machine type unless they say otherwise")
    for field, value in sorted(context.defaults.items()):
        print(_typed(field, value))


def _check(need: Need, listed: MachineList) -> None:
    """Raises UnknownMachine, or LaunchRefused where a provider says nothing."""
    try:
        choose(need, listed.machines)
    except UnknownMachine:
        for problem in listed.problems:
            raise LaunchRefused(problem) from None
        raise


def _typed(field: str, value: Any) -> str:
    """As one would type it: ``--in a,b``, ``--no-cache``."""
    these = [option for option in RUN_OPTIONS if option.field == field]
    option = next((o for o in these if not o.value and o.constant == value), these[0])
    flag = option.flags[-1]
    return f"{flag} {_text(option, value)}" if option.value else flag


def _text(option: Option, value: Any) -> str:
    if option.read is quantities.seconds:
        return seconds_text(value)
    if option.read is quantities.memory_bytes:
        return memory_text(value)
    if isinstance(value, tuple):
        return ":".join(str(part) for part in value)
    if isinstance(value, list):
        return (" " if option.many else ",").join(value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


_OFF = "cells and @remote functions run here; --out, --name, --plan hold"
NEEDS = {"machine", "gpu", "cpus", "memory"}
_USE = (
    *(option for option in RUN_OPTIONS if option.field != "resume"),
    Option(("--reset",), "forget all defaults first"),
)
COMMANDS = (
    Command("connect", connect, "use another backend; without URL the embedded one", "[URL]"),
    Command("status", status, "which backend, is it well, what does it do"),
    Command("page", page, "a link that opens your jobs in a browser, once; on a phone, too"),
    Command("doctor", doctor, "what is wrong and how to mend it"),
    Command("on", on, "cells and @remote functions go to the backend"),
    Command("off", off, _OFF),
    Command("use", use, "defaults for this notebook; alone, shows them", "[MACHINE]", _USE),
)
