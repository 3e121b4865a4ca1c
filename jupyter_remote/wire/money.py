"""Machines, plans and the account."""

from __future__ import annotations

import msgspec

from jupyter_remote.model import Balance, Budget, BudgetRename, Entry, MachineType
from jupyter_remote.wire.jobs import Estimate, Need
from jupyter_remote.wire.values import MissingSegment, Segment


class MachineList(msgspec.Struct, frozen=True, omit_defaults=True):
    machines: list[MachineType]
    slots_free: dict[str, int] = {}  # machine type → slots of its workers that are free now
    slots: dict[str, int] = {}  # and all of them; simulated types share those of this computer
    problems: list[str] = []  # why a provider does not say which machines it has


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
    machines: int = 0  # that were rented for it and are there, whether they run something or not
    machines_usd_per_h: float = 0.0


class EntryList(msgspec.Struct, frozen=True):
    entries: list[Entry]  # newest first


class BudgetRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``PUT /v1/account/budgets``: in place of the one of this scope and name."""

    scope: str  # account, day, notebook
    name: str = ""  # of the notebook
    limit_ucredits: int


class BudgetRenames(msgspec.Struct, frozen=True):
    """``POST /v1/account/budgets/rename``: all or none."""

    renames: list[BudgetRename]


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
    gpus: int = 0  # of the machine's, that it would have and pay for; 0: the whole machine


class GrantRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    owner: str
    amount_ucredits: int
    key: str = ""  # idempotency
