"""Where a session's clients come in, and what they may say while a call runs."""

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
from jupyter_remote.worker.callers import RECEIVE_BYTES, SEND_S, Caller, Now

HELLO_S = 10.0  # for the first message of a connection
HELLO_BYTES = 64 * 1024
BUSY_AFTER_S = 0.5  # a client that waits for another one's call is told so
ROOT = 0  # may do everything anyway; so runs the agent of a machine of its own
LOOK_S = 2.0  # whether something runs that others wait for
NO_ROOM_S = 0.1  # when there are no descriptors left for another connection
# Tells the main thread that a call is to stop. Not SIGINT: that of the agent is for whatever runs.
STOP = signal.SIGRTMAX - 1 if hasattr(signal, "SIGRTMAX") else signal.SIGUSR2


class Greeting:
    """The first message of a connection, in the pieces in which it comes; nothing behind it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.until = time.monotonic() + HELLO_S
        self._data = bytearray()
        self._wanted = calls.LENGTH.size

    def read(self) -> calls.Hi | None:
        """Raises EOFError, OSError, msgspec.MsgspecError when there is none."""
        while len(self._data) < self._wanted:
            try:
                part = self.sock.recv(self._wanted - len(self._data), socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
            if not part:
                raise EOFError("the client hung up")
            self._data += part
            if len(self._data) == calls.LENGTH.size:
                self._wanted += calls.LENGTH.unpack(self._data)[0]
                if self._wanted > HELLO_BYTES:
                    raise EOFError("the first message is no greeting")
        hi = msgspec.msgpack.decode(self._data[calls.LENGTH.size :], type=calls.ToSession)
        if not isinstance(hi, calls.Hi):
            raise EOFError("the first message is no greeting")
        return hi


class Reception(threading.Thread):
    """Takes connections in, and stops calls: also while the main thread runs one.

    ``arrived`` is a descriptor that can be read when there are new callers.
    """

    def __init__(self, address: str, now: Now) -> None:
        super().__init__(name="jupyter-remote-reception", daemon=True)
        self.key = secrets.token_hex(32)
        self.arrived, self._arriving = socket.socketpair()
        self.callers: dict[int, Caller] = {}
        self._greetings: dict[socket.socket, Greeting] = {}
        self._controls: set[socket.socket] = set()
        self._new: deque[Caller] = deque()
        self._now = now
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
        socks = [caller.sock for caller in self.callers.values()]
        for sock in (*socks, *self._greetings, *self._controls, self._listener):
            with contextlib.suppress(OSError):
                os.close(sock.detach())

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select(self._patience_s()):
                try:
                    key.data()
                except Exception:  # one client must not cost the others theirs
                    self._forget(key.fileobj)
            self._give_up_on_the_silent()
            self._tell_who_waits()

    def _patience_s(self) -> float | None:
        if self._now.turn is not None and self.callers:
            return BUSY_AFTER_S
        return LOOK_S if self.callers or self._greetings else None

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
        caller.close()

    # -- in the thread
    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # among them that there are too many open files
            time.sleep(NO_ROOM_S)
            return
        if not calls.is_of_this_user(sock, ROOT):
            sock.close()
            return
        greeting = self._greetings[sock] = Greeting(sock)
        self._selector.register(sock, selectors.EVENT_READ, lambda: self._greet(greeting))

    def _greet(self, greeting: Greeting) -> None:
        hi = greeting.read()
        if hi is None:
            return
        sock = greeting.sock
        del self._greetings[sock]
        self._selector.unregister(sock)
        why = self._refusal(hi)
        self._numbers += 1
        welcome = calls.Welcome(
            pid=self._pid, client=self._numbers, python=PYTHON, magic=MAGIC, refused=why
        )
        _set_timeout(sock, SEND_S)
        sock.send(calls.packed(welcome), socket.MSG_DONTWAIT)
        if why:
            sock.close()
        elif hi.control:
            pieces = calls.Pieces(calls.ToSession)
            self._controls.add(sock)
            data = lambda: self._control(sock, hi, pieces)  # noqa: E731
            self._selector.register(sock, selectors.EVENT_READ, data)
        else:
            caller = self.callers[self._numbers] = Caller(self._numbers, sock, hi)
            self._new.append(caller)
            self._arriving.send(b"!")

    def _refusal(self, hi: calls.Hi) -> str:
        if not hmac.compare_digest(hi.key.encode(), self.key.encode()):
            return "the key is wrong"
        if hi.protocol != calls.PROTOCOL:
            return f"it speaks protocol {hi.protocol}, this session {calls.PROTOCOL}"
        return ""

    def _control(self, sock: socket.socket, hi: calls.Hi, pieces: calls.Pieces) -> None:
        data = sock.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT)
        if not data:
            self._forget(sock)
            return
        for message in pieces.add(data):
            if isinstance(message, calls.Stop):
                self._stop(hi.client, message)
                if not message.running:
                    sock.send(calls.packed(calls.Noted(message.id)), socket.MSG_DONTWAIT)

    def _stop(self, client: str, stop: calls.Stop) -> None:
        """Noted first: the main thread looks there when it has begun a call, see ``Session``."""
        for caller in list(self.callers.values()):
            if caller.client != client or (self._runs(caller, stop.id) and not stop.running):
                continue
            caller.stopped.add(stop.id)
            if stop.running and self._runs(caller, stop.id):
                os.kill(self._pid, STOP)

    def _runs(self, caller: Caller, id: int) -> bool:
        turn = self._now.turn
        return turn is not None and turn.caller is caller and turn.id == id

    def _give_up_on_the_silent(self) -> None:
        now = time.monotonic()
        for greeting in [g for g in self._greetings.values() if now > g.until]:
            self._forget(greeting.sock)

    def _tell_who_waits(self) -> None:
        turn = self._now.turn
        if turn is None or time.time() - turn.since_at < BUSY_AFTER_S:
            return
        busy = calls.packed(calls.Busy(turn.who, turn.what, turn.since_at))
        for caller in list(self.callers.values()):
            if caller is turn.caller or caller.told_of is turn or caller.gone:
                continue
            waits = caller.waiting or _readable(caller.sock)
            if waits and self._now.turn is turn and caller.send_if_quick(busy):
                caller.told_of = turn

    def _forget(self, sock: Any) -> None:
        if sock is not self._listener:
            self._greetings.pop(sock, None)
            self._controls.discard(sock)
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(sock)
            sock.close()


def _listen(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(calls.where(address))
    listener.listen(64)
    return listener


def _set_timeout(sock: socket.socket, timeout_s: float) -> None:
    """For sending, of the system's, not of Python's: reading is asked for without waiting."""
    if sys.platform != "win32":
        value = struct.pack("ll", int(timeout_s), 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


def _readable(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK))
    except OSError:
        return False
