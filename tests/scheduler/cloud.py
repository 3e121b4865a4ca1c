"""A cloud in memory that refuses, loses answers and lies; and a scheduler on it by a fake clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jupyter_remote.clock import FakeClock
from jupyter_remote.errors import LaunchRefused
from jupyter_remote.model import (
    History,
    InstanceRecord,
    InstanceState,
    JobId,
    JobRecord,
    JobState,
    MachineType,
    OwnerId,
    WorkerId,
)
from jupyter_remote.providers.base import Launch, Seen
from jupyter_remote.scheduler import plan as plans
from jupyter_remote.scheduler import pools
from jupyter_remote.scheduler.board import Agent
from jupyter_remote.scheduler.loop import Elsewhere, Retention, Scheduler
from jupyter_remote.scheduler.machines import Machine
from jupyter_remote.server.backend import changes_of
from jupyter_remote.store.base_parts import Outcome
from jupyter_remote.store.sqlite import SqliteStore
from tests.conformance.store import ADA, new_job

GIB = 1024**3
LEASE_S = 45.0
LIMIT_S = 60.0
QUIET = 4  # turns of the event loop in which nothing is begun


def machine_type(id: str, gpus: int = 1, **changes: Any) -> MachineType:
    fields = {"spot": not id.endswith(".od"), "usd_per_h": 0.44, "provider": "fake", **changes}
    return MachineType(
        id=id, cpus=4, memory_bytes=16 * GIB, gpu="A10G" if gpus else "", gpu_count=gpus,
        source="a test", priced_on="2025-11-15", usd_per_h_low=fields["usd_per_h"], **fields,
    )  # fmt: skip


TYPES = [
    machine_type("g5.xlarge"),
    machine_type("g5.xlarge.od", usd_per_h=1.006),
    machine_type("g5.12xlarge", 4, usd_per_h=2.66),
]


@dataclass
class Virtual:
    """A machine over there."""

    launch: Launch
    provider_id: str
    state: InstanceState = InstanceState.PENDING
    interrupted: bool = False
    unseen: int = 0  # so many descriptions do not show it yet


@dataclass
class FakeCloud:
    """A provider of which the test decides what it does."""

    name: str = "fake"
    near: bool = True
    types: list[MachineType] = field(default_factory=lambda: list(TYPES))
    all_zones: list[str] = field(default_factory=lambda: ["a", "b"])
    full: set[tuple[str, bool]] = field(default_factory=set)  # (zone, spot) where there is none
    refusal: LaunchRefused | None = None  # of every launch
    broken: Exception | None = None  # what it says when it is asked what it has
    unanswered: int = 0  # launches that work, and whose answer is lost
    unheard: int = 0  # calls to terminate that fail
    unseen: int = 0  # of new machines: descriptions that do not show them yet
    machines_by_id: dict[str, Virtual] = field(default_factory=dict)
    launches: list[Launch] = field(default_factory=list)  # every call
    terminated: list[str] = field(default_factory=list)  # every call
    described: list[Sequence[str]] = field(default_factory=list)  # every call
    pause: Callable[[], Any] | None = None  # awaited at the begin and the end of each call

    def machines(self) -> list[MachineType]:
        if self.broken is not None:
            raise self.broken
        return self.types

    def zones(self, machine: str) -> list[str]:
        return self.all_zones

    async def launch(self, launch: Launch) -> Seen:
        self.launches.append(launch)
        await self._point()
        known = self.machines_by_id.get(launch.id)
        if known is None:
            if self.refusal is not None:
                raise self.refusal
            if (launch.zone, launch.spot) in self.full:
                raise LaunchRefused("There is none free.", kind="capacity")
            known = Virtual(launch, f"vm-{len(self.machines_by_id)}", unseen=self.unseen)
            self.machines_by_id[launch.id] = known
        await self._point()
        if self.unanswered:
            self.unanswered -= 1
            raise TimeoutError("no answer")
        return self._seen(launch.id)

    async def describe(self, ids: Sequence[str]) -> list[Seen]:
        self.described.append(ids)
        await self._point()
        shown = []
        for id in ids:
            if (there := self.machines_by_id.get(id)) is None:
                continue
            there.unseen -= 1
            if there.unseen < 0:
                shown.append(self._seen(id))
        return shown

    async def listed(self) -> list[Seen]:
        await self._point()
        return [
            self._seen(id)
            for id, m in self.machines_by_id.items()
            if m.state is not InstanceState.TERMINATED and m.unseen <= 0
        ]

    async def terminate(self, id: str) -> None:
        self.terminated.append(id)
        await self._point()
        if self.unheard:
            self.unheard -= 1
            raise ConnectionError("no answer")
        if (there := self.machines_by_id.get(id)) is not None:
            there.state = InstanceState.TERMINATED

    async def tidy(self, keep: Sequence[str]) -> None:
        pass

    async def close(self) -> None:
        pass

    async def _point(self) -> None:
        if self.pause is not None:
            await self.pause()

    def _seen(self, id: str) -> Seen:
        there = self.machines_by_id[id]
        return Seen(
            id=id, provider_id=there.provider_id, state=there.state, zone=there.launch.zone,
            interrupted=there.interrupted,
        )  # fmt: skip

    @property
    def alive(self) -> list[str]:
        """Machines that cost something."""
        return [
            id for id, m in self.machines_by_id.items() if m.state is not InstanceState.TERMINATED
        ]


class World:
    """A store and a scheduler on a fake cloud, by a clock that the test moves."""

    def __init__(
        self, store: SqliteStore, cloud: FakeCloud, clock: FakeClock | None = None, **limits: Any
    ) -> None:
        self.store, self.cloud, self.clock = store, cloud, clock or FakeClock()
        self.sent: list[tuple[WorkerId, object]] = []
        self.pause: Callable[[], Any] | None = None  # awaited before and after each commit
        self.scheduler = Scheduler(
            store=store, commit=self.commit, send=self.send, clock=self.clock,
            limits=plans.Limits(shared=True, providers=("fake",), fleet=pools.Limits(**limits)),
            retention=Retention(jobs_s=1e6, blobs_s=1e6), lease_s=LEASE_S, grace_s=5.0, blobs=self,
            elsewhere=Elsewhere(
                providers={"fake": cloud}, fallback=frozenset({"zones", "on_demand"}),
                launch=self.launch,
            ),
        )  # fmt: skip
        self.scheduler.fleet.offer(cloud.types)

    async def commit(self, verb: Any, *args: Any, **options: Any) -> Any:
        if self.pause is not None:
            await self.pause()
        result = verb(*args, **options)
        for job, _ in changes_of(result):
            self.scheduler.note(job)
        if self.pause is not None:
            await self.pause()
        return result

    async def launch(self, intent: InstanceRecord, slots: int) -> Launch:
        return Launch(
            id=intent.id, machine=intent.machine, server_url="", enrolment_token="", slots=slots,
            owner=intent.owner, spot=intent.spot, zone=intent.zone,
        )  # fmt: skip

    async def send(self, worker: WorkerId, message: object) -> bool:
        self.sent.append((worker, message))
        return True

    async def discard(self, digest: str) -> None:
        raise AssertionError("no blob is to be deleted")

    async def sweep(self) -> None:
        pass

    async def settle(self) -> None:
        """Let the scheduler do all that is due."""
        quiet = 0
        async with asyncio.timeout(LIMIT_S):
            while quiet < QUIET:
                self.scheduler.wake()
                await asyncio.sleep(0)
                quiet = 0 if self.scheduler._tasks else quiet + 1

    async def begin(self) -> None:
        await self.scheduler.start()
        await self.settle()

    async def after(self, seconds: float, step_s: float = 5.0) -> None:
        """Time goes by."""
        left = seconds
        while left > 0:
            self.clock.advance(min(step_s, left))
            self.store.renew_leases(self.clock.now(), LEASE_S)
            left -= step_s
            await self.settle()

    async def submit(self, id: str, machine: str = "g5.xlarge", **changes: Any) -> JobId:
        new = new_job(id, **{"machine": machine, **changes})
        await self.commit(self.store.submit, [new], self.clock.now())
        await self.settle()
        return JobId(id)

    # -- what the worker of a machine does
    async def hello(self, machine: Machine, worker: str = "") -> Agent:
        agent = Agent(
            WorkerId(worker or f"w-{machine.id}"), machine.id, machine.type, machine.slots,
            owner=machine.owner,
        )  # fmt: skip
        self.scheduler.connected(agent)
        await self.settle()
        return agent

    async def start(self, id: str) -> JobRecord:
        job = self.job(id)
        started = await self.commit(self.store.start, job.id, job.epoch, self.clock.now())
        return started.job  # type: ignore[no-any-return]

    async def finish(self, id: str) -> None:
        job, now = self.job(id), self.clock.now()
        await self.commit(self.store.finish, job.id, job.epoch, Outcome(kind="succeeded"), now)
        await self.settle()

    # -- what there is
    @property
    def machines(self) -> list[Machine]:
        return list(self.scheduler.board.machines.values())

    @property
    def machine(self) -> Machine:
        [machine] = self.machines
        return machine

    def job(self, id: str) -> JobRecord:
        return self.store.job(JobId(id))

    def told(self, id: str) -> list[str]:
        """What its history says of machines."""
        lines: list[History] = self.store.history(JobId(id))
        return [h.text for h in lines if h.event in ("machine", "no_machine")]


__all__ = ["ADA", "TYPES", "FakeCloud", "JobState", "OwnerId", "World", "machine_type"]
