"""A session: one namespace that lasts, which many callers use in turns.

The main thread serves calls itself, between cells that the agent sends, so that what they display,
their interrupts and their globals are those of a cell.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import select
import signal
import sys
import time
import traceback
from collections import deque
from importlib.util import cache_from_source
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from jupyter_remote import calls, remotely, values
from jupyter_remote.calls import INLINE_BYTES
from jupyter_remote.errors import CaptureError, EngineError
from jupyter_remote.pickling import tensors
from jupyter_remote.values import Globals
from jupyter_remote.wire import Parcel
from jupyter_remote.worker import channel, inside
from jupyter_remote.worker.belongings import Brought, Held
from jupyter_remote.worker.beside import Beside
from jupyter_remote.worker.busy import Busy
from jupyter_remote.worker.callers import Caller, Now, Request, Turn
from jupyter_remote.worker.checkpoints import opener
from jupyter_remote.worker.dialogue import nobody_answers
from jupyter_remote.worker.handlers import UsersHandlers
from jupyter_remote.worker.hygiene import forget_modules_below, modules_below
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
        self._beside = Beside(process, run, self._now)
        self._brought = Brought(self._namespace)
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
            return f"nobody used it for {self._idle.limit_s:g} s"
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
        loop = self._process.loop
        with self._handlers.in_place():
            if loop is not None and _has_work(loop):
                self._run_loop(loop, timeout_s)
                timeout_s = 0
            return self._poll.poll(timeout_s * 1000)

    def _has_tasks(self) -> bool:
        loop = self._process.loop
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
                reply = self._attempt(caller, request, turn)
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

    def _attempt(self, caller: Caller, request: Request, turn: Turn) -> calls.Reply:
        try:
            if isinstance(request, calls.Call):
                self._keep(caller, request)
            if turn.stopped:  # asked for before this began; see Reception
                return calls.Reply(request.id, dropped=True)
            if isinstance(request, calls.Execute):
                return self._execute(request)
            value = self._call(caller, request)
            return self._answer(request.id, value)
        except BaseException as error:
            return calls.Reply(request.id, error=self._process.failure(error))

    def _keep(self, caller: Caller, call: calls.Call) -> None:
        """What comes with a call is for those behind it, too, which do not bring it again."""
        for number in call.forget:
            caller.functions.pop(number, None)
        if call.code is not None:
            caller.functions[call.function] = call.code
        if call.files:
            self._place(call.files)
        for filename, text in call.sources.items():
            name = call.source_names.get(filename, "")
            self._process.compiler.add_source(filename, text, name)

    def _call(self, caller: Caller, call: calls.Call) -> Any:
        process = self._process
        function = caller.functions[call.function]
        if isinstance(function, Parcel):
            function = caller.functions[call.function] = self._open(function)
        args, kwargs = self._open(call.plain if call.inputs is None else call.inputs)
        with tensors.gpu(lambda: True):
            return process.in_shell(lambda: function(*args, **kwargs))

    def _execute(self, request: calls.Execute) -> calls.Reply:
        process = self._process
        compiler = process.compiler
        compiler.filename = request.filename
        if request.filename and request.name:
            compiler.names[request.filename] = request.name
        error = process.run_on_loop(process.execute(str(request.id), request.code))
        process.writer.settle(error)
        failure = None if error is None else process.failure(error)
        return calls.Reply(request.id, error=failure)

    def _open(self, packed: Parcel | bytes) -> Any:
        brought = Globals()
        if isinstance(packed, bytes):
            value = values.loads(packed, self._namespace, brought=brought)
        else:
            value = values.unpack(
                packed, self._beside.fetch, namespace=self._namespace, brought=brought
            )
        if brought.came:
            self._brought.take(brought)
        return value

    def _answer(self, id: int, value: Any) -> calls.Reply:
        if value is None:
            return calls.Reply(id)
        try:
            packed = values.dumps(value, self._namespace, INLINE_BYTES)
        except CaptureError as error:
            raise CaptureError(
                f"The value cannot come home. {error.message}",
                hint="Return what can be pickled; or keep it there under a name.",
            ) from None
        if isinstance(packed, bytes):
            return calls.Reply(id, plain=packed)
        self._beside.give(packed)
        return calls.Reply(id, value=packed.parcel)

    def _place(self, files: list[tuple[str, bytes]]) -> None:
        """Local modules of the caller."""
        folder = Path(self._run.folder)
        edited = False
        for name, content in files:
            path = folder / name
            if path.exists():
                if path.read_bytes() == content:
                    continue
                edited = True
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            Path(cache_from_source(path)).unlink(missing_ok=True)  # it tells seconds only
        importlib.invalidate_caches()
        if edited:
            self._brought.doubt({m.__name__ for m in modules_below(str(folder))})
            forget_modules_below(str(folder))
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


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
