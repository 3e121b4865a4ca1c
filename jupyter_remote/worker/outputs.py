"""What a kernel process says, in one order, over one socket.

Everything is put into one queue and sent by one thread: signal handlers of user code run in the
main thread and may raise anywhere, so the main thread never writes to the socket itself.
Text is gathered for some milliseconds, the first piece after a pause is sent at once.
"""

from __future__ import annotations

import io
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import msgspec

from jupyter_remote.wire import RemoteFailure
from jupyter_remote.worker import channel
from jupyter_remote.worker.encodable import text_of
from jupyter_remote.worker.flag import Flag
from jupyter_remote.worker.tail import READ_BYTES, Tail

GATHER_S = 0.005  # between two sends
FLUSH_S = 1.0
LEAD_S = 0.0004  # before the first: print() writes its text and its newline separately
PIECE_CHARS = 256 * 1024  # of a Text message: up to 1 MiB as UTF-8
PENDING_CHARS = 4 * 1024 * 1024  # whoever prints waits while more than this is unsent
NO_TEXT = [""]
ELSEWHERE = "-"  # before the name of a stream whose text something else shows


class Receiver(Protocol):
    """Whom output goes to instead of the agent: the client of a call in a session."""

    def wants(self) -> bool:
        """Is what is said now, in this thread, for it? Else it is for the agent."""
        ...

    def deliver(self, messages: list[channel.FromKernel]) -> None:
        """Called by the thread that sends."""
        ...


class _To:
    """In the queue: what follows goes to this receiver; None: to the agent."""

    def __init__(self, receiver: Receiver | None) -> None:
        self.receiver = receiver


# a message; text: the stream's name, then pieces; or what is set when all before it is sent
Item = channel.FromKernel | list[str] | _To | Flag
Batch = tuple[Receiver | None, list[channel.FromKernel]]


def to_json(value: Any) -> bytes:
    """``value`` as JSON, whatever is in it: lone surrogates and unknown objects become text."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError):
        text = json.dumps(value, default=repr, ensure_ascii=False)
        return text.encode("utf-8", "replace")


class Writer:
    """The one who writes to the agent. ``text`` and ``send`` may be called from any thread."""

    def __init__(
        self,
        sock: socket.socket,
        tail: Tail | None = None,
        on_gone: Callable[[], None] | None = None,
    ) -> None:
        self._sock = sock
        self._tail = tail
        self._on_gone = on_gone or (lambda: os._exit(1))
        # Reentrant: a signal handler of user code may print while its thread is in here.
        self._lock = threading.RLock()
        self._items: list[Item] = []
        self._text = NO_TEXT  # the last of them if that is text
        self._chars = 0
        self._deferred: tuple[channel.Out, object, Receiver | None] | None = None
        self._receiver: Receiver | None = None
        self._last: Receiver | None = None  # of whom the last item in the queue is for
        self._sending: Receiver | None = None
        self._some = Flag()
        self._urgent = Flag()
        self._room = Flag()
        self._empty = Flag()
        self.divert: Callable[[str, str], None] | None = None  # shows text that is not shown here
        self.forked = False  # true in a process that user code forked: it has no say here
        os.register_at_fork(after_in_child=self._in_child)
        self._thread = threading.Thread(target=self._serve, name="jupyter-remote-out", daemon=True)
        self._thread.start()

    def _in_child(self) -> None:
        self.forked = True

    def text(self, name: str, text: str) -> None:
        """Say ``text`` on stdout or stderr, soon. Waits while too much is unsent.

        A million calls are common: the path of one after another is kept short.
        """
        if self.forked:
            return
        kind = name
        if self.divert is not None:
            self.divert(name, text)
            kind = f"{ELSEWHERE}{name}"
        with self._lock:
            to = self._to()
            if kind == self._text[0] and to is self._last:
                self._text.append(text)
            else:
                run = self._text = [kind, text]
                self._put(run, to)
            self._chars += len(text)
            if self._tail is not None and to is None:
                self._tail.add(name, text)
        if self._full():
            self._wait_for_room()

    def turn(self, receiver: Receiver | None) -> None:
        """What is said from now on goes to ``receiver``; None: to the agent."""
        with self._lock:
            self._receiver, self._text = receiver, NO_TEXT

    def _to(self) -> Receiver | None:
        receiver = self._receiver
        return receiver if receiver is None or receiver.wants() else None

    @property
    def idle(self) -> bool:
        """All that was said is sent."""
        return self._empty.is_set()

    def read(self, fd: int, name: str) -> bytes:
        """What is in a pipe, ``READ_BYTES`` at most; it has to be said next."""
        return os.read(fd, READ_BYTES) if self._tail is None else self._tail.read(fd, name)

    def _full(self) -> bool:
        return self._chars > PENDING_CHARS or (self._tail is not None and self._tail.full)

    def _wait_for_room(self) -> None:
        while self._full() and threading.current_thread() is not self._thread:
            self._room.clear()
            self._room.wait(0.1)

    def send(self, message: channel.FromKernel, urgent: bool = False) -> None:
        """Say a message after all that was said before; ``urgent``: without gathering."""
        if self.forked:
            return
        with self._lock:
            if urgent:
                self._urgent.set()
            self._put(message, self._to())
            self._text = NO_TEXT

    def tell_agent(self, message: channel.FromKernel) -> None:
        """The same, at once, whosever turn it is."""
        with self._lock:
            self._urgent.set()
            self._put(message, None)
            self._text = NO_TEXT

    def mark(self) -> Flag:
        """Set when all that was said until now is sent, whatever others say meanwhile."""
        mark = Flag()
        with self._lock:
            self._urgent.set()
            self._put(mark, self._last)
            self._text = NO_TEXT
        return mark

    def flush(self) -> None:
        """Return when what was said is sent, or cannot be just now. Waiting lets go of the
        interpreter, which the thread that sends would else get only some milliseconds later."""
        self._empty.wait(FLUSH_S)

    def _put(self, item: Item, to: Receiver | None) -> None:
        if self._deferred is not None:
            (message, _, receiver), self._deferred = self._deferred, None
            self._put(message, receiver)
        if to is not self._last:
            self._last = to
            self._items.append(_To(to))
        self._items.append(item)
        self._empty.clear()
        self._some.set()

    def defer(self, message: channel.Out, of: object) -> None:
        """Hold the traceback of an exception back until the next message, or until ``settle``.

        That of a cell's own exception travels in ``Finished``. Of one that was shown before the
        code ran, such as a syntax error, it shows only afterwards that it is that.
        """
        with self._lock:
            self.settle(None)
            self._deferred, self._text = (message, of, self._to()), NO_TEXT

    def settle(self, own: object) -> None:
        """What is held back is said now, unless it is of the cell's ``own`` exception."""
        with self._lock:
            deferred, self._deferred = self._deferred, None
            if deferred is not None and deferred[1] is not own:
                self._put(deferred[0], deferred[2])

    def _serve(self) -> None:
        sent_at = 0.0
        while True:
            self._some.wait()
            self._urgent.wait(max(LEAD_S, sent_at + GATHER_S - time.monotonic()))
            batches, marks = self._take()
            for receiver, messages in batches:
                if receiver is not None:
                    receiver.deliver(messages)
                    continue
                try:
                    self._sock.sendall(b"".join(map(_packed, messages)))
                except OSError:
                    self._on_gone()
                    return
            for mark in marks:
                mark.set()
            sent_at = time.monotonic()
            self._room.set()
            with self._lock:
                if not self._items:
                    self._empty.set()

    def _take(self) -> tuple[list[Batch], list[Flag]]:
        with self._lock:
            items, self._items = self._items, []
            self._text, self._chars = NO_TEXT, 0
            self._some.clear()
            self._urgent.clear()
            batches = self._batches(items)
            if self._tail is not None:
                ours = (m for receiver, batch in batches if receiver is None for m in batch)
                self._tail.depart(sum(map(channel.text_bytes, ours)))
        return batches, [item for item in items if isinstance(item, Flag)]

    def _batches(self, items: list[Item]) -> list[Batch]:
        batches, begin = [], 0
        for at, item in enumerate(items):
            if isinstance(item, _To):
                batches.append((self._sending, list(messages_of(items[begin:at]))))
                self._sending, begin = item.receiver, at + 1
        batches.append((self._sending, list(messages_of(items[begin:]))))
        return [batch for batch in batches if batch[1]]


def _packed(message: channel.FromKernel) -> bytes:
    """A message, or a word in its place: the thread that sends goes on, and a job always ends."""
    try:
        return channel.pack(message)
    except Exception as error:
        why = f"could not be sent: {type(error).__name__}: {error}"
    if not isinstance(message, channel.Finished):
        text = f"{type(message).__name__} {why}"
        return channel.pack(channel.Out(msg_type="notice", content=to_json({"text": text})))
    failure = RemoteFailure(ename="ValueError", evalue=f"The result {why}", qualname="ValueError")
    return channel.pack(
        channel.Finished(job=message.job, epoch=message.epoch, ok=False, error=failure)
    )


def messages_of(items: Iterable[Item]) -> Iterator[channel.FromKernel]:
    """Messages for ``items``, none of them with more than ``PIECE_CHARS`` of text."""
    for item in items:
        if isinstance(item, _To | Flag):
            continue
        if not isinstance(item, list):
            yield item
            continue
        text = "".join(item[1:])
        name, elsewhere = item[0].removeprefix(ELSEWHERE), item[0].startswith(ELSEWHERE)
        for start in range(0, len(text), PIECE_CHARS):
            yield channel.Text(name, text[start : start + PIECE_CHARS], elsewhere)


class Stream(io.TextIOBase):
    """``sys.stdout`` or ``sys.stderr`` of user code."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, writer: Writer, name: str, fd: int, before: Callable[[], None]) -> None:
        """``before`` brings in what C code and child processes wrote to the file descriptors."""
        super().__init__()
        self.name = f"<{name}>"
        self._writer = writer
        self._name = name
        self._fd = fd
        self._before = before

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if not text:  # print(…, end="")
            return 0
        if not text.isascii():
            text = text_of(text)
        if self._writer.forked:
            self._write_all(text.encode())
            return len(text)
        self._before()
        if len(text) <= PIECE_CHARS:
            self._writer.text(self._name, text)
            return len(text)
        for start in range(0, len(text), PIECE_CHARS):
            self._writer.text(self._name, text[start : start + PIECE_CHARS])
        return len(text)

    def _write_all(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        """The captured file descriptor: a child process may be given it as its stdout."""
        return self._fd

    def flush(self) -> None:
        """What was written is on its way; what others wrote before now comes before the next."""
        if not self._writer.forked:
            self._before()

    def close(self) -> None:
        """User code cannot close the kernel's own streams."""
