"""What every provider does. A suite derives from :class:`ProviderConformance`."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from jupyter_remote.model import InstanceState
from jupyter_remote.providers.base import Launch, Provider, Seen

LIMIT_S = 60.0


async def seen(provider: Provider, id: str, state: InstanceState) -> Seen:
    """Wait until the provider says that instance ``id`` is in ``state``."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            found = [s for s in await provider.describe([id]) if s.state is state]
            if found:
                return found[0]
            await asyncio.sleep(0.02)


class ProviderConformance:
    """Fixtures to give: ``provider``, ``restarted`` (a second one on the same state, as after a
    restart of the backend), ``launch`` (an intent that can be launched)."""

    @pytest.fixture
    def launch(self) -> Launch:
        raise NotImplementedError

    @pytest.fixture
    def restarted(self) -> Provider:
        raise NotImplementedError

    def test_machines_have_ids_and_sizes(self, provider: Provider):
        machines = provider.machines()
        assert machines
        assert len({m.id for m in machines}) == len(machines)
        assert all(m.cpus > 0 and m.memory_bytes > 0 for m in machines)

    def test_machines_name_their_provider_and_zones(self, provider: Provider):
        for machine in provider.machines():
            assert machine.provider == provider.name
            zones = provider.zones(machine.id)
            assert all(zones)
            assert len(set(zones)) == len(zones)

    async def test_an_intent_launches_one_instance(self, provider: Provider, launch: Launch):
        first = await provider.launch(launch)
        again = await provider.launch(launch)
        assert first.id == again.id == launch.id
        assert first.provider_id == again.provider_id

    async def test_a_launched_instance_is_described(self, provider: Provider, launch: Launch):
        started = await provider.launch(launch)
        ready = await seen(provider, launch.id, InstanceState.READY)
        assert ready.provider_id == started.provider_id

    async def test_an_unknown_id_is_left_out_and_proves_nothing(
        self, provider: Provider, launch: Launch
    ):
        await provider.launch(launch)
        found = await provider.describe([launch.id, uuid.uuid4().hex])
        assert [s.id for s in found] == [launch.id]

    async def test_no_ids_are_described_as_nothing(self, provider: Provider, launch: Launch):
        await provider.launch(launch)
        assert await provider.describe([]) == []

    async def test_what_was_launched_is_listed_until_it_is_terminated(
        self, provider: Provider, launch: Launch
    ):
        started = await provider.launch(launch)
        assert [(s.id, s.provider_id) for s in await provider.listed()] == [
            (launch.id, started.provider_id)
        ]
        await provider.terminate(launch.id)
        await seen(provider, launch.id, InstanceState.TERMINATED)
        assert await provider.listed() == []

    async def test_the_same_intent_after_a_restart_is_the_same_instance(
        self, provider: Provider, restarted: Provider, launch: Launch
    ):
        started = await provider.launch(launch)
        again = await restarted.launch(launch)
        assert again.provider_id == started.provider_id
        assert [s.id for s in await restarted.listed()] == [launch.id]
        await restarted.terminate(launch.id)
        await seen(restarted, launch.id, InstanceState.TERMINATED)

    async def test_terminate_is_done_when_described_so(self, provider: Provider, launch: Launch):
        await provider.launch(launch)
        await provider.terminate(launch.id)
        await seen(provider, launch.id, InstanceState.TERMINATED)
        await provider.terminate(launch.id)

    async def test_tidying_leaves_what_runs_and_what_is_kept(
        self, provider: Provider, launch: Launch
    ):
        await provider.launch(launch)
        await provider.tidy([])
        await seen(provider, launch.id, InstanceState.READY)
        await provider.terminate(launch.id)
        await seen(provider, launch.id, InstanceState.TERMINATED)
        await provider.tidy([launch.id])
        assert await provider.describe([launch.id])
        await provider.tidy([])
        assert all(
            s.state is InstanceState.TERMINATED for s in await provider.describe([launch.id])
        )

    async def test_terminating_what_is_absent_is_fine(self, provider: Provider):
        await provider.terminate(uuid.uuid4().hex)

    async def test_a_terminated_instance_is_not_launched_again(
        self, provider: Provider, launch: Launch
    ):
        await provider.launch(launch)
        await provider.terminate(launch.id)
        await seen(provider, launch.id, InstanceState.TERMINATED)
        assert (await provider.launch(launch)).state is InstanceState.TERMINATED
