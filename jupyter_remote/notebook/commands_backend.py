"""``%remote`` connect, status, doctor, on, off, use, machines, balance, ledger."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from jupyter_remote.amounts import memory_text, seconds_text
from jupyter_remote.cards import words as say
from jupyter_remote.client import doctor as checks
from jupyter_remote.errors import UsageError
from jupyter_remote.money.catalog import choose
from jupyter_remote.notebook import run
from jupyter_remote.notebook.commands import Command, Given, one_word
from jupyter_remote.notebook.options import RUN_OPTIONS, Option, run_options
from jupyter_remote.notebook.tables import Table

if TYPE_CHECKING:
    from jupyter_remote.model import MachineType
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


def machines(context: Context, given: Given, words: list[str]) -> Table:
    found = [m for m in context.client.machines(given.get("gpu")) if _wanted(m, given)]
    simulated = any(m.simulated for m in found)
    dates = sorted({m.priced_on for m in found if m.priced_on})
    notes = ["simulated: runs on this computer, priced as there"] if simulated else []
    notes += [f"prices of {dates[-1]}, USD an hour"] if dates else []
    headings = ["machine", "cores", "memory", "GPU", "kind", "$/h", ""]
    return Table(
        headings,
        [_row(m) for m in found],
        empty="no machine type fits; %remote machines lists all",
        note="; ".join(notes),
        numbers=(1, 2, 5),
    )


def _wanted(machine: MachineType, given: Given) -> bool:
    return machine.spot or not given.get("spot", False)


def _row(m: MachineType) -> list[str]:
    gpu = f"{m.gpu_count} × {m.gpu} {say.size(m.gpu_memory_bytes)}" if m.gpu else ""
    kind = "this computer" if m.id == "local" else "spot" if m.spot else "on demand"
    price = (
        "free"
        if not m.usd_per_h
        else f"{m.usd_per_h:,.4g}"
        if m.usd_per_h == m.usd_per_h_low or not m.usd_per_h_low
        else (f"{m.usd_per_h_low:,.4g}–{m.usd_per_h:,.4g}")
    )
    mark = "simulated" if m.simulated else ""
    return [m.id, f"{m.cpus:g}", say.size(m.memory_bytes), gpu, kind, price, mark]


def balance(context: Context, given: Given, words: list[str]) -> None:
    balance = context.client.balance()
    for label, amount in (
        ("available", balance.available_ucredits),
        ("held", balance.held_ucredits),
        ("spent", balance.spent_ucredits),
    ):
        print(f"{label:>9}  {amount / 1e6:,.2f} credits ({say.money(amount)})")


def ledger(context: Context, given: Given, words: list[str]) -> Table:
    entries = context.client.ledger()
    rows = [
        [
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at)),
            entry.kind,
            entry.account,
            f"{entry.amount_ucredits / 1e6:+,.4f}",
            say.short(entry.job or ""),
        ]
        for entry in entries
    ]
    headings = ["time", "what", "account", "credits", "job"]
    return Table(headings, rows, empty="the ledger is empty", numbers=(3,), whole=(0, 4))


_OFF = "cells and @remote functions run here; --out, --name, --plan hold"
_MACHINES = (
    Option(("--gpu",), "only those with this GPU", "NAME"),
    Option(("--spot",), "only spot machines"),
)
NEEDS = {"machine", "gpu", "cpus", "memory"}
_USE = (*RUN_OPTIONS, Option(("--reset",), "forget all defaults first"))
COMMANDS = (
    Command("connect", connect, "use another backend; without URL the embedded one", "[URL]"),
    Command("status", status, "which backend, is it well, what does it do"),
    Command("doctor", doctor, "what is wrong and how to mend it"),
    Command("on", on, "cells and @remote functions go to the backend"),
    Command("off", off, _OFF),
    Command("use", use, "defaults for this notebook; alone, shows them", "[MACHINE]", _USE),
    Command("machines", machines, "what can be rented, with prices", options=_MACHINES),
    Command("balance", balance, "credits available, held and spent"),
    Command("ledger", ledger, "every entry of the account"),
)
