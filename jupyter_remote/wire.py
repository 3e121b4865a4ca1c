"""Everything that crosses a process boundary, as msgspec types. No I/O.

JSON over HTTP between client and server, MessagePack over a WebSocket between worker and server.
Unknown fields are ignored on both sides, so that a newer peer may add some; ``PROTOCOL`` changes
when an old peer could no longer understand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec

from jupyter_remote import errors
from jupyter_remote.model import Balance, Budget, Entry, History, MachineType

PROTOCOL = 1
FRAME_TYPE = "application/vnd.jupyter-remote.frame"
LAST_OUTPUT = "; last output: "  # in the detail of a job whose process died, before what it wrote
CARD_TYPE = "application/vnd.jupyter-remote.job+json"

MOST_BYTES = 1 << 50  # of anything that has a size
INLINE_BYTES = 64 * 1024  # a parcel up to this size travels inside its message
CHUNKED_BYTES = 1024 * 1024  # a segment above this size is cut into content-defined chunks

HTTP_STATUS: dict[str, int] = {
    "usage": 422,
    "invalid_request": 422,
    "unknown_machine": 422,
    "environment_mismatch": 409,
    "protocol_mismatch": 426,
    "not_authenticated": 401,
    "not_authorized": 403,
    "not_found": 404,
    "conflict": 409,
    "key_reused": 422,
    "too_large": 413,
    "unsupported_media_type": 415,
    "storage_full": 507,
    "digest_mismatch": 422,
    "insufficient_funds": 402,
    "budget_exceeded": 402,
}


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An RFC 9457 problem document."""

    title: str
    status: int
    code: str
    detail: str = ""
    hint: str = ""
    type: str = "about:blank"


def problem_of(error: errors.JupyterRemoteError) -> Problem:
    """The problem document of an error; codes without a status are 500."""
    return Problem(
        title=error.code.replace("_", " "),
        status=HTTP_STATUS.get(error.code, 500),
        code=error.code,
        detail=str(error.args[0]) if error.args else "",
        hint=error.hint,
    )


def error_of(problem: Problem) -> errors.JupyterRemoteError:
    """The error that a problem document stands for."""
    cls = errors.BY_CODE.get(problem.code, errors.JupyterRemoteError)
    if cls in (errors.CompositeError, errors.RemoteError):
        cls = errors.JupyterRemoteError
    return cls(problem.detail or problem.title, hint=problem.hint)


# --- values ----------------------------------------------------------------------------------
class Segment(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run of bytes named by its content: the pickle itself or one out-of-band buffer."""

    digest: str  # BLAKE3, 64 hex digits, of the raw bytes
    size_bytes: int
    data: bytes | None = None  # the bytes themselves when the whole parcel is small
    chunks: list[tuple[str, int]] = []  # (digest, size) of content-defined chunks, in order


class Parcel(msgspec.Struct, frozen=True, omit_defaults=True, weakref=True):
    """A value on its way: segment 0 is the pickle, the others its out-of-band buffers."""

    segments: list[Segment]
    python: str = ""  # "3.11" of the sender
    magic: str = ""  # hex of importlib.util.MAGIC_NUMBER of the sender
    versions: dict[str, str] = {}  # cloudpickle, numpy, pandas, torch where loaded
    format: Literal["pickle5", "raw"] = "pickle5"  # raw: segment 0 is the value, bytes
    names: list[NameInfo] = []  # what is inside, for people

    @property
    def size_bytes(self) -> int:
        return sum(s.size_bytes for s in self.segments)


class NameInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A variable as people see it."""

    name: str
    type: str
    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=MOST_BYTES)] = 0


class MissingSegment(msgspec.Struct, frozen=True, omit_defaults=True):
    """A segment that the server lacks; ``chunks`` names the chunks of it that it lacks."""

    digest: str
    chunks: list[str] = []


class FileRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file to be placed in the job's folder. ``path`` is relative, without ``..``."""

    path: str
    content: Segment
    mode: int = 0o644
    module: bool = False  # part of a local module: its root goes on sys.path


# --- jobs ------------------------------------------------------------------------------------
class Need(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is asked of a machine. ``machine`` wins over the rest."""

    machine: str = ""
    gpu: str = ""
    gpu_count: int = 1
    cpus: float = 0
    memory_bytes: int = 0


class JobSpec(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a worker needs to run a job."""

    kind: Literal["call", "cell", "script", "notebook", "session"]
    code: str = ""  # raw text of a cell or script
    function: Parcel | None = None  # call: the function
    inputs: Parcel | None = None
    """call: ``(args, kwargs)``; cell: ``dict`` of names to values; notebook: the raw bytes"""
    outputs: list[str] | None = None
    """cell: names to bring home; ``None``: what it assigns and what it changed; ``[]``: nothing"""
    assigned: list[str] = []  # cell: names that its AST assigns (used when outputs is None)
    deleted: list[str] = []  # cell: names that its AST deletes
    unwatched: list[int] = []  # cell: numbers that stand for nothing that the notebook has
    fixed: list[int] = []  # cell: numbers of inputs that cannot be changed where they are
    value_as: str = ""  # cell: the name under which the value of its last expression comes home
    files: list[FileRef] = []
    name: str = ""  # "In [3]", or the function's name: how tracebacks call the code
    filename: str = ""  # the filename under which the notebook compiled the cell
    executable: str = ""  # Python interpreter to use where the provider is `local`
    quiet_progress: bool = True  # bars become native bars; False: they print as they would
    sources: dict[str, str] = {}  # filename → text of other cells that shipped functions come from
    source_names: dict[str, str] = {}  # filename → how tracebacks call it, "In [3]"
    ambient: dict[str, Parcel] = {}  # cell: state that no variable holds, see `ambient`; inline
    session: str = ""  # cell: id of the session (a job too) in whose namespace it runs
    stdin: bool = False  # whoever submitted it answers ``input()``; else that is refused
    idle_timeout_s: float | None = None  # session: it ends when nobody called for so long
    gpu_idle_s: float | None = None  # it is stopped when it used no GPU for so long; 0: never
    checkpoint: Parcel | None = None  # what it goes on from: set by the server


def code_digest_of(code: str, name: str = "", sources: Iterable[str] = ()) -> str:
    """SHA-256 that runs of the same code share, however they were pickled; empty: not known.

    Of a cell or script its text; of a function its name and the cells that it comes from.
    """
    origins = sorted(sources)
    if not code and not origins:
        return ""
    texts = [code] if code else [name, *origins]
    return hashlib.sha256("\0".join(texts).encode(errors="surrogatepass")).hexdigest()


class CachePart(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a result depends on."""

    name: str  # "code", "global scale", "input df", "module helpers", "package numpy", "Python"
    digest: str  # of its content, or its version
    text: str = ""  # for people, where it is short and no secret: "2", "2.4.5"


class CacheAsk(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """May the result be taken from the cache, and kept there?"""

    key: str  # 64 hex digits: digest of all parts
    name: str  # of the function, or what the cell assigns: an entry of it explains a miss
    parts: list[CachePart]
    is_told: bool = True  # a notice says why there is none; the history does in any case


class CacheEntry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A result that is kept."""

    key: str
    job: str  # that made it
    name: str
    description: str = ""
    size_bytes: int = 0
    cost_ucredits: int = 0
    run_s: float = 0.0
    hits: int = 0
    saved_ucredits: int = 0
    created_at: float
    used_at: float


class CacheReply(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``GET /v1/cache``. Hits and misses are those of jobs that are not forgotten yet."""

    hits: int = 0
    misses: int = 0
    entries: int = 0
    size_bytes: int = 0
    limit_bytes: int = 0
    saved_ucredits: int = 0
    saved_s: float = 0.0
    newest: list[CacheEntry] = []


class CacheCleared(msgspec.Struct, frozen=True):
    """``DELETE /v1/cache``: what went."""

    entries: int
    size_bytes: int


class SubmitRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``POST /v1/jobs``. Sent again with the same id and body it is the same job."""

    id: str  # client-made UUID: also the idempotency key
    spec: JobSpec
    need: Need = Need()
    description: str = ""
    visibility: Literal["private", "unlisted", "public"] = "private"
    client: str = ""  # who listens
    timeout_s: float | None = None
    max_cost_ucredits: int | None = None
    retries: int = 0
    max_attempts: int = 3
    batch: str | None = None
    notebook: str = ""  # that it comes from: its path, or its name
    code_key: str = ""  # of the normalised code: 64 hex digits
    cache: CacheAsk | None = None
    resume: str = ""  # id of a job: start from its checkpoint


class BatchRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``POST /v1/batches``: many calls of one function; one transaction."""

    id: str
    template: SubmitRequest  # its ``id`` and ``spec.inputs`` are not used
    ids: list[str]
    inputs: list[Parcel]


class Bar(msgspec.Struct, frozen=True, omit_defaults=True):
    """One progress bar, as it stands."""

    id: str
    n: float
    total: float | None = None
    description: str = ""
    unit: str = "it"
    rate: float | None = None  # units a second
    elapsed_s: float = 0.0
    parent: str = ""
    postfix: str = ""
    state: Literal["open", "update", "close"] = "update"
    leave: bool = True
    unit_divisor: int = 0  # 1000 or 1024: shown as 4.1 M, not as 4,100,000; 0: as it is


class GpuMetrics(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    use_percent: float = 0.0
    memory_bytes: int = 0
    memory_total_bytes: int = 0
    power_w: float = 0.0
    temperature_c: float = 0.0
    mean_percent: float = 0.0  # of use, since the first sample
    peak_percent: float = 0.0
    peak_memory_bytes: int = 0


class Metrics(msgspec.Struct, frozen=True, omit_defaults=True):
    """Live figures of a job's process group."""

    at: float
    cpu_percent: float  # 100: one core
    memory_bytes: int
    peak_memory_bytes: int = 0
    memory_limit_bytes: int = 0
    gpus: list[GpuMetrics] = []
    busy_s: float | None = None  # session: how long its calls and cells ran; else it waited
    measured_s: float = 0.0  # since the first sample; means and peaks are of this time
    mean_cpu_percent: float = 0.0
    peak_cpu_percent: float = 0.0


class Money(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a job costs, as far as known."""

    rate_ucredits_per_h: int
    hold_ucredits: int
    cost_ucredits: int  # so far, or in the end
    usd_per_h: float = 0.0
    simulated: bool = False


class Interval(msgspec.Struct, frozen=True):
    """``low`` and ``high`` enclose nine cases of ten."""

    low: float
    expected: float
    high: float


class Estimate(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a job is expected to take and to cost, made before it runs."""

    run_s: Interval | None = None  # None: nothing is known
    ucredits: Interval | None = None
    basis: str = ""  # in words: "3 earlier runs of this code on g5.xlarge"
    runs: int = 0  # how many it rests on


class Checkpoint(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a job saved when it was asked to stop soon."""

    value: Parcel
    at: float
    epoch: int
    why: str = ""  # budget, preempted, cancel


# --- receipts --------------------------------------------------------------------------------
RECEIPT = 1  # version of this form; readers take what they know of a newer one


class ReceiptFile(msgspec.Struct, frozen=True, omit_defaults=True):
    path: str
    digest: str
    size_bytes: int


class ReceiptEnvironment(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Where the code ran; what is not known is empty."""

    python: str = ""
    platform: str = ""
    packages: dict[str, str] = {}  # those that its values need, by the version used
    lock: str = ""  # digest of all packages, where the environment was made from a list


class ReceiptPrice(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Of the machine, as frozen at submit."""

    usd_per_h: float = 0.0
    priced_on: str = ""
    source: str = ""
    spot: bool = False


class ReceiptAttempt(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    epoch: int
    worker: str
    how: str  # it ended: done, error, cancelled, revoked (given back), lost
    claimed_at: float
    started_at: float | None = None
    ended_at: float | None = None
    signal: str = ""
    charged_ucredits: int = 0
    lost_ucredits: int = 0  # what it would have cost, had its worker not been lost


class ReceiptCost(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """By part, micro-credits."""

    total_ucredits: int = 0
    run_ucredits: int = 0
    waiting_ucredits: int | None = None  # of a session for its next cell; None: not known
    disk_ucredits: int = 0
    egress_ucredits: int = 0
    lost_ucredits: int = 0  # not charged: the platform's loss
    saved_ucredits: int = 0  # not charged: the result came from the cache


class Advice(msgspec.Struct, frozen=True, omit_defaults=True):
    """Another machine would have done."""

    machine: str
    text: str
    saves_percent: int


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a job was, where it ran and what it cost; made when it ends, never changed."""

    receipt: int  # RECEIPT of its maker
    id: str
    kind: str
    status: str
    reason: str = ""
    detail: str = ""
    ended_by: str = ""  # code, cache, user, a limit, a budget, system, platform
    end_text: str = ""  # the last line of its history
    description: str = ""
    visibility: str = "private"
    version: str = ""  # of the program
    notebook: str = ""
    session: str = ""
    batch: str = ""
    resumes: str = ""
    cached_from: str = ""
    code_key: str = ""
    code_digest: str = ""
    inputs: list[NameInfo] = []
    inputs_bytes: int = 0
    inputs_digest: str = ""  # of all names together: they share one pickle
    segments: list[tuple[str, int]] = []  # digest and size: that pickle, then its buffers
    files: list[ReceiptFile] = []
    files_digest: str = ""  # of all their paths and contents
    environment: ReceiptEnvironment = ReceiptEnvironment()
    machine: str = "local"
    simulated: bool = False
    offer: MachineType | None = None  # the machine type, as the catalogue had it at submit
    provider: str = ""
    worker: str = ""
    price: ReceiptPrice = ReceiptPrice()
    submitted_at: float = 0.0
    claimed_at: float | None = None  # of the last attempt
    started_at: float | None = None
    ended_at: float | None = None
    waited_s: float = 0.0  # from submit to the first start
    ran_s: float = 0.0  # all attempts together
    attempts: list[ReceiptAttempt] = []
    use: Metrics | None = None
    cost: ReceiptCost = ReceiptCost()
    advice: Advice | None = None


class JobView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A job as the API shows it (B3, B5)."""

    id: str
    kind: str
    status: str
    stage: str = ""
    reason: str = ""
    detail: str = ""
    description: str = ""
    visibility: str = "private"
    version: str = ""  # of the server
    machine: str = "local"
    money: Money
    client: str = ""
    batch: str | None = None
    session: str = ""  # of a session its name; of a cell in one, the session's id
    attempt: int = 0
    worker: str = ""
    submitted_at: float
    started_at: float | None = None
    ended_at: float | None = None
    timeout_s: float | None = None
    max_cost_ucredits: int | None = None
    progress: list[Bar] = []
    metrics: Metrics | None = None
    inputs: list[NameInfo] = []
    inputs_bytes: int = 0
    code_digest: str = ""
    cursor: int = 0  # of the last stored event when this was read
    notebook: str = ""
    fuse: str = ""  # what bounds its cost: "max_cost", or a budget
    estimate: Estimate | None = None
    warned_at: float | None = None  # most of what its fuse allows was spent
    checkpoint_at: float | None = None  # when it saved what `--resume` starts from
    checkpoint_bytes: int = 0
    resumes: str = ""  # id of the job whose checkpoint it was given
    cached_from: str = ""  # id of the job whose result it was given, without being run
    saved_ucredits: int = 0  # by that
    priced_on: str = ""
    results_uuid: str = ""  # where its result opens without a token, see ResultsView


class Submitted(msgspec.Struct, frozen=True, omit_defaults=True):
    """Reply to a submit: the job, and what must still be sent before it can run."""

    job: JobView
    missing: list[MissingSegment] = []


class BatchSubmitted(msgspec.Struct, frozen=True, omit_defaults=True):
    ids: list[str]
    missing: list[MissingSegment] = []


class JobList(msgspec.Struct, frozen=True):
    jobs: list[JobView]
    next: str = ""  # pass as ``before`` for the next page; empty: no more


class HistoryReply(msgspec.Struct, frozen=True):
    history: list[History]


class InputsReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """``GET /v1/jobs/{id}/inputs``: what a job was sent; its result may refer to parts of that."""

    inputs: Parcel | None = None


class InputRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``POST /v1/jobs/{id}/input``: the answer to an ``ask`` event."""

    text: str = ""
    refused: bool = False  # nobody answers: EOFError over there


class CancelRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    force: bool = False  # kill at once instead of interrupting first
    checkpoint: bool = False  # ask its code for a checkpoint before it is interrupted


class RepeatRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``POST /v1/jobs/{id}/repeat``: run what that job ran, as it ran, but for what is given here.

    Sent again with the same id and body it is the same job.
    """

    id: str  # of the new job: a client-made UUID
    resume: bool = False  # start from the checkpoint of that job
    need: Need | None = None
    timeout_s: float | None = None
    max_cost_ucredits: int | None = None
    description: str = ""
    client: str = ""  # who listens


# --- how code ended --------------------------------------------------------------------------
class RemoteFailure(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An exception as data: never a pickle of an unknown type."""

    ename: str
    evalue: str
    traceback: list[str] = []  # ANSI-coloured lines as IPython shows them; user frames only
    module: str = "builtins"  # of the type
    qualname: str = "Exception"
    mro: list[tuple[str, str]] = []  # (module, qualname), most derived first, without object
    args: list[str | int | float | bool | None] = []  # scalars as they are, others by repr
    attributes: dict[str, str | int | float | bool | None] = {}  # scalar attributes
    notes: list[str] = []
    cause: RemoteFailure | None = None
    context: RemoteFailure | None = None
    suppress_context: bool = False
    group: list[RemoteFailure] = []  # members of an exception group


class LeftBehind(msgspec.Struct, frozen=True):
    """A value that could not come home."""

    name: str
    type: str
    why: str


class Result(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a job gives back."""

    value: Parcel | None = None
    """call: the value; notebook: raw bytes; cell: names and their values, and a list of what inputs
    hold now, each with its number"""
    left_behind: list[LeftBehind] = []
    deleted: list[str] = []  # names that no longer exist over there
    refers: bool = False  # cell: ``value`` has numbers of inputs in it
    ambient: dict[str, Parcel] = {}  # cell: such state as it is now, if it changed; inline
    text: str = ""  # of a value that is not displayed, for people; cut
    displayed: bool = False


# --- events ----------------------------------------------------------------------------------
class Event(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that happened in a job.

    ``type`` and ``data``:

    =====================  ==================================================================
    ``status``             :class:`JobView` fields (``status``, ``stage``, ``reason``, …)
    ``stream``             ``name`` (stdout, stderr), ``text``
    ``display_data``       ``data``, ``metadata``, ``transient``: Jupyter's own
    ``execute_result``     the same, with ``execution_count``
    ``update_display_data``  the same as ``display_data``
    ``clear_output``       ``wait``
    ``error``              ``ename``, ``evalue``, ``traceback``
    ``comm``               ``msg_type``, ``content``, ``metadata``, ``buffers``
    ``folded``             ``name``, ``bytes``, ``lines``, ``displays``: output above the limits;
                           text is in the log
    ``notice``             ``text``: a line for the user
    ``ask``                ``prompt``, ``password``: it waits for ``POST /v1/jobs/{id}/input``
    ``progress``           a :class:`Bar`            (not stored: the latest is in the job)
    ``metrics``            :class:`Metrics`          (not stored)
    ``done``               :class:`Done`: the last one
    =====================  ==================================================================
    """

    job: str
    type: str
    data: msgspec.Raw
    epoch: int = 0
    seq: int = 0  # numbered by the worker from 1 within an attempt; 0: made by the server
    cursor: int = 0  # numbered by the server over all jobs; 0: not stored
    at: float = 0.0


class Done(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Data of the last event of a job."""

    job: JobView
    result: Result | None = None
    error: RemoteFailure | None = None
    receipt: Receipt | None = None  # of a job of a batch only at its own address


class EventPage(msgspec.Struct, frozen=True):
    events: list[Event]
    cursor: int  # ask again after this one


# --- worker ⇄ server -------------------------------------------------------------------------
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
    outcome: Literal["succeeded", "failed", "cancelled", "expired", "died"]
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


# --- a client's connection to a session, relayed: a channel between worker and server -----------
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
    Hello | Start | Beat | Complete | Warned | Saved | Release | Ping | Listening | ChannelMessage
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
    owner: str = ""  # consecutive calls of one owner may share a kernel process
    aside: bool = False  # takes no slot


class Answer(msgspec.Struct, frozen=True, omit_defaults=True, tag="answer", kw_only=True):
    """Reply to any request of a worker."""

    req: int
    ok: bool = True
    code: str = ""  # error code when not ok; "conflict": the epoch is stale, kill and discard
    cancel: Literal["", "checkpoint", "interrupt", "kill"] = ""
    drain: bool = False
    budget_left_ucredits: int | None = None
    acked_seq: int = 0
    warn_s: float | None = None  # to Start, as in Assign: a budget is looked at after that was sent


class Cancel(msgspec.Struct, frozen=True, omit_defaults=True, tag="cancel", kw_only=True):
    """Stop this attempt: ``interrupt`` (SIGINT, 10 s, then kill), ``checkpoint`` (the same, after
    its code was asked for one) or ``kill``."""

    job: str
    epoch: int
    how: Literal["checkpoint", "interrupt", "kill"] = "interrupt"


class Input(msgspec.Struct, frozen=True, omit_defaults=True, tag="input", kw_only=True):
    """An answer to what this attempt asked."""

    job: str
    epoch: int
    text: str = ""
    refused: bool = False


class Drain(msgspec.Struct, frozen=True, omit_defaults=True, tag="drain"):
    """Take no more work; end when idle."""

    reason: str = ""


ServerMessage = Welcome | Assign | Answer | Cancel | Input | Drain | Open | ChannelMessage


# --- the rest of the API ---------------------------------------------------------------------
class ServerInfo(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``GET /v1/server``: what answers here."""

    version: str
    protocol: int
    embedded: bool
    pid: int = 0
    started_at: float = 0.0
    owner: str = ""
    scopes: list[str] = []
    blobs: str = ""  # see Welcome; empty when the caller is not on the same machine
    spool: str = ""
    workers: list[WorkerView] = []
    jobs_queued: int = 0
    jobs_running: int = 0
    listeners: int = 0  # event streams that are open
    idle_timeout_s: float | None = None


class WorkerView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: str
    machine: str
    slots: int
    busy: int = 0
    connected: bool = True
    draining: bool = False
    python: str = ""
    seen_s: float = 0.0  # since last heard of


class SessionView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A session: a job that keeps a namespace until it is stopped."""

    name: str
    job: JobView
    listening: bool = False
    address: str = ""  # of a Unix socket; empty when the caller is not on the same computer
    key: str = ""  # of its kernel, for whoever may submit


class SessionList(msgspec.Struct, frozen=True):
    sessions: list[SessionView]


class WorkerList(msgspec.Struct, frozen=True):
    workers: list[WorkerView]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """``GET /health``, open to anybody: which server answers here, and its protocol."""

    server_id: str
    version: str
    protocol: int = PROTOCOL
    status: str = "ok"
    proof: str = ""  # that an embedded backend is the one of the connection file


class MachineList(msgspec.Struct, frozen=True, omit_defaults=True):
    machines: list[MachineType]
    slots_free: dict[str, int] = {}  # machine type → slots of its workers that are free now
    slots: dict[str, int] = {}  # and all of them; simulated types share those of this computer


class AccountReply(msgspec.Struct, frozen=True, kw_only=True):
    owner: str
    balance: Balance
    credits: float
    usd: float


class AccountSummary(msgspec.Struct, frozen=True, kw_only=True):
    """``GET /v1/account/summary``: by the same numbers as the jobs themselves show."""

    running: int  # jobs; sessions apart
    sessions: int
    queued: int
    rate_ucredits_per_h: int  # of all that runs, sessions too
    usd_per_h: float
    simulated: bool  # some of it
    spent_today_ucredits: int  # charged since midnight, and what running ones cost so far
    since_at: float  # that midnight, in UTC
    available_ucredits: int
    held_ucredits: int
    at: float  # now


class EntryList(msgspec.Struct, frozen=True):
    entries: list[Entry]  # newest first


class BudgetRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``PUT /v1/account/budgets``: in place of the one of this scope and name."""

    scope: str  # account, day, notebook
    name: str = ""  # of the notebook
    limit_ucredits: int


class BudgetList(msgspec.Struct, frozen=True):
    budgets: list[Budget]


class EstimateRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``POST /v1/plans``: what a job would ship, where it would run, what it would cost."""

    need: Need = Need()
    segments: list[Segment] = []  # without data: which of these are there?
    timeout_s: float | None = None
    max_cost_ucredits: int | None = None
    code_key: str = ""
    notebook: str = ""
    kind: str = ""
    cache_key: str = ""  # is a result of this kept?
    executable: str = ""  # the interpreter here: on one computer jobs run in the same one


class WorkerEnvironment(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a worker has: Python, platform and installed packages."""

    python: str
    magic: str = ""  # hex of importlib.util.MAGIC_NUMBER
    platform: str = ""  # "Linux"
    machine: str = ""  # "x86_64"
    packages: dict[str, str] = {}  # name of the distribution → version


class Offer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A machine type for a job, with what it is expected to take and to cost there."""

    machine: MachineType
    estimate: Estimate
    hold_ucredits: int
    start_s: float = 0.0
    warm: bool = False


class PlanReply(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    machine: MachineType
    rate_ucredits_per_h: int
    hold_ucredits: int
    max_run_s: float
    missing: list[MissingSegment] = []
    start_s: float = 0.0  # expected until user code runs
    warm: bool = True
    available_ucredits: int = 0
    cached_from: str = ""  # id of the job whose result it would be given, for nothing
    estimate: Estimate = Estimate()
    offers: list[Offer] = []  # the chosen machine first, then others that fit
    least_ucredits: int = 0  # what the job costs at least
    slots_free: int = 0  # of connected workers that could take it now
    jobs_waiting: int = 0  # before it
    same_python: bool = False  # it runs in the interpreter that asked
    there: WorkerEnvironment | None = None  # of a worker that would take it; None: none is known
    fuse: str = ""  # the budget that leaves less than it would hold: "budget day"
    refused: str = ""  # why a budget leaves nothing for it


class TokenRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    scopes: list[str]
    label: str = ""
    expires_s: float | None = None


class TokenView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: str
    owner: str
    scopes: list[str]
    label: str = ""
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None
    token: str = ""  # only in the reply to its creation


class TokenList(msgspec.Struct, frozen=True):
    tokens: list[TokenView]


class GrantRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    owner: str
    amount_ucredits: int
    key: str = ""  # idempotency


class ShareRequest(msgspec.Struct, frozen=True):
    """``POST /v1/jobs/{id}/share``: let the result be opened without a token."""

    visibility: Literal["unlisted", "public"] = "unlisted"


class ResultsView(msgspec.Struct, frozen=True, kw_only=True):
    """A result by its names (B5): what anybody may know of a job who may look at its result."""

    jobs_uuid: str
    results_uuid: str  # empty: private
    results_url: str  # opens in a browser without a token; empty: private
    visibility: str
    status: str
    reason: str
    detail: str
    price: float  # USD: so far, or in the end
    simulated: bool  # the machine, and so the price
    version: str  # of the server
    kind: str
    description: str
    machine: str
    submitted_at: float
    started_at: float | None
    ended_at: float | None


class Results(ResultsView, frozen=True, kw_only=True):
    """``GET /v1/results/{id}``: the same with what it printed, displayed and gave back."""

    text: str  # of a call's value; cut
    names: list[NameInfo]  # what came home
    outputs: list[dict[str, Any]]  # as a cell of a notebook has them
    cut: bool  # it showed more than is here
    error: RemoteFailure | None


class ResultsList(msgspec.Struct, frozen=True):
    results: list[ResultsView]
    next: str  # pass as ``before`` for the next page; empty: no more


class BlobView(msgspec.Struct, frozen=True, omit_defaults=True):
    digest: str
    size_bytes: int


class Assemble(msgspec.Struct, frozen=True):
    """``POST /v1/blobs/{digest}``: put a segment together from chunks that are there."""

    size_bytes: int
    chunks: list[tuple[str, int]]


encode = msgspec.json.encode
"""JSON bytes of any of these types."""


def raw(value: Any) -> msgspec.Raw:
    """``value`` as JSON, to be put into another message untouched."""
    return msgspec.Raw(msgspec.json.encode(value))
