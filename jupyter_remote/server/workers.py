"""Workers: each dials in over a WebSocket and speaks MessagePack of the wire's types.

A worker can write only the attempts that it was given: everything it says about ``(job, epoch)``
is checked against the board before it reaches the store, and the store fences it once more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from jupyter_remote import errors, wire
from jupyter_remote.model import JobId, Stage, WorkerId
from jupyter_remote.money.meter import cost_ucredits
from jupyter_remote.multiplex import Channels
from jupyter_remote.scheduler.board import Active, Agent
from jupyter_remote.server.auth import Caller
from jupyter_remote.server.checkpoints import saved, taken_away, warned
from jupyter_remote.server.enrolment import enrolled, slots_of
from jupyter_remote.server.greeting import record_of, resumed, welcome
from jupyter_remote.server.machines import machine_of
from jupyter_remote.server.reports import Latest, check_events, outcome_of
from jupyter_remote.server.submitting import check_label, parcels_of
from jupyter_remote.server.switchboard import Listening
from jupyter_remote.store.charges import warn_after_s

if TYPE_CHECKING:
    from jupyter_remote.server.backend import Backend

log = logging.getLogger("jupyter_remote.workers")

LATEST_EVERY_S = 1.0  # how often the latest progress is written to the store
MOST_SLOTS = 10_000
OUTSTANDING = 256  # messages of one worker that are being worked on
CLOSE_S = 1.0
REPLACED, SILENT, REFUSED = 4000, 4001, 1008

OfAttempt = wire.Start | wire.Beat | wire.Complete | wire.Warned | wire.Saved | wire.Release

_decoder = msgspec.msgpack.Decoder(wire.WorkerMessage)
_encode = msgspec.msgpack.encode
_STAGES = {stage.value: stage for stage in Stage}


class Link:
    """One worker's connection."""

    def __init__(self, backend: Backend, websocket: WebSocket, worker: WorkerId, token: str):
        self.worker = worker
        self.token = token
        self.heard_at = backend.clock.monotonic()
        self.channels = Channels(self.send)
        self.environment: wire.WorkerEnvironment | None = None
        self._backend = backend
        self._websocket = websocket
        self._turns: dict[str, asyncio.Task[None]] = {}
        self._latest: dict[tuple[str, int], Latest] = {}
        self._room = asyncio.Semaphore(OUTSTANDING)

    async def send(self, message: wire.ServerMessage) -> bool:
        """False when the connection is gone."""
        try:
            await self._websocket.send_bytes(_encode(message))
        except (WebSocketDisconnect, RuntimeError, OSError):
            return False
        return True

    async def close(self, code: int) -> None:
        """End the connection from this side."""
        try:
            async with asyncio.timeout(CLOSE_S):  # a peer that hangs reads nothing
                await self._websocket.close(code)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:  # TimeoutError is an OSError
            log.debug("%s was gone already: %r", self.worker, error)

    async def silent(self, limit_s: float) -> None:
        """Returns when nothing was heard of the worker for so long: it hangs, or its machine."""
        clock = self._backend.clock
        while (left_s := self.heard_at + limit_s - clock.monotonic()) > 0:
            await asyncio.sleep(left_s)

    async def serve(self) -> None:
        """Until the worker goes away. Messages about one job are taken in their order; those
        of different jobs side by side, so that their commits are grouped."""
        while True:
            message = _decoder.decode(await self._websocket.receive_bytes())
            self.heard_at = self._backend.clock.monotonic()
            self._backend.scheduler.heard(self.worker)
            if isinstance(message, wire.Hello):
                raise errors.InvalidRequest("hello was said already")
            if isinstance(message, wire.Ping):
                await self.send(wire.Answer(req=message.req, drain=self._draining()))
                continue
            if isinstance(message, wire.Notice):
                await taken_away(self._backend, self.worker, message)
                await self.send(wire.Answer(req=message.req, drain=True))
                continue
            if isinstance(message, wire.Listening):
                self._listening(message)
                continue
            if isinstance(message, wire.ChannelMessage):
                self.channels.hear(message)
                continue
            await self._room.acquire()
            before = self._turns.get(message.job)
            task = asyncio.create_task(self._turn(before, message))
            self._turns[message.job] = task

    def _listening(self, message: wire.Listening) -> None:
        try:
            active = self._mine(message.job, message.epoch)
        except errors.Conflict:  # it is over: its worker is told so when it asks
            return
        address, key = message.address[:200], message.key[:200]
        listening = Listening(self.worker, active.epoch, address, key)
        self._backend.switchboard.hear(active.job, listening)

    async def _turn(
        self,
        before: asyncio.Task[None] | None,
        message: OfAttempt,
    ) -> None:
        if before is not None and not before.done():
            await asyncio.wait([before])
        try:
            await self.send(await self._answer(message))
        finally:
            self._room.release()
            if self._turns.get(message.job) is asyncio.current_task():
                del self._turns[message.job]

    async def _answer(self, message: OfAttempt) -> wire.Answer:
        try:
            await self._backend.scheduler.claimed(JobId(message.job))
            active = self._mine(message.job, message.epoch)
            match message:
                case wire.Start():
                    return await self._start(message, active)
                case wire.Beat():
                    return await self._beat(message, active)
                case wire.Complete():
                    return await self._complete(message, active)
                case wire.Warned():
                    await warned(self._backend, active)
                    return self._flags(message.req, active)
                case wire.Saved():
                    await saved(self._backend, active, message)
                    return self._flags(message.req, active)
                case wire.Release():
                    return await self._release(message, active)
        except errors.JupyterRemoteError as error:
            return wire.Answer(req=message.req, ok=False, code=error.code)
        except msgspec.MsgspecError as error:
            log.warning("%s sent something malformed: %s", self.worker, error)
            return wire.Answer(req=message.req, ok=False, code=errors.InvalidRequest.code)
        except Exception:
            log.exception("a message of %s failed", self.worker)
            return wire.Answer(req=message.req, ok=False, code="internal")

    def _mine(self, job: str, epoch: int) -> Active:
        active = self._backend.scheduler.board.active.get(JobId(job))
        if active is None or active.worker != self.worker or active.epoch != epoch:
            raise errors.Conflict("This attempt is not yours, or not any more.")
        return active

    def _draining(self) -> bool:
        agent = self._backend.scheduler.board.agents.get(self.worker)
        return agent is not None and agent.draining

    def _flags(self, req: int, active: Active, acked_seq: int = 0) -> wire.Answer:
        how, kill_in_s = active.stop(self._backend.clock.now())
        return wire.Answer(
            req=req,
            cancel=how,
            kill_in_s=kill_in_s,
            drain=self._draining(),
            budget_left_ucredits=self._left(active),
            acked_seq=acked_seq,
        )

    def _left(self, active: Active) -> int | None:
        """What is held for it and not spent; None: it costs nothing."""
        if not active.rate_ucredits_per_h:
            return None
        elapsed_s = self._backend.clock.now() - active.started_at if active.started_at else 0.0
        spent = cost_ucredits(active.rate_ucredits_per_h, elapsed_s)
        return max(0, active.hold_ucredits - spent)

    async def _start(self, message: wire.Start, active: Active) -> wire.Answer:
        backend = self._backend
        now = backend.clock.now()
        started = await backend.commit(backend.store.start, active.job, active.epoch, now)
        # All that is held: what it pays for is the longest run, which begins now.
        held = active.hold_ucredits if active.rate_ucredits_per_h else None
        answer = self._flags(message.req, active)
        warn_s = warn_after_s(started.job)
        return msgspec.structs.replace(answer, budget_left_ucredits=held, warn_s=warn_s)

    async def _beat(self, message: wire.Beat, active: Active) -> wire.Answer:
        backend = self._backend
        events = check_events(message.events)
        latest = self._latest_of(active)
        latest.add(events)
        self._publish_transient(active, events)
        stored = [e for e in events if e.seq]
        now = backend.clock.monotonic()
        if stored or message.stage or now - latest.written_at >= LATEST_EVERY_S:
            stage = _STAGES.get(message.stage) if message.stage else None
            update = latest.update(active, stored, stage)
            lease_s = backend.settings.lease_s
            await backend.commit(backend.store.beat, update, backend.clock.now(), lease_s)
            latest.written(now)
        return self._flags(message.req, active, stored[-1].seq if stored else 0)

    def _latest_of(self, active: Active) -> Latest:
        key = (active.job, active.epoch)
        if key not in self._latest:
            job = self._backend.store.job(active.job)
            self._latest = {k: v for k, v in self._latest.items() if k[0] != active.job}
            self._latest[key] = Latest(job.progress)
        return self._latest[key]

    def _publish_transient(self, active: Active, events: Sequence[wire.WorkerEvent]) -> None:
        transient = [
            wire.Event(
                job=active.job, type=e.type, data=msgspec.Raw(e.data), epoch=active.epoch, at=e.at
            )
            for e in events
            if not e.seq
        ]
        if transient:
            self._backend.hub.publish(active.owner, active.client, active.job, transient)

    async def _complete(self, message: wire.Complete, active: Active) -> wire.Answer:
        backend = self._backend
        now = backend.clock.now()
        check_events(message.events)
        outcome = outcome_of(message, backend.machines)
        key = (active.job, active.epoch)
        if key in self._latest or any(not e.seq for e in message.events):
            latest = self._latest_of(active)
            latest.add(message.events)
            self._publish_transient(active, message.events)
            if latest.changed:
                update = latest.update(active, [], None)
                await backend.commit(backend.store.beat, update, now, backend.settings.lease_s)
            del self._latest[key]
        if message.error is not None and message.error.ename == errors.DigestMismatch.__name__:
            await self._check_inputs(active.job)  # who hears of its end may send it again at once
        active.leaving = True
        try:
            await backend.commit(backend.store.finish, active.job, active.epoch, outcome, now)
        except errors.JupyterRemoteError:
            active.leaving = False
            raise
        last = [e.seq for e in message.events if e.seq]
        return wire.Answer(req=message.req, acked_seq=last[-1] if last else 0)

    async def _check_inputs(self, job: JobId) -> None:
        """A kernel found bytes that are not what they should be."""
        backend = self._backend
        spec = msgspec.json.decode(backend.store.job(job).spec, type=wire.JobSpec)
        await backend.shelf.check([s for s in parcels_of(spec) if s.data is None])

    async def _release(self, message: wire.Release, active: Active) -> wire.Answer:
        backend = self._backend
        now = backend.clock.now()
        why = message.reason[:500]
        active.leaving = True
        try:
            await backend.commit(backend.store.release, active.job, active.epoch, now, why)
        except errors.JupyterRemoteError:
            active.leaving = False
            raise
        return wire.Answer(req=message.req)


class Fleet:
    """The workers that are connected."""

    def __init__(self) -> None:
        self.links: dict[WorkerId, Link] = {}

    async def send(self, worker: WorkerId, message: wire.ServerMessage) -> bool:
        """To a worker; False when it is not connected."""
        link = self.links.get(worker)
        return link is not None and await link.send(message)

    def environment_of(self, backend: Backend, pool: str) -> wire.WorkerEnvironment | None:
        """What a worker of this pool has; None when none is connected, or none said it."""
        agents = backend.scheduler.board.agents.values()
        links = (self.links.get(agent.id) for agent in agents if agent.pool == pool)
        return next((link.environment for link in links if link and link.environment), None)

    async def cut_off(self, token: str) -> None:
        """A token was revoked: whoever is connected with it is not any more."""
        for link in [each for each in self.links.values() if each.token == token]:
            await link.close(REFUSED)

    async def close(self) -> None:
        """The backend ends: all connections too. The workers dial again."""
        for link in list(self.links.values()):
            await link.close(1012)

    async def connect(self, backend: Backend, caller: Caller, websocket: WebSocket) -> None:
        """Serve one worker until its connection closes. The route `/v1/workers/connect`."""
        await websocket.accept()
        try:
            link = await self._greet(backend, caller, websocket)
        except (WebSocketDisconnect, KeyError):
            return
        except (errors.JupyterRemoteError, msgspec.MsgspecError) as error:
            await websocket.close(REFUSED, str(error).splitlines()[0][:100])
            return
        try:
            await _until_silent(link, backend.settings.lease_s)
        except (WebSocketDisconnect, KeyError):  # KeyError: a text frame
            log.info("worker %s disconnected", link.worker)
        except (errors.JupyterRemoteError, msgspec.MsgspecError) as error:
            log.warning("worker %s is cut off: %s", link.worker, error)
            await link.close(REFUSED)
        finally:
            await self._gone(backend, link)
        await link.close(SILENT)

    async def _greet(self, backend: Backend, caller: Caller, websocket: WebSocket) -> Link:
        hello = _decoder.decode(await websocket.receive_bytes())
        if not isinstance(hello, wire.Hello):
            raise errors.InvalidRequest("a worker says hello first")
        if hello.protocol != wire.PROTOCOL:
            raise errors.ProtocolMismatch(
                f"worker speaks protocol {hello.protocol}, backend {wire.PROTOCOL}"
            )
        if not 1 <= hello.slots <= MOST_SLOTS:
            raise errors.InvalidRequest("a worker has between 1 and 10000 slots")
        worker = WorkerId(check_label("worker", hello.worker))
        machine = await machine_of(backend, hello.instance, caller.token_id)
        if machine is not None:
            hello = msgspec.structs.replace(hello, machine=machine.machine)
            await enrolled(backend, machine)
        record = record_of(hello, caller.token_id, backend.clock.now())
        await backend.commit(backend.store.put_worker, record)  # refuses another one's id
        if (before := self.links.pop(worker, None)) is not None:  # whose end is not the worker's
            backend.scheduler.disconnected(worker)
            await before.close(REPLACED)
        link = Link(backend, websocket, worker, caller.token_id)
        link.environment = hello.environment
        keep = await resumed(backend, worker, hello.running)
        self.links[worker] = link
        await link.send(welcome(backend, keep, elsewhere=machine is not None))
        agent = Agent(worker, hello.instance, hello.machine, hello.slots, hello.python)
        if machine is not None:
            agent.owner = machine.owner
            agent.slots = slots_of(backend, machine.machine)
        backend.scheduler.connected(agent)
        log.info("worker %s connected, %d slots", worker, hello.slots)
        return link

    async def _gone(self, backend: Backend, link: Link) -> None:
        link.channels.lose()
        if self.links.get(link.worker) is not link:
            return
        del self.links[link.worker]
        silent_s = backend.clock.monotonic() - link.heard_at
        backend.scheduler.disconnected(link.worker, silent_s)
        await backend.commit(backend.store.worker_gone, link.worker, backend.clock.now())


async def _until_silent(link: Link, limit_s: float) -> None:
    """Serve a worker; one that is silent for a whole lease is taken for gone."""
    serving = asyncio.create_task(link.serve())
    silence = asyncio.create_task(link.silent(limit_s))
    try:
        await asyncio.wait({serving, silence}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        else:
            log.warning("worker %s is silent for %g s", link.worker, limit_s)
    finally:
        for task in (serving, silence):
            task.cancel()
        await asyncio.gather(serving, silence, return_exceptions=True)
