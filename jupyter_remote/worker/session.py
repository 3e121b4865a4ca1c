"""A session: one namespace that lasts, which many callers use in turns.

The main thread serves calls itself, between cells that the agent sends, so that what they display,
their interrupts and their globals are those of a cell.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import select
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_remote import calls, mapping, shared, values
from jupyter_remote.calls import INLINE_BYTES
from jupyter_remote.errors import CaptureError, JobLost
from jupyter_remote.pickling import tensors
from jupyter_remote.values import Packed
from jupyter_remote.wire import Parcel, Segment
from jupyter_remote.worker import channel, inside
from jupyter_remote.worker.callers import Caller, Now, Reception, Request, Turn

if TYPE_CHECKING:
    from jupyter_remote.worker.kernel import KernelProcess

LOOK_S = 3600.0  # without an idle time the main thread looks up that often
GATHER_S = 0.001  # replies wait this long for those that come next
_ABSENT = object()


class Session:
    """Of one kernel process. ``serve`` returns when it is over, with the reason in words."""

    def __init__(self, process: KernelProcess, run: channel.Run) -> None:
        self._process = process
        self._run = run
        self._namespace: dict[str, Any] = process.namespace
        self._now = Now()
        self._reception = Reception(run.address, self._now)
        self._idle_s = run.spec.idle_timeout_s
        self._callers: dict[int, Caller] = {}  # by descriptor
        self._turns: deque[Caller] = deque()  # those that have calls waiting
        self._brought: dict[str, Any] = {}  # globals that functions of callers brought along
        self._poll = select.poll()
        self._poll.register(process.inbox.fileno(), select.POLLIN)
        self._poll.register(self._reception.arrived.fileno(), select.POLLIN)

    def serve(self) -> str:
        """Take calls and cells until told to stop, or idle for too long."""
        self._reception.start()
        listening = channel.Listening(self._run.address, self._reception.key)
        self._process.writer.send(listening, urgent=True)
        used_at = time.monotonic()
        while True:
            if self._turns:
                self._read(self._poll.poll(0))
            elif not self._wait(self._left_s(used_at)):
                if self._left_s(used_at) <= 0:
                    return f"nobody used it for {self._idle_s:g} s"
                continue
            if self._serve_agent():
                return ""
            if self._turns:
                self._serve_next()
                used_at = time.monotonic()
            elif self._callers:
                used_at = max(used_at, self._process.used_at)

    def _left_s(self, used_at: float) -> float:
        if self._idle_s is None:
            return LOOK_S
        return max(used_at, self._process.used_at) + self._idle_s - time.monotonic()

    # --- waiting -----------------------------------------------------------------------------
    def _wait(self, timeout_s: float) -> bool:
        """Until there is something to read; asyncio tasks of earlier calls go on meanwhile."""
        if self._process.inbox.later:
            return True
        loop = self._process.loop
        if loop is not None and asyncio.all_tasks(loop):
            with contextlib.suppress(TimeoutError):
                loop.run_until_complete(asyncio.wait_for(self._readable(loop), timeout_s))
            timeout_s = 0
        events = self._poll.poll(max(0, timeout_s) * 1000)
        self._read(events)
        return bool(events)

    async def _readable(self, loop: asyncio.AbstractEventLoop) -> None:
        some = loop.create_future()
        inbox, arrived = self._process.inbox.fileno(), self._reception.arrived.fileno()
        fds = [inbox, arrived, *self._callers]

        def wake() -> None:
            if not some.done():
                some.set_result(None)

        for fd in fds:
            loop.add_reader(fd, wake)
        try:
            await some
        finally:
            for fd in fds:
                loop.remove_reader(fd)

    def _read(self, events: list[tuple[int, int]]) -> None:
        for fd, _ in events:
            caller = self._callers.get(fd)
            if caller is not None:
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

    def _hang_up(self, fd: int, caller: Caller) -> None:
        """What it asked for before it went is done: it may have asked for just that."""
        self._poll.unregister(fd)
        del self._callers[fd]
        self._reception.forget(caller)

    # --- the agent ---------------------------------------------------------------------------
    def _serve_agent(self) -> bool:
        """Cells and comm messages; true: the session is over."""
        inbox = self._process.inbox
        while inbox.later or (message := inbox.take()) is not None:
            message = inbox.later.popleft() if inbox.later else message
            if isinstance(message, channel.Stop):
                return True
            if isinstance(message, channel.Comm):
                self._process.dialogue.serve_comm(message)
            elif isinstance(message, channel.Run):
                self._serve_cell(message)
        return False

    def _serve_cell(self, run: channel.Run) -> None:
        process = self._process
        process.writer.send(channel.Turn(run.job, run.epoch))
        self._now.what, self._now.since_at = run.spec.name, time.time()
        finished = process.attempt(run)
        process.settle()
        process.writer.send(finished)
        process.writer.send(channel.Turn(), urgent=True)
        inside.job.begin(self._run.job, self._run.epoch, process.relay_bars(True))
        process.used_at = time.monotonic()

    # --- callers -----------------------------------------------------------------------------
    def _serve_next(self) -> None:
        """The next call of the caller whose turn it is, and those behind it that are quick."""
        caller = self._turns.popleft()
        until = time.monotonic() + GATHER_S
        while caller.waiting:
            self._serve(caller, caller.waiting.popleft())
            if time.monotonic() > until:
                break
        caller.flush()
        if caller.waiting:
            self._turns.append(caller)

    def _serve(self, caller: Caller, request: Request) -> None:
        if isinstance(request, calls.Stop):
            return
        if (caller.number, request.id) in self._reception.stopped:
            self._reception.stopped.discard((caller.number, request.id))
            if isinstance(request, calls.Call) and request.code is not None:
                caller.functions[request.function] = request.code  # those behind may use it
            caller.reply(calls.Reply(request.id, dropped=True))
            return
        now, process = self._now, self._process
        caller.told_busy = False
        began_at = time.time()
        now.id, now.since_at = request.id, began_at
        now.what = getattr(request, "name", "") or "a call"
        process.writer.turn(Turn(caller, request.id))
        now.caller = caller
        try:
            with process.interrupts.allowed():
                reply = self._attempt(caller, request)
        except KeyboardInterrupt as error:  # between two steps of user code
            reply = calls.Reply(request.id, error=process.failure(error))
        now.caller = None
        process.settle()
        reply = _with_times(reply, began_at)
        if not process.writer.idle:
            process.writer.flush()
        process.writer.turn(None)
        caller.reply(reply)

    def _attempt(self, caller: Caller, request: Request) -> calls.Reply:
        try:
            if isinstance(request, calls.Execute):
                return self._execute(request)
            value = self._call(caller, request)
            return self._answer(request.id, value)
        except BaseException as error:
            return calls.Reply(request.id, error=self._process.failure(error))

    def _call(self, caller: Caller, call: calls.Call) -> Any:
        process = self._process
        if call.files:
            self._place(call.files)
        for filename, text in call.sources.items():
            process.compiler.add_source(filename, text, call.source_names.get(filename, ""))
        if call.code is not None:
            caller.functions[call.function] = call.code
        function = caller.functions[call.function]
        if isinstance(function, Parcel):
            function = caller.functions[call.function] = self._open(function)
        if call.inputs is None:
            renewed = self._renewed() if values.defines(call.plain) else contextlib.nullcontext()
            with renewed:
                args, kwargs = values.loads(call.plain, self._namespace)
        else:
            args, kwargs = self._open(call.inputs)
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
        self._give(packed)
        return calls.Reply(id, value=packed.parcel)

    # --- bytes beside messages ---------------------------------------------------------------
    def _open(self, parcel: Parcel) -> Any:
        with self._renewed():
            return values.unpack(parcel, self._fetch, namespace=self._namespace)

    @contextlib.contextmanager
    def _renewed(self) -> Iterator[None]:
        """Globals that functions bring along are set where there are none, and where what is there
        was brought in this way and is still that: a helper that was edited in the notebook is the
        new one here, and what the session has of its own stays."""
        here, before = self._namespace, self._brought
        held = {n: v for n, v in before.items() if here.get(n, _ABSENT) is v}
        known = here.keys() - held.keys()
        for name in held:
            del here[name]
        try:
            yield
        finally:
            for name, value in held.items():
                here.setdefault(name, value)
            self._brought = {n: here[n] for n in here.keys() - known}

    def _fetch(self, segment: Segment) -> memoryview:
        path = shared.find(self._shared, segment.digest)
        if path is None and self._is_there(segment.digest):
            path = mapping.blob_path(self._run.blobs, segment.digest)
        if path is None:
            path = Path(self._asked(channel.Fetch(segment)).path)
        return mapping.map_blob(path, segment.digest, segment.size_bytes)

    def _give(self, packed: Packed) -> None:
        beside = [s for s in packed.parcel.segments if s.data is None]
        if not beside:
            return
        new = {d: b for d, b in packed.contents.items() if not self._has(d, b)}
        if new:
            files = mapping.spool(new, self._run.spool)
            self._asked(channel.Give([channel.Spooled(s, files.get(s.digest, "")) for s in beside]))

    def _has(self, digest: str, content: Any) -> bool:
        """Can the client have it: is it where both look, or could it be put there?"""
        folder = self._shared
        if self._is_there(digest) or shared.find(folder, digest) is not None:
            return True
        return bool(folder) and shared.write(folder, digest, mapping.flat(content))

    @property
    def _shared(self) -> str:
        return "" if self._now.caller is None else self._now.caller.shared

    def _is_there(self, digest: str) -> bool:
        blobs = self._run.blobs
        return bool(blobs) and mapping.blob_path(blobs, digest).exists()

    def _asked(self, question: channel.Fetch | channel.Give) -> channel.Placed:
        """The agent's answer. Raises JobLost when it cannot."""
        process = self._process
        process.writer.turn(None)
        process.writer.send(question, urgent=True)
        inbox = process.inbox
        with process.interrupts.held():
            while not isinstance(answer := inbox.next(), channel.Placed):
                inbox.later.append(answer)
        if self._now.caller is not None:
            process.writer.turn(Turn(self._now.caller, self._now.id))
        if answer.problem:
            raise JobLost(answer.problem, hint="call it again")
        return answer

    def _place(self, files: list[tuple[str, bytes]]) -> None:
        """Local modules of the caller."""
        folder = Path(self._run.folder)
        for name, content in files:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        importlib.invalidate_caches()
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def _with_times(reply: calls.Reply, began_at: float) -> calls.Reply:
    return calls.Reply(
        reply.id, began_at, time.time(), reply.plain, reply.value, reply.error, reply.dropped
    )
