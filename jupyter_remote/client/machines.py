"""Machine types that can be rented."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_remote.client.options import Options
from jupyter_remote.model import MachineType
from jupyter_remote.wire import MachineList

if TYPE_CHECKING:
    from jupyter_remote.client.context import Context


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
