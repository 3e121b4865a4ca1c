"""The worker on this computer: launched, looked after, replaced, ended with the backend."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from websockets.exceptions import InvalidStatus

from jupyter_remote import wire
from jupyter_remote.model import InstanceState, MachineType
from jupyter_remote.money.catalog import local_machine
from jupyter_remote.providers.base import Launch, Seen
from jupyter_remote.scheduler.plan import Limits

from .conftest import LIMIT_S, Running, Worker, submit, until


class FakeProvider:
    """Agents that the test plays itself."""

    name = "local"

    def __init__(self) -> None:
        self.launched: list[Launch] = []
        self.kept: list[str] = []
        self.dead: set[str] = set()
        self.asked_to_end: list[str] = []
        self.may_end = threading.Event()
        self.may_end.set()

    def machines(self) -> list[MachineType]:
        return [local_machine()]

    async def launch(self, launch: Launch) -> Seen:
        self.launched.append(launch)
        return self._seen(launch.id)

    async def describe(self, ids: Sequence[str]) -> list[Seen]:
        return [self._seen(id) for id in ids]

    async def terminate(self, id: str) -> None:
        self.asked_to_end.append(id)
        await asyncio.to_thread(self.may_end.wait, LIMIT_S)
        self.dead.add(id)

    async def tidy(self, keep: Sequence[str]) -> None:
        self.kept = list(keep)

    async def close(self) -> None:
        assert self.dead >= {launch.id for launch in self.launched}

    def _seen(self, id: str) -> Seen:
        state = InstanceState.TERMINATED if id in self.dead else InstanceState.READY
        return Seen(id=id, provider_id="1", state=state)


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider()


@pytest.fixture
def server(tmp_path: Path, provider: FakeProvider) -> Iterator[Running]:
    running = Running(tmp_path, provider)
    yield running
    running.stop()


def dial(server: Running, launch: Launch, id: str) -> Worker:
    worker = Worker(server, id=id, token=launch.enrolment_token)
    worker.hello()
    return worker


def test_one_worker_is_launched_with_what_it_needs(server: Running, provider: FakeProvider) -> None:
    until(lambda: provider.launched)
    [launch] = provider.launched
    assert (launch.server_url, launch.machine) == (server.url, "local")
    assert launch.connection_file == str(server.host.file)
    dial(server, launch, "w-1").close()


def test_what_a_dead_worker_ran_is_tried_again_on_the_next(
    server: Running, provider: FakeProvider
) -> None:
    until(lambda: provider.launched)
    first = dial(server, provider.launched[0], "w-1")
    id = submit(server).job.id
    first.start(first.pull(wire.Assign))
    provider.dead.add(provider.launched[0].id)
    first.close()
    until(lambda: len(provider.launched) == 2)
    second = dial(server, provider.launched[1], "w-2")
    assign = second.pull(wire.Assign)
    assert (assign.job, assign.epoch) == (id, 2)
    assert second.start(assign).ok
    assert second.complete(assign).ok
    reply = server.http.call("GET", f"/v1/jobs/{id}/history", reply=wire.HistoryReply)
    assert [h.event for h in reply.history if h.event == "lose"] == ["lose"]
    second.close()


def test_a_worker_that_is_away_but_alive_is_waited_for(
    server: Running, provider: FakeProvider
) -> None:
    until(lambda: provider.launched)
    first = dial(server, provider.launched[0], "w-1")
    id = submit(server).job.id
    assign = first.pull(wire.Assign)
    first.start(assign)
    first.close()
    board = server.backend.scheduler.board
    instance = board.instances[provider.launched[0].id]
    closed_at = server.backend.clock.now()
    # looked at, found alive, and left alone
    until(lambda: closed_at < instance.looked_at < float("inf"))
    again = Worker(server, id="w-1", token=first.token)
    assert again.hello(running=[(id, 1)]).keep == [(id, 1)]
    assert again.complete(assign).ok
    assert len(provider.launched) == 1
    again.close()


def test_stopping_keeps_queued_jobs_and_ends_the_worker(
    tmp_path: Path, provider: FakeProvider
) -> None:
    first = Running(tmp_path, provider)
    ids = [submit(first).job.id for _ in range(3)]
    first.stop()
    assert provider.dead
    second = Running(tmp_path, provider)
    until(lambda: len(provider.launched) > 1)
    worker = dial(second, provider.launched[-1], "w-9")
    assert [worker.run().job for _ in ids] == ids
    worker.close()
    second.stop()


def test_the_token_of_a_worker_that_ended_is_revoked(
    server: Running, provider: FakeProvider
) -> None:
    until(lambda: provider.launched)
    first = dial(server, provider.launched[0], "w-1")
    provider.dead.add(provider.launched[0].id)
    first.close()
    until(lambda: len(provider.launched) == 2)

    def revoked() -> list[bool]:
        listed = server.http.call("GET", "/v1/tokens", reply=wire.TokenList).tokens
        return [t.revoked_at is not None for t in listed if t.scopes == ["worker"]]

    until(lambda: revoked() == [True, False])
    with pytest.raises(InvalidStatus):
        Worker(server, token=first.token)


def have_leases_of(server: Running, lease_s: float) -> None:
    """Workers that say hello from now on."""
    backend = server.backend
    assert backend.scheduler.here is not None
    backend.settings = msgspec.structs.replace(backend.settings, lease_s=lease_s)
    backend.scheduler._lease_s = backend.scheduler.here._lease_s = lease_s


def test_a_worker_that_hangs_is_ended_and_replaced(server: Running, provider: FakeProvider) -> None:
    until(lambda: provider.launched)
    worker = dial(server, provider.launched[0], "w-1")
    id = submit(server).job.id
    worker.start(worker.pull(wire.Assign))
    hung = Worker(server, id="w-1", token=worker.token)
    have_leases_of(server, 1.0)
    hung.hello(running=[(id, 1)])
    until(lambda: len(provider.launched) >= 2)  # it says nothing for a whole lease
    assert provider.launched[0].id in provider.dead
    reply = server.http.call("GET", f"/v1/jobs/{id}/history", reply=wire.HistoryReply)
    assert [h.event for h in reply.history] == ["submit", "claim", "start", "lose"]
    worker.close()
    hung.close()


def test_a_worker_that_takes_long_to_end_is_asked_once(
    server: Running, provider: FakeProvider
) -> None:
    until(lambda: provider.launched)
    worker = dial(server, provider.launched[0], "w-1")
    provider.may_end.clear()
    hung = Worker(server, id="w-1", token=worker.token)
    have_leases_of(server, 0.5)
    hung.hello()
    until(lambda: provider.asked_to_end)
    board, asked_at = server.backend.scheduler.board, server.backend.clock.now()
    until(lambda: server.backend.clock.now() > asked_at + 3 * Limits().look_every_s)
    have_leases_of(server, 60.0)  # the next one is not dialled at once
    provider.may_end.set()
    until(lambda: len(provider.launched) == 2)
    assert provider.asked_to_end == [provider.launched[0].id]
    assert board.launch_failures <= 1
    worker.close()
    hung.close()
