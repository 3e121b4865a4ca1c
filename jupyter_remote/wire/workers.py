"""What a worker and its server say to each other."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from jupyter_remote.wire.base import MOST_BYTES, PROTOCOL
from jupyter_remote.wire.jobs import CommMessage, JobSpec, Metrics, RemoteFailure, Result
from jupyter_remote.wire.machines import Notice
from jupyter_remote.wire.money import WorkerEnvironment
from jupyter_remote.wire.values import Parcel, Segment, SourceLink


class Hello(msgspec.Struct, frozen=True, omit_defaults=True, tag="hello", kw_only=True):
    """First message of a worker. ``running`` are attempts that it still holds."""

    worker: str
    instance: str
    machine: str
    slots: int
    protocol: int = PROTOCOL
    version: str = ""
    python: str = ""
    platform: str = ""
    running: list[tuple[str, int]] = []  # (job, epoch)
    environment: WorkerEnvironment | None = None


class Start(msgspec.Struct, frozen=True, omit_defaults=True, tag="start"):
    """May user code run? Answered by :class:`Answer`; metering starts at its commit."""

    req: int
    job: str
    epoch: int


class WorkerEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event as the worker numbers it; ``seq`` 0: not to be stored (progress, metrics)."""

    type: str
    data: bytes  # JSON text: ``encode(…)``. Not Raw, which MessagePack would take for its own
    seq: int = 0
    at: float = 0.0


class Beat(msgspec.Struct, frozen=True, omit_defaults=True, tag="beat", kw_only=True):
    """Outputs, progress, metrics and lease renewal of one attempt, in one message."""

    req: int
    job: str
    epoch: int
    events: list[WorkerEvent] = []
    stage: str = ""


class Complete(msgspec.Struct, frozen=True, omit_defaults=True, tag="complete", kw_only=True):
    """The attempt ended. All its segments are with the server already."""

    req: int
    job: str
    epoch: int
    outcome: Literal["succeeded", "failed", "cancelled", "expired", "died", "preempted"]
    reason: str = ""  # model.Reason
    detail: str = ""
    signal: str = ""  # died: "SIGSEGV", "exit 3", "SIGKILL"
    error: RemoteFailure | None = None
    result: Result | None = None
    events: list[WorkerEvent] = []  # the last ones
    metrics: Metrics | None = None
    log: Segment | None = None  # the whole output, if some of it was folded
    ran_s: float | None = None  # since it was told to start; it may have waited to say so


class Warned(msgspec.Struct, frozen=True, tag="warned", kw_only=True):
    """Most of what the fuse of this job allows is spent."""

    req: int
    job: str
    epoch: int


class Saved(msgspec.Struct, frozen=True, omit_defaults=True, tag="saved", kw_only=True):
    """What the checkpoint functions of an attempt gave. Its segments are with the server."""

    req: int
    job: str
    epoch: int
    value: Parcel
    why: str = ""  # as in Checkpoint


class Release(msgspec.Struct, frozen=True, omit_defaults=True, tag="release", kw_only=True):
    """Hands back an attempt that did not start (draining, no slot)."""

    req: int
    job: str
    epoch: int
    reason: str = ""


class Ping(msgspec.Struct, frozen=True, omit_defaults=True, tag="ping"):
    """Keeps an idle worker's record fresh."""

    req: int


class Listening(msgspec.Struct, frozen=True, tag="listening"):
    """The kernel of a session takes calls from clients that know the key. Not answered."""

    job: str
    epoch: int
    address: str  # of a Unix socket, for clients on the same computer
    key: str


class Open(msgspec.Struct, frozen=True, tag="open"):
    """Connect a new channel to the kernel of this session. The server numbers channels."""

    channel: int
    job: str
    epoch: int


class Data(msgspec.Struct, frozen=True, tag="data"):
    """Bytes of a channel, in either direction, as they came."""

    channel: int
    data: bytes


class Took(msgspec.Struct, frozen=True, tag="took"):
    """So many bytes were handed on since the last of these: there is room for that many more."""

    channel: int
    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=MOST_BYTES)]


class Shut(msgspec.Struct, frozen=True, omit_defaults=True, tag="shut"):
    """The last message about a channel from this side."""

    channel: int
    why: str = ""


ChannelMessage = Data | Took | Shut


HUNG_UP, AWAY, ABSENT = 4100, 4101, 4104


"""Why a relayed connection is closed: the session's end of it is over; the worker is not connected;
there is no such session."""


WorkerMessage = (
    Hello
    | Start
    | Beat
    | Complete
    | Warned
    | Saved
    | Release
    | Ping
    | Notice
    | Listening
    | ChannelMessage
)


class Welcome(msgspec.Struct, frozen=True, omit_defaults=True, tag="welcome", kw_only=True):
    """Reply to :class:`Hello`. ``keep``: which of its attempts still stand."""

    protocol: int = PROTOCOL
    version: str = ""
    heartbeat_s: float = 5.0
    dead_man_s: float = 30.0
    gpu_idle_s: float = 0.0  # of jobs that do not say it; 0: never
    keep: list[tuple[str, int]] = []
    blobs: str = ""  # folder of the blob store if it is on the same machine
    spool: str = ""  # folder into which new blobs may be moved
    links_bytes: int = 0  # blobs from this size on have addresses of their own; 0: none has


class Assign(msgspec.Struct, frozen=True, omit_defaults=True, tag="assign", kw_only=True):
    """A job for a free slot, with everything inline that is small."""

    job: str
    epoch: int
    spec: JobSpec
    limits_timeout_s: float | None = None
    max_run_s: float = 86_400.0
    warn_s: float | None = None  # of running: most of what its fuse allows is spent then
    memory_bytes: int | None = None
    rate_ucredits_per_h: int = 0
    hold_ucredits: int = 0
    lease_s: float = 45.0
    gpus: list[int] = []  # which of the machine's are its own; empty: all of them
    owner: str = ""  # consecutive calls of one owner may share a kernel process
    aside: bool = False  # takes no slot
    links: list[SourceLink] = []  # where its files with a ``source`` are read


class Answer(msgspec.Struct, frozen=True, omit_defaults=True, tag="answer", kw_only=True):
    """Reply to any request of a worker."""

    req: int
    ok: bool = True
    code: str = ""  # error code when not ok; "conflict": the epoch is stale, kill and discard
    cancel: Literal["", "checkpoint", "interrupt", "kill"] = ""
    kill_in_s: float | None = None  # as in Cancel
    drain: bool = False
    budget_left_ucredits: int | None = None
    acked_seq: int = 0
    warn_s: float | None = None  # to Start, as in Assign: a budget is looked at after that was sent


class Cancel(msgspec.Struct, frozen=True, omit_defaults=True, tag="cancel", kw_only=True):
    """Stop this attempt: ``interrupt`` (SIGINT, then kill), ``checkpoint`` (the same, after its
    code was asked for one) or ``kill``. Said again with another time, that one holds."""

    job: str
    epoch: int
    how: Literal["checkpoint", "interrupt", "kill"] = "interrupt"
    kill_in_s: float | None = None  # from now; 0: never; absent: as the worker is set


class Input(msgspec.Struct, frozen=True, omit_defaults=True, tag="input", kw_only=True):
    """An answer to what this attempt asked."""

    job: str
    epoch: int
    text: str = ""
    refused: bool = False


class Comm(msgspec.Struct, frozen=True, omit_defaults=True, tag="comm", kw_only=True):
    """A message of a widget in a front end, for this attempt."""

    job: str
    epoch: int
    message: CommMessage


class Drain(msgspec.Struct, frozen=True, omit_defaults=True, tag="drain"):
    """Take no more work but cells of sessions that are there; end when idle.

    With ``left_s`` the machine is taken away in so many seconds: what runs goes on elsewhere.
    """

    reason: str = ""
    left_s: float = 0.0


ServerMessage = Welcome | Assign | Answer | Cancel | Input | Comm | Drain | Open | ChannelMessage
