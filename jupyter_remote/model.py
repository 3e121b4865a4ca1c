"""Frozen records and the table of legal transitions. No I/O.

Times named ``*_at`` are seconds since 1970-01-01 UTC, durations ``*_s`` are seconds, money
``*_ucredits`` is integer micro-credits (1 credit = 1_000_000 micro-credits = 0.01 USD).
"""

from __future__ import annotations

from enum import StrEnum
from typing import NewType

import msgspec

JobId = NewType("JobId", str)
WorkerId = NewType("WorkerId", str)
OwnerId = NewType("OwnerId", str)


class JobState(StrEnum):
    """Where a job is, for the machinery. Users see :class:`Status`."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    RUNNING = "running"
    RETRY_WAIT = "retry_wait"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})
ACTIVE = frozenset({JobState.CLAIMED, JobState.RUNNING})


class AttemptState(StrEnum):
    """Where one try at a job is."""

    CLAIMED = "claimed"
    STARTED = "started"
    FINALIZING = "finalizing"
    DONE = "done"
    ERROR = "error"
    CANCELLED = "cancelled"
    REVOKED = "revoked"
    PREEMPTED = "preempted"  # its machine was taken away, with notice
    LOST = "lost"


class Status(StrEnum):
    """The six statuses that users see."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class Stage(StrEnum):
    """What a job is doing just now, in plain words."""

    WAITING = "waiting"
    REQUESTING_MACHINE = "requesting machine"
    CONNECTING = "connecting"
    PREPARING_ENVIRONMENT = "preparing environment"
    SENDING_INPUTS = "sending inputs"
    EXECUTING = "executing"
    SAVING_RESULT = "saving result"
    DONE = ""


class Reason(StrEnum):
    """Why a job ended as it did (machine-readable; the history says it in words)."""

    NONE = ""
    USER_ERROR = "user_error"  # the user's code raised
    CANCELLED = "cancelled"
    TIME_LIMIT = "time_limit"  # --timeout
    COST_LIMIT = "cost_limit"  # --max-cost, or the hold
    GPU_IDLE = "gpu_idle"  # --gpu-idle
    LOST = "lost"  # no heartbeat, attempts used up
    KERNEL_DIED = "kernel_died"  # segfault, os._exit: the detail names the signal or status
    OUT_OF_MEMORY = "out_of_memory"
    POISON = "poison"  # killed two workers with the same signal
    ENVIRONMENT = "environment"  # inputs or environment could not be prepared
    NO_MACHINE = "no_machine"  # none could be had for it
    FINISHED_BEFORE_CANCEL = "finished_before_cancel"


# (from state, event) -> to state. The store's guarded updates implement exactly this table.
TRANSITIONS: dict[tuple[JobState | None, str], JobState] = {
    (None, "submit"): JobState.QUEUED,
    (JobState.QUEUED, "claim"): JobState.CLAIMED,
    (JobState.QUEUED, "cached"): JobState.SUCCEEDED,  # it is given another job's result
    (JobState.QUEUED, "no_machine"): JobState.FAILED,  # none is to be had, before it started
    (JobState.RETRY_WAIT, "no_machine"): JobState.FAILED,
    (JobState.RETRY_WAIT, "due"): JobState.QUEUED,
    (JobState.CLAIMED, "start"): JobState.RUNNING,
    (JobState.CLAIMED, "release"): JobState.QUEUED,
    (JobState.CLAIMED, "lose"): JobState.RETRY_WAIT,
    (JobState.RUNNING, "lose"): JobState.RETRY_WAIT,
    (JobState.CLAIMED, "lose_last"): JobState.FAILED,
    (JobState.RUNNING, "lose_last"): JobState.FAILED,
    (JobState.RUNNING, "lose_cancelling"): JobState.CANCELLED,
    (JobState.RUNNING, "preempt"): JobState.QUEUED,  # its machine is taken away: somewhere else
    (JobState.RUNNING, "complete"): JobState.SUCCEEDED,
    (JobState.RUNNING, "fail"): JobState.FAILED,
    (JobState.RUNNING, "retry"): JobState.RETRY_WAIT,
    (JobState.CLAIMED, "fail"): JobState.FAILED,  # could not be prepared (bad environment)
    (JobState.RUNNING, "expire"): JobState.EXPIRED,
    (JobState.QUEUED, "cancel"): JobState.CANCELLED,
    (JobState.RETRY_WAIT, "cancel"): JobState.CANCELLED,
    (JobState.CLAIMED, "cancel"): JobState.CANCELLED,
    (JobState.RUNNING, "cancel"): JobState.RUNNING,  # sets the flag only
    (JobState.RUNNING, "acknowledge_cancel"): JobState.CANCELLED,
}


def status_of(state: JobState, cancel_requested: bool) -> Status:
    """The status that users see for a state and the cancel flag."""
    match state:
        case JobState.QUEUED | JobState.CLAIMED | JobState.RETRY_WAIT:
            return Status.QUEUED
        case JobState.RUNNING:
            return Status.CANCELLING if cancel_requested else Status.RUNNING
        case JobState.SUCCEEDED:
            return Status.COMPLETED
        case JobState.CANCELLED:
            return Status.CANCELLED
        case _:
            return Status.FAILED


class MachineType(msgspec.Struct, frozen=True, kw_only=True):
    """What can be rented: one row of the catalogue."""

    id: str  # "local", "g5.xlarge" (spot), "g5.xlarge.od" (on demand)
    cpus: float
    memory_bytes: int
    gpu: str = ""  # "A10G", "T4", …; empty: none
    gpu_count: int = 0
    gpu_memory_bytes: int = 0  # of one GPU
    usd_per_h: float = 0.0  # for spot the upper end of the range seen
    usd_per_h_low: float = 0.0  # for spot the lower end; else the same
    spot: bool = False
    priced_on: str = ""  # ISO date of the price
    source: str = ""  # where the price was read
    simulated: bool = False  # runs on this computer, priced as there
    provider: str = ""  # which launches it; empty: none of this backend's


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds a run. Set at submit, never widened."""

    timeout_s: float | None = None  # as asked for; None: the server's longest run
    max_run_s: float = 86_400.0  # the longest run that the hold covers
    max_cost_ucredits: int | None = None
    memory_bytes: int | None = None  # resident memory of the job's process group


class History(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a job's history."""

    at: float
    event: str  # "submit", "claim", "start", … as in TRANSITIONS
    text: str  # plain words for the user
    epoch: int = 0


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a posting in the ledger; the two sides of a posting add up to zero."""

    id: int
    at: float
    account: str  # "available:<owner>", "held:<owner>", "revenue", "grants", "platform_loss"
    kind: str  # "grant", "hold", "capture", "release", "platform_loss"
    amount_ucredits: int
    job: str | None = None
    epoch: int | None = None
    balance_ucredits: int | None = None  # of the account, afterwards
    description: str = ""  # of the job


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """An owner's money."""

    available_ucredits: int
    held_ucredits: int
    spent_ucredits: int


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What an owner may spend, and how far that is."""

    scope: str  # account: in all; day: each day of UTC; notebook: in all for jobs of one notebook
    name: str = ""  # of the notebook
    limit_ucredits: int
    spent_ucredits: int = 0
    held_ucredits: int = 0  # by jobs that are not over
    left_ucredits: int = 0
    day: str = ""  # scope day: which is meant, "2026-11-26"
    set_at: float = 0.0  # seconds since 1970


class BudgetRename(msgspec.Struct, frozen=True, kw_only=True):
    """A notebook that has a budget is called otherwise now."""

    name: str
    to: str
    set_at: float  # of the budget that is meant: a later one of that name is another notebook's
    since: float  # what was sent under the new name from then on is this notebook's; 1970 is 0


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One job as stored. ``spec``, ``result`` and ``error`` are opaque to the store: bytes."""

    id: JobId
    owner: OwnerId
    client: str  # the listener (a notebook kernel) that hears of it
    kind: str  # call, cell, script, notebook, session
    state: JobState
    cancel_requested: bool
    reason: Reason
    detail: str  # in words: "killed by SIGSEGV", "needs 12.3 credits more"
    stage: Stage
    description: str
    visibility: str  # private, unlisted, public
    machine: str  # machine type id
    simulated: bool
    spec: bytes  # JSON of wire.JobSpec; only `submit`, `job` and `claim` fill it, else empty
    limits: Limits
    epoch: int  # of the latest attempt; 0: none yet
    starts: int  # attempts that started
    max_attempts: int  # bound on attempts after infrastructure loss
    retries: int  # how often a user exception is tried again
    rate_ucredits_per_h: int  # frozen at submit
    hold_ucredits: int
    cost_ucredits: int
    submitted_at: float
    ready: bool  # all inputs are there
    batch: str | None = None
    worker: WorkerId | None = None  # of the latest attempt
    not_before_at: float | None = None
    claimed_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    cancel_requested_at: float | None = None
    cancel_forced: bool = False  # kill at once instead of interrupting first
    cancel_saves: bool = False  # ask for a checkpoint before interrupting
    kill_at: float | None = None  # when it is killed if it did not stop by then; None: never
    result: bytes | None = None  # JSON of wire.Result
    error: bytes | None = None  # JSON of wire.RemoteFailure
    progress: bytes | None = None  # JSON list of wire.Bar: the latest of each
    metrics: bytes | None = None  # JSON of wire.Metrics: the latest
    log: bytes | None = None  # JSON of wire.Segment: the whole output, if some was folded
    summary: bytes | None = None  # JSON of store.views.Summary: what a view tells of the spec
    code_digest: str = ""  # of the raw text; empty: no code of its own
    session: str = ""  # of a session its name; of a cell in one, the session's id
    notebook: str = ""  # that it comes from, as its client calls it
    cell: str = ""  # of that notebook, by its id
    cell_code: str = ""  # check sum of its text, see `cell_code_of`
    code_key: str = ""  # of its code, normalised: shared by runs whose text differs in form only
    inputs_bytes: int = 0
    fuse: str = ""  # what bounds its cost: "max_cost", or the budget that left less
    priced_on: str = ""  # date of the price that was frozen at submit
    gpus: int = 0  # of its machine's, that are its own; 0: all of them
    resumes: JobId | None = None  # the job whose checkpoint it was given
    cached_from: JobId | None = None  # the job whose result it was given instead of being run
    saved_ucredits: int = 0  # by that
    estimate: bytes | None = None  # JSON of wire.Estimate, made at submit
    warned_at: float | None = None  # most of what its fuse allows was spent
    checkpoint: bytes | None = None  # JSON of wire.Checkpoint: the latest
    receipt: bytes | None = None  # JSON of wire.Receipt, made when it ends
    preemptions: int = 0  # how often its machine was taken away: not its fault, not its cost
    devices: str = ""  # of its machine's GPUs those that its latest attempt has: "0,1"

    @property
    def status(self) -> Status:
        """As users see it."""
        return status_of(self.state, self.cancel_requested)

    @property
    def ran_whole(self) -> bool:
        """Did it run from the beginning? Not after a checkpoint: of another job, or, as far as one
        can tell, of an earlier attempt."""
        return self.resumes is None and (self.checkpoint is None or self.starts <= 1)


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """An address at which the result of a job opens without a token, until it is revoked."""

    id: str  # results_uuid: whoever knows it may look
    job: JobId
    owner: OwnerId
    visibility: str  # unlisted; public: listed, too
    created_at: float


class PastRun(msgspec.Struct, frozen=True, kw_only=True):
    """A job that succeeded, for estimates of those to come."""

    run_s: float
    machine: str
    inputs_bytes: int
    code_key: str  # empty: not known
    notebook: str
    kind: str
    ended_at: float
    peak_memory_bytes: int = 0  # 0: not measured


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One try at a job."""

    job: JobId
    epoch: int
    worker: WorkerId
    state: AttemptState
    claimed_at: float
    lease_until_at: float
    started_at: float | None = None
    ended_at: float | None = None
    beat_at: float | None = None
    signal: str = ""  # how its process died, if it did


class WorkerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that dialled in."""

    id: WorkerId
    instance: str  # "local" or the provider's instance id
    machine: str  # machine type it serves; "local" serves simulated ones too
    slots: int
    connected: bool
    draining: bool
    seen_at: float
    python: str = ""  # "3.11.7"
    platform: str = ""
    token: str = ""  # id of the token that it said hello with: no other may use its id


class InstanceState(StrEnum):
    """A machine from intent to confirmed termination."""

    INTENT = "intent"
    REQUESTED = "requested"
    PENDING = "pending"
    READY = "ready"
    DRAINING = "draining"
    TERMINATING = "terminating"
    TERMINATED = "terminated"
    ORPHAN = "orphan"


class InstanceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that was, or is to be, launched. The intent is written before the launch."""

    id: str  # ours, made with the intent; the launch is idempotent on it
    provider: str
    machine: str
    state: InstanceState
    provider_id: str = ""  # the provider's own name for it
    created_at: float = 0.0
    changed_at: float = 0.0
    owner: OwnerId = OwnerId("")  # whose jobs alone it runs; empty: this computer
    job: str = ""  # for which it was asked
    zone: str = ""  # where it is; in an intent, where it is to be (empty: anywhere)
    spot: bool = False
    rate_ucredits_per_h: int = 0  # what it costs while it is there
    ready_at: float | None = None  # when its worker said hello first
    step: str = ""  # how far its bootstrap has come
    detail: str = ""  # why it ended, or was refused, in words
    boot_log: bytes | None = None  # UTF-8 text, its end


class TokenRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A token as stored: only its hash."""

    id: str
    owner: OwnerId
    scopes: tuple[str, ...]  # submit, read, admin, invoke, worker
    label: str = ""
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None
