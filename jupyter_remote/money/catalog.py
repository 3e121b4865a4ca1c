"""Machine types with their prices: a dated catalogue, and the choice of a machine for a need.

Prices are those of us-east-1 in the public catalogue of Amazon EC2; for spot the range over the
zones at one moment. They age: every row says when it was read.
"""

from __future__ import annotations

import difflib
import logging
import math
import os
from collections.abc import Iterable, Sequence
from datetime import date, timedelta

import msgspec

from jupyter_remote.amounts import size
from jupyter_remote.errors import UnknownMachine
from jupyter_remote.model import MachineType
from jupyter_remote.wire import Need

log = logging.getLogger(__name__)

PRICED_ON = "2025-11-15"
SOURCE = "Amazon EC2 public price list, us-east-1"
GIB = 1024**3
OLD_DAYS = 90  # a price that was read longer ago is shown as old
MOST_USD_PER_H = 10_000.0  # the dearest machine costs a hundred or so: above this is a slip

# type: vCPU, GiB, GPU, GPUs, GiB of one GPU, on demand $/h, spot $/h (low, high) or None
_EC2: dict[str, tuple[int, int, str, int, int, float, tuple[float, float] | None]] = {
    "g4dn.xlarge": (4, 16, "T4", 1, 16, 0.526, (0.20, 0.21)),
    "g5.xlarge": (4, 16, "A10G", 1, 24, 1.006, (0.41, 0.44)),
    "g5.12xlarge": (48, 192, "A10G", 4, 24, 5.672, (2.11, 2.66)),
    "g6.xlarge": (4, 16, "L4", 1, 24, 0.8048, (0.35, 0.41)),
    "g6.4xlarge": (16, 64, "L4", 1, 24, 1.3232, (0.62, 0.68)),
    "g6.48xlarge": (192, 768, "L4", 8, 24, 13.3504, (3.67, 6.25)),
    "g6e.12xlarge": (48, 384, "L40S", 4, 48, 10.493, (3.71, 5.77)),
    "p4d.24xlarge": (96, 1152, "A100", 8, 40, 21.958, (7.6, 8.4)),
    "p4de.24xlarge": (96, 1152, "A100-80GB", 8, 80, 27.447, (8.4, 10.6)),
    "p5.4xlarge": (16, 256, "H100", 1, 80, 6.88, None),
    "p5.48xlarge": (192, 2048, "H100", 8, 80, 55.04, (17.3, 23.0)),
    "p5en.48xlarge": (192, 2048, "H200", 8, 141, 63.296, (16.6, 19.3)),
    "p6-b200.48xlarge": (192, 2048, "B200", 8, 180, 113.933, (22.1, 22.1)),
}


def _ec2_rows() -> Iterable[MachineType]:
    for name, (cpus, gib, gpu, count, gpu_gib, on_demand, spot) in _EC2.items():
        base = MachineType(
            id=f"{name}.od",
            cpus=cpus,
            memory_bytes=gib * GIB,
            gpu=gpu,
            gpu_count=count,
            gpu_memory_bytes=gpu_gib * GIB,
            usd_per_h=on_demand,
            usd_per_h_low=on_demand,
            priced_on=PRICED_ON,
            source=SOURCE,
        )
        yield base
        if spot:
            yield msgspec.structs.replace(
                base, id=name, usd_per_h=spot[1], usd_per_h_low=spot[0], spot=True
            )


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on Windows
        import psutil

        return int(psutil.virtual_memory().total)


def local_machine() -> MachineType:
    """This computer: free. GPUs are added by the local provider where there are some."""
    return MachineType(
        id="local", cpus=float(os.cpu_count() or 1), memory_bytes=_memory_bytes(), source="here"
    )


def catalogue() -> list[MachineType]:
    """All machine types, this computer first, then by price."""
    return [local_machine(), *sorted(_ec2_rows(), key=lambda m: (m.usd_per_h, m.id))]


def simulated(machines: Iterable[MachineType]) -> list[MachineType]:
    """The same types as an embedded backend offers them: run here, priced as there."""
    return [m if m.id == "local" else msgspec.structs.replace(m, simulated=True) for m in machines]


def check_price(machine: MachineType) -> MachineType:
    """The machine. Raises UnknownMachine for a price at which nothing can be held: negative, not a
    number, or so high that it is a mistake."""
    for usd in (machine.usd_per_h, machine.usd_per_h_low):
        if not 0 <= usd <= MOST_USD_PER_H:
            raise UnknownMachine(
                f"{machine.id} is priced at {usd:g} USD an hour, which cannot be: it is not used.",
                hint="Choose another; `%remote machines` lists those with a price.",
            )
    return machine


def sound(machines: Iterable[MachineType]) -> list[MachineType]:
    """Those whose price can be; the others are told in the log."""
    found = []
    for machine in machines:
        try:
            found.append(check_price(machine))
        except UnknownMachine as error:
            log.warning("%s", error.message)
    return found


class Refreshed(msgspec.Struct, frozen=True):
    """A catalogue with what a provider said, and what of that was refused, in words."""

    machines: list[MachineType]
    refused: list[str]


def refreshed(machines: Sequence[MachineType], rows: Iterable[MachineType], now: date) -> Refreshed:
    """The catalogue with the rows of a provider: new prices of known types, and new types.

    A row that cannot be true is refused, one that is older than what is known is passed over. Jobs
    keep the price that they were submitted at.
    """
    by_id = {m.id: m for m in machines}
    refused = []
    for row in rows:
        if why := _why_not(row, now):
            refused.append(f"{row.id or 'a row without a name'}: {why}")
        elif row.provider:  # it can really be had there
            by_id[row.id] = msgspec.structs.replace(row, simulated=False)
        elif row.id not in by_id or row.priced_on >= by_id[row.id].priced_on:
            simulated = row.id in by_id and by_id[row.id].simulated
            by_id[row.id] = msgspec.structs.replace(row, simulated=simulated)
    first = [m for m in by_id.values() if m.id == "local"]
    others = [m for m in by_id.values() if m.id != "local"]
    return Refreshed([*first, *sorted(others, key=lambda m: (m.usd_per_h, m.id))], refused)


def _why_not(row: MachineType, now: date) -> str:
    """Why a row cannot be true; empty when it can."""
    if not row.id or row.id == "local":
        return "no provider sets the price of that"
    for price in (row.usd_per_h, row.usd_per_h_low):
        if not 0 <= price <= MOST_USD_PER_H:  # NaN is neither
            return f"{price} is no price an hour in USD"
    if row.usd_per_h == 0 or row.usd_per_h_low > row.usd_per_h:
        return f"{row.usd_per_h_low}–{row.usd_per_h} is no range of prices"
    if not (0 < row.cpus < math.inf and row.memory_bytes > 0 and row.gpu_count >= 0):
        return "its cores, memory or GPUs are no amounts"
    read = _date(row.priced_on)
    if read is None or read > now + timedelta(days=1):  # the day differs around the world
        return f"{row.priced_on!r} is no date that has been"
    return "" if row.source else "it does not say where its price was read"


def age_days(machine: MachineType, now: date) -> int | None:
    """For how long the price is known; None for what has none."""
    read = _date(machine.priced_on)
    return None if read is None else (now - read).days


def is_old(machine: MachineType, now: date) -> bool:
    """Was the price read so long ago that it should be said?"""
    days = age_days(machine, now)
    return days is not None and days > OLD_DAYS


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _shortfalls(machine: MachineType, need: Need) -> list[str]:
    wants = []
    if need.gpu and (machine.gpu.lower(), machine.gpu_count >= need.gpu_count) != (
        need.gpu.lower(),
        True,
    ):
        wants.append(f"{need.gpu_count} × {need.gpu}")
    if machine.cpus < need.cpus:
        wants.append(f"{need.cpus:g} cores")
    if machine.memory_bytes < need.memory_bytes:
        wants.append(f"{size(need.memory_bytes)} of memory")
    return wants


def fitting(need: Need, machines: Sequence[MachineType]) -> list[MachineType]:
    """The machine types that fit a need, cheapest first; on demand before spot at one price."""
    fit = [m for m in machines if not _shortfalls(m, need)]
    if any(m.provider and m.id != "local" for m in machines):  # who has real ones wants no others
        fit = [m for m in fit if not m.simulated] or fit
    return sorted(fit, key=lambda m: (m.usd_per_h, m.spot, m.gpu_count, m.cpus))


def _sufficient(machine: MachineType, need: Need) -> MachineType:
    """The machine that was named, if it has what was asked for beside it. Raises UnknownMachine."""
    if lacking := _shortfalls(machine, need):
        raise UnknownMachine(
            f"{machine.id} does not have {', '.join(lacking)}.",
            hint="Leave --machine out: the cheapest type that fits is taken. "
            "`%remote machines` lists them.",
        )
    return machine


def choose(need: Need, machines: Sequence[MachineType]) -> MachineType:
    """The machine type that was named, or the cheapest that fits.

    Raises
    ------
    UnknownMachine
        No such id (says the nearest), what was named or all there is does not fit (says why).
    """
    by_id = {m.id: m for m in machines}
    if need.machine:
        if need.machine in by_id:
            return _sufficient(by_id[need.machine], need)
        near = difflib.get_close_matches(need.machine, by_id, n=3, cutoff=0.4)
        raise UnknownMachine(
            f"There is no machine type {need.machine!r}.",
            hint=f"Did you mean {' or '.join(near)}? " * bool(near)
            + "`%remote machines` lists all of them.",
        )
    fit = fitting(need, machines)
    if fit:
        return fit[0]
    gpus = sorted({m.gpu for m in machines if m.gpu})
    if need.gpu and need.gpu.lower() not in {g.lower() for g in gpus}:
        near = difflib.get_close_matches(need.gpu.upper(), gpus, n=2, cutoff=0.4)
        raise UnknownMachine(
            f"There is no machine type with a GPU called {need.gpu!r}.",
            hint=f"Known: {', '.join(gpus)}."
            + (f" Did you mean {' or '.join(near)}?" if near else ""),
        )
    raise UnknownMachine(
        "No machine type fits: asked for "
        + ", ".join(_shortfalls(MachineType(id="", cpus=0, memory_bytes=0), need))
        + ".",
        hint="`%remote machines` lists what can be rented.",
    )
