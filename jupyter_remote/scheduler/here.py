"""Keeps the worker on this computer: launched, looked after, replaced, ended with the backend."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from jupyter_remote import errors
from jupyter_remote.clock import Clock
from jupyter_remote.model import InstanceRecord, InstanceState
from jupyter_remote.providers.base import Launch, Provider, Seen
from jupyter_remote.scheduler import plan as plans
from jupyter_remote.scheduler.board import LOCAL, Agent, Board, Instance
from jupyter_remote.scheduler.telling import Commit
from jupyter_remote.store.base import Store

log = logging.getLogger("jupyter_remote.scheduler")

UNSEEN_S = 3.0  # an instance that its provider does not list for so long is gone


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What launches workers on this computer, and what is done when one ended."""

    provider: Provider
    launch: Callable[[str], Awaitable[Launch]]
    ended: Callable[[str], Awaitable[None]]


class Here:
    """One for each scheduler that has workers on its own computer."""

    def __init__(
        self,
        given: Given,
        *,
        board: Board,
        store: Store,
        commit: Commit,
        clock: Clock,
        limits: plans.Limits,
        lease_s: float,
        lost: Callable[[str], Awaitable[None]],
        wake: Callable[[], None],
    ) -> None:
        self._provider = given.provider
        self._launch_request = given.launch
        self._ended = given.ended
        self._board = board
        self._store = store
        self._commit = commit
        self._clock = clock
        self._limits = limits
        self._lease_s = lease_s
        self._lost = lost  # what the worker that ended had
        self._wake = wake

    def take_up(self, instances: Iterable[InstanceRecord]) -> None:
        """What a backend before this one left."""
        now = self._clock.now()
        for row in instances:
            if row.provider != self._provider.name:
                continue
            self._board.instances[row.id] = Instance(row.id, now, now, row.state, now)

    def connected(self, agent: Agent) -> None:
        """A worker said hello."""
        if instance := self._board.instances.get(agent.instance):
            if instance.away_since == instance.launched_at:  # its first hello
                self._board.starts.append(self._clock.now() - instance.launched_at)
            instance.away_since = float("inf")

    def disconnected(self, agent: Agent, since: float) -> None:
        """Its connection closed, after silence since then."""
        if instance := self._board.instances.get(agent.instance):
            instance.away_since = since

    def begin(self, action: plans.Launch | plans.Look) -> Awaitable[None]:
        """What is at once so on the board, and what is then to be done about it."""
        now = self._clock.now()
        if isinstance(action, plans.Look):
            for id in action.instances:
                self._board.instances[id].looked_at = float("inf")  # until this look is over
            return self._look(action.instances)
        id = f"local-{uuid.uuid4().hex[:12]}"
        self._board.instances[id] = Instance(id, now, now, away_since=now)
        return self._launch(id)

    async def _launch(self, id: str) -> None:
        now = self._clock.now()
        intent = InstanceRecord(
            id=id,
            provider=self._provider.name,
            machine=LOCAL,
            state=InstanceState.INTENT,
            created_at=now,
            changed_at=now,
        )
        try:
            await self._commit(self._store.put_instance, intent)
            seen = await self._provider.launch(await self._launch_request(id))
        except (errors.JupyterRemoteError, OSError) as error:
            log.error("could not start the local worker: %s", error)
            await self._instance_gone(id)
            return
        await self._moved(seen)

    async def _look(self, instances: tuple[str, ...]) -> None:
        try:
            seen = {s.id: s for s in await self._provider.describe(instances)}
            for id in instances:
                await self._looked(id, seen.get(id))
        finally:
            for instance in filter(None, map(self._board.instances.get, instances)):
                instance.looked_at = self._clock.now()
            self._wake()

    async def _looked(self, id: str, found: Seen | None) -> None:
        if found is not None and found.state is not InstanceState.TERMINATED:
            await self._moved(found)
            if self._away_s(id) > self._lease_s:
                await self._provider.terminate(id)
                await self._instance_gone(id, "it did not answer and was ended")
        elif found is not None or self._unseen(id):
            await self._instance_gone(id, found.detail if found else "")

    def _away_s(self, id: str) -> float:
        """For how long the worker of an instance has not been connected: it hangs."""
        instance = self._board.instances.get(id)
        return self._clock.now() - instance.away_since if instance else 0.0

    def _unseen(self, id: str) -> bool:
        instance = self._board.instances.get(id)
        return instance is not None and self._clock.now() > instance.launched_at + UNSEEN_S

    async def _moved(self, seen: Seen) -> None:
        instance = self._board.instances.get(seen.id)
        if instance is None or instance.state is seen.state:
            return
        instance.state = seen.state
        now = self._clock.now()
        await self._commit(self._store.move_instance, seen.id, seen.state, now, seen.provider_id)

    async def _instance_gone(self, id: str, detail: str = "") -> None:
        """It is known to be dead: what its worker had is lost now, not when the lease ends."""
        if self._board.instances.pop(id, None) is None:
            return
        now = self._clock.now()
        failures = self._board.launch_failures
        self._board.launch_failures += 1
        self._board.launch_at = now + plans.backoff_s(failures, self._limits)
        log.warning("the local worker %s ended. %s", id, detail)
        await self._lost(detail)
        await self._terminated(id)
        self._wake()

    async def _terminated(self, id: str) -> None:
        now = self._clock.now()
        await self._commit(self._store.move_instance, id, InstanceState.TERMINATED, now, None)
        await self._ended(id)
        await self.tidy()

    async def tidy(self) -> None:
        """Nothing is left of those that ended."""
        await self._provider.tidy(list(self._board.instances))

    async def end(self) -> None:
        """The backend ends, and its workers here with it."""
        for id in list(self._board.instances):
            await self._provider.terminate(id)
            await self._terminated(id)
