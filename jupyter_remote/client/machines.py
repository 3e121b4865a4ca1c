"""Machine types that can be rented."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from jupyter_remote.amounts import roughly
from jupyter_remote.client.options import Options
from jupyter_remote.model import MachineType
from jupyter_remote.wire import BootLog, InstanceList, InstanceView, MachineList

if TYPE_CHECKING:
    from jupyter_remote.client.context import Context


INSTANCES = "/v1/machines/instances"
COMING = ("intent", "requested", "pending")  # states of those whose worker has not said hello
OVER = ("terminated", "orphan")  # states of those that cost nothing any more, or will not


def there(instances: Iterable[InstanceView]) -> list[InstanceView]:
    """Those of which somebody pays for the time."""
    return [one for one in instances if one.state not in OVER]


def words_of(one: InstanceView, now: float) -> str:
    """What it is doing: ``ready, 2 of 4 slots busy``, ``ready, idle, ends in 4 min``."""
    told = [one.state]
    if one.step and one.state in COMING:
        told.append(one.step)
    if one.busy:
        told.append(f"{one.busy} of {one.slots} slots busy" if one.slots > 1 else "busy")
    elif one.ends_at is not None:
        told.append(f"idle, ends in {roughly(max(0.0, one.ends_at - now))}")
    return ", ".join(told)


def left_by_stop(instances: Iterable[InstanceView], alone_s: float) -> list[str]:
    """What a backend that is stopped leaves: machines at work, which it does not end."""
    busy = [one for one in there(instances) if one.busy]
    if not busy:
        return []
    usd = sum(one.usd_per_h for one in busy)
    names = ", ".join(f"{one.machine} {one.provider_id or one.id}" for one in busy)
    return [
        f"Machines at work go on, for ${usd:,.4g}/h: {names}.",
        f"A backend that is started within {roughly(alone_s)} takes them up again, with what they "
        "run; else they end themselves then. `%remote cancel` before a stop, or "
        "`jupyter remote reap --cloud --now` after it, ends them.",
    ]


def boot_text(log: BootLog) -> str:
    """A boot's log under how far it came."""
    step = f"machine {log.instance}: {log.step or 'it has not reported anything yet'}"
    return f"{step}\n{log.text}".rstrip()


class Machines:
    """What a client may ask of the machine types of its backend."""

    _context: Context
    options: Options

    def machine_list(self) -> MachineList:
        """What can be rented, with prices and with what is free now."""
        return self._context.link.call("GET", "/v1/machines", reply=MachineList)

    def machines(self, gpu: str | None = None) -> list[MachineType]:
        """What can be rented, with prices; ``gpu`` filters by the GPU's name."""
        found = self.machine_list().machines
        return [m for m in found if gpu is None or gpu.lower() in m.gpu.lower()]

    def instances(self) -> list[InstanceView]:
        """Machines that were rented for this account, newest first; those that ended, too."""
        return self._context.link.call("GET", INSTANCES, reply=InstanceList).instances

    def boot_log(self, id: str) -> BootLog:
        """How a machine booted; ``id`` is its own, or that of a job that it was rented for."""
        return self._context.link.call("GET", f"{INSTANCES}/{id}/log", reply=BootLog)

    def end_machine(self, id: str) -> InstanceView:
        """Let it take no more jobs, and go when those that it has are over."""
        return self._context.link.call("DELETE", f"{INSTANCES}/{id}", reply=InstanceView)

    def has_gpu(self) -> bool:
        """Is there a GPU where jobs of this client run? Simulated machines are this computer."""
        need = self.options.need
        machines = {m.id: m for m in self.machines()}
        local = machines.get("local")
        chosen = machines.get(need.machine or "local")
        if need.gpu and not need.machine:
            chosen = next((m for m in machines.values() if m.gpu.lower() == need.gpu.lower()), None)
        if chosen is not None and chosen.simulated:
            chosen = local
        return chosen is not None and chosen.gpu_count > 0
