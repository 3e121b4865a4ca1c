"""Acts on what :mod:`jupyter_remote.scheduler.plan` decides; woken by events and by time.

Runs on the event loop. Every write goes through ``commit``, which runs a verb of the store and
then calls :meth:`Scheduler.note` with each job it returned.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from jupyter_remote import errors, wire
from jupyter_remote.clock import Clock
from jupyter_remote.model import InstanceRecord, JobId, JobRecord, WorkerId
from jupyter_remote.money import fuse
from jupyter_remote.providers.base import Launch as LaunchRequest
from jupyter_remote.providers.base import Provider
from jupyter_remote.scheduler import plan as plans
from jupyter_remote.scheduler.board import Active, Agent, Board, How, Waiting, waiting_of
from jupyter_remote.scheduler.fleet import Fleet, Hands
from jupyter_remote.scheduler.here import Given, Here
from jupyter_remote.scheduler.telling import Commit
from jupyter_remote.store.base import Store
from jupyter_remote.store.base_parts import NewJob, Outcome

log = logging.getLogger("jupyter_remote.scheduler")

FIRST = 1  # the epoch of the first attempt
REFILL = 1000  # jobs read at a time
STORAGE_PAUSE_S = 2.0
FAILED_PAUSE_S = 1.0
STOP_S = 10.0  # for what is under way with providers when the backend ends
SILENT = "no word of its worker"
ASLEEP_S = 10.0  # between two looks at the leases: this process, or its machine, stood still


class Bytes(Protocol):
    """What becomes of bytes that nobody needs."""

    async def discard(self, digest: str) -> None:
        """Delete a blob that the store has forgotten, unless it came again meanwhile."""
        ...

    async def sweep(self) -> None:
        """Delete what the store does not know; called often, does something now and then."""
        ...


Send = Callable[[WorkerId, wire.ServerMessage], Awaitable[bool]]
"""To a connected worker; False when it is not there any more."""


async def _no_launch(intent: InstanceRecord, slots: int) -> LaunchRequest:
    raise errors.LaunchRefused("This server launches no machines.")


def _missing(type: str) -> errors.JupyterRemoteError:
    return errors.LaunchRefused("No provider that is set has it.")


async def _nothing(instance: str) -> None:
    return None


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """Machines that are not this computer."""

    providers: Mapping[str, Provider] = {}
    fallback: frozenset[str] = frozenset()  # what is tried where there is no spot machine
    launch: Callable[[InstanceRecord, int], Awaitable[LaunchRequest]] = _no_launch
    ended: Callable[[str], Awaitable[None]] = _nothing
    missing: Callable[[str], errors.JupyterRemoteError] = _missing  # why nobody has this type


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long things are kept after nobody needs them, seconds."""

    jobs_s: float
    blobs_s: float


class Scheduler:
    """One for each server."""

    def __init__(
        self,
        *,
        store: Store,
        commit: Commit,
        send: Send,
        clock: Clock,
        limits: plans.Limits,
        retention: Retention,
        lease_s: float,
        grace_s: float,
        blobs: Bytes,
        here: Given | None = None,
        elsewhere: Elsewhere | None = None,
        told: Callable[[Active, str], None] | None = None,
    ) -> None:
        self.board = Board()
        self._store = store
        self._commit = commit
        self._send = send
        self._clock = clock
        self._limits = limits
        self._retention = retention
        self._lease_s = lease_s
        self._grace_s = grace_s
        self._blobs = blobs
        self._told = told  # what is to be said of a job that runs
        self._woken = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._claims: dict[JobId, asyncio.Task[None]] = {}  # of jobs that were sent ahead
        self._main: asyncio.Task[None] | None = None
        self.here = None if here is None else self._here(here)
        self.fleet = self._fleet(elsewhere or Elsewhere())

    def _here(self, given: Given) -> Here:
        return Here(
            given,
            board=self.board,
            store=self._store,
            commit=self._commit,
            clock=self._clock,
            limits=self._limits,
            lease_s=self._lease_s,
            lost=self._lost_here,
            wake=self.wake,
        )

    def _fleet(self, elsewhere: Elsewhere) -> Fleet:
        return Fleet(
            board=self.board,
            store=self._store,
            commit=self._commit,
            clock=self._clock,
            limits=self._limits.fleet,
            providers=elsewhere.providers,
            fallback=elsewhere.fallback,
            hands=Hands(
                launch=elsewhere.launch,
                ended=elsewhere.ended,
                lost=self._lost_on,
                drain=self._drain,
                wake=self.wake,
                missing=elsewhere.missing,
            ),
        )

    # -- life
    async def start(self) -> None:
        """Read what there is and begin. Tidying waits for its first interval."""
        now = self._clock.now()
        self.board.done_at["tidy"] = self.board.done_at["refill"] = now
        # Workers could not renew their leases while there was no backend.
        await self._commit(self._store.renew_leases, now, self._lease_s)
        snapshot = await self._commit(self._store.snapshot, REFILL)
        for job in (*snapshot.active, *snapshot.waiting, *snapshot.queued):
            self.board.note(job)
        self.board.partial = len(snapshot.queued) >= REFILL
        self._all_heard(now)
        self.board.homes = {w.id: w.instance for w in snapshot.workers}
        self.fleet.take_up(snapshot.instances)
        self.fleet.learn(self._store.instances())
        if self.here is not None:
            self.here.take_up(snapshot.instances)
        for agent in list(self.board.agents.values()):  # they dialled meanwhile
            self.connected(agent)
        self._main = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Assign nothing more and end. What was begun is finished first."""
        self.board.closing = True
        if self._main is not None:
            self._main.cancel()
            await asyncio.gather(self._main, return_exceptions=True)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def refused(self) -> None:
        """The disk took no commit: leases could not be renewed, whoever asked for it."""
        self.board.refused = True

    def wake(self) -> None:
        """Something happened: plan again."""
        self._woken.set()

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                for action in plans.plan(self._clock.now(), self.board, self._limits):
                    self._begin(action)
                until = plans.next_at(self._clock.now(), self.board, self._limits)
            except Exception:  # one mistake must not end all scheduling
                log.exception("the scheduler failed")
                until = self._clock.now() + FAILED_PAUSE_S
            await self._sleep(until)

    async def _sleep(self, until: float) -> None:
        delay = max(0.01, until - self._clock.now())
        timer = asyncio.get_running_loop().call_later(delay, self._woken.set)
        try:
            await self._woken.wait()
        finally:
            timer.cancel()

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- what others tell
    async def expect(self, new: NewJob, spec: wire.JobSpec) -> None:
        """This job is about to be written. With a slot free it is claimed in the same commit.

        Called before the commit is asked for; the claim is then queued right behind it. If all of
        its inputs travel with it, its worker hears of it before that commit, to make ready
        meanwhile: it may run nothing until it has asked, and that is answered after the commit.
        """
        if new.id in self.board.active:
            return  # submitted once more
        waiting = waiting_of(new)
        worker = plans.at_once(self._clock.now(), self.board, waiting, self._limits)
        if worker is None:
            return
        self.board.occupy(waiting, worker)
        ahead = False
        try:
            if not new.segments:
                ahead = await self._send(worker, self._assignment(new, FIRST, spec))
        finally:
            claim = self._spawn(self._assign(plans.Assign(waiting, worker), ahead))
            self._claims[new.id] = claim
            claim.add_done_callback(lambda _: self._claims.pop(new.id, None))

    async def claimed(self, job: JobId) -> None:
        """Returns when a claim of this job that is under way has been written, or refused."""
        if (claim := self._claims.get(job)) is not None:
            await asyncio.wait([claim])

    def note(self, job: JobRecord) -> None:
        """A transaction returned this job. An attempt that was ended over its worker's head
        (cancelled while claimed, lost, over its limit) is stopped there."""
        before = self.board.active.get(job.id)
        was = (before.cancel, before.kill_at) if before else None
        stop = self.board.note(job)
        if stop is not None:
            self.tell(stop, "kill")
        elif before and (before.cancel, before.kill_at) != was:
            self.tell(before, before.cancel)
        self.wake()

    def connected(self, agent: Agent) -> None:
        """A worker said hello. Cancels that it may have missed are told again."""
        self.board.connect(agent)
        self.heard(agent.id)
        if self.here is not None:
            self.here.connected(agent)
        if (written := self.fleet.connected(agent)) is not None:
            self._spawn(written)
        for active in self.board.held_by(agent.id):
            if active.cancel:
                self.tell(active, active.cancel)
        self.wake()

    def drain(self, worker: WorkerId) -> None:
        """Its machine is taken away: it is given nothing more."""
        if (agent := self.board.agents.get(worker)) is not None:
            agent.draining = agent.leaving = True
        self.wake()

    def heard(self, worker: WorkerId) -> None:
        """It said something."""
        self.board.heard_at[worker] = self._clock.now()
        if worker in self.board.suspects:
            self.wake()

    def _all_heard(self, now: float) -> None:
        """Nobody could be heard up to now."""
        for active in self.board.active.values():
            self.board.heard_at[active.worker] = now

    def detail_of(self, job: JobId) -> str:
        """What is to be said of a job that runs."""
        active = self.board.active.get(job)
        return SILENT if active and active.epoch and active.worker in self.board.suspects else ""

    def disconnected(self, worker: WorkerId, silent_s: float = 0.0) -> None:
        """Its connection closed; before that it was silent for so long."""
        if agent := self.board.agents.get(worker):
            since = self._clock.now() - silent_s
            if self.here is not None:
                self.here.disconnected(agent, since)
            self.fleet.disconnected(agent, since)
        self.board.disconnect(worker)
        self.wake()

    def tell(self, active: Active, how: How) -> None:
        """Ask the worker of an attempt to stop it; a harder way replaces a softer one."""
        active.cancel = how
        how, kill_in_s = active.stop(self._clock.now())
        message = wire.Cancel(
            job=active.job, epoch=active.epoch, how=how or "interrupt", kill_in_s=kill_in_s
        )
        self._spawn(self._tell(active.worker, message))

    async def _tell(self, worker: WorkerId, message: wire.ServerMessage) -> None:
        await self._send(worker, message)

    # -- acting
    def _begin(self, action: plans.Action) -> None:
        now = self._clock.now()
        match action:
            case plans.Assign(waiting, worker):
                self.board.reserve(waiting, worker)
                self._spawn(self._assign(action))
            case plans.Orphan(waiting):
                self._spawn(self._orphaned(waiting))
            case plans.ExpireLeases():
                asleep = now - self.board.done_at.get("leases", now) > ASLEEP_S
                self.board.done_at["leases"] = now
                if asleep:
                    self._all_heard(now)
                self._spawn(self._expire(asleep))
            case plans.Wake():
                self.board.retry_at = {j: t for j, t in self.board.retry_at.items() if t > now}
                self._spawn(self._wake_due())
            case plans.Refill():
                self.board.partial = False
                self.board.done_at["refill"] = now
                self._spawn(self._refill())
            case plans.Tidy():
                self.board.done_at["tidy"] = now
                self._spawn(self.tidy())
            case plans.Suspect(worker, silent):
                self._suspect(worker, silent)
            case plans.Launch() | plans.Look():
                assert self.here is not None
                self._spawn(self.here.begin(action))
            case _:
                if (work := self.fleet.begin(action)) is not None:
                    self._spawn(work)

    async def _orphaned(self, waiting: Waiting) -> None:
        with contextlib.suppress(errors.Conflict, errors.NotFound):
            now, why = self._clock.now(), "because its session is over"
            await self._commit(self._store.cancel, waiting.job, waiting.owner, now, False, why)

    def _suspect(self, worker: WorkerId, silent: bool) -> None:
        (self.board.suspects.add if silent else self.board.suspects.discard)(worker)
        for active in self.board.held_by(worker):
            if self._told is not None and active.epoch:
                self._told(active, SILENT if silent else "")

    async def _assign(self, action: plans.Assign, ahead: bool = False) -> None:
        """``ahead``: the worker was sent the first attempt already."""
        waiting, worker = action.waiting, action.worker
        job = await self._claim(waiting, worker)
        if ahead and (job is None or job.epoch != FIRST):
            await self._send(worker, wire.Cancel(job=waiting.job, epoch=FIRST, how="kill"))
            ahead = False
        if job is None or ahead:
            return
        spec = msgspec.json.decode(job.spec, type=wire.JobSpec)
        if not await self._send(worker, self._assignment(job, job.epoch, spec)):
            why = "its worker went away before it could be sent"
            await self._commit(self._store.release, job.id, job.epoch, self._clock.now(), why)

    def _claim_of(
        self, waiting: Waiting, worker: WorkerId
    ) -> tuple[JobId, WorkerId, float, float, str]:
        devices = ",".join(map(str, self._devices(waiting.job)))
        return waiting.job, worker, self._clock.now(), self._lease_s, devices

    def _devices(self, job: JobId) -> tuple[int, ...]:
        """GPUs that are a job's own; empty: all of its machine's."""
        active = self.board.active.get(job)
        return active.devices if active is not None and active.gpus else ()

    def _assignment(self, job: JobRecord | NewJob, epoch: int, spec: wire.JobSpec) -> wire.Assign:
        return assignment(job, epoch, spec, self._lease_s, self._devices(job.id))

    async def _claim(self, waiting: Waiting, worker: WorkerId) -> JobRecord | None:
        """None when it is not to be had; the slot is free again then."""
        try:
            claimed = await self._commit(self._store.claim, *self._claim_of(waiting, worker))
        except errors.JupyterRemoteError as error:
            log.warning("could not assign %s: %s", waiting.job, error)
            self.board.paused_until = self._clock.now() + STORAGE_PAUSE_S
            self.board.give_back(waiting, again=True)
            return None
        if claimed is None:
            self.board.give_back(waiting, again=False)
            self._look_again(waiting.job)
            return None
        job: JobRecord = claimed[0].job
        return job

    def _look_again(self, job: JobId) -> None:
        """What was said of a job while it was being claimed was passed over."""
        with contextlib.suppress(errors.NotFound):  # its submit was refused
            self.board.note(self._store.job(job))
        self.wake()

    async def _expire(self, asleep: bool) -> None:
        """``asleep``: nobody was heard for a while because this process did not run."""
        now = self._clock.now()
        if asleep or self.board.refused:
            await self._commit(self._store.renew_leases, now, self._lease_s)
            self.board.refused = False
        await self._commit(self._store.expire_leases, now)
        await self._commit(self._store.expire_limits, now, self._grace_s)

    async def _wake_due(self) -> None:
        await self._commit(self._store.wake, self._clock.now())

    async def _refill(self) -> None:
        snapshot = await self._commit(self._store.snapshot, REFILL)
        for job in snapshot.queued:
            self.board.note(job)
        self.board.partial = len(snapshot.queued) >= REFILL
        self.wake()

    async def tidy(self) -> None:
        """Forget jobs that ended long ago, and blobs that nobody needs: rows first, then bytes."""
        now = self._clock.now()
        await self._commit(self._store.trim_cache, now)
        while await self._commit(self._store.forget_jobs, now - self._retention.jobs_s):
            log.info("forgot old jobs")
        await self._commit(self._store.forget_fleet, now - self._retention.jobs_s)
        for digest in await self._commit(self._store.collect, now, self._retention.blobs_s):
            await self._blobs.discard(digest)
        await self._blobs.sweep()
        self.board.forget_workers()
        if self.here is not None:
            await self.here.tidy()

    # -- machines
    async def _lost(self, active: Active, detail: str, kind: str = "died") -> None:
        """Its worker process is known to be dead: not when its lease ends, but now."""
        end = Outcome(kind=kind, detail=detail)
        active.leaving = True
        try:
            await self._commit(self._store.finish, active.job, active.epoch, end, self._clock.now())
        except errors.Conflict:
            log.info("%s had ended before its worker was found dead", active.job)

    async def _lost_here(self, detail: str) -> None:
        told = f"its worker process died ({detail})" if detail else "its worker process died"
        for active in list(self.board.active.values()):
            elsewhere = self.board.homes.get(active.worker) in self.board.machines
            if active.epoch and active.worker not in self.board.agents and not elsewhere:
                await self._lost(active, told)

    async def _lost_on(self, machine: str, why: str, taken: bool) -> None:
        kind = "preempted" if taken else "died"
        for active in list(self.board.active.values()):
            if active.epoch and self.board.homes.get(active.worker) == machine:
                await self._lost(active, f"its machine ended: {why}", kind)

    async def _drain(self, machine: str, why: str, left_s: float = 0.0) -> None:
        if agent := self.board.agent_on(machine):
            await self._send(agent.id, wire.Drain(why, left_s))

    async def end_instances(self) -> None:
        """Terminate what nobody needs when the backend ends: the worker here, and, if nobody else
        looks after them, machines elsewhere that run nothing."""
        if self._limits.providers and self._tasks:  # one that is just being asked for
            await asyncio.wait(self._tasks, timeout=STOP_S)
        if self.here is not None:
            await self.here.end()
        if self._limits.shared:
            await self.fleet.end_idle()

    async def release(self, job: JobId, epoch: int, why: str) -> None:
        """An assignment never arrived: back to the queue."""
        try:
            await self._commit(self._store.release, job, epoch, self._clock.now(), why)
        except errors.Conflict:
            log.info("%s was not claimed any more when it was released", job)


async def _logged(work: Awaitable[None]) -> None:
    try:
        await work
    except errors.JupyterRemoteError as error:
        log.warning("%s", error)
    except Exception:
        log.exception("a task of the scheduler failed")


def assignment(
    job: JobRecord | NewJob,
    epoch: int,
    spec: wire.JobSpec,
    lease_s: float,
    gpus: Sequence[int] = (),
) -> wire.Assign:
    """What is sent to the worker of a job: a first attempt at it, or one after others."""
    spent = 0
    if isinstance(job, JobRecord):
        spent = job.cost_ucredits
        if job.checkpoint is not None:
            saved = msgspec.json.decode(job.checkpoint, type=wire.Checkpoint)
            spec = msgspec.structs.replace(spec, checkpoint=saved.value)
    asked_s = job.limits.timeout_s
    if asked_s is None and not job.fuse:  # nothing but the longest run of any job here bounds it
        asked_s = job.limits.max_run_s
    rate, hold, longest_s = job.rate_ucredits_per_h, job.hold_ucredits, job.limits.max_run_s
    return wire.Assign(
        job=job.id,
        epoch=epoch,
        owner=job.owner,
        spec=spec,
        limits_timeout_s=asked_s,
        max_run_s=fuse.run_left_s(rate, hold - spent, longest_s),
        warn_s=fuse.warn_after_s(
            fuse=job.fuse,
            rate_ucredits_per_h=rate,
            hold_ucredits=hold,
            spent_ucredits=spent,
            max_cost_ucredits=job.limits.max_cost_ucredits,
            longest_s=longest_s,
        ),
        memory_bytes=job.limits.memory_bytes,
        rate_ucredits_per_h=rate,
        hold_ucredits=hold,
        lease_s=lease_s,
        gpus=list(gpus),
        aside=waiting_of(job).aside,
    )
