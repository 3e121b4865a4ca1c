"""Bytes that two processes of one user on one computer hand to each other: files in memory.

A folder belongs to the process that made it and goes with it; other processes may put files there.
Files are named by their content, so that what is there already is not written again.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import weakref
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jupyter_remote import mapping

if sys.platform != "win32":
    import fcntl

MEMORY = Path("/dev/shm")  # Linux; elsewhere there is no such folder
SHARE = 4  # of what is free there one folder takes this part
PREFIX = "jupyter-remote"


class Folder:
    """Made and kept by one process. ``path`` is empty where there is no such thing.

    What is used least goes when there is no room; what is pinned stays.
    """

    def __init__(self, memory: Path = MEMORY) -> None:
        self.path = ""
        self._held: OrderedDict[str, int] = OrderedDict()  # digest → bytes, least used first
        self._pins: Counter[str] = Counter()
        self._let_go: deque[str] = deque()  # pins that are over: whoever collects garbage says so
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._claim = -1  # says to others that the folder is used
        if not os.access(memory, os.W_OK | os.X_OK):
            return
        _sweep(memory)
        self.path = tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getuid()}-{os.getpid()}-", dir=memory)
        self._claim = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._claim, fcntl.LOCK_SH | fcntl.LOCK_NB)

    @property
    def held(self) -> dict[str, int]:
        """What is there: digests, with their bytes."""
        with self._lock:
            return dict(self._held)

    def has(self, digest: str) -> bool:
        with self._lock:
            if digest not in self._held:
                return False
            if not os.access(Path(self.path, digest), os.R_OK):  # somebody cleans up in there
                del self._held[digest]
                return False
            self._held.move_to_end(digest)
            return True

    def pin(self, digests: Iterable[str], holder: object) -> None:
        """They stay for as long as ``holder`` lives."""
        with self._lock:
            found = [digest for digest in digests if digest in self._held]
            self._pins.update(found)
        if found:
            weakref.finalize(holder, self._let_go.extend, found).atexit = False

    def put(self, contents: Mapping[str, Any], holder: object) -> set[str]:
        """Write buffers, by their digests, and pin them; which of them are there now. Others found
        no room."""
        there = set()
        for digest, buffer in contents.items():
            view = mapping.flat(buffer)
            with self._lock:
                here = self.has(digest) or (
                    self._make_room(view.nbytes) and write(self.path, digest, view)
                )
                if here:
                    self._held[digest] = view.nbytes
                    self.pin([digest], holder)
                    there.add(digest)
        return there

    def adopt(self, sizes: Mapping[str, int], holder: object) -> None:
        """Another process put these there, for ``holder``: digests, with their bytes."""
        with self._lock:
            if not self.path:
                return
            self._held.update({d: n for d, n in sizes.items() if Path(self.path, d).exists()})
            self.pin(sizes, holder)
            self._make_room(0)

    def _make_room(self, size_bytes: int) -> bool:
        if not self.path:
            return False
        while self._let_go:
            self._pins[self._let_go.popleft()] -= 1
        self._pins = +self._pins
        try:
            found = os.statvfs(self.path)
        except OSError:  # it was removed, as at the end of a login: values travel as blobs
            self._held.clear()
            self.path = ""
            return False
        held = sum(self._held.values())
        limit = (found.f_bavail * found.f_frsize + held) // SHARE
        for digest in [d for d in self._held if d not in self._pins]:
            if held + size_bytes <= limit:
                break
            Path(self.path, digest).unlink(missing_ok=True)
            held -= self._held.pop(digest)
        return held + size_bytes <= limit

    def close(self) -> None:
        """Whatever is mapped from there stays mapped."""
        if self.path and os.getpid() == self._pid:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._claim >= 0:
            os.close(self._claim)
        self.path, self._claim = "", -1
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
        if pid.isdigit() and not _alive(int(pid)) and not _is_claimed(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_claimed(folder: Path) -> bool:
    """A process of another container has another number here."""
    try:
        claim = os.open(folder, os.O_RDONLY)
    except OSError:
        return True
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(claim)
    return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
