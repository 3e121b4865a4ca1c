"""Machines elsewhere from the intent to their certain end, on a cloud that refuses and lies."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jupyter_remote import wire
from jupyter_remote.errors import LaunchRefused, StorageFull
from jupyter_remote.model import (
    InstanceRecord,
    InstanceState,
    JobState,
    OwnerId,
    Reason,
    Stage,
    WorkerId,
)
from jupyter_remote.providers.base import Launch
from jupyter_remote.scheduler.board import Agent
from jupyter_remote.store.base_parts import Outcome
from jupyter_remote.store.sqlite import SqliteStore, open_sqlite
from tests.conformance.provider import ProviderConformance
from tests.conformance.store import ADA

from .cloud import TYPES, FakeCloud, World, machine_type

BOB = OwnerId("bob")


class TestFakeCloud(ProviderConformance):
    """The double does what a provider does."""

    @pytest.fixture
    def provider(self) -> FakeCloud:
        class Ready(FakeCloud):
            async def describe(self, ids: object) -> list[object]:  # type: ignore[override]
                for there in self.machines_by_id.values():
                    if there.state is InstanceState.PENDING:
                        there.state = InstanceState.READY
                return await super().describe(ids)  # type: ignore[arg-type,return-value]

        return Ready()

    @pytest.fixture
    def restarted(self, provider: FakeCloud) -> FakeCloud:
        return dataclasses.replace(provider)

    @pytest.fixture
    def launch(self) -> Launch:
        return Launch(id="i", machine="g5.xlarge", server_url="", enrolment_token="")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = open_sqlite(tmp_path / "db.sqlite", jitter=lambda: 0.0)
    yield store
    assert store.audit() == []
    store.close()


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud()


@pytest.fixture
async def world(store: SqliteStore, cloud: FakeCloud) -> AsyncIterator[World]:
    world = World(store, cloud)
    await world.begin()
    yield world
    await world.scheduler.close()


async def again(world: World) -> World:
    """The backend is killed, and another one begins on the same state."""
    world.scheduler._main.cancel()
    for task in list(world.scheduler._tasks):
        task.cancel()
    new = World(world.store, world.cloud, world.clock)
    await new.begin()
    return new


# --- the way there ---------------------------------------------------------------------------
async def test_a_job_gets_a_machine_and_its_history_says_each_step(world: World) -> None:
    await world.submit("job")
    job = world.job("job")
    assert (job.stage, job.state) == (Stage.CONNECTING, JobState.QUEUED)
    assert job.detail == "starting the machine: usually 90 s in all, at most 10 min"
    await world.after(63)
    await world.hello(world.machine)
    assert world.told("job") == [
        "machine requested: g5.xlarge spot machine in a",
        "machine starting: vm-0 in a",
        "machine ready after 63 s",
    ]
    job = world.job("job")
    assert (job.state, job.worker, job.detail) == (JobState.CLAIMED, f"w-{world.machine.id}", "")
    row = world.store.instance(world.machine.id)
    assert row is not None
    assert (row.state, row.provider_id, row.zone) == (InstanceState.READY, "vm-0", "a")
    assert row.ready_at == world.clock.now()
    assert row.rate_ucredits_per_h == 44_000_000


async def test_the_expected_time_is_learned_from_earlier_machines(world: World) -> None:
    await world.submit("one")
    await world.after(60)
    await world.hello(world.machine)
    other = await again(world)
    await other.submit("two", owner=BOB)
    assert other.job("two").detail.startswith("starting the machine: usually 60 s in all")
    await other.scheduler.close()


async def test_the_steps_of_a_bootstrap_are_shown(world: World) -> None:
    await world.submit("job")
    await world.scheduler.fleet.booted_to(world.machine.id, "installing the worker")
    job = world.job("job")
    assert job.stage is Stage.PREPARING_ENVIRONMENT
    assert job.detail == "installing the worker: usually 90 s in all, at most 10 min"
    assert world.told("job")[-1] == "machine: installing the worker"


async def test_a_job_that_comes_when_a_machine_is_coming_is_told_so(world: World) -> None:
    await world.submit("one", "g5.12xlarge", gpus=1)
    await world.submit("two", "g5.12xlarge", gpus=1)
    assert len(world.cloud.launches) == 1
    assert world.told("two") == ["waits for a g5.12xlarge spot machine in a that is starting"]
    await world.hello(world.machine)
    assert world.told("two")[-1].startswith("machine ready after")


# --- where there is none ---------------------------------------------------------------------
async def test_other_zones_are_tried_and_then_on_demand(world: World) -> None:
    world.cloud.full = {("a", True), ("b", True), ("a", False)}
    await world.submit("job")
    assert world.told("job") == [
        "machine requested: g5.xlarge spot machine in a",
        "no g5.xlarge spot machine in a, trying b",
        "no g5.xlarge spot machine in b, trying a g5.xlarge on demand machine in a"
        " ($1.006/h; the job keeps its price)",
        "no g5.xlarge on demand machine in a, trying b",
        "machine starting: vm-0 in b",
    ]
    asked = [(launch.zone, launch.spot) for launch in world.cloud.launches]
    assert asked == [("a", True), ("b", True), ("a", False), ("b", False)]
    assert len({launch.id for launch in world.cloud.launches}) == 4
    await world.hello(world.machine)
    assert world.job("job").state is JobState.CLAIMED
    assert world.machine.rate_ucredits_per_h == 100_600_000


async def test_only_what_the_setting_allows_is_tried(store: SqliteStore, cloud: FakeCloud) -> None:
    cloud.full = {("a", True), ("b", True), ("", True)}
    world = World(store, cloud)
    world.scheduler.fleet._renting._fallback = frozenset()
    await world.begin()
    await world.submit("job")
    assert {(launch.zone, launch.spot) for launch in cloud.launches} == {("", True)}
    await world.scheduler.close()


async def test_where_there_is_none_in_time_the_jobs_are_told_and_pay_nothing(
    world: World,
) -> None:
    world.cloud.full = {(zone, spot) for zone in "ab" for spot in (True, False)}
    world.store.grant(OwnerId("ada"), 10**9, "play", 0.0)
    await world.submit("job", rate_ucredits_per_h=1000, hold_ucredits=500)
    await world.after(500)
    assert world.job("job").state is JobState.QUEUED
    assert any("all places were asked" in line for line in world.told("job"))
    await world.after(200)
    job = world.job("job")
    assert (job.state, job.reason, job.cost_ucredits) == (JobState.FAILED, Reason.NO_MACHINE, 0)
    assert job.detail == "no g5.xlarge machine: There is none free."
    assert world.cloud.alive == []
    assert world.machines == []
    launches = len(world.cloud.launches)
    await world.after(600)
    assert len(world.cloud.launches) == launches


async def test_what_needs_somebody_ends_the_job_at_once_with_the_next_step(world: World) -> None:
    refused = LaunchRefused("The quota is 0.", hint="Ask for more of L-3819A6DF.", kind="quota")
    world.cloud.refusal = refused
    await world.submit("job")
    job = world.job("job")
    assert job.detail == "no g5.xlarge machine: The quota is 0."
    assert job.error is not None
    failure = msgspec.json.decode(job.error, type=wire.RemoteFailure)
    assert failure.attributes["hint"] == "Ask for more of L-3819A6DF."
    assert len(world.cloud.launches) == 1
    world.cloud.refusal = None
    await world.submit("next")
    assert len(world.cloud.alive) == 1


async def test_a_provider_that_is_too_busy_is_asked_for_the_same_machine_again(
    world: World,
) -> None:
    world.cloud.refusal = LaunchRefused("Request limit exceeded.", kind="throttled")
    await world.submit("job")
    await world.after(10)
    world.cloud.refusal = None
    await world.after(30)
    assert len({launch.id for launch in world.cloud.launches}) == 1
    assert len(world.cloud.alive) == 1


async def test_an_answer_that_is_lost_does_not_make_a_second_machine(world: World) -> None:
    world.cloud.unanswered = 3
    await world.submit("job")
    await world.after(30)
    assert len(world.cloud.launches) == 4
    assert len(set(map(id, world.cloud.launches))) == 1, "the very same launch"
    assert len(world.cloud.machines_by_id) == 1
    assert world.machine.state is InstanceState.PENDING


async def test_a_refusal_after_a_lost_answer_does_not_prove_that_there_is_none(
    world: World,
) -> None:
    world.cloud.unanswered = 1
    await world.submit("job")
    [lost] = world.cloud.machines_by_id.values()
    hidden = dict(world.cloud.machines_by_id)
    world.cloud.machines_by_id.clear()
    world.cloud.full = {("a", True)}
    await world.after(2)
    world.cloud.machines_by_id.update(hidden)
    await world.after(10)
    assert lost.state is InstanceState.TERMINATED
    [alive] = world.cloud.alive
    assert world.cloud.machines_by_id[alive].launch.zone == "b"


# --- boots that fail -------------------------------------------------------------------------
async def test_a_boot_that_never_connects_is_ended_and_tried_once_more(world: World) -> None:
    await world.submit("job")
    await world.scheduler.fleet.booted_to(world.machine.id, "installing the worker")
    await world.after(605)
    first, second = world.cloud.machines_by_id
    assert world.cloud.alive == [second]
    why = "it did not connect within 10 min: its bootstrap came as far as 'installing the worker'"
    assert f"{why}; trying one more" in world.told("job")
    await world.after(605)
    job = world.job("job")
    assert (job.state, job.reason) == (JobState.FAILED, Reason.NO_MACHINE)
    assert b"%remote logs --boot job" in (job.error or b"")
    assert len(world.cloud.machines_by_id) == 2
    assert world.cloud.alive == []
    row = world.store.instance(first)
    assert row is not None
    assert (row.state, row.detail) == (InstanceState.TERMINATED, why)


async def test_what_the_second_machine_does_is_told_once(world: World) -> None:
    await world.submit("job")
    await world.after(605)
    await world.after(15)  # the first is forgotten
    assert len(world.machines) == 1
    await world.scheduler.fleet.booted_to(world.machine.id, "installing")
    told = world.told("job")
    assert told.count("machine: installing") == 1
    assert not [text for text in told if text.startswith("waits for")]


async def test_a_bootstrap_that_says_that_it_failed_is_not_waited_for(world: World) -> None:
    await world.submit("job")
    first = world.machine.id
    await world.scheduler.fleet.booted_to(
        first, "installing", failed=True, text="booting failed at “installing”: no space left"
    )
    await world.after(5)
    assert first not in world.cloud.alive
    assert "booting failed at “installing”: no space left; trying one more" in world.told("job")
    assert len(world.cloud.alive) == 1


async def test_a_machine_that_ends_while_it_boots_is_replaced_once(world: World) -> None:
    await world.submit("job")
    for _ in range(2):
        [alive] = world.cloud.alive
        world.cloud.machines_by_id[alive].state = InstanceState.TERMINATED
        await world.after(10)
    assert world.job("job").state is JobState.FAILED
    assert len(world.cloud.machines_by_id) == 2


# --- warm, and ended -------------------------------------------------------------------------
async def test_a_machine_is_kept_for_its_idle_time_and_then_ended(world: World) -> None:
    await world.submit("one")
    await world.hello(world.machine)
    await world.start("one")
    await world.after(400)
    assert len(world.cloud.alive) == 1, "it is busy"
    await world.finish("one")
    await world.after(290)
    assert len(world.cloud.alive) == 1
    await world.submit("two")
    assert world.job("two").state is JobState.CLAIMED
    await world.start("two")
    await world.finish("two")
    await world.after(305)
    assert world.cloud.alive == []
    await world.after(10)
    [row] = world.store.instances()
    assert (row.state, row.detail) == (
        InstanceState.TERMINATED,
        "it had nothing to do for 5 min",
    )
    assert world.scheduler.board.idle


async def test_a_machine_that_is_coming_for_nobody_is_ended_too(world: World) -> None:
    await world.submit("job")
    await world.commit(world.store.cancel, "job", "ada", world.clock.now())
    await world.after(310)
    assert world.cloud.alive == []


async def test_a_session_holds_its_machine(world: World) -> None:
    await world.submit("lab", kind="session", session="lab", max_attempts=1)
    await world.hello(world.machine)
    await world.start("lab")
    await world.after(2000, step_s=100)
    assert len(world.cloud.alive) == 1


async def test_terminating_is_told_until_it_is_described_so(world: World) -> None:
    await world.submit("one")
    await world.hello(world.machine)
    await world.start("one")
    world.cloud.unheard = 3
    await world.finish("one")
    await world.after(302)
    assert world.machine.state is InstanceState.TERMINATING
    assert len(world.cloud.alive) == 1
    await world.after(60)
    assert world.cloud.alive == []
    assert len(world.cloud.terminated) >= 4
    assert world.machines == []


async def test_a_machine_that_is_not_shown_is_not_taken_for_gone(world: World) -> None:
    world.cloud.unseen = 40
    await world.submit("job")
    await world.after(150)
    assert len(world.cloud.alive) == 1
    assert world.machine.state is InstanceState.REQUESTED
    await world.hello(world.machine)
    assert world.job("job").state is JobState.CLAIMED


async def test_what_is_never_shown_is_given_up_after_long_and_ended_if_it_appears(
    world: World,
) -> None:
    world.cloud.unseen = 10**6
    await world.submit("job")
    await world.commit(world.store.cancel, "job", "ada", world.clock.now())
    id = world.machine.id
    world.cloud.unheard = 10**6
    await world.after(300 + 650)
    assert world.machines == []
    there = world.cloud.machines_by_id[id]
    there.unseen, world.cloud.unheard = 0, 0
    await world.after(70)
    assert there.state is InstanceState.TERMINATED


async def test_old_machines_are_drained_and_end_when_their_jobs_are_over(
    store: SqliteStore, cloud: FakeCloud
) -> None:
    world = World(store, cloud, longest_s=1000.0)
    await world.begin()
    await world.submit("one")
    old = world.machine
    await world.hello(old)
    await world.start("one")
    await world.after(905)
    assert old.state is InstanceState.DRAINING
    assert any(isinstance(message, wire.Drain) for _, message in world.sent)
    await world.submit("two")
    assert world.job("two").state is JobState.QUEUED
    assert len(cloud.alive) == 2
    await world.finish("one")
    await world.after(10)
    assert old.id not in cloud.alive
    await world.scheduler.close()


async def test_a_worker_that_is_away_and_holds_nothing_is_ended(world: World) -> None:
    await world.submit("one")
    agent = await world.hello(world.machine)
    await world.start("one")
    await world.finish("one")
    world.scheduler.disconnected(agent.id)
    await world.after(30)
    assert len(world.cloud.alive) == 1
    await world.after(40)
    assert world.cloud.alive == []


@pytest.mark.parametrize("state", [InstanceState.TERMINATING, InstanceState.TERMINATED])
async def test_what_a_machine_had_that_was_taken_back_runs_again_elsewhere_as_with_notice(
    world: World, state: InstanceState
) -> None:
    await world.submit("one")
    first = world.machine
    agent = await world.hello(first)
    await world.start("one")
    there = world.cloud.machines_by_id[first.id]
    there.state, there.interrupted = state, True
    world.scheduler.disconnected(agent.id)
    await world.after(10)
    one = world.job("one")
    assert (one.preemptions, one.cost_ucredits) == (1, 0)
    assert [h.event for h in world.store.history(one.id)].count("preempt") == 1
    there.state = InstanceState.TERMINATED
    await world.after(10)
    assert [m.state for m in world.machines] == [InstanceState.PENDING]
    await world.hello(world.machine)
    assert world.job("one").epoch == 2


async def test_what_had_not_begun_on_a_machine_that_was_taken_back_has_lost_nothing(
    world: World,
) -> None:
    await world.submit("one")
    first = world.machine
    agent = await world.hello(first)
    there = world.cloud.machines_by_id[first.id]
    there.state, there.interrupted = InstanceState.TERMINATED, True
    world.scheduler.disconnected(agent.id)
    await world.after(10)
    one = world.job("one")
    assert (one.state, one.preemptions) == (JobState.QUEUED, 0)
    [told] = [h.text for h in world.store.history(one.id) if h.event == "release"]
    assert "taken back by its provider" in told


# --- how many --------------------------------------------------------------------------------
async def test_a_batch_of_long_calls_gets_as_many_machines_as_are_allowed(
    store: SqliteStore, cloud: FakeCloud
) -> None:
    world = World(store, cloud, most=3)
    await world.begin()
    for n in range(20):
        await world.submit(f"job-{n}", batch="b")
    assert len(cloud.alive) == 1, "nobody knows yet how long they take"
    await world.after(90)
    await world.hello(world.machine)
    await world.start("job-0")
    await world.after(4, step_s=1)
    assert len(cloud.alive) == 1
    await world.after(2, step_s=1)
    assert len(cloud.alive) == 2, "19 of more than 5 s each keep one busy for longer than a boot"
    await world.after(20, step_s=1)
    assert len(cloud.alive) == 3
    await world.scheduler.close()


async def test_a_batch_of_short_calls_runs_on_one_machine(world: World) -> None:
    for n in range(10):
        await world.submit(f"job-{n}", batch="b")
    await world.after(90)
    await world.hello(world.machine)
    for n in range(10):
        await world.start(f"job-{n}")
        await world.after(2, step_s=1)
        await world.finish(f"job-{n}")
    assert len(world.cloud.machines_by_id) == 1


async def test_a_second_batch_of_long_calls_gets_its_machines_at_once(world: World) -> None:
    await world.submit("first", batch="a")
    await world.after(90)
    await world.hello(world.machine)
    await world.start("first")
    await world.after(60)
    await world.finish("first")
    for n in range(20):
        await world.submit(f"job-{n}", batch="b")
    assert len(world.cloud.alive) == 9, "which are done with the last ones before a tenth is there"


async def test_jobs_that_take_a_part_share_a_machine_with_gpus_of_their_own(world: World) -> None:
    await world.submit("one", "g5.12xlarge", gpus=1)
    await world.hello(world.machine)
    await world.submit("two", "g5.12xlarge", gpus=2)
    await world.submit("three", "g5.12xlarge", gpus=2)
    assert [world.job(id).devices for id in ("one", "two")] == ["0", "1,2"]
    assert world.job("three").state is JobState.QUEUED
    assert len(world.cloud.alive) == 2
    assigned = {m.job: m.gpus for _, m in world.sent if isinstance(m, wire.Assign)}
    assert assigned == {"one": [0], "two": [1, 2]}
    await world.start("one")
    await world.finish("one")
    await world.commit(world.store.cancel, "three", "ada", world.clock.now())
    await world.submit("four", "g5.12xlarge", gpus=1)
    assert world.job("four").devices == "0"


async def test_a_job_without_a_part_has_the_whole_machine(world: World) -> None:
    await world.submit("whole", "g5.12xlarge")
    await world.hello(world.machine)
    await world.submit("part", "g5.12xlarge", gpus=1)
    assert world.job("part").state is JobState.QUEUED
    assert len(world.cloud.alive) == 2
    [assign] = [m for _, m in world.sent if isinstance(m, wire.Assign)]
    assert assign.gpus == []


async def test_the_gpus_of_a_job_stay_its_own_over_a_restart(world: World) -> None:
    await world.submit("zero", "g5.12xlarge", gpus=1)
    await world.hello(world.machine)
    await world.submit("one", "g5.12xlarge", gpus=1)
    await world.start("one")
    await world.start("zero")
    await world.finish("zero")
    other = await again(world)
    await other.hello(other.machine)
    await other.submit("two", "g5.12xlarge", gpus=2)
    assert other.job("two").devices == "0,2"
    await other.scheduler.close()


async def test_two_owners_never_have_one_machine(world: World) -> None:
    await world.submit("hers", "g5.12xlarge", gpus=1)
    await world.hello(world.machine)
    await world.submit("his", "g5.12xlarge", gpus=1, owner=BOB)
    assert world.job("his").state is JobState.QUEUED
    assert sorted(m.owner for m in world.machines) == ["ada", "bob"]


async def test_a_machine_that_rests_makes_room_for_one_that_is_needed(
    store: SqliteStore, cloud: FakeCloud
) -> None:
    world = World(store, cloud, most=1)
    await world.begin()
    await world.submit("one")
    await world.hello(world.machine)
    await world.submit("other", "g5.12xlarge")
    assert len(cloud.machines_by_id) == 1
    await world.start("one")
    await world.finish("one")
    await world.after(10)
    [alive] = cloud.alive
    assert cloud.machines_by_id[alive].launch.machine == "g5.12xlarge"
    await world.scheduler.close()


# --- restarts --------------------------------------------------------------------------------
async def test_machines_of_before_are_taken_up_again(world: World) -> None:
    await world.submit("one")
    await world.hello(world.machine)
    await world.start("one")
    other = await again(world)
    assert other.machine.state is InstanceState.READY
    await other.hello(other.machine)
    await other.finish("one")
    await other.after(305)
    assert other.cloud.alive == []
    await other.scheduler.close()


def never_launched(world: World, count: int) -> list[str]:
    """Intents of backends that were killed before they asked for a machine, as they were left."""
    now, ids = world.clock.now(), [f"fake-{n}" for n in range(count)]
    for id in ids:
        world.store.put_instance(
            InstanceRecord(
                id=id, provider="fake", machine="g5.xlarge", state=InstanceState.TERMINATING,
                created_at=now, changed_at=now, owner=ADA,
            )
        )  # fmt: skip
    return ids


async def test_machines_that_may_never_have_been_are_looked_for_in_one_call(world: World) -> None:
    ids = never_launched(world, 30)
    other = await again(world)
    await other.after(60)
    assert {frozenset(call) for call in world.cloud.described} == {frozenset(ids)}
    assert len(world.cloud.described) <= 14  # one for each look
    assert world.cloud.terminated == []
    launch = Launch(id=ids[7], machine="g5.xlarge", server_url="", enrolment_token="", zone="a")
    await world.cloud.launch(launch)  # its call was on its way all the time
    await other.after(15)
    assert world.cloud.alive == []
    assert world.store.instance(ids[7]).state is InstanceState.TERMINATED
    await other.scheduler.close()


async def test_a_restart_does_not_prolong_the_wait_for_what_is_never_shown(world: World) -> None:
    ids = never_launched(world, 2)
    for _ in range(4):
        await world.after(140)
        assert {m.id for m in world.machines} in (set(), set(ids))
        world = await again(world)
    assert {m.id for m in world.machines} == set(ids)
    await world.after(140)
    assert world.machines == []
    assert {world.store.instance(id).state for id in ids} == {InstanceState.TERMINATED}
    await world.scheduler.close()


async def test_a_worker_that_dials_before_the_backend_has_read_what_there_is_is_known(
    world: World,
) -> None:
    await world.submit("one")
    old = world.machine
    world.scheduler._main.cancel()
    other = World(world.store, world.cloud, world.clock)
    other.scheduler.connected(Agent(WorkerId("w"), old.id, old.type, old.slots, owner=old.owner))
    await other.begin()
    assert (other.machine.state, other.machine.connected) == (InstanceState.READY, True)
    await other.start("one")
    await other.after(700)
    assert other.cloud.alive == [old.id]
    await other.scheduler.close()


async def test_a_machine_of_a_provider_that_is_not_set_any_more_is_sent_home(
    world: World,
) -> None:
    await world.submit("one")
    old = world.machine
    await world.hello(old)
    await world.start("one")
    await world.finish("one")
    world.scheduler._main.cancel()
    other = World(world.store, world.cloud, world.clock)
    other.scheduler.fleet._providers = {}
    other.scheduler._limits = msgspec.structs.replace(other.scheduler._limits, providers=())
    await other.begin()
    agent = await other.hello(old)
    assert agent.draining
    [told] = [m for _, m in other.sent if isinstance(m, wire.Drain)]
    assert told.reason == "no provider of its backend looks after it"
    await other.scheduler.close()


async def test_jobs_that_wait_need_no_second_machine_after_a_restart(world: World) -> None:
    await world.submit("one")
    await world.hello(world.machine)
    await world.start("one")
    await world.finish("one")
    world.scheduler._main.cancel()
    await world.submit("two")
    other = await again(world)
    assert len(other.cloud.alive) == 1
    await other.hello(other.machine)
    assert other.job("two").worker == f"w-{other.machine.id}"
    await other.scheduler.close()


async def test_a_stop_ends_machines_that_run_nothing_and_leaves_the_others(world: World) -> None:
    await world.submit("one")
    await world.hello(world.machine)
    await world.start("one")
    busy = world.machine.id
    await world.submit("two", owner=BOB)
    assert len(world.cloud.alive) == 2
    world.scheduler.board.closing = True
    await world.scheduler.end_instances()
    assert world.cloud.alive == [busy]
    other = await again(world)
    assert {m.id for m in other.machines} >= {busy}
    await other.scheduler.close()


async def test_foreign_ids_that_are_listed_as_ours_are_ended_as_orphans(world: World) -> None:
    await world.cloud.launch(
        Launch(id="fake-lost", machine="g5.xlarge", server_url="", enrolment_token="", zone="a")
    )
    await world.after(65)
    assert world.cloud.alive == []
    await world.after(10)
    row = world.store.instance("fake-lost")
    assert row is not None
    assert row.state is InstanceState.TERMINATED


async def test_an_owner_ends_a_machine_when_its_job_is_over(world: World) -> None:
    await world.submit("one")
    await world.hello(world.machine)
    await world.start("one")
    assert world.scheduler.fleet.end(world.machine.id, "its owner ended it")
    await world.after(10)
    assert len(world.cloud.alive) == 1
    await world.finish("one")
    await world.after(10)
    assert world.cloud.alive == []
    assert not world.scheduler.fleet.end("absent", "")


async def test_a_type_that_is_offered_elsewhere_is_not_run_here(
    store: SqliteStore, cloud: FakeCloud
) -> None:
    cloud.types = [machine_type("c7.large.od", 0)]
    world = World(store, cloud)
    await world.begin()
    await world.submit("job", "c7.large.od")
    assert [launch.slots for launch in cloud.launches] == [1]
    await world.scheduler.close()


async def test_a_disk_that_is_full_keeps_no_machine_alive_and_is_asked_now_and_then(
    world: World,
) -> None:
    await world.submit("one")
    await world.hello(world.machine)
    await world.start("one")
    await world.finish("one")
    commit, calls = world.commit, 0

    async def full(verb: Any, *args: Any, **options: Any) -> Any:
        nonlocal calls
        if verb.__name__ != "move_instance":
            return await commit(verb, *args, **options)
        calls += 1
        raise StorageFull("the disk is full")

    world.scheduler.fleet._commit = full
    await world.after(320)
    assert 1 <= calls < 20
    assert world.cloud.alive == []
    assert len(world.machines) == 1
    world.scheduler.fleet._commit = commit
    await world.after(60)
    [row] = world.store.instances()
    assert row.state is InstanceState.TERMINATED
    assert world.machines == []


# --- one works, more are not to be had -------------------------------------------------------
async def test_jobs_wait_for_the_machine_that_works_where_the_quota_allows_no_second_one(
    world: World,
) -> None:
    await world.submit("one")
    await world.hello(world.machine)
    await world.start("one")
    world.cloud.refusal = LaunchRefused("The quota is 4 vCPUs.", kind="quota")
    await world.submit("two")
    await world.after(30)
    assert world.job("two").state is JobState.QUEUED
    assert len(world.cloud.launches) == 2, "it is not asked again and again"
    assert world.told("two")[-1] == (
        "no further g5.xlarge machine: The quota is 4 vCPUs; waits for one that is there"
    )
    await world.finish("one")
    assert world.job("two").state is JobState.CLAIMED


async def test_another_machine_is_asked_for_again_after_a_while_and_when_none_is_left(
    world: World,
) -> None:
    await world.submit("one")
    first = world.machine
    await world.hello(first)
    await world.start("one")
    world.cloud.refusal = LaunchRefused("The quota is 4 vCPUs.", kind="quota")
    await world.submit("two")
    await world.submit("three")
    await world.after(310)
    assert len(world.cloud.launches) == 3
    world.cloud.machines_by_id[first.id].state = InstanceState.TERMINATED
    world.scheduler.disconnected(WorkerId(f"w-{first.id}"))
    await world.after(10)
    assert world.job("two").reason is Reason.NO_MACHINE
    assert world.job("two").state is JobState.FAILED


# --- jobs that no machine comes for ----------------------------------------------------------
async def test_jobs_whose_provider_has_gone_are_told_so_and_end_in_time(world: World) -> None:
    world.cloud.full = {(zone, spot) for zone in "ab" for spot in (True, False)}
    await world.submit("job")
    world.cloud.types = []
    other = await again(world)
    await other.after(20)
    assert other.job("job").detail != "no g5.xlarge machine: No provider that is set has it"
    await other.after(20)
    job = other.job("job")
    assert (job.state, job.detail) == (
        JobState.QUEUED,
        "no g5.xlarge machine: No provider that is set has it",
    )
    assert other.told("job")[-1].endswith("; waits 10 min for that to change")
    await other.after(600)
    job = other.job("job")
    assert (job.state, job.reason, job.cost_ucredits) == (JobState.FAILED, Reason.NO_MACHINE, 0)
    await other.scheduler.close()


async def test_jobs_whose_provider_answers_late_get_their_machine(world: World) -> None:
    world.cloud.full = {(zone, spot) for zone in "ab" for spot in (True, False)}
    await world.submit("job")
    world.cloud.types = []
    other = await again(world)
    await other.after(500)
    other.cloud.full = set()
    other.scheduler.fleet.offer(TYPES)
    await other.after(200)
    assert len(other.cloud.alive) == 1
    await other.hello(other.machine)
    assert other.job("job").state is JobState.CLAIMED
    await other.scheduler.close()


async def test_without_providers_jobs_of_before_end_too(store: SqliteStore) -> None:
    world = World(store, FakeCloud())
    world.scheduler._limits = msgspec.structs.replace(world.scheduler._limits, providers=())
    world.scheduler.fleet.offer([])
    await world.begin()
    await world.submit("job")
    await world.after(700)
    assert world.job("job").reason is Reason.NO_MACHINE
    await world.scheduler.close()


async def test_jobs_that_wait_because_there_are_machines_enough_say_so_once(
    store: SqliteStore, cloud: FakeCloud
) -> None:
    world = World(store, cloud, most=1)
    await world.begin()
    await world.submit("one")
    await world.hello(world.machine)
    await world.start("one")
    await world.submit("two", "g5.12xlarge")
    await world.after(60)
    full = "waits for room: at most 1 machines elsewhere at a time (machines_most)"
    assert (world.told("two"), world.job("two").detail) == ([full], full)
    await world.finish("one")
    await world.after(10)
    assert world.told("two")[1].startswith("machine requested")
    await world.scheduler.close()


# --- the end of a machine with something on it -----------------------------------------------
def drains(world: World) -> list[float]:
    return [m.left_s for _, m in world.sent if isinstance(m, wire.Drain)]


async def test_a_session_on_an_old_machine_goes_on_until_it_is_moved(
    store: SqliteStore, cloud: FakeCloud
) -> None:
    world = World(store, cloud, longest_s=3000.0)
    await world.begin()
    await world.submit("lab", kind="session", session="lab", max_attempts=1)
    old = world.machine
    agent = await world.hello(old)
    await world.start("lab")
    await world.after(2725, step_s=25)
    assert drains(world) == [0.0]
    await world.submit("cell", kind="cell", session="lab")
    assert world.job("cell").state is JobState.CLAIMED
    await world.start("cell")
    await world.finish("cell")
    await world.after(100)
    assert drains(world)[0] == 0.0
    [left_s] = drains(world)[1:]
    assert 170 < left_s <= 180
    world.scheduler.drain(agent.id)  # as its worker says then
    await world.submit("late", kind="cell", session="lab")
    assert world.job("late").state is JobState.QUEUED
    job, now = world.job("lab"), world.clock.now()
    preempted = Outcome(kind="preempted")
    await world.commit(store.finish, job.id, job.epoch, preempted, now)
    await world.settle()
    await world.after(10)
    assert old.id not in cloud.alive
    await world.hello(world.machine)
    await world.start("lab")
    await world.settle()
    assert world.job("late").state is JobState.CLAIMED
    await world.scheduler.close()


async def test_a_session_on_a_machine_that_is_to_be_ended_can_be_used_to_its_end(
    world: World,
) -> None:
    await world.submit("lab", kind="session", session="lab", max_attempts=1)
    await world.hello(world.machine)
    await world.start("lab")
    assert world.scheduler.fleet.end(world.machine.id, "its owner ended it")
    await world.after(10)
    await world.submit("cell", kind="cell", session="lab")
    assert world.job("cell").state is JobState.CLAIMED
    await world.start("cell")
    await world.finish("cell")
    await world.finish("lab")
    await world.after(10)
    assert world.cloud.alive == []
