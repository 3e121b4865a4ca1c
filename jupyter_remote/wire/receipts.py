"""What a job that ended was, took and cost."""

from __future__ import annotations

import msgspec

from jupyter_remote.model import MachineType
from jupyter_remote.wire.jobs import Metrics
from jupyter_remote.wire.values import NameInfo

RECEIPT = 1  # version of this form; readers take what they know of a newer one


class ReceiptFile(msgspec.Struct, frozen=True, omit_defaults=True):
    path: str
    digest: str  # of a file from elsewhere: of its source and its version there
    size_bytes: int
    source: str = ""


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
    how: str  # it ended: done, error, cancelled, revoked (given back), preempted, lost
    claimed_at: float
    started_at: float | None = None
    ended_at: float | None = None
    signal: str = ""
    charged_ucredits: int = 0
    lost_ucredits: int = 0  # what it would have cost, had its machine stayed


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
