"""Whatever is cut off where: no twin, nothing alive beyond its need, nothing ended early.

A backend is killed at any await of a commit or of a call of its provider, any number of times; its
provider refuses, loses answers and does not show what is there. Then all is let come to rest.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_remote.clock import FakeClock
from jupyter_remote.model import TERMINAL, InstanceState, JobId, JobState, OwnerId
from jupyter_remote.store.sqlite import SqliteStore, open_sqlite
from tests.conformance.store import new_job

from .cloud import LEASE_S, LIMIT_S, QUIET, FakeCloud, World

JOBS = ("a", "b", "c")
OWNERS = (OwnerId("ada"), OwnerId("bob"))
REST_S = 1800.0  # longer than a boot that failed and the idle time after the next
MOST = 4


class Killed(BaseException):
    """The process ends here."""


class Case:
    """One life of several backends on one store and one cloud."""

    def __init__(self, store: SqliteStore, cloud: FakeCloud) -> None:
        self.store, self.cloud, self.clock = store, cloud, FakeClock()
        self.left = -1  # awaits until the kill; negative: there is none
        self.world: World | None = None
        self.submitted: list[str] = []
        cloud.pause = self.pause

    async def pause(self) -> None:
        """Each await at which a backend may be killed."""
        if self.left == 0:
            await asyncio.Event().wait()  # what was killed never goes on
        self.left -= self.left > 0
        await asyncio.sleep(0)

    async def begin(self) -> None:
        self.left = -1
        world = self.world = World(self.store, self.cloud, self.clock, most=MOST)
        world.pause = self.pause
        self.store.renew_leases(self.clock.now(), LEASE_S)
        await world.scheduler.start()

    async def kill(self) -> None:
        assert self.world is not None
        await asyncio.sleep(0)  # what was begun comes to its first await
        scheduler, self.world = self.world.scheduler, None
        tasks = [scheduler._main, *scheduler._tasks]
        for task in tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*filter(None, tasks), return_exceptions=True)

    async def let(self, seconds: float, step_s: float = 10.0) -> None:
        """Time goes by; workers of machines that are there say hello and run what they get."""
        world = self.world
        assert world is not None
        while seconds > 0:
            self.clock.advance(step_s)
            seconds -= step_s
            self.store.renew_leases(self.clock.now(), LEASE_S)
            await self.turn()
            if self.left < 0:
                await self.work()

    async def turn(self) -> None:
        assert self.world is not None
        quiet = 0
        async with asyncio.timeout(LIMIT_S):
            while quiet <= QUIET:
                self.world.scheduler.wake()
                await asyncio.sleep(0)
                quiet = 0 if self.world.scheduler._tasks else quiet + 1
                if self.left == 0:
                    return

    async def work(self) -> None:
        world = self.world
        assert world is not None
        board = world.scheduler.board
        for machine in list(board.machines.values()):
            row = self.store.instance(machine.id)
            welcome = row is not None and row.state not in (
                InstanceState.TERMINATING,
                InstanceState.TERMINATED,
                InstanceState.ORPHAN,
            )
            if machine.id in self.cloud.alive and not machine.connected and welcome:
                await world.hello(machine)
        for agent in list(board.agents.values()):
            if agent.instance not in self.cloud.alive:
                world.scheduler.disconnected(agent.id)
        for active in list(board.active.values()):
            if active.epoch and active.worker in board.agents:
                await self._run(active.job)
        await self.turn()

    async def _run(self, id: JobId) -> None:
        assert self.world is not None
        owner = self.store.job(id).owner
        home = self.world.scheduler.board.homes[self.world.scheduler.board.active[id].worker]
        assert self.cloud.machines_by_id[home].launch.owner == owner, "of another owner"
        if self.store.job(id).state is JobState.CLAIMED:
            await self.world.start(id)
        await self.world.finish(id)

    async def submit(self, id: str, owner: OwnerId) -> None:
        if id in self.submitted:
            return
        self.submitted.append(id)
        assert self.world is not None
        pause, self.world.pause = self.world.pause, None
        await self.world.submit(id, owner=owner)
        self.world.pause = pause

    def check(self) -> None:
        """What holds at every moment."""
        ids = [virtual.launch.id for virtual in self.cloud.machines_by_id.values()]
        assert len(ids) == len(set(ids)), "a twin"
        for id in self.cloud.alive:
            row = self.store.instance(id)
            assert row is not None, "a machine without an intent"
            never_shown = self.cloud.machines_by_id[id].unseen > 0
            assert never_shown or row.state is not InstanceState.TERMINATED, "ended early"


step = st.one_of(
    st.tuples(st.just("submit"), st.sampled_from(JOBS), st.sampled_from(OWNERS)),
    st.tuples(st.just("kill"), st.integers(0, 14)),
    st.tuples(st.just("wait"), st.sampled_from([10.0, 60.0, 400.0])),
    st.tuples(st.just("full"), st.sampled_from([("a", True), ("b", True), ("a", False)])),
    st.tuples(st.just("unanswered"), st.integers(1, 3)),
    st.tuples(st.just("unheard"), st.integers(1, 3)),
    st.tuples(st.just("unseen"), st.integers(1, 30)),
)


async def play(case: Case, steps: list[tuple[Any, ...]]) -> None:
    await case.begin()
    for what, *values in steps:
        if what == "submit":
            await case.submit(*values)
        elif what == "wait":
            await case.let(values[0])
        elif what == "full":
            case.cloud.full.add(values[0])
        elif what == "kill":
            case.left = values[0]
            await case.let(10.0)
            case.left = 0
            await case.kill()
            await case.begin()
        else:
            setattr(case.cloud, what, values[0])
        case.check()
    case.cloud.full.clear()
    case.cloud.unanswered = case.cloud.unheard = case.cloud.unseen = 0
    for there in case.cloud.machines_by_id.values():
        there.unseen = 0
    await case.let(REST_S, step_s=30.0)
    case.check()
    assert case.cloud.alive == [], "alive beyond its need"
    for id in case.submitted:
        assert case.store.job(JobId(id)).state in TERMINAL
    assert case.world is not None
    assert case.world.machines == []
    left = [row.state for row in case.store.instances()]
    assert set(left) <= {InstanceState.TERMINATED}
    await case.kill()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(st.lists(step, min_size=1, max_size=8))
def test_machines_are_neither_doubled_nor_forgotten_nor_ended_early(
    steps: list[tuple[Any, ...]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_sqlite(Path(folder) / "db.sqlite", jitter=lambda: 0.0)
        try:
            asyncio.run(play(Case(store, FakeCloud()), steps))
            assert store.audit() == []
        finally:
            store.close()


@pytest.mark.parametrize("at", range(16))
async def test_a_kill_at_any_await_of_a_launch_leaves_no_machine_behind(
    tmp_path: Path, at: int
) -> None:
    store = open_sqlite(tmp_path / "db.sqlite", jitter=lambda: 0.0)
    case = Case(store, FakeCloud())
    await case.begin()
    await case.turn()
    assert case.world is not None
    case.left, case.submitted = at, ["a"]
    store.submit([new_job("a", machine="g5.xlarge")], case.clock.now())
    case.world.scheduler.note(store.job(JobId("a")))
    await case.let(10.0)
    case.left = 0
    await case.kill()
    await play(case, [])
    assert store.job(JobId("a")).state is JobState.SUCCEEDED
    assert len(case.cloud.machines_by_id) <= 2, "one more, if it was not known of the first"
    store.close()
