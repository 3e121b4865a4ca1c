"""This computer as a provider."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from jupyter_remote.model import InstanceState
from jupyter_remote.providers.base import Launch
from jupyter_remote.providers.local import LocalProvider, parse_gpus
from tests.conformance.provider import ProviderConformance, seen
from tests.worker.agents_server import FakeServer

SURVIVOR = """
import asyncio, os, sys
from pathlib import Path
from jupyter_remote.providers.base import Launch
from jupyter_remote.providers.local import LocalProvider
provider = LocalProvider(Path(sys.argv[1]))
launch = Launch(id="a", machine="local", server_url=sys.argv[2], enrolment_token="t")
print(asyncio.run(provider.launch(launch)).provider_id, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer().listening() as server:
        yield server


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[LocalProvider]:
    provider = LocalProvider(tmp_path)
    yield provider
    await provider.close()


@pytest.fixture
def launch(server: FakeServer) -> Launch:
    return Launch(
        id="inst-1",
        machine="local",
        server_url=server.url,
        enrolment_token="jr_w_secret",
        slots=2,
    )


class TestLocal(ProviderConformance):
    """The conformance suite; fixtures are those of this module."""

    @pytest.fixture
    def launch(self, server: FakeServer) -> Launch:
        return Launch(id="c", machine="local", server_url=server.url, enrolment_token="t")

    @pytest.fixture
    async def restarted(self, tmp_path: Path) -> AsyncIterator[LocalProvider]:
        provider = LocalProvider(tmp_path)
        yield provider
        await provider.close()


async def test_a_launched_agent_says_hello_as_its_instance(
    provider: LocalProvider, launch: Launch, server: FakeServer
):
    await provider.launch(launch)
    await server.until(lambda: server.hellos)
    hello = server.hellos[0]
    assert (hello.instance, hello.machine, hello.slots) == ("inst-1", "local", 2)
    assert server.headers == ["Bearer jr_w_secret"]


async def test_the_token_is_in_a_private_file_only_until_it_is_read(
    provider: LocalProvider, launch: Launch, server: FakeServer, tmp_path: Path
):
    started = await provider.launch(launch)
    config = tmp_path / "workers" / "inst-1.config.json"
    with contextlib.suppress(FileNotFoundError):  # it was read already
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
    await server.until(lambda: server.hellos)
    assert not config.exists()
    process = psutil.Process(int(started.provider_id))
    assert not any("secret" in word for word in process.cmdline())
    assert not any("secret" in value for value in process.environ().values())


async def test_a_drained_agent_ends_by_itself_and_is_described_so(
    provider: LocalProvider, launch: Launch, server: FakeServer
):
    await provider.launch(launch)
    await server.until(lambda: server.hellos)
    await server.drain()
    await seen(provider, launch.id, InstanceState.TERMINATED)


async def test_nothing_of_an_agent_is_left_when_it_was_terminated(
    provider: LocalProvider, launch: Launch, server: FakeServer
):
    started = await provider.launch(launch)
    await server.until(lambda: server.hellos)
    family = psutil.Process(int(started.provider_id)).children(recursive=True)
    await provider.terminate(launch.id)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []


async def test_what_an_agent_left_behind_is_deleted_but_for_its_log(
    provider: LocalProvider, launch: Launch, server: FakeServer, tmp_path: Path
):
    await provider.launch(launch)
    await server.until(lambda: server.hellos)
    await provider.terminate(launch.id)
    await seen(provider, launch.id, InstanceState.TERMINATED)
    (tmp_path / "workers" / launch.id / "job").mkdir(parents=True, exist_ok=True)
    await provider.tidy([])
    assert [f.name for f in (tmp_path / "workers").iterdir()] == [f"{launch.id}.log"]


async def test_an_agent_that_hangs_is_killed(
    provider: LocalProvider, launch: Launch, server: FakeServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("jupyter_remote.providers.local.STOP_S", 0.2)
    started = await provider.launch(launch)
    await server.until(lambda: server.hellos)
    os.kill(int(started.provider_id), signal.SIGSTOP)
    await provider.terminate(launch.id)
    await seen(provider, launch.id, InstanceState.TERMINATED)


async def test_an_agent_outlives_a_killed_backend_and_is_found_by_the_next(
    provider: LocalProvider, server: FakeServer, tmp_path: Path
):
    backend = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SURVIVOR, str(tmp_path), server.url), stdout=subprocess.PIPE
    )
    out, _ = await backend.communicate()
    await server.until(lambda: server.hellos)
    assert backend.returncode == -signal.SIGKILL
    found = await seen(provider, "a", InstanceState.READY)
    assert found.provider_id == out.decode().strip()
    await provider.terminate("a")
    await seen(provider, "a", InstanceState.TERMINATED)


def test_this_computer_is_free_of_charge(tmp_path: Path):
    (machine,) = LocalProvider(tmp_path).machines()
    assert (machine.id, machine.usd_per_h, machine.simulated) == ("local", 0.0, False)
    assert machine.cpus <= (os.cpu_count() or 1)
    assert 2**28 < machine.memory_bytes <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("listing", "gpus"),
    [
        ("NVIDIA A10G, 23028\nNVIDIA A10G, 23028\n", ("A10G", 2, 23028 * 2**20)),
        ("NVIDIA GB10, [N/A]\n", ("GB10", 1, 0)),
        ("", ("", 0, 0)),
    ],
)
def test_gpus_are_read_from_the_drivers_listing(listing: str, gpus: tuple[str, int, int]):
    assert parse_gpus(listing) == gpus
