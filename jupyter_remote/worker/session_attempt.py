"""Attempts of sessions, and of cells that run in one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from jupyter_remote import wire
from jupyter_remote.model import Reason, Stage
from jupyter_remote.worker import channel, verdict
from jupyter_remote.worker.attempt import Attempt
from jupyter_remote.worker.means import Means
from jupyter_remote.worker.metrics import Process
from jupyter_remote.worker.slots import Kernel
from jupyter_remote.worker.supervise import CANCELLED, PREEMPTED, Stop
from jupyter_remote.worker.verdict import Verdict
from jupyter_remote.worker.workspace import CellWorkspace, SessionWorkspace

CELLS_SHARE = 0.5  # of the time that is left, for cells to come to their end
GAVE_WAY = Stop("failed", Reason.LOST, "the machine of its session was taken away while it ran")


class SessionAttempt(Attempt):
    """A kernel that keeps its namespace and takes calls until it is stopped."""

    def __init__(self, assign: wire.Assign, means: Means) -> None:
        self.runs = ""  # which cell, as tracebacks call it
        self.turn = asyncio.Lock()  # cells run one after the other, in the order they came
        self._inner: CellAttempt | None = None
        self._inside: dict[tuple[str, int], CellAttempt] = {}
        self._listening: wire.Listening | None = None
        self._begun = asyncio.Event()  # it takes cells, or never will
        self._held: list[str] = []  # what its namespace holds, in words
        self._used = channel.Used(0.0, False)
        self._used_at = 0.0  # when that was told
        self._questions: set[asyncio.Task[None]] = set()
        self._gives_way_at: float | None = None  # what runs, because its machine is taken away
        self._saves_again = False  # then
        super().__init__(assign, means, SessionWorkspace)
        means.sessions[assign.job] = self  # cells may come before it has begun

    async def where(self) -> tuple[Kernel, Path] | None:
        """Its kernel and its folder, while it runs; waits until it has begun."""
        await self._begun.wait()
        kernel, folder = self._workspace.kernel, self._workspace.folder
        if not self._running or kernel is None or folder is None:
            return None
        return kernel, folder

    @property
    def address(self) -> str:
        """Where its kernel takes calls; empty: it does not, yet."""
        return "" if self._listening is None else self._listening.address

    @property
    def owner(self) -> str:
        return self._assign.owner

    def enter(self, cell: CellAttempt, key: tuple[str, int], name: str) -> None:
        """What the kernel says in turns with this key is the cell's."""
        self._inside[key] = cell
        self.runs = name

    def leave(self, key: tuple[str, int]) -> None:
        self._inside.pop(key, None)
        self.runs = ""

    # -- its machine is taken away
    def taken_away(self, until: float, grace_s: float) -> None:
        """Saved at once, and again when what runs has come to its end, for which it has a while;
        then it goes."""
        now = self._clock.monotonic()
        self._gives_way_at = now + CELLS_SHARE * (until - now)
        super().taken_away(until, grace_s)

    def _saved(self, kept: bool) -> None:
        if self._gives_way_at is None or not (self._inside or self._used.running):
            super()._saved(kept)
        else:
            self._saves_again = True

    def tick(self, now: float, table: list[Process]) -> None:
        super().tick(now, table)
        if not self._saves_again or self._gives_way_at is None:
            return
        if not (self._inside or self._used.running):
            self._saves_again = False
            self._ask_for_checkpoint(PREEMPTED.outcome)
        elif now >= self._gives_way_at:
            self._gives_way_at = float("inf")
            for cell in list(self._inside.values()):
                cell.give_way()
            if not self._inside and (kernel := self._workspace.kernel) is not None:
                kernel.interrupt()

    def resume(self) -> None:
        super().resume()
        if self._listening is not None:
            self._link.tell(self._listening)

    def _begins(self) -> None:
        self._begun.set()

    def _interrupt(self, kernel: Kernel) -> None:
        """What runs is interrupted; and then, or if nothing does, the session ends."""
        super()._interrupt(kernel)
        self._keep(asyncio.create_task(kernel.send(channel.Stop())))

    async def _hear(self, message: channel.FromKernel) -> None:
        if isinstance(message, channel.Turn):
            self._inner = self._inside.get((message.job, message.epoch)) if message.job else None
        elif isinstance(message, channel.Listening):
            job, epoch = self.key
            self._listening = wire.Listening(job, epoch, message.address, message.key)
            self._link.tell(self._listening)
        elif isinstance(message, channel.Held):
            self._held = message.names
        elif isinstance(message, channel.Used):
            self._used, self._used_at = message, self._clock.monotonic()
        elif isinstance(message, channel.Fetch | channel.Give):
            self._keep(asyncio.create_task(self._answer(message)))
        elif isinstance(message, channel.Finished) and (message.job, message.epoch) != self.key:
            if (cell := self._inside.get((message.job, message.epoch))) is not None:
                await cell.hear(message)
        elif isinstance(message, channel.Saved) and not (self._inner and self._inner.waits):
            await super()._hear(message)  # it was the session that was asked
        elif self._inner is not None:
            await self._inner.hear(message)
        else:
            await super()._hear(message)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._questions.add(task)
        task.add_done_callback(self._questions.discard)

    async def _answer(self, question: channel.Fetch | channel.Give) -> None:
        transfer = self._means.transfer
        path = problem = ""
        try:
            if isinstance(question, channel.Fetch):
                path = await transfer.fetch(question.segment)
            else:
                for spooled in question.spooled:
                    await transfer.give(spooled)
        except Exception as error:  # whatever it is: the kernel waits for an answer
            problem = str(error) or type(error).__name__
        if (kernel := self._workspace.kernel) is not None:
            await kernel.send(channel.Placed(path, problem))

    def _busy_s(self) -> float:
        since_s = self._clock.monotonic() - self._used_at if self._used.running else 0.0
        return self._used.busy_s + since_s

    def _verdict(self, finished: channel.Finished) -> Verdict:
        stop = self._supervisor.stop
        if finished.ok and stop is not None:  # it ended as it was told to
            finished = msgspec.structs.replace(finished, ok=False)
        end = super()._verdict(finished)
        detail = finished.detail or ("" if stop is CANCELLED else end.detail)
        return msgspec.structs.replace(end, detail=detail)

    def _in_full(self, end: Verdict) -> Verdict:
        """With what was lost, unless that was wanted."""
        if not self._held or end.reason == Reason.CANCELLED:
            return end
        how, marker, words = end.detail.partition(wire.LAST_OUTPUT)
        detail = f"{how}; held: {', '.join(self._held)}{marker}{words}"
        return msgspec.structs.replace(end, detail=detail)

    async def _clean(self) -> None:
        self._begun.set()
        self._means.sessions.pop(self._assign.job, None)
        self._means.relay.end(self.key)
        await super()._clean()


class CellAttempt(Attempt):
    """A cell in the namespace of a session. It waits until those before it are done; when it is
    to stop it is interrupted, and killed, with the session, only when that is asked for."""

    def __init__(self, assign: wire.Assign, means: Means) -> None:
        super().__init__(assign, means, CellWorkspace)
        self._supervisor.grace_s = float("inf")  # its session would be killed, too

    @property
    def waits(self) -> bool:
        """For a checkpoint that its kernel was asked for."""
        return bool(self._saving.asked)

    async def hear(self, message: channel.FromKernel) -> None:
        """What came while this was what runs in its session."""
        if not self.task.done():
            await self._hear(message)

    def taken_away(self, until: float, grace_s: float) -> None:
        """Its session says when it has to stop. What waits for its turn goes on elsewhere."""
        if not self._asked:
            self._release(PREEMPTED.detail)

    def give_way(self) -> None:
        """The machine of its session is taken away, and it has had a while."""
        self._act(self._supervisor.give_up(GAVE_WAY, self._clock.monotonic()))

    def _verdict(self, finished: channel.Finished) -> Verdict:
        end = super()._verdict(finished)
        if self._supervisor.stop is GAVE_WAY and end.outcome == GAVE_WAY.outcome:
            return msgspec.structs.replace(end, error=None)  # it was us who interrupted it
        return end

    def _in_full(self, end: Verdict) -> Verdict:
        if end.reason != Reason.CANCELLED or not self._supervisor.killed:
            return end
        return msgspec.structs.replace(end, detail=f"{end.detail}, and its session with it")

    async def _from_start_to_end(self) -> None:
        session = self._means.sessions.get(self._assign.spec.session)
        if session is None or session.owner != self._assign.owner:
            await self._deliver(verdict.unprepared("its session is not there any more"))
            return
        if session.turn.locked():
            self._outbox.set_stage(Stage.WAITING, at_once=True)
            self._output.note(f"waits for its turn: {session.runs or 'another cell'} runs there")
        async with session.turn:
            if (where := await session.where()) is None:
                await self._deliver(verdict.unprepared("its session is over"))
                return
            self._workspace.kernel, self._workspace.folder = where
            session.enter(self, self.key, self._assign.spec.name)
            try:
                await super()._from_start_to_end()
            finally:
                session.leave(self.key)
                self._workspace.kernel = self._workspace.folder = None
