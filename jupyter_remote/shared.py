"""Bytes that two processes of one user on one computer hand to each other: files in memory.

A folder belongs to the process that made it and goes with it; other processes may put files there.
Files are named by their content, so that what is there already is not written again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyter_remote import mapping

MEMORY = Path("/dev/shm")  # Linux; elsewhere there is no such folder
SHARE = 4  # of what is free there one folder takes this part
PREFIX = "jupyter-remote"


class Folder:
    """Made and kept by one process. ``path`` is empty where there is no such thing."""

    def __init__(self, memory: Path = MEMORY) -> None:
        self.path = ""
        self._held: OrderedDict[str, int] = OrderedDict()  # digest → bytes, least used first
        self._pid = os.getpid()
        if not os.access(memory, os.W_OK | os.X_OK):
            return
        _sweep(memory)
        self.path = tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getuid()}-{os.getpid()}-", dir=memory)

    @property
    def held(self) -> dict[str, int]:
        """What is there: digests, with their bytes."""
        return dict(self._held)

    def has(self, digest: str) -> bool:
        if digest in self._held:
            self._held.move_to_end(digest)
            return True
        return False

    def put(self, contents: Mapping[str, Any]) -> set[str]:
        """Write buffers, by their digests; which of them are there now. Others found no room."""
        there = set()
        for digest, buffer in contents.items():
            view = mapping.flat(buffer)
            if self.has(digest) or (
                self._make_room(view.nbytes) and write(self.path, digest, view)
            ):
                self._held[digest] = view.nbytes
                there.add(digest)
        return there

    def adopt(self, digest: str, size_bytes: int) -> None:
        """Another process put it there."""
        self._held[digest] = size_bytes
        self._make_room(0)

    def _make_room(self, size_bytes: int) -> bool:
        if not self.path:
            return False
        found = os.statvfs(self.path)
        held = sum(self._held.values())
        limit = (found.f_bavail * found.f_frsize + held) // SHARE
        while self._held and held + size_bytes > limit:
            digest, gone = self._held.popitem(last=False)
            Path(self.path, digest).unlink(missing_ok=True)
            held -= gone
        return held + size_bytes <= limit

    def close(self) -> None:
        """Whatever is mapped from there stays mapped."""
        if self.path and os.getpid() == self._pid:
            shutil.rmtree(self.path, ignore_errors=True)
        self.path = ""
        self._held.clear()


def write(folder: str, digest: str, view: memoryview) -> bool:
    """Put a buffer into a folder; false when it finds no room."""
    try:
        [name] = mapping.spool({digest: view}, folder).values()
        made = Path(folder, name)
        made.rename(Path(folder, digest))
        mapping.trust(os.stat(Path(folder, digest)), digest)
    except OSError:
        return False
    return True


def find(folder: str, digest: str) -> Path | None:
    """Where a buffer is, if it is in this folder: it holds what it should, its writer saw to it."""
    if not folder:
        return None
    path = Path(folder, digest)
    try:
        mapping.trust(os.stat(path), digest)
    except OSError:
        return None
    return path


def _sweep(memory: Path) -> None:
    """Folders of processes that are gone."""
    for folder in memory.glob(f"{PREFIX}-{os.getuid()}-*"):
        pid = folder.name.split("-")[3]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
