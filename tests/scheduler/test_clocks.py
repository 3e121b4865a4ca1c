"""Clocks do not matter: the wall clock may be set a day on or back at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_remote.clock import Clock, FakeClock, SteadyClock
from jupyter_remote.model import JobId, JobRecord, JobState, WorkerId
from jupyter_remote.scheduler import plan as plans
from jupyter_remote.scheduler.board import Agent
from jupyter_remote.scheduler.loop import Retention, Scheduler
from jupyter_remote.server.backend import changes_of
from jupyter_remote.server.steady import steady_clock
from jupyter_remote.store.base_parts import Outcome
from jupyter_remote.store.sqlite import SqliteStore, open_sqlite
from tests.conformance.store import ADA, new_job

DAY_S = 86_400.0
LEASE_S = 45.0
W = WorkerId("w")


class World:
    """A store and a scheduler by a clock that the test moves; the worker says yes to all."""

    def __init__(self, store: SqliteStore, clock: Clock) -> None:
        self.store, self.clock = store, clock
        limits = plans.Limits()
        retention = Retention(jobs_s=30 * DAY_S, blobs_s=30 * DAY_S)
        self.scheduler = Scheduler(
            store=store, commit=self.commit, send=self.send, clock=clock, limits=limits,
            retention=retention, lease_s=LEASE_S, grace_s=5.0, blobs=self,
        )  # fmt: skip

    async def commit(self, verb: Any, *args: Any, **options: Any) -> Any:
        result = verb(*args, **options)
        for job, _ in changes_of(result):
            self.scheduler.note(job)
        return result

    async def send(self, worker: WorkerId, message: object) -> bool:
        return True

    async def discard(self, digest: str) -> None:
        raise AssertionError("no blob is to be deleted")

    async def sweep(self) -> None:
        pass

    async def settle(self) -> None:
        """Let the scheduler do all that is due."""
        for _ in range(20):
            self.scheduler.wake()
            await asyncio.sleep(0)

    async def begin(self) -> None:
        await self.scheduler.start()
        self.scheduler.connected(Agent(W, "i", "local", 2))
        await self.settle()

    async def run(self, **changes: Any) -> JobRecord:
        """A job that its worker has started."""
        await self.commit(self.store.submit, [new_job(**changes)], self.clock.now())
        await self.settle()
        job = self.job()
        assert job.state is JobState.CLAIMED
        return (await self.commit(self.store.start, job.id, job.epoch, self.clock.now())).job  # type: ignore[no-any-return]

    def lost(self) -> bool:
        return any(h.event == "lose" for h in self.store.history(JobId("job-1")))

    def job(self) -> JobRecord:
        return self.store.job(JobId("job-1"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = open_sqlite(tmp_path / "db.sqlite", jitter=lambda: 0.0)
    yield store
    assert store.audit() == []
    store.close()


async def pass_time(world: World, clock: FakeClock, seconds: float) -> None:
    for _ in range(int(seconds)):
        clock.advance(1.0)
        await world.settle()


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S])
def test_a_step_of_the_wall_clock_changes_nothing(store: SqliteStore, step_s: float) -> None:
    clock = FakeClock()

    async def scenario() -> None:
        world = World(store, SteadyClock(clock))
        store.grant(ADA, 10**10, "start", world.clock.now())
        await world.begin()
        began = (await world.run(credits_per_h=3600, hold_credits=3600)).started_at
        assert began is not None
        clock.jump(step_s)
        await pass_time(world, clock, LEASE_S - 5)
        assert world.job().state is JobState.RUNNING
        await pass_time(world, clock, 10)
        assert world.lost()  # its worker never beat
        assert (world.job().state, world.job().epoch) == (JobState.CLAIMED, 2)
        await world.commit(store.start, JobId("job-1"), 2, world.clock.now())
        clock.jump(-2 * step_s)
        await pass_time(world, clock, 7)
        done = Outcome(kind="succeeded")
        await world.commit(store.finish, JobId("job-1"), 2, done, world.clock.now())
        assert world.job().cost_ucredits == 7_000_000
        await world.scheduler.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S])
def test_a_backend_that_starts_anew_goes_on_with_the_time_of_the_one_before(
    tmp_path: Path, step_s: float
) -> None:
    clock = FakeClock()
    before = steady_clock(clock, tmp_path, busy=False)
    clock.advance(100.0)
    clock.jump(step_s)
    assert steady_clock(clock, tmp_path, busy=True).now() == before.now()
    assert steady_clock(clock, tmp_path, busy=False).now() == clock.now()
    (tmp_path / "clock.json").write_text("{")
    assert steady_clock(clock, tmp_path, busy=True).now() == clock.now()


def test_leases_begin_anew_with_a_backend(store: SqliteStore) -> None:
    """No worker could renew its lease while there was no backend, for however long that was."""
    clock = FakeClock()

    async def scenario() -> None:
        first = World(store, SteadyClock(clock))
        await first.begin()
        await first.run()
        await first.scheduler.close()
        clock.advance(3 * LEASE_S)
        second = World(store, SteadyClock(clock))
        await second.begin()
        await pass_time(second, clock, LEASE_S - 5)
        assert second.job().state is JobState.RUNNING
        await pass_time(second, clock, 10)
        assert second.lost()
        await second.scheduler.close()

    asyncio.run(scenario())


def test_what_was_not_heard_while_this_process_stood_still_is_not_lost(store: SqliteStore) -> None:
    clock = FakeClock()

    async def scenario() -> None:
        world = World(store, SteadyClock(clock))
        await world.begin()
        await world.run()
        await pass_time(world, clock, 3)
        clock.advance(1200.0)  # the lid was closed
        await pass_time(world, clock, LEASE_S - 5)
        assert world.job().state is JobState.RUNNING
        await pass_time(world, clock, 10)
        assert world.lost()
        await world.scheduler.close()

    asyncio.run(scenario())
