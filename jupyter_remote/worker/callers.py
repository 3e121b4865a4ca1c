"""The clients of a session: their connections, and who is told what."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import weakref
from collections import deque
from contextvars import ContextVar
from typing import Any

import msgspec

from jupyter_remote import calls
from jupyter_remote.worker import channel

RECEIVE_BYTES = 1 << 18
SEND_S = 30.0  # for a client to take what it asked for: then it is hung up on

Request = calls.Call | calls.Execute


class Caller:
    """One connection. The main thread reads it between calls."""

    def __init__(self, number: int, sock: socket.socket, hi: calls.Hi) -> None:
        self.number = number
        self.sock = sock
        self.about = hi.about
        self.client = hi.client
        self.shared = hi.shared
        self.waiting: deque[Request] = deque()
        self.functions: dict[int, Any] = {}
        self.stopped: set[int] = set()  # calls that shall not begin, or not go on
        self.gone = False
        self.told_of: Turn | None = None  # the last one that it was told it waits for
        self._pieces = calls.Pieces(calls.ToSession)
        self._lock = threading.Lock()
        self._replies: list[bytes] = []
        self._unsent = memoryview(b"")
        self.stuck_until = 0.0

    def read(self) -> None:
        """What has come. Sets ``gone`` at the end of the connection."""
        try:
            data = self.sock.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.gone = True
            return
        try:
            for message in self._pieces.add(data):
                if not isinstance(message, Request):
                    raise msgspec.ValidationError("no call")
                self.waiting.append(message)
        except msgspec.MsgspecError:
            self.hang_up()

    def reply(self, reply: calls.Reply) -> None:
        """Sent by :meth:`flush`."""
        self._replies.append(calls.packed(reply))

    def flush(self) -> None:
        """Send the replies, as far as the client takes them at once."""
        if self._replies:
            replies, self._replies = self._replies, []
            self._unsent = memoryview(b"".join(replies))
            self.stuck_until = time.monotonic() + SEND_S
            self.send_on()

    @property
    def stuck(self) -> bool:
        """There are replies that its client did not take yet; meanwhile it gets no turn."""
        return bool(self._unsent)

    def send_on(self) -> None:
        """The rest of the replies, as far as the client takes it."""
        with self._lock:
            try:
                while self._unsent and not self.gone:
                    sent = self.sock.send(self._unsent, socket.MSG_DONTWAIT)
                    self._unsent = self._unsent[sent:]
                    self.stuck_until = time.monotonic() + SEND_S
            except BlockingIOError:
                return
            except OSError:
                self.hang_up()
            self._unsent = memoryview(b"")

    def send(self, data: bytes) -> None:
        """Output of its call. A client that does not read is hung up on."""
        with self._lock:
            view = memoryview(data)
            while view and not self.gone:
                try:
                    view = view[self.sock.send(view) :]
                except OSError:  # among them that SEND_S are over
                    self.hang_up()

    def send_if_quick(self, data: bytes) -> bool:
        """The same of a small message, if nobody has to wait for that."""
        if self.gone or self.stuck or not self._lock.acquire(blocking=False):
            return False
        try:
            return self.sock.send(data, socket.MSG_DONTWAIT) > 0
        except OSError:
            return False
        finally:
            self._lock.release()

    def hang_up(self) -> None:
        """The client sees the end of the connection, and the main thread that it is over."""
        self.gone = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.hang_up()  # whoever is just sending stops
        with self._lock:
            self.sock.close()


# What a call creates belongs to its client, also when it goes on later: tasks are known by their
# context, threads by the first call at whose end they were there.
_begun_in: ContextVar[Turn | None] = ContextVar("jupyter-remote-turn", default=None)
_threads: weakref.WeakKeyDictionary[threading.Thread, Caller | None] = weakref.WeakKeyDictionary()
_OURS = "jupyter-remote"  # names of our threads begin so


class Turn:
    """One call, as what receives its output; or, without a caller, a cell that the agent sent."""

    def __init__(self, caller: Caller | None, id: int, what: str, since_at: float) -> None:
        self.caller = caller
        self.id = id
        self.what = what
        self.since_at = since_at
        self._began = False

    @property
    def who(self) -> str:
        """For people."""
        return "a notebook" if self.caller is None else self.caller.about

    @property
    def stopped(self) -> bool:
        """Was it asked that it does not go on?"""
        return self.caller is not None and self.id in self.caller.stopped

    def begin(self) -> None:
        """On the main thread."""
        _begun_in.set(self)

    def end(self) -> None:
        """Threads that are new are its caller's."""
        for thread in threading.enumerate():
            if thread not in _threads:
                _threads[thread] = self.caller

    def wants(self) -> bool:
        """Is what this thread says now of this call, or of another of the same client?"""
        begun_in = _begun_in.get()
        if begun_in is not None:
            return begun_in.caller is self.caller
        thread = threading.current_thread()
        if thread.name.startswith(_OURS):
            return True
        return _threads.get(thread, self.caller) is self.caller

    def deliver(self, messages: list[channel.FromKernel]) -> None:
        """Called by the thread that sends."""
        assert self.caller is not None
        parts = [part for part in map(_packed_for_client, messages) if part]
        if parts and not self._began:
            self._began = True
            parts.insert(0, calls.packed(calls.Began(self.id)))
        if parts:
            self.caller.send(b"".join(parts))


def _packed_for_client(message: channel.FromKernel) -> bytes:
    """Nothing of what is for the agent alone."""
    try:
        said = _for_client(message)
        return b"" if said is None else calls.packed(said)
    except Exception as error:  # the thread that sends goes on
        why = f"{type(message).__name__} could not be sent: {type(error).__name__}: {error}\n"
        return calls.packed(calls.Text("stderr", why.encode("ascii", "replace").decode()))


def _for_client(message: channel.FromKernel) -> calls.FromSession | None:
    match message:
        case channel.Text(name, text, elsewhere):
            return None if elsewhere else calls.Text(name, text)
        case channel.Out():
            return calls.Shown(
                message.msg_type, message.content, message.metadata, list(message.buffers)
            )
        case channel.Progress(bar):
            return calls.Moved(bar)
    return None


class Now:
    """What runs, as other threads see it."""

    def __init__(self) -> None:
        self.turn: Turn | None = None

    @property
    def caller(self) -> Caller | None:
        return None if self.turn is None else self.turn.caller
