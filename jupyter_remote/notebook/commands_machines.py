"""``%remote machines``: what can be rented, what it costs, and what is free now."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from jupyter_remote.cards import words as say
from jupyter_remote.client.machines import there, words_of
from jupyter_remote.errors import UsageError
from jupyter_remote.money.catalog import age_days, is_old
from jupyter_remote.notebook import quantities
from jupyter_remote.notebook.commands import Command, Given
from jupyter_remote.notebook.options import Option, no_such
from jupyter_remote.notebook.tables import Table

if TYPE_CHECKING:
    from jupyter_remote.model import MachineType
    from jupyter_remote.notebook.context import Context
    from jupyter_remote.wire import InstanceView, MachineList

LOCAL = "local"
HEADINGS = ("machine", "cores", "memory", "GPU", "kind", "$/h", "free now", "")
NUMBERS = (1, 2, 5)


def machines(context: Context, given: Given, words: list[str]) -> Table:
    client = context.client
    if (id := given.get("end")) is not None:
        client.end_machine(_meant(id, client.instances()))
    present = there(client.instances())
    if given.get("running") or id is not None:
        return table_of_instances(present, time.time())
    return table_of(client.machine_list(), given, date.today(), present)


def _meant(id: str, instances: Sequence[InstanceView]) -> str:
    """The whole id of the machine that is there and begins so. Raises UsageError."""
    found = [one.id for one in there(instances) if id in (one.provider_id, one.id[: len(id)])]
    if len(found) != 1:
        what = "several machines begin" if found else "no machine that is there begins"
        raise UsageError(f"{what} with {id!r}", hint="%remote machines --running lists them")
    return found[0]


def table_of_instances(instances: Sequence[InstanceView], now: float) -> Table:
    """Machines that are rented, with what they do and cost. Pure."""
    rows = [
        [
            *(one.id, one.machine, "spot" if one.spot else "on demand", one.zone),
            *(words_of(one, now), f"{one.usd_per_h:,.4g}", say.short(one.job)),
        ]
        for one in instances
    ]
    return Table(
        ("id", "machine", "kind", "zone", "state", "$/h", "for job"),
        rows,
        empty="no machine is rented now",
        note=_cost_of(instances),
        numbers=(5,),
    )


def _cost_of(present: Sequence[InstanceView]) -> str:
    if not present:
        return ""
    count = "1 machine is" if len(present) == 1 else f"{len(present)} machines are"
    return f"{count} there now, for ${sum(one.usd_per_h for one in present):,.4g}/h"


def table_of(
    listed: MachineList, given: Given, today: date, present: Sequence[InstanceView] = ()
) -> Table:
    """The machine types that were asked for, sorted. Pure."""
    found = sorted((m for m in listed.machines if _wanted(m, given)), key=SORTS[_sort(given)])
    return Table(
        HEADINGS,
        [_row(m, listed, today) for m in found],
        empty="no machine type fits; %remote machines lists all",
        note="; ".join([*_notes(found, today), *_now(listed, present)]),
        numbers=NUMBERS,
    )


def _now(listed: MachineList, present: Sequence[InstanceView]) -> list[str]:
    """What is rented, and why some of what could be is not in the table."""
    rented = [f"{_cost_of(present)}: %remote machines --running"] if present else []
    return rented + [problem.replace("\n", " ") for problem in listed.problems]


def _sort(given: Given) -> str:
    return str(given.get("sort", "price"))


SORTS: dict[str, Callable[[MachineType], Any]] = {
    "price": lambda m: (m.usd_per_h, m.id),
    "gpu": lambda m: (m.gpu_count * m.gpu_memory_bytes == 0, m.gpu, m.gpu_count, m.usd_per_h),
    "memory": lambda m: (m.memory_bytes, m.usd_per_h),
    "name": lambda m: (m.id != LOCAL, m.id),
}


def _wanted(machine: MachineType, given: Given) -> bool:
    gpu = given.get("gpu")
    return (
        (gpu is None or (gpu[0].lower() in machine.gpu.lower() and machine.gpu_count >= gpu[1]))
        and (machine.spot or not given.get("spot", False))
        and not (given.get("on_demand", False) and (machine.spot or machine.id == LOCAL))
        and machine.usd_per_h <= given.get("max_price", float("inf"))
        and machine.memory_bytes >= given.get("memory", 0)
        and machine.cpus >= given.get("cpus", 0)
    )


def _row(m: MachineType, listed: MachineList, today: date) -> list[str]:
    gpu = f"{m.gpu_count} × {m.gpu} {say.size(m.gpu_memory_bytes)}" if m.gpu else ""
    kind = "this computer" if m.id == LOCAL else "spot" if m.spot else "on demand"
    told = ["simulated"] * m.simulated + ["old price"] * is_old(m, today)
    return [
        *(m.id, f"{m.cpus:g}", say.size(m.memory_bytes), gpu, kind, _price(m)),
        _free(m, listed),
        ", ".join(told),
    ]


def _price(m: MachineType) -> str:
    if not m.usd_per_h:
        return "free"
    if m.usd_per_h == m.usd_per_h_low or not m.usd_per_h_low:
        return f"{m.usd_per_h:,.4g}"
    return f"{m.usd_per_h_low:,.4g}–{m.usd_per_h:,.4g}"


def _free(m: MachineType, listed: MachineList) -> str:
    """Slots of workers that are there; simulated types share those of this computer."""
    pool = LOCAL if m.simulated else m.id
    if not (slots := listed.slots.get(pool, 0)):
        return "starts when needed"
    return f"{listed.slots_free.get(pool, 0)} of {slots} slots"


def _notes(found: Sequence[MachineType], today: date) -> list[str]:
    notes = []
    if any(m.simulated for m in found):
        notes.append("simulated: runs on this computer, in its slots, priced as there")
    for day in sorted({m.priced_on for m in found if m.priced_on}):
        these = [m for m in found if m.priced_on == day]
        sources = " and ".join(sorted({m.source for m in these}))
        old = f", {age_days(these[0], today)} days ago" if is_old(these[0], today) else ""
        notes.append(f"prices in USD an hour as of {day}{old} ({sources})")
    return notes


def _sorted_by(text: str) -> str:
    if text not in SORTS:
        raise no_such("order", text, SORTS)
    return text


_OPTIONS = (
    Option(("--running",), "machines that are rented now, with what they cost"),
    Option(("--end",), "end one: it goes when its jobs are over", "ID"),
    Option(("--gpu",), "only those with this GPU, or so many", "NAME[:COUNT]", quantities.gpu),
    Option(("--spot",), "only spot machines"),
    Option(("--on-demand",), "only machines on demand"),
    Option(("--max-price",), "at most so much an hour", "USD", quantities.usd),
    Option(("--memory",), "at least so much memory", "16GB", quantities.memory_bytes),
    Option(("--cpus",), "at least so many cores", "N", quantities.number),
    Option(("--sort",), f"by {', '.join(SORTS)}; price by default", "ORDER", _sorted_by),
)
COMMANDS = (Command("machines", machines, "what can be rented, with prices", options=_OPTIONS),)
