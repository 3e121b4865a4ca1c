"""What a client and the kernel of a session say to each other, over one connection.

A message is a 4-byte big-endian length and that many bytes of MessagePack of one of the types
below. On one computer the connection is a Unix socket of the kernel's, else bytes that the server
and the worker pass on. A kernel serves one call at a time, those of one connection in their order;
what a call prints and displays comes on the same connection, before its :class:`Reply`.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

import msgspec

from jupyter_remote.wire import Bar, Parcel, RemoteFailure

LENGTH = struct.Struct("!I")
PROTOCOL = 1
INLINE_BYTES = 512 * 1024  # of a value inside its message; larger ones travel beside, as blobs
MESSAGE_BYTES = 1 << 30  # more is no message
ABSTRACT = "@"  # begins an address of Linux that is in no folder


class _Message(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    pass


# --- client → kernel -------------------------------------------------------------------------
class Hi(_Message, frozen=True, tag=0, kw_only=True):
    """The first message. ``control``: this connection carries :class:`Stop` alone."""

    key: str  # that the server gave to the session's owner
    client: str
    about: str = ""  # who calls, for people: the notebook
    control: bool = False
    shared: str = ""  # folder of the client's for bytes beside messages, on the same computer
    protocol: int = PROTOCOL
    python: str = ""
    magic: str = ""  # hex of importlib.util.MAGIC_NUMBER


class Call(_Message, frozen=True, tag=1):
    """Call a function in the session's namespace."""

    id: int  # numbered by the client, rising
    function: int  # numbered by the client, within this connection
    code: Parcel | None = None  # the function, when it is named for the first time
    plain: bytes = b""  # pickle of (args, kwargs), when they are small
    inputs: Parcel | None = None  # else
    files: list[tuple[str, bytes]] = []  # local modules that came into use: path and content
    sources: dict[str, str] = {}  # of cells that the function comes from
    source_names: dict[str, str] = {}
    forget: list[int] = []  # functions that will not be called any more


class Execute(_Message, frozen=True, tag=2):
    """Run code as a cell of the session."""

    id: int
    code: str
    name: str = ""  # how tracebacks call it
    filename: str = ""


class Stop(_Message, frozen=True, tag=3):
    """Stop a call: one that waits is dropped, one that runs is interrupted if ``running``."""

    id: int
    running: bool = True


ToSession = Hi | Call | Execute | Stop


# --- kernel → client -------------------------------------------------------------------------
class Welcome(_Message, frozen=True, tag=0, kw_only=True):
    """The answer to :class:`Hi`."""

    pid: int
    client: int  # number of this connection, which control messages name
    python: str = ""
    magic: str = ""
    refused: str = ""  # why there is no connection


class Reply(_Message, frozen=True, tag=1):
    """How a call ended; the last message about it."""

    id: int
    began_at: float = 0.0
    ended_at: float = 0.0
    plain: bytes = b""  # pickle of the value, when it is small
    value: Parcel | None = None  # else
    error: RemoteFailure | None = None
    dropped: bool = False  # it was stopped before it began


class Began(_Message, frozen=True, tag=2):
    """What follows is of this call. Sent before its first output only."""

    id: int


class Text(_Message, frozen=True, tag=3):
    name: str  # stdout, stderr
    text: str


class Shown(_Message, frozen=True, tag=4):
    """An IOPub message. ``content`` is JSON."""

    msg_type: str
    content: bytes
    metadata: bytes = b"{}"
    buffers: list[bytes] = []


class Moved(_Message, frozen=True, tag=5):
    """A bar."""

    bar: Bar


class Busy(_Message, frozen=True, tag=6):
    """This client waits while somebody else's call runs, or a cell. Said once about each."""

    who: str
    what: str
    since_at: float


class Noted(_Message, frozen=True, tag=7):
    """The answer to a :class:`Stop` that interrupts nothing: the call will not begin any more."""

    id: int


FromSession = Noted | Welcome | Reply | Began | Text | Shown | Moved | Busy


def where(address: str) -> str:
    """What a Unix socket is told to bind or connect to."""
    return "\0" + address[1:] if address.startswith(ABSTRACT) else address


_CREDENTIALS = struct.Struct("3i")


def is_of_this_user(sock: socket.socket, *others: int) -> bool:
    """Is the other side of a Unix socket a process of the same user, or one of these others? Where
    the system tells."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(data)[1] in (os.getuid(), *others)


_encoder = msgspec.msgpack.Encoder()


def packed(message: ToSession | FromSession) -> bytes:
    """The bytes of one message, length first. Raises what cannot be encoded."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body


class Pieces:
    """Whole messages out of bytes that come in any pieces."""

    def __init__(self, of: Any) -> None:
        self._decode = msgspec.msgpack.Decoder(of).decode
        self._data = bytearray()

    def add(self, data: bytes) -> list[Any]:
        """The messages that are complete now. Raises msgspec.MsgspecError of what is none."""
        whole = self._data
        whole += data
        messages, at, size = [], 0, len(whole)
        view = memoryview(whole)
        try:
            while size - at >= 4:
                length = LENGTH.unpack_from(whole, at)[0]
                if length > MESSAGE_BYTES:
                    raise msgspec.DecodeError("no message is so long")
                end = at + 4 + length
                if end > size:
                    break
                messages.append(self._decode(view[at + 4 : end]))
                at = end
        finally:
            view.release()
        del whole[:at]
        return messages
