"""What the agent and a kernel process say to each other over one Unix socket.

A message is a 4-byte big-endian length and that many bytes of MessagePack of one of the types
below; ``buffers`` ride inside. The kernel writes all it has to say (outputs, progress, results)
to this one socket, so order is by construction. The agent never opens what is inside a parcel.
"""

from __future__ import annotations

import signal
import socket
import struct
from typing import Any

import msgspec

from jupyter_remote.wire import Bar, JobSpec, Parcel, RemoteFailure, Segment
from jupyter_remote.worker.encodable import encoded

LENGTH = struct.Struct("!I")
COMM_IDLE = "comm_idle"  # an Out of this type: the comm message of that id was served


def _numbers() -> list[int]:
    if hasattr(signal, "SIGRTMAX"):
        return [signal.SIGRTMAX - n for n in (2, 3, 4, 5)]
    names = ("SIGUSR1", "SIGURG", "SIGIO", "SIGUSR2")
    return [int(getattr(signal, name)) for name in names if hasattr(signal, name)]


PERIODIC = "periodic"
# Agent → kernel: save a checkpoint, and why. Signals, because nobody reads while user code runs.
CHECKPOINTS = dict(zip(("budget", "cancel", "preempted", PERIODIC), _numbers(), strict=False))


class Run(msgspec.Struct, frozen=True, omit_defaults=True, tag="run", kw_only=True):
    """Agent → kernel: run this. Everything that is not inline is in ``paths``."""

    job: str
    epoch: int
    spec: JobSpec
    folder: str  # the job's working folder; files are there already
    paths: dict[str, str] = {}  # digest → path of a file to map
    spool: str = ""  # where to write large result segments
    blobs: str = ""  # folder of the blob store if it is on this machine
    address: str = ""  # session: where to listen
    gpus: list[int] = []  # of the machine's, that it sees; empty: all, or those of its session
    budget_left_ucredits: int | None = None
    rate_ucredits_per_h: int = 0
    started_at: float = 0.0


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Agent → kernel: the session is over."""


class Placed(msgspec.Struct, frozen=True, omit_defaults=True, tag="placed"):
    """Agent → kernel: the answer to :class:`Fetch` and :class:`Give`."""

    path: str = ""  # of what was to be fetched
    problem: str = ""


class Input(msgspec.Struct, frozen=True, tag="input"):
    """Agent → kernel: an answer to ``input()``."""

    text: str
    refused: bool = False  # nobody can answer


class Comm(msgspec.Struct, frozen=True, omit_defaults=True, tag="comm", kw_only=True):
    """Agent → kernel: a comm message from the notebook."""

    id: str = ""  # of the front end's request: :data:`COMM_IDLE` says that it was served
    msg_type: str
    content: dict[str, Any]
    metadata: dict[str, Any] = {}
    buffers: list[bytes] = []


class Ready(msgspec.Struct, frozen=True, omit_defaults=True, tag="ready", kw_only=True):
    """Kernel → agent: I can take a job."""

    pid: int
    python: str = ""


class Out(msgspec.Struct, frozen=True, omit_defaults=True, tag="out", kw_only=True):
    """Kernel → agent: an IOPub message. ``content`` is JSON."""

    msg_type: str
    content: bytes  # JSON text, not Raw: MessagePack would take that for its own
    metadata: bytes = b"{}"
    buffers: list[bytes] = []


class Text(msgspec.Struct, frozen=True, omit_defaults=True, tag="text"):
    """Kernel → agent: stdout or stderr, gathered over some milliseconds."""

    name: str
    text: str
    elsewhere: bool = False  # it is shown by something else: it is for the log alone


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """Kernel → agent: a bar moved."""

    bar: Bar


class Stage(msgspec.Struct, frozen=True, tag="stage"):
    """Kernel → agent: what it does now (a value of model.Stage)."""

    stage: str


class Ask(msgspec.Struct, frozen=True, omit_defaults=True, tag="ask"):
    """Kernel → agent: ``input()`` was called."""

    prompt: str
    password: bool = False


class Spooled(msgspec.Struct, frozen=True):
    """A segment that the kernel wrote to a file."""

    segment: Segment
    file: str  # bare name in Run.spool; empty: unchanged, the blob with this digest is there


class Listening(msgspec.Struct, frozen=True, tag="listening"):
    """Kernel → agent: clients that know the key may call at this address."""

    address: str
    key: str


class Turn(msgspec.Struct, frozen=True, omit_defaults=True, tag="turn"):
    """Kernel → agent: what follows is of this job, which runs in the session."""

    job: str = ""  # empty: of none
    epoch: int = 0


class Held(msgspec.Struct, frozen=True, tag="held"):
    """Kernel → agent: what the namespace of a session holds now, in words."""

    names: list[str]


class Used(msgspec.Struct, frozen=True, tag="used"):
    """Kernel → agent: how long the calls and cells of a session have run."""

    busy_s: float
    running: bool  # one runs just now


class Fetch(msgspec.Struct, frozen=True, tag="fetch"):
    """Kernel → agent: a client's call has this segment beside it."""

    segment: Segment


class Give(msgspec.Struct, frozen=True, tag="give"):
    """Kernel → agent: a client is to be given these segments."""

    spooled: list[Spooled]


class Saved(msgspec.Struct, frozen=True, omit_defaults=True, tag="saved", kw_only=True):
    """Kernel → agent: the answer to a signal of ``CHECKPOINTS``."""

    why: str
    value: Parcel | None = None  # None: nothing is saved
    spooled: list[Spooled] = []
    problem: str = ""  # what is not saved, and why, in words
    more: bool = False  # another answer follows, in the place of this one


class Every(msgspec.Struct, frozen=True, tag="every"):
    """Kernel → agent: ask for a checkpoint so often."""

    every_s: float


class Finished(msgspec.Struct, frozen=True, omit_defaults=True, tag="finished", kw_only=True):
    """Kernel → agent: the code ended and the namespace was packed."""

    job: str
    epoch: int
    ok: bool
    error: RemoteFailure | None = None
    interrupted: bool = False  # ended by KeyboardInterrupt
    result: bytes | None = None  # JSON of wire.Result
    spooled: list[Spooled] = []
    reason: str = ""  # model.Reason, if not plain user_error: environment
    detail: str = ""
    retire: bool = False  # something of the job is still in the process: threads, child processes
    holds_gpu: bool = False  # the process has opened one


class Rested(msgspec.Struct, frozen=True, tag="rested"):
    """Kernel → agent: no call has followed at once, and memory of the GPU was freed."""

    holds_gpu: bool  # it could not free what it holds


ToKernel = Run | Input | Comm | Stop | Placed
FromKernel = (
    Ready
    | Out
    | Text
    | Progress
    | Stage
    | Ask
    | Saved
    | Every
    | Finished
    | Rested
    | Listening
    | Turn
    | Held
    | Used
    | Fetch
    | Give
)


def with_address(run: Run, address: str) -> Run:
    """The same for a session, which listens there."""
    return msgspec.structs.replace(run, address=address)


def pack(message: ToKernel | FromKernel) -> bytes:
    """The bytes of one message, length first. Raises what cannot be encoded."""
    body = encoded(msgspec.msgpack.encode, message)
    return LENGTH.pack(len(body)) + body


def text_bytes(message: FromKernel) -> int:
    """How much text is said with it."""
    if not isinstance(message, Text):
        return 0
    return len(message.text) if message.text.isascii() else len(message.text.encode())


def receive_exactly(sock: socket.socket, size: int) -> bytes:
    """``size`` bytes. Raises EOFError when the other side is gone."""
    parts = bytearray()
    while len(parts) < size:
        part = sock.recv(size - len(parts))
        if not part:
            raise EOFError("the other side closed the socket")
        parts += part
    return bytes(parts)
