"""What Jupyter Server renamed or moved. A job, and a kernel, keep the name of their notebook that
was right when they began: with the time of each rename it is known which notebook that is now.
"""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from jupyter_remote.connection import home_of
from jupyter_remote.settings import Settings

FILE_NAME = "renames.jsonl"


class Rename(msgspec.Struct, frozen=True):
    """Of a notebook, or of a folder. Absolute paths."""

    at: float  # seconds since 1970
    old: str
    new: str

    def after(self, path: str) -> str | None:
        """What ``path`` is called from then on; None: it stays."""
        return _moved(path, self.old, self.new)

    def before(self, path: str) -> str | None:
        return _moved(path, self.new, self.old)


def _moved(path: str, old: str, new: str) -> str | None:
    if path != old and not path.startswith(old + os.sep):
        return None
    return new + path[len(old) :]


class Name(NamedTuple):
    """That a notebook had between two times."""

    path: str
    since: float
    until: float

    def was_at(self, at: float) -> bool:
        return self.since < at <= self.until


def now_of(path: str, since: float, renames: Sequence[Rename]) -> str:
    """What the notebook is called now that was called ``path`` then."""
    for rename in renames:
        if rename.at >= since:
            path = rename.after(path) or path
    return path


def names_of(path: str, renames: Sequence[Rename]) -> list[Name]:
    """All names of a notebook, the one of now first. Another notebook may have had them before,
    and may have them after it."""
    names: list[Name] = []
    until = math.inf
    for rename in reversed(renames):
        if rename.after(path) is not None:  # that was another one
            return [*names, Name(path, rename.at, until)]
        if (earlier := rename.before(path)) is not None:
            names.append(Name(path, rename.at, until))
            path, until = earlier, rename.at
    return [*names, Name(path, -math.inf, until)]


class Log:
    """A file of renames, in their order. It is never cut: people rename by hand."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._read_to = 0
        self._known: list[Rename] = []

    def add(self, rename: Rename) -> None:
        """Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        line = msgspec.json.encode(rename) + b"\n"
        handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with open(handle, "ab+", buffering=0) as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # there was no room for the end of that line
                    line = b"\n" + line
            file.write(line)  # at once: another server may add, too

    def all(self) -> Sequence[Rename]:
        """What is new is read, no more; nothing of a file that cannot be."""
        with self._lock:
            try:
                size = self._path.stat().st_size
                if size < self._read_to:  # it is another file
                    self._known, self._read_to = [], 0
                if size > self._read_to:
                    self._read()
            except OSError:
                return []
            return tuple(self._known)

    def _read(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._read_to)
            for line in file:
                if not line.endswith(b"\n"):  # it is being written
                    return
                self._read_to += len(line)
                try:
                    self._known.append(msgspec.json.decode(line, type=Rename))
                except msgspec.DecodeError:
                    continue


@functools.cache
def _log_in(folder: Path) -> Log:
    return Log(folder / FILE_NAME)


def log() -> Log:
    """That of this user. Server and kernels share Jupyter's data folder, not all our settings."""
    return _log_in(home_of(Settings()))
