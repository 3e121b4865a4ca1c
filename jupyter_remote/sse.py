"""Server-sent events: a reply that goes on, and the events in it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Protocol

import msgspec

from jupyter_remote import errors
from jupyter_remote.wire import Event

END = b"\n\n"  # of an event; our servers end lines so
_EVENT = msgspec.json.Decoder(Event)

Unreachable = Callable[[Exception], errors.BackendUnreachable]


class Reply(Protocol):
    """A reply whose head was read. Iterating raises OSError when the connection breaks."""

    @property
    def status(self) -> int: ...
    @property
    def sock(self) -> socket.socket | None: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def close(self) -> None: ...


class Events:
    """The events of one open stream, in order. Ends when the server ends it.

    Raises BackendUnreachable when the connection breaks or is silent for ``SILENCE_S``; an event
    that was cut in two by that is not given out.
    """

    def __init__(self, reply: Reply, unreachable: Unreachable) -> None:
        self._reply = reply
        self._unreachable = unreachable
        self._closed = False
        self._released = False

    def __iter__(self) -> Iterator[Event]:
        rest = bytearray()
        try:
            for piece in self._reply:
                looked_at = max(0, len(rest) - len(END) + 1)
                rest += piece
                if (end := rest.rfind(END, looked_at)) >= 0:
                    blocks = bytes(rest[:end]).split(END)
                    del rest[: end + len(END)]
                    yield from _events_of(blocks)
        except OSError as error:
            if not self._closed:
                raise self._unreachable(error) from None
        finally:
            self.release()

    def release(self) -> None:
        """Give the connection back; for the thread that iterates."""
        if not self._released:
            self._released = True
            self._reply.close()

    def close(self) -> None:
        """Wake whoever waits for the next event; the iteration ends."""
        self._closed = True
        if (sock := self._reply.sock) is not None:
            with suppress(OSError):  # it ended by itself
                sock.shutdown(socket.SHUT_RDWR)


def _events_of(blocks: Iterable[bytes]) -> Iterator[Event]:
    for block in blocks:
        data = [line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:")]
        if data:
            yield _EVENT.decode(b"\n".join(data))
