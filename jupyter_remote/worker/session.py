"""A session: one namespace that lasts, which many callers use in turns.

The main thread serves calls itself, between cells that the agent sends, so that what they display,
their interrupts and their globals are those of a cell.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
import traceback
from collections import deque
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from jupyter_remote import calls, remotely
from jupyter_remote.errors import EngineError
from jupyter_remote.worker import channel, inside
from jupyter_remote.worker.belongings import Brought, Held
from jupyter_remote.worker.busy import Busy
from jupyter_remote.worker.callers import Caller, Now, Request, Turn
from jupyter_remote.worker.checkpoints import opener
from jupyter_remote.worker.dialogue import nobody_answers
from jupyter_remote.worker.executor import Executor
from jupyter_remote.worker.handlers import UsersHandlers
from jupyter_remote.worker.idle import Idle
from jupyter_remote.worker.namespace import open_parcel
from jupyter_remote.worker.reception import STOP, Reception
from jupyter_remote.worker.snapshot import Keeper, Snapshot, account

if TYPE_CHECKING:
    from jupyter_remote.worker.kernel import KernelProcess

SIGNAL_S = 0.5  # of waiting at a time: a signal that came just before that is seen after it
STUCK_S = 0.05  # between two looks at clients that do not read, while the event loop runs
GATHER_S = 0.001  # replies wait this long for those that come next


class Session:
    """Of one kernel process. ``serve`` returns when it is over, with the reason in words."""

    def __init__(self, process: KernelProcess, run: channel.Run) -> None:
        self._process = process
        self._run = run
        self._pid = os.getpid()
        self._namespace: dict[str, Any] = process.namespace
        self.purse = inside.job.purse
        self._now = Now()
        self._reception = Reception(run.address, self._now)
        self._callers: dict[int, Caller] = {}  # by descriptor
        self._turns: deque[Caller] = deque()  # those that have calls waiting
        self._stuck: dict[int, Caller] = {}  # by descriptor: those that do not read their replies
        self._due: tuple[Caller, int] | None = None  # whose call was begun and not answered yet
        self._trouble: BaseException | None = None  # that was raised between calls
        self._handlers = UsersHandlers()
        self._brought = Brought(self._namespace)
        self._executor = Executor(process, run, self._now, self._brought)
        self._held = Held(self._namespace, process.hidden, self._brought)
        self._busy = Busy(lambda *told: process.writer.send(channel.Used(*told)))
        self._idle = Idle(run.spec.idle_timeout_s, self._has_tasks)
        self._poll = select.poll()
        self._poll.register(process.inbox.fileno(), select.POLLIN)
        self._poll.register(self._reception.arrived.fileno(), select.POLLIN)

    def restore(self) -> None:
        """Variables of a machine that was taken away are here again. Raises what opening them
        does: an empty namespace under a known name would be a wrong result."""
        self.keeper = Keeper(
            self._namespace,
            self._process.hidden,
            self._brought.__contains__,
            self._run.folder,
        )
        try:
            snapshot = open_parcel(self._run.spec.checkpoint, self._run, self._namespace)
        except Exception as error:
            raise EngineError(
                f"its variables, saved when its machine was taken away, cannot be opened: {error}",
                hint="`--revive` starts an empty session of that name",
            ) from error
        if isinstance(snapshot, Snapshot):
            self._namespace.update(snapshot.variables)
            self._brought.again(snapshot.brought)
            remotely.RESTORED[:] = [account(snapshot)]
            self._held.dirty = True

    def serve(self) -> str:
        """Take calls and cells until told to stop, or idle for too long. Raises EOFError when the
        agent is gone."""
        signal.signal(STOP, self._on_stop)
        self._reception.start()
        listening = channel.Listening(self._run.address, self._reception.key)
        self._process.writer.send(listening, urgent=True)
        while True:
            try:
                if (why := self._step()) is not None:
                    self._busy.tell_now()
                    return why
            except EOFError:
                raise
            except BaseException as error:  # of a task, or of a signal handler of the user's
                self._trouble = error

    def _step(self) -> str | None:
        """What is to be done now; why it is over, if it is."""
        if self._trouble is not None:
            self._go_on_after(self._trouble)
        if self._handlers.came:
            with self._handlers.in_place():
                pass
        if self._serve_agent():  # first: its messages may have been read already
            return ""
        self._give_up_on_the_stuck()
        if self._turns:
            self._read(self._poll.poll(0))
            self._serve_next()
            self._idle.touch()
            self._held.dirty = True
        elif self._idle.over():
            if not (came := self._poll.poll(0)):
                return f"nobody used it for {self._idle.limit_s:g} s"
            self._read(came)  # while it stood still
        else:
            self._tell_what_is_held()
            self._busy.tell_if_due()
            look_s = STUCK_S if self._stuck else SIGNAL_S
            news_s = min(self._held.wait_s(), self._busy.wait_s())
            self._read(self._wait(min(self._idle.wait_s(), news_s, look_s)))
        return None

    def _go_on_after(self, error: BaseException) -> None:
        """Whatever was just being done: nobody waits for ever, and nobody else's call ends."""
        self._handlers.hold()
        self._now.turn = self._process.dialogue.instead = None
        self._busy.end()
        self._process.writer.turn(None)
        traceback.print_exception(error)
        if self._due is not None:
            caller, id = self._due
            caller.reply(calls.Reply(id, error=self._process.failure(error)))
            self._due = None
        for fd, caller in self._callers.items():
            if fd not in self._stuck:
                caller.flush()
                if caller.waiting and caller not in self._turns:
                    self._turns.append(caller)
        self._trouble = None

    def _on_stop(self, signum: int, frame: FrameType | None) -> None:
        """The reception's signal. It may come late: then it is for nobody."""
        turn = self._now.turn
        handler = signal.getsignal(signal.SIGINT)  # user code may have its own
        if turn is not None and turn.stopped and callable(handler):
            handler(signal.SIGINT, frame)

    def _tell_what_is_held(self) -> None:
        if self._held.wait_s() <= 0 and (names := self._held.news()) is not None:
            self._process.writer.send(channel.Held(names))

    # --- waiting -----------------------------------------------------------------------------
    def _wait(self, timeout_s: float) -> list[tuple[int, int]]:
        """Until there is something to read; what earlier calls left on the event loop goes on."""
        loop = self._process.runner.loop
        with self._handlers.in_place():
            if loop is not None and _has_work(loop):
                self._run_loop(loop, timeout_s)
                timeout_s = 0
            return self._poll.poll(timeout_s * 1000)

    def _has_tasks(self) -> bool:
        loop = self._process.runner.loop
        return loop is not None and bool(asyncio.all_tasks(loop))

    def _run_loop(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        some = loop.create_future()
        callers = self._callers.keys() - self._stuck.keys()  # which are looked at now and then
        fds = [self._process.inbox.fileno(), self._reception.arrived.fileno(), *callers]

        def wake() -> None:
            if not some.done():
                some.set_result(None)

        for fd in fds:
            loop.add_reader(fd, wake)
        timer = loop.call_later(timeout_s, wake)
        try:
            loop.run_until_complete(some)
        finally:
            timer.cancel()
            for fd in fds:
                loop.remove_reader(fd)

    def _read(self, events: list[tuple[int, int]]) -> None:
        for fd, _ in events:
            caller = self._callers.get(fd)
            if caller is not None and fd in self._stuck:
                self._send_on(fd, caller)
            elif caller is not None:
                caller.read()
                if caller.waiting and caller not in self._turns:
                    self._turns.append(caller)
                if caller.gone:
                    self._hang_up(fd, caller)
            elif fd == self._reception.arrived.fileno():
                for new in self._reception.take_new():
                    self._callers[new.sock.fileno()] = new
                    self._poll.register(new.sock.fileno(), select.POLLIN)
            else:
                self._process.inbox.fill()

    def _send_on(self, fd: int, caller: Caller) -> None:
        caller.send_on()
        if caller.stuck:
            return
        del self._stuck[fd]
        self._poll.modify(fd, select.POLLIN)
        if caller.gone:
            self._hang_up(fd, caller)
        if caller.waiting:
            self._turns.append(caller)

    def _give_up_on_the_stuck(self) -> None:
        now = time.monotonic()
        for fd, caller in list(self._stuck.items()):
            if now > caller.stuck_until:
                caller.hang_up()
                self._send_on(fd, caller)

    def _hang_up(self, fd: int, caller: Caller) -> None:
        """What it asked for before it went is done: it may have asked for just that."""
        self._poll.unregister(fd)
        del self._callers[fd]
        self._reception.forget(caller)

    # --- the agent ---------------------------------------------------------------------------
    def _serve_agent(self) -> bool:
        """Cells and comm messages; true: the session is over."""
        inbox = self._process.inbox
        while (message := inbox.here()) is not None:
            if isinstance(message, channel.Stop):
                return True
            if isinstance(message, channel.Comm):
                self._serve_comm(message)
            elif isinstance(message, channel.Run):
                self._serve_cell(message)
                self._idle.touch()
                self._held.dirty = True
        return False

    def _serve_comm(self, comm: channel.Comm) -> None:
        """A slider was moved, a button clicked: the code that listens is user code as any."""
        process = self._process
        turn = self._begin(None, 0, "a widget")
        try:
            with process.interrupts.allowed():
                process.dialogue.serve_comm(comm)
        finally:
            self._end(turn)
        self._idle.touch()
        self._held.dirty = True

    def _serve_cell(self, run: channel.Run) -> None:
        process = self._process
        process.writer.send(channel.Turn(run.job, run.epoch))
        turn = self._begin(None, 0, run.spec.name)
        finished = process.attempt(run)
        self._end(turn)
        process.settle()
        process.writer.send(finished)
        process.writer.send(channel.Turn(), urgent=True)
        self._is_the_job_again()

    def _is_the_job_again(self) -> None:
        """Between cells code runs in the session's own name."""
        run, process = self._run, self._process
        checkpoint = opener(run, lambda: self._namespace)
        bars = process.relay_bars(True)
        inside.job.begin(run.job, run.epoch, bars, self.purse, checkpoint)

    def _begin(self, caller: Caller | None, id: int, what: str) -> Turn:
        turn = self._now.turn = Turn(caller, id, what, time.time())
        turn.begin()
        self._busy.begin()
        self._handlers.put_back()
        return turn

    def _end(self, turn: Turn) -> None:
        """User code is over."""
        self._handlers.hold()
        if os.getpid() != self._pid:  # it forked, and the child came back from the call
            os._exit(0)
        self._now.turn = None
        self._busy.end()
        turn.end()

    # --- callers -----------------------------------------------------------------------------
    def _serve_next(self) -> None:
        """The next call of the caller whose turn it is, and those behind it that are quick."""
        caller = self._turns.popleft()
        until = time.monotonic() + GATHER_S
        while caller.waiting:
            self._serve(caller, caller.waiting.popleft())
            caller.flush()  # the next call may take long, or end the process
            if caller.stuck or time.monotonic() > until:
                break
        if caller.stuck:
            fd = caller.sock.fileno()
            self._stuck[fd] = caller
            self._poll.modify(fd, select.POLLOUT)
        elif caller.waiting:
            self._turns.append(caller)

    def _serve(self, caller: Caller, request: Request) -> None:
        process, self._due = self._process, (caller, request.id)
        turn = self._begin(caller, request.id, getattr(request, "name", "") or "a call")
        process.writer.turn(turn)
        process.dialogue.instead = _nobody
        try:
            with process.interrupts.allowed():
                reply = self._executor.attempt(caller, request, turn)
        except KeyboardInterrupt as error:  # between two steps of user code
            reply = calls.Reply(request.id, error=process.failure(error))
        self._end(turn)
        caller.stopped.discard(request.id)
        process.dialogue.instead = None
        process.settle()
        if not process.writer.idle:
            said = process.writer.mark()
            while not (said.wait(1.0) or caller.gone):
                continue
        process.writer.turn(None)
        caller.reply(_with_times(reply, turn.since_at))
        self._due = None


def _nobody(prompt: str, password: bool) -> NoReturn:
    raise nobody_answers(prompt, "a call")


def _has_work(loop: asyncio.AbstractEventLoop) -> bool:
    """Tasks, or callbacks without a task."""
    handles = (*getattr(loop, "_ready", ()), *getattr(loop, "_scheduled", ()))
    return bool(asyncio.all_tasks(loop)) or not all(handle.cancelled() for handle in handles)


def _with_times(reply: calls.Reply, began_at: float) -> calls.Reply:
    return calls.Reply(
        reply.id, began_at, time.time(), reply.plain, reply.value, reply.error, reply.dropped
    )
