"""What verbs of the store take and give."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from jupyter_remote.model import (
    AttemptRecord,
    Balance,
    InstanceRecord,
    JobId,
    JobRecord,
    Limits,
    MachineType,
    OwnerId,
    Stage,
    WorkerRecord,
)
from jupyter_remote.wire import (
    CacheAsk,
    Event,
    MissingSegment,
    Segment,
    WorkerEvent,
)


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be written. ``hold_ucredits`` is taken from the owner in the same transaction."""

    id: JobId
    owner: OwnerId
    body_digest: str  # of the request: the same id with another body is KeyReused
    client: str
    kind: str
    description: str
    visibility: str
    machine: str
    simulated: bool
    spec: bytes
    segments: list[Segment]  # all that are not inline: the job is ready when they are there
    limits: Limits
    max_attempts: int
    retries: int
    rate_ucredits_per_h: int
    hold_ucredits: int
    batch: str | None = None
    session: str = ""  # of a session its name; of a cell in one, the session's id
    notebook: str = ""
    cell: str = ""
    cell_code: str = ""
    code_key: str = ""
    inputs_bytes: int = 0
    fuse: str = ""
    priced_on: str = ""
    gpus: int = 0
    resumes: JobId | None = None
    note: str = ""  # what else the first line of its history says
    estimate: bytes | None = None
    cache: CacheAsk | None = None
    results_id: str = ""  # where its result opens without a token; empty: nowhere
    offer: MachineType | None = None  # the machine type, as the catalogue has it now


class Written(msgspec.Struct, frozen=True):
    """What a submit did."""

    job: JobRecord
    created: bool  # False: it was there already
    missing: list[MissingSegment]
    event: Event | None = None  # the status event that was stored
    more: list[Event] = []  # stored after that


class Source(msgspec.Struct, frozen=True):
    """A job whose result is in the cache."""

    job: JobId
    segments: list[Segment]  # of its result and log


class Changed(msgspec.Struct, frozen=True):
    """A transition that was made: the job as it is now, and the events stored with it."""

    job: JobRecord
    events: list[Event]


class AttemptUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What one Beat brings."""

    job: JobId
    epoch: int
    events: list[WorkerEvent]  # seq 0: `progress` and `metrics`, kept as the job's latest only
    stage: Stage | None
    progress: bytes | None = None  # JSON list of wire.Bar, if changed
    metrics: bytes | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended, as its worker says."""

    kind: str  # succeeded, failed, cancelled, expired, died, preempted
    reason: str = ""
    detail: str = ""
    signal: str = ""
    result: bytes | None = None  # JSON of wire.Result
    error: bytes | None = None  # JSON of wire.RemoteFailure
    segments: list[Segment] = []  # of the result; all must be there, else Conflict
    log: Segment | None = None
    events: list[WorkerEvent] = []
    metrics: bytes | None = None
    ran_s: float | None = None  # from its start to its end, by its worker: all that is charged
    machines: Sequence[MachineType] = ()  # what else can be had: the receipt says if it would do


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the scheduler decides on. Bounded: at most ``limit`` queued jobs.

    Single jobs come before calls of batches, the oldest of each first.
    """

    queued: list[JobRecord]  # ready, state QUEUED
    waiting: list[JobRecord]  # RETRY_WAIT
    active: list[JobRecord]  # CLAIMED or RUNNING
    attempts: list[AttemptRecord]  # of the active ones
    workers: list[WorkerRecord]  # connected ones
    instances: list[InstanceRecord]  # not TERMINATED


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What an owner's jobs are doing, and what was charged for them."""

    active: list[JobRecord]  # CLAIMED or RUNNING
    queued: int  # QUEUED or RETRY_WAIT
    captured_ucredits: int
    balance: Balance


class BlobRow(msgspec.Struct, frozen=True):
    digest: str
    size_bytes: int
    present: bool
    references: int
    unused_since_at: float | None
