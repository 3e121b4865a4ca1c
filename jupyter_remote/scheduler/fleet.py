"""Acts on what :mod:`jupyter_remote.scheduler.pools` decides about machines elsewhere.

The intent is committed before a machine is asked for, and what became of it after that; whatever
happens between the two, even the end of this process, leaves a row that says that there may be a
machine. Such a row is taken up again at the start, and given up only when its provider describes
the machine as terminated, or has not shown it for very long.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from jupyter_remote import errors
from jupyter_remote.amounts import roughly
from jupyter_remote.clock import Clock
from jupyter_remote.model import InstanceRecord, InstanceState, MachineType, Stage
from jupyter_remote.providers.base import Provider, Seen
from jupyter_remote.scheduler import actions, pools
from jupyter_remote.scheduler.board import Agent, Board
from jupyter_remote.scheduler.machines import COMING, ENDING, Machine, Pool, Search
from jupyter_remote.scheduler.renting import MakeLaunch, Renting, later, machine_of
from jupyter_remote.scheduler.telling import Commit, Telling
from jupyter_remote.store.base import Store

log = logging.getLogger("jupyter_remote.fleet")

Work = Awaitable[None]


class Hands(msgspec.Struct, frozen=True, kw_only=True):
    """What the fleet needs of the scheduler, and of the server around it."""

    launch: MakeLaunch
    ended: Callable[[str], Work]  # nobody may speak for this machine any more
    lost: Callable[[str, str, bool], Work]  # what its worker had, why, and was it taken back
    drain: Callable[[str, str, float], Work]  # tell its worker, why, and the seconds left or 0
    wake: Callable[[], None]
    missing: Callable[[str], errors.JupyterRemoteError]  # why nobody has machines of this type


class Fleet:
    """The machines elsewhere of one scheduler. Everything on the event loop."""

    def __init__(
        self,
        *,
        board: Board,
        store: Store,
        commit: Commit,
        clock: Clock,
        limits: pools.Limits,
        providers: Mapping[str, Provider],
        fallback: frozenset[str],
        hands: Hands,
    ) -> None:
        self._board = board
        self._store = store
        self._commit = commit
        self._clock = clock
        self._limits = limits
        self._providers = providers
        self._hands = hands
        self._taken_up = False
        self._telling = Telling(board, store, commit, clock, limits)
        self._renting = Renting(
            board=board,
            store=store,
            commit=commit,
            clock=clock,
            providers=providers,
            fallback=fallback,
            launch=hands.launch,
            telling=self._telling,
            gone=self._gone,
        )

    # -- life
    def take_up(self, instances: Iterable[InstanceRecord]) -> None:
        """What a backend before this one left. Whether an intent was asked for nobody knows: it is
        ended, and what waits asks for another one."""
        now, self._taken_up = self._clock.now(), True
        for row in instances:
            if row.provider not in self._providers:
                if row.owner:
                    log.warning("%s may be there, but %s is not set", row.id, row.provider)
                continue
            machine = machine_of(self._board, row)
            machine.act_at = machine.look_at = machine.away_since = now
            self._board.machines[row.id] = machine
            if machine.state is InstanceState.INTENT:
                machine.unsure = True
                machine.ends = "the backend ended while it asked for this machine"
            elif machine.state in ENDING:  # there may be many that never were: one look for all
                machine.absent_since = row.changed_at

    def learn(self, instances: Iterable[InstanceRecord]) -> None:
        """How long boots took, of machines of before."""
        for row in instances:
            if row.ready_at is not None:
                self._board.booted(row.machine, row.ready_at - row.created_at)

    def offer(self, types: Iterable[MachineType]) -> None:
        """These can be launched now, by the providers that are named in them."""
        before = set(self._board.types)
        self._renting.offer(types)
        new = self._board.types.keys() - before
        for pool in [pool for pool in self._board.searches if pool[1] in new]:
            del self._board.searches[pool]  # what it said was that there are none
        for machine in self._board.machines.values():
            machine.slots = pools.slots_of(self._board, machine.type)
        for agent in self._board.agents.values():
            if agent.owner and agent.pool in self._board.types:
                agent.slots = pools.slots_of(self._board, agent.pool)
        self._hands.wake()

    async def end_idle(self) -> None:
        """The backend stops, and nobody else looks after what runs nothing now."""
        holders = {self._board.homes.get(a.worker) for a in self._board.active.values()}
        idle = [m for m in self._board.machines.values() if m.id not in holders]
        ends = [self._end(machine, "its backend was stopped") for machine in idle]
        await asyncio.gather(*ends, return_exceptions=True)

    # -- what workers say
    def connected(self, agent: Agent) -> Work | None:
        """A worker said hello; what is to be written of that, if it is on a machine elsewhere."""
        machine = self._board.machines.get(agent.instance)
        if machine is None or not agent.owner:
            return self._send_home(agent) if agent.owner else None
        now = self._clock.now()
        machine.connected, machine.absent_since, machine.looks = True, None, 0
        machine.left = False  # it may not have heard
        self._board.homes[agent.id] = machine.id
        agent.draining = machine.state is InstanceState.DRAINING or bool(machine.ends)
        if machine.state not in COMING:
            return None
        machine.state, machine.ready_at = InstanceState.READY, now
        self._board.searches.pop(machine.pool, None)
        self._board.booted(machine.type, now - machine.created_at)
        return self._ready(machine, now - machine.created_at)

    def _send_home(self, agent: Agent) -> Work | None:
        """It ends its machine itself when it has nothing: nobody here could."""
        if not self._taken_up:
            return None
        agent.draining = True
        return self._hands.drain(agent.instance, "no provider of its backend looks after it", 0.0)

    async def _ready(self, machine: Machine, took_s: float) -> None:
        await self._move(machine)
        await self._telling.tell(machine, f"machine ready after {roughly(took_s)}", detail="")

    def disconnected(self, agent: Agent, since: float) -> None:
        """Its connection closed, after silence since then."""
        if (machine := self._board.machines.get(agent.instance)) and agent.owner:
            machine.connected, machine.away_since = False, since
            machine.look_at = self._clock.now()

    async def booted_to(self, id: str, step: str, *, failed: bool = False, text: str = "") -> None:
        """Its bootstrap has begun a step, or failed there; ``text`` says where and why."""
        machine = self._board.machines.get(id)
        if machine is None or not machine.coming:
            return
        machine.step = step
        if failed:
            machine.boot_failed = True
            machine.ends = text or f"its bootstrap failed at {step!r}"
        else:
            stage = Stage.PREPARING_ENVIRONMENT
            await self._telling.progress(machine, f"machine: {step}", stage)
        self._hands.wake()

    def end(self, id: str, why: str) -> bool:
        """As soon as it holds nothing; was there such a machine?"""
        machine = self._board.machines.get(id)
        if machine is None:
            return False
        if agent := self._board.agent_on(id):
            agent.draining = True
        machine.leaves = machine.leaves or why
        self._hands.wake()
        return True

    # -- acting
    def begin(self, action: actions.Action) -> Work | None:
        """What is at once so on the board, and what is then to be done about it."""
        board, now = self._board, self._clock.now()
        match action:
            case actions.Rent():
                return self._alone(self._renting.intended(action), self._renting.rent)
            case actions.Ask(id):
                return self._alone(board.machines[id], self._renting.ask)
            case actions.End(id, why):
                return self._alone(board.machines[id], lambda m: self._end(m, why))
            case actions.Drain(id, why):
                return self._alone(board.machines[id], lambda m: self._drain(m, why))
            case actions.Leave(id, why, left_s):
                board.machines[id].left = True
                return self._hands.drain(id, why, left_s)
            case actions.Rest(id, idle):
                board.machines[id].idle_since = now if idle else None
            case actions.Describe(provider, ids):
                machines = [m for m in map(board.machines.get, ids) if m and not m.busy]
                for machine in machines:
                    machine.busy = True
                return self._describe(provider, machines)
            case actions.Survey(provider):
                board.done_at[pools.survey_of(provider)] = now
                return self._survey(provider)
            case actions.Tell(id, jobs):
                board.told.update(jobs)
                board.machines[id].told += jobs
                return self._telling.join(board.machines[id], jobs)
            case actions.Refuse(owner, type):
                return self._refuse((owner, type))
            case actions.Settle(owner, type):
                return self._settle((owner, type))
            case actions.Strand(owner, type):
                return self._strand((owner, type))
            case actions.Crowd(_, jobs):
                board.crowded.update(jobs)
                return self._telling.crowd(jobs)
            case actions.Forget(owner, type):
                board.searches.pop((owner, type), None)
        return None

    def _alone(self, machine: Machine, act: Callable[[Machine], Work]) -> Work:
        """One thing at a time is done about a machine."""
        machine.busy = True

        async def work() -> None:
            try:
                await act(machine)
            finally:
                machine.busy = False
                self._hands.wake()

        return work()

    def _refuse(self, pool: Pool) -> Work:
        search = self._board.search(pool)
        search.refusing = True

        async def work() -> None:
            try:
                await self._telling.refuse(pool, search)
            finally:
                self._board.searches.pop(pool, None)
                self._hands.wake()

        return work()

    def _settle(self, pool: Pool) -> Work:
        problem = self._board.search(pool).problem
        again_at = self._clock.now() + pools.FURTHER_S
        self._board.searches[pool] = Search(not_before=again_at, settled=True, problem=problem)
        return self._telling.settle(pool, problem)

    def _strand(self, pool: Pool) -> Work | None:
        search, now = self._board.search(pool), self._clock.now()
        if search.since is None:  # providers may only not have answered yet
            search.since = now
            return None
        error = self._hands.missing(pool[1])
        search.problem, search.hint = error.message, error.hint
        return self._telling.strand(pool, error.message)

    async def _drain(self, machine: Machine, why: str) -> None:
        machine.state = InstanceState.DRAINING
        if (agent := self._board.agent_on(machine.id)) is not None:
            agent.draining = True
        await self._move(machine, detail=why)
        await self._hands.drain(machine.id, why, 0.0)

    async def _end(self, machine: Machine, why: str) -> None:
        """Written first, then told to its provider."""
        machine.ends = machine.ends or why
        later(machine, self._clock.now())  # first: the disk may take no commit
        self._renting.forget(machine)
        if machine.state is InstanceState.INTENT and not machine.unsure:
            await self._gone(machine, machine.ends)
            return
        if (agent := self._board.agent_on(machine.id)) is not None:
            agent.draining = True
        if machine.state not in ENDING:
            was, machine.state = machine.state, InstanceState.TERMINATING
            machine.look_at = self._clock.now()
            await self._move(machine, detail=machine.ends)
            await self._boot_failed(machine, was)
        try:
            await self._providers[machine.provider].terminate(machine.id)
        except (errors.JupyterRemoteError, OSError) as error:
            log.warning("%s could not be terminated, and will be: %s", machine.id, error)

    async def _boot_failed(self, machine: Machine, was: InstanceState) -> None:
        """One more is tried, if it was ended because it did not come."""
        late = self._clock.now() >= machine.created_at + self._limits.boot_s
        if was not in COMING or not (late or machine.boot_failed):
            return
        search = self._board.search(machine.pool)
        search.boots += 1
        search.problem = f"{machine.ends}."
        if was is not InstanceState.INTENT:
            search.hint = f"`%remote logs --boot {machine.job[:8]}` shows how far it came."
        again = search.boots < pools.BOOTS
        self._board.told.difference_update(machine.told)  # they will hear of the next one
        await self._telling.tell(machine, machine.ends + "; trying one more" * again)

    # -- looking
    async def _describe(self, provider: str, machines: Sequence[Machine]) -> None:
        try:
            if machines:
                ids = [machine.id for machine in machines]
                found = {s.id: s for s in await self._providers[provider].describe(ids)}
                for machine in machines:
                    await self._looked(machine, found.get(machine.id))
        except (errors.JupyterRemoteError, OSError) as error:
            log.warning("%s does not say what became of its machines: %s", provider, error)
        finally:
            for machine in machines:
                machine.busy = False
                machine.look_at = self._clock.now() + self._limits.look_every_s
            self._hands.wake()

    async def _looked(self, machine: Machine, seen: Seen | None) -> None:
        if seen is None:
            await self._absent(machine)
            return
        machine.absent_since, machine.looks = None, 0
        machine.taken = seen.interrupted
        if seen.state is InstanceState.TERMINATED:
            taken = "its spot machine was taken back by its provider" if seen.interrupted else ""
            why = machine.ends or taken or seen.detail or "it ended by itself"
            if machine.coming:
                machine.ends, machine.boot_failed = why, not seen.interrupted
                await self._boot_failed(machine, machine.state)
            await self._gone(machine, why)
        elif machine.taken and not machine.connected and not machine.coming:
            await self._hands.lost(machine.id, seen.detail, True)  # it will not come back
        elif machine.state is InstanceState.REQUESTED:
            machine.state, machine.zone = InstanceState.PENDING, seen.zone or machine.zone
            await self._move(machine, seen.provider_id, zone=machine.zone)

    async def _absent(self, machine: Machine) -> None:
        """That proves nothing, unless it is so for very long."""
        now = self._clock.now()
        machine.absent_since = now if machine.absent_since is None else machine.absent_since
        machine.looks += 1
        long = now >= machine.absent_since + self._limits.absent_s
        if long and machine.looks >= pools.ABSENT_LOOKS and not machine.connected:
            absent = f"it was not to be seen for {roughly(now - machine.absent_since)}"
            await self._gone(machine, machine.ends or absent)

    async def _gone(self, machine: Machine, why: str) -> None:
        """There is certainly no such machine any more, or there never was."""
        log.info("machine %s is no more: %s", machine.id, why)
        machine.state = InstanceState.TERMINATED
        await self._move(machine, detail=why)
        await self._hands.lost(machine.id, why, machine.taken)
        self._board.forget_machine(machine)
        self._renting.forget(machine)
        await self._hands.ended(machine.id)

    async def _survey(self, provider: str) -> None:
        """What is there, known or not: what nobody needs is ended."""
        try:
            listed = await self._providers[provider].listed()
        except (errors.JupyterRemoteError, OSError) as error:
            log.warning("%s does not list its machines: %s", provider, error)
            return
        for seen in listed:
            if (machine := self._board.machines.get(seen.id)) is not None:
                machine.absent_since, machine.looks = None, 0
            else:
                await self._orphan(provider, seen)

    async def _orphan(self, provider: str, seen: Seen) -> None:
        now = self._clock.now()
        row = self._store.instance(seen.id)
        log.warning("machine %s (%s) is there and nobody's: it is ended", seen.id, seen.provider_id)
        orphan = InstanceRecord(
            id=seen.id, provider=provider, machine="", state=InstanceState.ORPHAN,
            provider_id=seen.provider_id, created_at=now, changed_at=now, zone=seen.zone,
        )  # fmt: skip
        machine = machine_of(self._board, row or orphan)
        machine.state, machine.act_at, machine.look_at = InstanceState.ORPHAN, now, now
        machine.ends = "it was found without anybody who needs it"
        self._board.machines[machine.id] = machine
        if row is None:
            await self._commit(self._store.put_instance, orphan)
        self._hands.wake()

    async def _move(self, machine: Machine, provider_id: str | None = None, **more: Any) -> None:
        """Write its state. A row that says that it is over already is right in that."""
        now, state = self._clock.now(), machine.state
        with contextlib.suppress(errors.Conflict, errors.NotFound):
            await self._commit(
                self._store.move_instance, machine.id, state, now, provider_id, **more
            )
