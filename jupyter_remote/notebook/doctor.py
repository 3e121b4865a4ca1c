"""What could be wrong between a notebook and its backend, looked at in order."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from jupyter_remote import __version__
from jupyter_remote.errors import JupyterRemoteError
from jupyter_remote.notebook import words
from jupyter_remote.wire import PROTOCOL

if TYPE_CHECKING:
    from jupyter_remote.notebook.context import Context
    from jupyter_remote.settings import Settings

LEAST_FREE_BYTES = 1 << 30


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    well: bool
    found: str
    mend: str = ""  # the next step, if it is not well


def examine(context: Context) -> Iterator[Check]:
    """Checks, each as soon as it is known."""
    settings = context.settings()
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", True, f"{version} at {sys.executable}")
    yield from _folders(settings)
    yield _way(settings)
    yield from _backend(context)


def _folders(settings: Settings) -> Iterator[Check]:
    from jupyter_core.paths import jupyter_data_dir, jupyter_runtime_dir

    home = Path(settings.home or Path(jupyter_data_dir()) / "jupyter_remote")
    runtime = Path(settings.runtime or jupyter_runtime_dir())
    for name, folder in (("state folder", home), ("runtime folder", runtime)):
        yield _folder(name, folder)


def _folder(name: str, folder: Path) -> Check:
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        mend = "make it writable, or set JUPYTER_REMOTE_HOME and JUPYTER_REMOTE_RUNTIME"
        return Check(name, False, f"{existing} cannot be written", mend)
    free = shutil.disk_usage(existing).free
    if free < LEAST_FREE_BYTES:
        mend = "free some space, or set JUPYTER_REMOTE_HOME to another disk"
        return Check(name, False, f"{folder}: only {words.size(free)} free", mend)
    return Check(name, True, f"{folder}, {words.size(free)} free")


def _way(settings: Settings) -> Check:
    if not settings.url:
        return Check("backend address", True, "none set: the embedded backend of this computer")
    if not settings.token:
        mend = "set JUPYTER_REMOTE_TOKEN in the environment or in .env beside the notebook"
        return Check("backend address", False, f"{settings.url} without a token", mend)
    return Check("backend address", True, settings.url)


def _backend(context: Context) -> Iterator[Check]:
    try:
        info = context.client.info()
    except JupyterRemoteError as error:
        yield Check("backend", False, f"{error.code}: {error.message}", error.hint)
        return
    same = info.protocol == PROTOCOL
    mend = "" if same else "install the same version of jupyter-remote-run on both sides"
    found = f"version {info.version}, protocol {info.protocol}; here {__version__}, {PROTOCOL}"
    yield Check("backend", same, found, mend)
    alive = [worker for worker in info.workers if worker.connected]
    mend = "" if alive else "jobs wait until one connects; see the backend's log"
    yield Check("workers", bool(alive), f"{len(alive)} connected", mend)
    for worker in alive:
        yield _python(worker.id, worker.python)


def _python(worker: str, python: str) -> Check:
    here = sys.version_info[:2]
    there = tuple(int(part) for part in python.split(".")[:2]) if python else here
    mend = "" if here == there else "values cannot travel between different Pythons; cells can"
    return Check(f"worker {worker[:8]}", here == there, f"Python {python or 'unknown'}", mend)
