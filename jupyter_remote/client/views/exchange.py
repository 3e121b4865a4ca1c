"""Calls and their replies: one thread for all sessions of a client, and one connection each.

Messages are written by whoever calls, as far as the connection takes them at once; the thread
writes the rest, reads replies and tells those who wait. It never opens what came.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from jupyter_remote import calls
from jupyter_remote.client.views import forks
from jupyter_remote.client.views.dialing import Dial, greeted
from jupyter_remote.client.views.functions import Shipped
from jupyter_remote.client.views.given import Given
from jupyter_remote.wire import Parcel

RECEIVE_BYTES = 1 << 20
END_S = 10.0  # for the thread to end
_ids = itertools.count(1)

OnBusy = Callable[[calls.Busy], None]
Output = calls.Text | calls.Shown | calls.Moved


class Request:
    """One call of one session."""

    __slots__ = (
        "connection", "done", "error", "function", "id", "inputs", "on_done", "on_output",
        "outputs", "received_at", "reply", "sent_at", "tag",
    )  # fmt: skip

    def __init__(self, on_done: Callable[[Request], None], tag: Any = None) -> None:
        self.id = next(_ids)
        self.on_done = on_done
        self.on_output: Callable[[Request, Output], None] | None = None
        self.outputs: list[Output] = []
        self.reply: calls.Reply | None = None
        self.error: Exception | None = None  # there will be no reply
        self.done = False
        self.tag = tag
        self.connection: Connection | None = None
        self.inputs: Parcel | None = None  # kept until it is done: bytes of it may be in memory
        self.function: Shipped | None = None  # likewise
        self.sent_at = 0.0
        self.received_at = 0.0

    def let_go(self) -> None:
        """Nobody is to be told any more: whoever it was is free to be collected."""
        self.on_done = _nobody
        self.on_output = self.tag = None

    def stop(self, *, running: bool = True) -> None:
        """Drop the call if it waits; interrupt it if it runs, and ``running``."""
        if self.connection is not None and not self.done:
            self.connection.stop(self, running=running)

    def finish(self, reply: calls.Reply | None, error: Exception | None = None) -> None:
        """Called by the exchange."""
        if self.done:
            return
        self.received_at = time.time()
        self.reply, self.error, self.done = reply, error, True
        self.inputs = self.function = None
        self.on_done(self)


def _nobody(request: Request) -> None:
    pass


class Connection:
    """The way to one session's kernel."""

    def __init__(
        self,
        exchange: Exchange,
        sock: socket.socket,
        control: socket.socket,
        on_lost: Callable[[Connection], None],
    ) -> None:
        self.exchange = exchange
        self.sock = sock
        self.pending: dict[int, Request] = {}
        self.lost = False
        self.busy: calls.Busy | None = None
        self.on_busy: OnBusy | None = None
        self.on_value: Callable[[Parcel], None] | None = None  # has bytes beside it
        self.given = Given()
        self.sending = threading.RLock()
        self.control = control
        self._stopping = threading.Lock()
        self._noted = calls.Pieces(calls.FromSession)
        self._on_lost = on_lost
        self._pieces = calls.Pieces(calls.FromSession)
        self._unsent: deque[memoryview] = deque()
        self._current: Request | None = None

    def send(self, requests: list[Request], data: bytes) -> None:
        """Send calls. Those of a connection that is lost end at once. Raises UsageError."""
        self.exchange.check()
        now = time.time()
        with self.sending:
            for request in requests:
                request.connection, request.sent_at = self, now
                self.pending[request.id] = request
            if not self.lost:
                self._write(data)
                return
        self._on_lost(self)

    def stop(self, request: Request, *, running: bool = True) -> None:
        """Drop a call that waits; interrupt one that runs, if ``running``."""
        self.exchange.check()
        with contextlib.suppress(OSError), self._stopping:
            self.control.sendall(calls.packed(calls.Stop(request.id, running)))
            while not running and (data := self.control.recv(RECEIVE_BYTES)):
                if calls.Noted(request.id) in self._noted.add(data):
                    return

    def close(self) -> None:
        """Whatever is under way goes on there, and nobody hears of it."""
        self.exchange.drop(self)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        if not self._unsent:
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                pass
            except OSError:
                return  # the thread hears of it
        if view:
            self._unsent.append(view)
            self.exchange.watch(self)

    # -- in the exchange's thread
    @property
    def wants_to_write(self) -> bool:
        return bool(self._unsent)

    def write(self) -> None:
        with self.sending:
            while self._unsent:
                try:
                    sent = self.sock.send(self._unsent[0])
                except BlockingIOError:
                    return
                rest = self._unsent[0][sent:]
                if rest:
                    self._unsent[0] = rest
                else:
                    self._unsent.popleft()

    def read(self) -> None:
        """Raises OSError, EOFError when the connection is over."""
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise EOFError
        for message in self._pieces.add(data):
            self._take(message)

    def _take(self, message: calls.FromSession) -> None:
        if isinstance(message, calls.Reply):
            self._current = self.busy = None
            if message.value is not None and self.on_value is not None:
                self.on_value(message.value)
            request = self.pending.pop(message.id, None)
            if request is not None:
                request.finish(message)
        elif isinstance(message, calls.Began):
            self._current = self.pending.get(message.id)
        elif isinstance(message, calls.Busy):
            self.busy = message
            if self.on_busy is not None:
                self.on_busy(message)
        elif not isinstance(message, calls.Welcome | calls.Noted) and self._current is not None:
            self._current.outputs.append(message)
            if self._current.on_output is not None:
                self._current.on_output(self._current, message)

    def end(self) -> None:
        """The connection is over."""
        with self.sending:
            if self.lost:
                return
            self.lost = True
        for sock in (self.sock, self.control):
            sock.close()
        if self.pending:
            self._on_lost(self)

    def fail(self, error: Exception) -> None:
        """All that is under way ends with this."""
        with self.sending:
            pending, self.pending = self.pending, {}
        for request in pending.values():
            request.finish(None, error)


class Exchange:
    """The thread, and what it watches, until it is closed."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._changes: deque[Callable[[], None]] = deque()
        self._after: deque[Callable[[], None]] = deque()  # done when all that came was read
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self.closed = False
        forks.leave_in_child(self)

    def check(self) -> None:
        """Raises UsageError in a forked process."""
        forks.check(self._pid)

    def leave(self) -> None:
        """In a forked process: the connections are the parent's, and end when it closes them."""
        for key in list((self._selector.get_map() or {}).values()):
            if isinstance(key.data, Connection):
                key.data.sock.close()
                key.data.control.close()
        self._close_files()

    def connect(
        self, dial: Dial, hi: calls.Hi, on_lost: Callable[[Connection], None]
    ) -> Connection:
        """A connection to the kernel to which ``dial`` leads. Raises OSError, EOFError,
        BackendUnreachable, EnvironmentMismatch, UsageError in a forked process."""
        self.check()
        sock = greeted(dial(), hi)
        try:
            control = greeted(dial(), msgspec.structs.replace(hi, control=True))
        except BaseException:
            sock.close()
            raise
        control.settimeout(1.0)
        sock.setblocking(False)
        connection = Connection(self, sock, control, on_lost)
        self._change(lambda: self._add(connection))
        self._ensure_thread()
        return connection

    def watch(self, connection: Connection) -> None:
        """It has more to write."""
        self._change(lambda: self._modify(connection))

    def drop(self, connection: Connection) -> None:
        """It is not needed any more."""
        self._change(lambda: self._end(connection))

    def later(self, action: Callable[[], None]) -> None:
        """Have ``action`` done in the thread, after what is being read just now."""
        self._after.append(action)
        if threading.current_thread() is not self._thread:
            self._rouse()

    def close(self) -> None:
        """End the thread and all connections."""
        self.closed = True
        self._rouse()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(END_S)
        if self._thread is None or not self._thread.is_alive():
            self._close_files()

    def _close_files(self) -> None:
        for open_file in (self._selector, self._woken, self._wake):
            open_file.close()

    def _change(self, change: Callable[[], None]) -> None:
        self._changes.append(change)
        if threading.current_thread() is not self._thread:
            self._rouse()

    def _rouse(self) -> None:
        with contextlib.suppress(OSError):
            self._wake.send(b"!")

    def _ensure_thread(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="jupyter-remote-calls", daemon=True
                )
                self._thread.start()

    # -- in the thread
    def _run(self) -> None:
        while not self.closed:
            self._turn()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, Connection):
                self._end(key.data)

    def _turn(self) -> None:
        while self._changes:
            self._changes.popleft()()
        for key, events in self._selector.select():
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
            else:
                self._serve(key.data, events)
        while self._after:
            self._after.popleft()()

    def _serve(self, connection: Connection, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                connection.write()
                self._modify(connection)
            if events & selectors.EVENT_READ:
                connection.read()
        except (OSError, EOFError):
            self._end(connection)

    def _add(self, connection: Connection) -> None:
        self._selector.register(connection.sock, selectors.EVENT_READ, connection)

    def _modify(self, connection: Connection) -> None:
        if connection.lost:
            return
        events = selectors.EVENT_READ
        if connection.wants_to_write:
            events |= selectors.EVENT_WRITE
        self._selector.modify(connection.sock, events, connection)

    def _end(self, connection: Connection) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.sock)
        connection.end()
