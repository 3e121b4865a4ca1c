"""What the attempts of one agent share."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_remote.clock import Clock
from jupyter_remote.wire import Assign
from jupyter_remote.worker import channel
from jupyter_remote.worker.environments import Environments
from jupyter_remote.worker.folding import Bounds
from jupyter_remote.worker.link import Link
from jupyter_remote.worker.metrics import Gpus
from jupyter_remote.worker.relay import Relay
from jupyter_remote.worker.slots import Kernels
from jupyter_remote.worker.transfer import Transfer
from jupyter_remote.worker.users import User

if TYPE_CHECKING:
    from jupyter_remote.worker.session_attempt import SessionAttempt

SPARE_FOLDERS = 8


@dataclass(kw_only=True)
class Means:
    """Made by the agent; the server says ``heartbeat_s``, ``dead_man_s`` and ``gpu_idle_s``."""

    link: Link
    kernels: Kernels
    transfer: Transfer
    environments: Environments
    clock: Clock
    relay: Relay
    gpus: Gpus
    bounds: Bounds
    work: Path  # empty at first; folders of jobs are made here
    log_bytes: int  # of the log of one job
    grace_s: float  # between interrupt and kill
    checkpoint_s: float  # that a checkpoint is waited for
    here: bool  # on the computer of its jobs' user: their interpreters can be had
    heartbeat_s: float = 5.0
    dead_man_s: float = 30.0
    gpu_idle_s: float = 0.0
    oom_kills: int = 0  # a moment ago
    user: User | None = None  # who runs user code, if not who runs the agent
    sessions: dict[str, SessionAttempt] = field(
        default_factory=dict
    )  # those that run here, by their job
    # empty ones, to be used again: making and removing costs a millisecond
    folders: list[Path] = field(default_factory=list)

    def message(self, assign: Assign, folder: Path, paths: dict[str, str]) -> channel.Run:
        """For the kernel. ``paths``: of inputs, by their digests."""
        return channel.Run(
            job=assign.job,
            epoch=assign.epoch,
            spec=assign.spec,
            folder=str(folder),
            paths=paths,
            spool=str(self.transfer.spool),
            blobs=str(self.transfer.blobs or ""),
            gpus=assign.gpus,
            rate_ucredits_per_h=assign.rate_ucredits_per_h,
            started_at=self.clock.now(),
        )

    def folder(self, name: str) -> Path:
        """An empty folder. Raises OSError."""
        if self.folders:
            return self.folders.pop()
        folder = self.work / name
        folder.mkdir(mode=0o700)
        if self.user is not None:
            self.user.own(folder)
        return folder

    async def done_with(self, folder: Path) -> None:
        """Nobody uses this folder any more."""
        try:
            with os.scandir(folder) as entries:
                empty = next(entries, None) is None
        except OSError:  # user code removed it, or forbade to look into it
            empty = False
        if empty and len(self.folders) < SPARE_FOLDERS:
            self.folders.append(folder)
        else:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
