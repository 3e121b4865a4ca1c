"""What jobs that wait for a machine elsewhere hear of it: lines of their history, stage, detail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Protocol

import msgspec

from jupyter_remote import wire
from jupyter_remote.amounts import roughly
from jupyter_remote.clock import Clock
from jupyter_remote.errors import LaunchRefused
from jupyter_remote.model import InstanceState, JobId, Stage
from jupyter_remote.scheduler import pools
from jupyter_remote.scheduler.board import Board
from jupyter_remote.scheduler.machines import Machine, Pool, Search
from jupyter_remote.store.base import Store

REFUSED_AT_ONCE = 500  # jobs in one transaction


class Commit(Protocol):
    """Runs a verb of the store in its own transaction and notes what it returned."""

    async def __call__(self, verb: Callable[..., Any], *args: Any, **options: Any) -> Any: ...


class Place(msgspec.Struct, frozen=True):
    """Where, and how, a machine may be had."""

    zone: str
    spot: bool


class Telling:
    """Writes to the jobs of a board."""

    def __init__(
        self, board: Board, store: Store, commit: Commit, clock: Clock, limits: pools.Limits
    ) -> None:
        self._board = board
        self._store = store
        self._commit = commit
        self._clock = clock
        self._limits = limits

    async def tell(
        self, machine: Machine, text: str, stage: Stage | None = None, detail: str | None = None
    ) -> None:
        """Those who wait for this machine."""
        now = self._clock.now()
        await self._commit(self._store.note_waiting, machine.told, text, now, stage, detail)

    async def progress(self, machine: Machine, text: str, stage: Stage) -> None:
        """As :meth:`tell`, with what is going on and how long that takes."""
        await self.tell(machine, text, stage, expected(self._board, machine, self._limits))

    async def join(self, machine: Machine, jobs: Sequence[JobId]) -> None:
        """These came when it was coming already."""
        asking = machine.state is InstanceState.INTENT
        stage = Stage.REQUESTING_MACHINE if asking else Stage.CONNECTING
        text = f"waits for a {words(machine)} that is starting"
        detail = expected(self._board, machine, self._limits)
        now = self._clock.now()
        await self._commit(self._store.note_waiting, jobs, text, now, stage, detail)

    async def settle(self, pool: Pool, problem: str) -> None:
        """No further machine is to be had now."""
        text = f"no further {pool[1]} machine: {problem.rstrip('.')}; waits for one that is there"
        await self._note(pool, text, text)

    async def strand(self, pool: Pool, problem: str) -> None:
        """Nobody has machines of this type, any more or just now."""
        why = f"no {pool[1]} machine: {problem.rstrip('.')}"
        left = roughly(self._limits.boot_s - pools.SOON_S)
        await self._note(pool, f"{why}; waits {left} for that to change", why)

    async def _note(self, pool: Pool, text: str, detail: str) -> None:
        jobs = [w.job for w in islice(self._board.waiting_in(pool), REFUSED_AT_ONCE)]
        await self._commit(self._store.note_waiting, jobs, text, self._clock.now(), None, detail)

    async def crowd(self, jobs: Sequence[JobId]) -> None:
        """As many machines are there as may be."""
        most = self._limits.most
        text = f"waits for room: at most {most} machines elsewhere at a time (machines_most)"
        await self._commit(self._store.note_waiting, jobs, text, self._clock.now(), None, text)

    async def refuse(self, pool: Pool, search: Search) -> None:
        """All that waits in this pool ends, with the provider's own words."""
        why = f"no {pool[1]} machine: {search.problem or 'none was found'}"
        error = wire.encode(
            wire.RemoteFailure(
                ename=LaunchRefused.__name__,
                evalue=why,
                module=LaunchRefused.__module__,
                qualname=LaunchRefused.__qualname__,
                attributes={"message": why, "hint": search.hint},
            )
        )
        before: list[JobId] = []
        while jobs := [w.job for w in islice(self._board.waiting_in(pool), REFUSED_AT_ONCE)]:
            if jobs == before:
                return  # the store knows them otherwise: they are read again before long
            now, before = self._clock.now(), jobs
            await self._commit(self._store.refuse_waiting, jobs, why, error, now)


def expected(board: Board, machine: Machine, limits: pools.Limits) -> str:
    """``starting the machine: usually 70 s, at most 10 min``."""
    usual = board.boot_s(machine.type)
    step = machine.step or "starting the machine"
    return f"{step}: usually {roughly(usual)} in all, at most {roughly(limits.boot_s)}"


def words(machine: Machine) -> str:
    """``g5.xlarge spot machine in us-east-1b``."""
    return words_of(machine.type, Place(machine.zone, machine.spot))


def words_of(type: str, place: Place) -> str:
    kind = "spot" if place.spot else "on demand"
    return f"{type.removesuffix('.od')} {kind} machine" + f" in {place.zone}" * bool(place.zone)
