"""What the attempts of one agent share."""

from __future__ import annotations

from pathlib import Path

import msgspec

from jupyter_remote.clock import Clock
from jupyter_remote.worker.folding import Bounds
from jupyter_remote.worker.link import Link
from jupyter_remote.worker.metrics import Gpus
from jupyter_remote.worker.slots import Kernels
from jupyter_remote.worker.transfer import Transfer


class Means(msgspec.Struct, kw_only=True):
    """Made by the agent; ``heartbeat_s`` and ``dead_man_s`` are what the server says."""

    link: Link
    kernels: Kernels
    transfer: Transfer
    clock: Clock
    gpus: Gpus
    bounds: Bounds
    work: Path  # empty at first; folders of jobs are made here
    log_bytes: int  # of the log of one job
    grace_s: float  # between interrupt and kill
    heartbeat_s: float = 5.0
    dead_man_s: float = 30.0
