"""One attempt at a job, from its assignment to the acknowledged end."""

from __future__ import annotations

import asyncio
import itertools
import logging

import msgspec

from jupyter_remote.errors import EnvironmentUnavailable
from jupyter_remote.model import Stage
from jupyter_remote.money.meter import longest_run_s
from jupyter_remote.wire import (
    Answer,
    Assign,
    CommMessage,
    Complete,
    Release,
    Result,
    Segment,
    Start,
)
from jupyter_remote.worker import channel, verdict
from jupyter_remote.worker.job_output import JobOutput
from jupyter_remote.worker.link import refuses
from jupyter_remote.worker.means import Means
from jupyter_remote.worker.metrics import Process
from jupyter_remote.worker.monitor import Monitor
from jupyter_remote.worker.outbox import Outbox
from jupyter_remote.worker.saving import BUDGET, Saving
from jupyter_remote.worker.slots import Kernel, KernelUnavailable
from jupyter_remote.worker.supervise import PREEMPTED, STOPPED, Action, Supervisor
from jupyter_remote.worker.transfer import BadInput
from jupyter_remote.worker.verdict import Verdict
from jupyter_remote.worker.workspace import Workspace

Kept = tuple[Result | None, Verdict]
UNSAVED: Kept = (None, verdict.UNSAVED)

log = logging.getLogger(__name__)
_numbers = itertools.count(1)


class Attempt:
    """Takes a job through its life, in :attr:`task`, and ends it early where it is told to."""

    def __init__(
        self, assign: Assign, means: Means, workspace: type[Workspace] = Workspace
    ) -> None:
        now = means.clock.monotonic()
        self.key = (assign.job, assign.epoch)
        self.freed = False  # the slot is free: the end is on its way to the server
        self._assign = assign
        self._means = means
        self._clock = means.clock
        self._link = means.link
        self._supervisor = Supervisor(
            grace_s=means.grace_s,
            dead_man_s=means.dead_man_s,
            checkpoint_s=means.checkpoint_s,
            now=now,
        )
        self._outbox = Outbox(means.link, assign.job, assign.epoch, means.clock, self._answered)
        self._outbox.sent_at = now
        name = f"{assign.job[:8]}-{next(_numbers)}"
        self._workspace = workspace(name, assign, means, self._outbox)
        self._output = JobOutput(name, means, self._outbox)
        self._saving = Saving(
            self.key, means.transfer, means.link.settle, self._output.note, self._saved
        )
        self._monitor = Monitor(
            assign, means, self._supervisor, self._outbox, self._output, self._act, self._busy_s
        )
        self._budget_left: int | None = None
        self._asked = False  # whether user code may run
        self._started_at: float | None = None  # it may
        self._running = False
        self._giving: asyncio.Task[Kept] | None = None  # what the code made, to the server
        self._over: asyncio.Future[channel.Finished | str] = asyncio.Future()
        self.task = asyncio.create_task(self._live())

    @property
    def takes_slot(self) -> bool:
        """Of the agent's slots."""
        return not self.freed and not self._assign.aside

    # -- what the agent says
    def cancel(self, how: str, kill_in_s: float | None = None) -> None:
        """``checkpoint``, ``interrupt`` or ``kill``, from the server: see wire.Cancel."""
        if not self._asked:
            self.abandon()  # it is cancelled over there already: nothing has begun
            return
        if how == "kill" and self._giving is not None:
            self._giving.cancel()  # it may take for ever: of a server whose disk is full
        self._act(self._supervisor.cancel(how, self._clock.monotonic(), kill_in_s))

    def save(self, why: str) -> None:
        """Ask the code for a checkpoint."""
        self._act(self._supervisor.save(self._clock.monotonic(), why))

    def taken_away(self, until: float, grace_s: float) -> None:
        """Its machine is: another one is to run this job, from a checkpoint if it saves one."""
        if not self._asked:
            self._release(PREEMPTED.detail)
        else:
            self._act(self._supervisor.taken_away(until, grace_s))

    def hand_back(self) -> None:
        """The agent has to end: let somebody else run this job."""
        if not self._asked:
            self._release(STOPPED.detail)
        else:
            self._act(self._supervisor.hand_back())

    def _release(self, why: str) -> None:
        job, epoch = self.key
        self._link.ask(lambda req: Release(req=req, job=job, epoch=epoch, reason=why))
        self.abandon()

    def abandon(self) -> None:
        """Kill, discard, tell nobody: the attempt does not stand any more."""
        self._supervisor.abandon()
        self._saving.drop()
        running, self._running, self.freed = self._running, False, True
        self._workspace.abandon(running)
        self.task.cancel()

    def resume(self) -> None:
        """There is a new connection."""
        self._outbox.resume()

    def tick(self, now: float, table: list[Process]) -> None:
        """Called some times a second."""
        self._act(self._supervisor.tick(now))
        if now - self._outbox.sent_at >= self._means.heartbeat_s:
            self._outbox.beat()
        if self._running:
            self._output.tick(now)
            if text := self._supervisor.notice(now):
                self._output.note(text)
            self._measure(now, table)

    # -- its life
    async def _live(self) -> None:
        try:
            await self._from_start_to_end()
        except (BadInput, KernelUnavailable) as error:
            await self._deliver(verdict.unprepared(str(error)))
        except EnvironmentUnavailable as error:
            await self._deliver(verdict.without_environment(error))
        except Exception as error:
            log.exception("attempt %s failed", self.key)
            await self._deliver(verdict.of_our_failure(error, ran=self._over.done()))
        finally:
            await self._clean()

    async def _from_start_to_end(self) -> None:
        run = await self._workspace.prepare()
        if not await self._may_start():
            self._workspace.put_back()
            return
        if self._supervisor.stop is None:
            ended = await self._run(run)
        else:
            ended = ""
        await self._conclude(ended)

    async def _may_start(self) -> bool:
        self._asked = True
        job, epoch = self.key
        sent_at = self._clock.monotonic()
        answer = await self._link.settle(
            lambda req: Start(req=req, job=job, epoch=epoch), self._start_answered
        )
        if not answer.ok:
            return False
        assign = self._assign
        self._supervisor.acknowledged(sent_at)
        self._started_at = self._clock.monotonic()
        self._supervisor.started(
            self._started_at,
            timeout_s=assign.limits_timeout_s,
            # what is held may pay for less: of another attempt, or because of a budget
            max_run_s=longest_run_s(
                assign.rate_ucredits_per_h, assign.max_run_s, None, answer.budget_left_ucredits
            ),
            memory_bytes=assign.memory_bytes,
            # what a budget leaves was decided after it was assigned
            warn_s=assign.warn_s if answer.warn_s is None else answer.warn_s,
            free=assign.rate_ucredits_per_h == 0,
        )
        self._budget_left = answer.budget_left_ucredits
        if answer.cancel:
            self.cancel(answer.cancel, answer.kill_in_s)
        return True

    def _start_answered(self, answer: Answer | None) -> None:
        # At once, because the next message may be an assignment for this slot.
        self.freed = answer is not None and refuses(answer)

    async def _run(self, run: channel.Run) -> channel.Finished | str:
        kernel = self._workspace.kernel
        assert kernel is not None
        self._running = True
        self._monitor.begin()
        self._workspace.listen(self._hear)
        self._begins()
        kernel.ended.add_done_callback(self._ended)
        try:
            await kernel.send(msgspec.structs.replace(run, budget_left_ucredits=self._budget_left))
            self._workspace.make_next_ready()
            return await self._over
        finally:
            self._running = False
            kernel.ended.remove_done_callback(self._ended)

    def _ended(self, how: asyncio.Future[str]) -> None:
        if not self._over.done():
            self._over.set_result(how.result())

    # -- what the kernel says
    async def _hear(self, message: channel.FromKernel) -> None:
        """Called by the kernel's reader, which waits for this to return."""
        if self._over.done():
            return  # a thread that goes on after the end
        now = self._clock.monotonic()
        if isinstance(message, channel.Text | channel.Out | channel.Progress):
            self._output.hear(message, now)
        elif isinstance(message, channel.Stage):
            self._outbox.set_stage(message.stage)
            if message.stage == Stage.SAVING_RESULT:
                self._supervisor.saving(now)
        elif isinstance(message, channel.Saved):
            self._saving.heard(message)
        elif isinstance(message, channel.Every):
            self._supervisor.saves_every(message.every_s, now)
        elif isinstance(message, channel.Ask):
            await self._ask(message)
        elif isinstance(message, channel.Finished):
            if (message.job, message.epoch) == self.key:
                self._over.set_result(message)
            return
        await self._outbox.room()

    async def _ask(self, ask: channel.Ask) -> None:
        """Where nobody can answer ``input()`` raises at once: it would wait for ever."""
        if self._assign.spec.stdin:
            self._output.ask(ask, self._clock.monotonic())
        else:
            await self.answer("", refused=True)

    async def answer(self, text: str, refused: bool) -> None:
        """What somebody typed."""
        if (kernel := self._workspace.kernel) is not None:
            await kernel.send(channel.Input(text, refused))

    async def comm(self, message: CommMessage) -> None:
        """What a widget in a front end says. The kernel takes it when it is not busy."""
        if (kernel := self._workspace.kernel) is not None and self._running:
            await self._output.comms.pass_on(kernel.send, message)

    # -- watching
    def _act(self, action: Action) -> None:
        if action is Action.ABANDON:
            self.abandon()
        elif action is Action.WARN:
            self._saving.warn()
            self.save(BUDGET)
        elif action is Action.GIVE_UP:
            self._saving.give_up(self._means.checkpoint_s)
            self._saved(False)
        elif action is Action.SAVE:
            self._ask_for_checkpoint(self._supervisor.saves_for)
        elif (kernel := self._workspace.kernel) is not None and self._running:
            if action is Action.INTERRUPT:
                self._interrupt(kernel)
            elif action is Action.KILL:
                kernel.kill()

    def _ask_for_checkpoint(self, why: str) -> None:
        kernel = self._workspace.kernel
        if kernel is None or not self._running:
            self._saved(False)  # there is nothing yet
            return
        self._saving.ask(why)
        kernel.checkpoint(why)

    def _saved(self, kept: bool) -> None:
        self._act(self._supervisor.saved(self._clock.monotonic(), kept))

    def _answered(self, answer: Answer, sent_at: float) -> None:
        if refuses(answer):
            self.abandon()
            return
        # Whoever answers that its disk is full keeps all leases until there is room again.
        self._supervisor.acknowledged(sent_at)
        if answer.cancel:
            self.cancel(answer.cancel, answer.kill_in_s)

    def _measure(self, now: float, table: list[Process]) -> None:
        kernel = self._workspace.kernel
        assert kernel is not None
        for text in kernel.relieve(now):
            self._output.hear(text, now)
        self._monitor.look(kernel.pid, self._workspace.folder, table, now)

    # -- the end
    async def _conclude(self, how: channel.Finished | str) -> None:
        self._supervisor.finished()
        if self._saving.busy:
            self._outbox.set_stage(Stage.SAVING_RESULT)
            preempted = self._supervisor.stop is PREEMPTED
            await self._saving.settled(self._supervisor.grace_s if preempted else None)
        self._output.end(self._clock.monotonic())
        stop, result = self._supervisor.stop, None
        if isinstance(how, channel.Finished):
            end = self._verdict(how)
            if stop is None and not how.retire and self._assign.spec.kind == "call":
                self._workspace.put_back(ran=True)
            self._giving = asyncio.create_task(self._save(how, end))
            try:
                await asyncio.wait({self._giving})
            finally:
                self._giving.cancel()
            result, end = self._giving.result() if not self._giving.cancelled() else UNSAVED
        else:
            oom = self._monitor.oom_killed
            end = verdict.of_death(how, stop, oom, self._output.last_words())
        log = None if end.outcome == PREEMPTED.outcome else await self._output.give_log()
        await self._deliver(self._in_full(end), result, log)

    async def _save(self, finished: channel.Finished, end: Verdict) -> Kept:
        if finished.result is None or end.outcome == PREEMPTED.outcome:
            return None, end
        try:
            for spooled in finished.spooled:
                self._outbox.set_stage(Stage.SAVING_RESULT)
                await self._means.transfer.give(spooled)
        except BadInput as error:
            return None, verdict.unprepared(f"the result could not be saved: {error}")
        return msgspec.json.decode(finished.result, type=Result), end

    async def _deliver(
        self, end: Verdict, result: Result | None = None, log: Segment | None = None
    ) -> None:
        """Say how it ended until that is acknowledged or refused."""
        job, epoch = self.key
        events = self._outbox.close()
        began_at = self._started_at
        ran_s = None if began_at is None else self._clock.monotonic() - began_at

        def complete(req: int) -> Complete:
            return Complete(
                req=req,
                job=job,
                epoch=epoch,
                outcome=end.outcome,
                reason=end.reason,
                detail=end.detail,
                signal=end.signal,
                error=end.error,
                result=result,
                events=events,
                metrics=self._monitor.final(),
                log=log,
                ran_s=ran_s,
            )

        first = self._link.ask(complete)
        self.freed = True
        self._workspace.retire()
        answer = await self._link.settle(complete, first=await first)
        if not answer.ok and answer.code not in ("conflict", "not_found"):
            refused = verdict.unprepared(f"the server did not take the result ({answer.code})")
            if end != refused:
                await self._deliver(refused)

    async def _clean(self) -> None:
        self._outbox.close()
        self._workspace.retire()
        self._output.discard_log()
        await self._workspace.close()

    # -- what sessions, and cells in them, do in another way
    def _begins(self) -> None:
        """What its kernel says is heard, and what to run is said to it next."""

    def _interrupt(self, kernel: Kernel) -> None:
        kernel.interrupt()

    def _busy_s(self) -> float | None:
        return None

    def _verdict(self, finished: channel.Finished) -> Verdict:
        return verdict.of_finished(finished, self._supervisor.stop)

    def _in_full(self, end: Verdict) -> Verdict:
        return end
