"""The clients of a session: their connections, and what they may say while a call runs."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import selectors
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from typing import Any

import msgspec

from jupyter_remote import calls
from jupyter_remote.pickling.versions import MAGIC, PYTHON
from jupyter_remote.worker import channel

HELLO_S = 10.0  # for the first message of a connection
SEND_S = 30.0  # for a client to take what it asked for: then it is hung up on
RECEIVE_BYTES = 1 << 18
BUSY_AFTER_S = 0.5  # a client that waits for another one's call is told so
_CREDENTIALS = struct.Struct("3i")

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
        self.gone = False
        self.told_busy = False
        self._pieces = calls.Pieces(calls.ToSession)
        self._lock = threading.Lock()
        self._replies: list[bytes] = []

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
            self.waiting.extend(self._pieces.add(data))
        except msgspec.MsgspecError:
            self.gone = True

    def reply(self, reply: calls.Reply) -> None:
        """Sent by :meth:`flush`."""
        self._replies.append(calls.packed(reply))

    def flush(self) -> None:
        """Send the replies. Whoever raises in the middle of it, a message stays whole."""
        if self._replies:
            replies, self._replies = self._replies, []
            self.send(b"".join(replies))

    def send(self, data: bytes) -> None:
        """Of any thread. A client that does not read is hung up on."""
        with self._lock:
            view = memoryview(data)
            while view and not self.gone:
                try:
                    view = view[self.sock.send(view) :]
                except OSError:  # among them that SEND_S are over
                    self.gone = True

    def close(self) -> None:
        self.gone = True
        self.sock.close()


class Turn:
    """One call, as what receives its output."""

    def __init__(self, caller: Caller, id: int) -> None:
        self.caller = caller
        self.id = id
        self._began = False

    def deliver(self, messages: list[channel.FromKernel]) -> None:
        parts = [] if self._began else [calls.packed(calls.Began(self.id))]
        self._began = True
        parts += [calls.packed(m) for m in map(_for_client, messages) if m is not None]
        self.caller.send(b"".join(parts))


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
    """The call that runs, as other threads see it."""

    def __init__(self) -> None:
        self.caller: Caller | None = None
        self.id = 0
        self.what = ""
        self.since_at = 0.0


class Reception(threading.Thread):
    """Takes connections in, and stops calls: also while the main thread runs one.

    ``arrived`` is a descriptor that can be read when there are new callers.
    """

    def __init__(self, address: str, now: Now) -> None:
        super().__init__(name="jupyter-remote-reception", daemon=True)
        self.key = secrets.token_hex(32)
        self.arrived, self._arriving = socket.socketpair()
        self.callers: dict[int, Caller] = {}
        self.stopped: set[tuple[int, int]] = set()  # calls that shall not begin
        self._new: deque[Caller] = deque()
        self._now = now
        self._main = threading.main_thread().ident or 0
        self._pid = os.getpid()
        self._numbers = 0
        self._selector = selectors.DefaultSelector()
        self._listener = _listen(address)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        os.register_at_fork(after_in_child=self._in_child)

    def _in_child(self) -> None:
        """A process that user code forked keeps no connection open."""
        for caller in self.callers.values():
            caller.gone = True
            with contextlib.suppress(OSError):
                os.close(caller.sock.detach())
        with contextlib.suppress(OSError):
            os.close(self._listener.detach())

    def run(self) -> None:
        while True:
            several = len(self.callers) > 1  # else nobody waits for another
            for key, _ in self._selector.select(BUSY_AFTER_S if several else None):
                try:
                    key.data()
                except Exception:  # one client must not cost the others theirs
                    self._forget(key.fileobj)
            self._tell_who_waits()

    def take_new(self) -> list[Caller]:
        """Callers that came since this was asked last; on the main thread."""
        with contextlib.suppress(BlockingIOError):
            self.arrived.recv(64, socket.MSG_DONTWAIT)
        new = []
        while self._new:
            new.append(self._new.popleft())
        return new

    def forget(self, caller: Caller) -> None:
        """It hung up."""
        self.callers.pop(caller.number, None)
        self.stopped = {stop for stop in self.stopped if stop[0] != caller.number}
        caller.close()

    # -- in the thread
    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        try:
            _set_timeouts(sock, HELLO_S)
            hi = _first(sock)
            why = self._refusal(sock, hi)
            self._numbers += 1
            welcome = calls.Welcome(
                pid=self._pid, client=self._numbers, python=PYTHON, magic=MAGIC, refused=why
            )
            sock.sendall(calls.packed(welcome))
        except (OSError, EOFError, msgspec.MsgspecError):
            sock.close()
            return
        if why:
            sock.close()
            return
        _set_timeouts(sock, SEND_S)
        if hi.control:
            pieces = calls.Pieces(calls.ToSession)
            data = lambda: self._control(sock, hi, pieces)  # noqa: E731
            self._selector.register(sock, selectors.EVENT_READ, data)
            return
        caller = self.callers[self._numbers] = Caller(self._numbers, sock, hi)
        self._new.append(caller)
        self._arriving.send(b"!")

    def _refusal(self, sock: socket.socket, hi: calls.Hi) -> str:
        if not hmac.compare_digest(hi.key.encode(), self.key.encode()) or not _is_us(sock):
            return "the key is wrong"
        if hi.protocol != calls.PROTOCOL:
            return f"it speaks protocol {hi.protocol}, this session {calls.PROTOCOL}"
        return ""

    def _control(self, sock: socket.socket, hi: calls.Hi, pieces: calls.Pieces) -> None:
        data = sock.recv(RECEIVE_BYTES)
        if not data:
            self._forget(sock)
            return
        for message in pieces.add(data):
            if isinstance(message, calls.Stop):
                self._stop(hi.client, message)
                if not message.running:
                    sock.sendall(calls.packed(calls.Noted(message.id)))

    def _stop(self, client: str, stop: calls.Stop) -> None:
        now = self._now
        for caller in list(self.callers.values()):
            if caller.client != client:
                continue
            if now.caller is caller and now.id == stop.id:
                if stop.running:
                    os.kill(self._pid, signal.SIGINT)
            elif not (now.caller is caller and now.id > stop.id):
                self.stopped.add((caller.number, stop.id))

    def _tell_who_waits(self) -> None:
        now = self._now
        running, id = now.caller, now.id
        if running is None or time.time() - now.since_at < BUSY_AFTER_S:
            return
        for caller in list(self.callers.values()):
            if caller is running or caller.told_busy or caller.gone:
                continue
            if caller.waiting or _readable(caller.sock):
                caller.told_busy = True
                if now.caller is running and now.id == id:
                    caller.send(calls.packed(calls.Busy(running.about, now.what, now.since_at)))

    def _forget(self, sock: Any) -> None:
        if sock is not self._listener:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(sock)
            sock.close()


def _listen(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("\0" + address[1:] if address.startswith(calls.ABSTRACT) else address)
    listener.listen(64)
    return listener


def _is_us(sock: socket.socket) -> bool:
    """Is the other side a process of the same user? Where the system tells."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(data)[1] == os.getuid())


def _set_timeouts(sock: socket.socket, timeout_s: float) -> None:
    """Of the system's, not of Python's: reading is asked for without waiting."""
    if sys.platform == "win32":
        return
    value = struct.pack("ll", int(timeout_s), 0)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        sock.setsockopt(socket.SOL_SOCKET, option, value)


def _first(sock: socket.socket) -> calls.Hi:
    size = calls.LENGTH.unpack(channel.receive_exactly(sock, 4))[0]
    if size > 64 * 1024:
        raise EOFError("the first message is no greeting")
    hi = msgspec.msgpack.decode(channel.receive_exactly(sock, size), type=calls.ToSession)
    if not isinstance(hi, calls.Hi):
        raise EOFError("the first message is no greeting")
    return hi


def _readable(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK))
    except OSError:
        return False
