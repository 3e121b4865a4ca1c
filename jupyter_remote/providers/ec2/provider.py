"""Machines of EC2 behind the seam. Verbs ask AWS in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from jupyter_remote.model import MachineType
from jupyter_remote.providers.base import Launch, Seen, is_loopback
from jupyter_remote.providers.ec2 import images, instances
from jupyter_remote.providers.ec2.client import Clients
from jupyter_remote.providers.ec2.describing import one_each, seen_of
from jupyter_remote.providers.ec2.kept import Kept
from jupyter_remote.providers.ec2.launching import ON_DEMAND, Place, ec2_type, is_id, parameters
from jupyter_remote.providers.ec2.offers import Offers
from jupyter_remote.providers.ec2.refusals import About, TokenUsed
from jupyter_remote.settings import Settings

IMAGE_KEPT_S = 3600.0


class Ec2Provider:
    """Machines of the backend ``backend_id``, found by their tags alone."""

    name = "ec2"

    def __init__(self, settings: Settings, backend_id: str) -> None:
        self._settings = settings
        self._backend_id = backend_id
        self.near = is_loopback(settings.ec2_endpoint)  # not Amazon's, but one for tests
        self._clients = Clients(settings)
        self._offers = Offers(self._clients, settings.ec2_subnets)
        self._image = Kept(lambda: images.find(self._clients, settings.ec2_image), IMAGE_KEPT_S)

    def machines(self) -> list[MachineType]:
        return self._offers.machines()

    def zones(self, machine: str) -> list[str]:
        return self._offers.zones(machine, spot=not machine.endswith(ON_DEMAND))

    async def launch(self, launch: Launch) -> Seen:
        return await asyncio.to_thread(self._launch, launch)

    async def describe(self, ids: Sequence[str]) -> list[Seen]:
        return await asyncio.to_thread(self._describe, ids) if ids else []

    async def listed(self) -> list[Seen]:
        found = await asyncio.to_thread(instances.of_backend, self._clients, self._backend_id)
        return [seen_of(instance, id) for id, instance in found]

    async def terminate(self, id: str) -> None:
        """Ends every machine of this intent."""
        await asyncio.to_thread(self._terminate, id)

    async def tidy(self, keep: Sequence[str]) -> None:
        """Disks go with their machines; there is nothing else."""

    async def close(self) -> None:
        """Machines go on: the next backend on this home finds them."""
        self._clients.close()

    # -- in a thread
    def _launch(self, launch: Launch) -> Seen:
        if not is_id(launch.id):
            raise ValueError(f"{launch.id!r} is not the id of an instance")
        # EC2 forgets tokens after a day or so, and takes them for one zone only: look first
        if found := self._describe([launch.id]):
            return found[0]
        asked = parameters(
            launch,
            backend_id=self._backend_id,
            image=self._image.get(),
            place=Place(subnet=self._offers.subnet(launch.zone), zone=launch.zone),
            settings=self._settings,
        )
        about = About(
            ec2_type=ec2_type(launch.machine),
            vcpus=self._offers.cpus(launch.machine),
            spot=launch.spot,
            zone=launch.zone,
            image=asked["ImageId"],
        )
        try:
            answer = self._clients.call("ec2", "run_instances", about, **asked)
        except TokenUsed:  # it was launched with another bootstrap, before a restart
            if found := self._describe([launch.id]):
                return found[0]
            raise
        return seen_of(answer["Instances"][0], launch.id)

    def _describe(self, ids: Sequence[str]) -> list[Seen]:
        found = instances.of_backend(self._clients, self._backend_id, ids)
        return one_each(seen_of(instance, id) for id, instance in found)

    def _terminate(self, id: str) -> None:
        for _, instance in instances.of_backend(self._clients, self._backend_id, [id]):
            if instance["State"]["Name"] != "terminated":
                instances.terminate(self._clients, instance["InstanceId"])
