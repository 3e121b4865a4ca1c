"""Jobs: what they are asked for, how they are shown, how they end."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec

from jupyter_remote.amounts import LONGEST_FORCE_AFTER_S
from jupyter_remote.model import History
from jupyter_remote.wire.caching import CacheAsk
from jupyter_remote.wire.values import FileRef, MissingSegment, NameInfo, Parcel, SourceLink


class Need(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is asked of a machine. ``machine`` wins over the rest."""

    machine: str = ""
    gpu: str = ""
    gpu_count: int = 1
    cpus: float = 0
    memory_bytes: int = 0


INSTALL_S = 1800.0  # within which a worker has an environment, or the job fails


class EnvironmentSpec(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The packages that a job's interpreter has. A worker builds it once for a digest and keeps it.

    Without one the job runs in the worker's own environment.
    """

    digest: str  # SHA-256 of all that makes it what it is
    lock: str = ""  # requirements with exact versions and hashes, one a line
    python: str = ""  # "3.11": whose wheels the lock names
    packages: dict[str, str] = {}  # distribution → version, for people
    wheels: list[FileRef] = []  # packages that no index has: editable and local ones
    source: str = ""  # for people: "what the notebook uses", or the name of a file


def environment_digest(lock: str, python: str, wheels: Iterable[FileRef] = ()) -> str:
    """Of an environment: its packages by their hashes, and for which Python."""
    parts = [python, lock, *(f"{w.path} {w.content.digest}" for w in wheels)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


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
    environment: EnvironmentSpec | None = None  # None: what the worker has


def cell_code_of(text: str) -> str:
    """CRC-32 of a cell's text: was it edited since? 8 hex digits, as a page can make them, too."""
    return f"{zlib.crc32(text.encode(errors='surrogatepass')):08x}"


def code_digest_of(code: str, name: str = "", sources: Iterable[str] = ()) -> str:
    """SHA-256 that runs of the same code share, however they were pickled; empty: not known.

    Of a cell or script its text; of a function its name and the cells that it comes from.
    """
    origins = sorted(sources)
    if not code and not origins:
        return ""
    texts = [code] if code else [name, *origins]
    return hashlib.sha256("\0".join(texts).encode(errors="surrogatepass")).hexdigest()


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
    cell: str = ""  # of that notebook: its id
    cell_code: str = ""  # of its text: see cell_code_of
    code_key: str = ""  # of the normalised code: 64 hex digits
    cache: CacheAsk | None = None
    resume: str = ""  # id of a job: start from its checkpoint
    links: list[SourceLink] = []  # of files whose source is elsewhere; kept in memory only


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
    peak_power_w: float = 0.0
    peak_temperature_c: float = 0.0
    index: int = 0  # which of the machine's


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
    disk_bytes: int = 0  # in use on the disk of the job's folder, by whomever
    disk_total_bytes: int = 0
    peak_disk_bytes: int = 0
    read_bytes_per_s: float = 0.0  # by the job's processes, from disks
    written_bytes_per_s: float = 0.0
    peak_read_bytes_per_s: float = 0.0
    peak_written_bytes_per_s: float = 0.0
    received_bytes_per_s: float = 0.0  # by the whole machine, from the network
    sent_bytes_per_s: float = 0.0
    peak_received_bytes_per_s: float = 0.0
    peak_sent_bytes_per_s: float = 0.0


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
    why: str = ""  # budget, preempted, cancel, periodic


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
    cell: str = ""
    cell_code: str = ""
    fuse: str = ""  # what bounds its cost: "max_cost", or a budget
    estimate: Estimate | None = None
    warned_at: float | None = None  # most of what its fuse allows was spent
    kill_at: float | None = None  # while it is cancelling: when it is killed; absent: never
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


COMM_BYTES = 16 * 1024 * 1024  # of a widget's message, with its buffers; either way
COMM_BODY_BYTES = COMM_BYTES * 3 // 2  # as JSON


class CommMessage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``POST /v1/jobs/{id}/comms``: a message of a widget in a front end, for the code of a job."""

    id: str = ""  # of the front end's request: a ``comm`` event ``comm_idle`` says it was served
    msg_type: Literal["comm_msg", "comm_close"] = "comm_msg"
    content: dict[str, Any] = {}  # Jupyter's own: ``comm_id``, ``data``
    metadata: dict[str, Any] = {}
    buffers: list[bytes] = []


class CancelRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``POST /v1/jobs/{id}/cancel``: its code gets KeyboardInterrupt, and is killed later."""

    force: bool = False  # kill at once instead of interrupting first
    checkpoint: bool = False  # ask its code for a checkpoint before it is interrupted
    force_after_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_FORCE_AFTER_S)] | None = (
        None  # kill after this long; 0: never; absent: as the backend is set
    )


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
    notebook: str = ""  # as it is called now; empty: as then
    cell: str = ""  # that shows the new job
    cell_code: str = ""


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
