"""A job's whole text output, byte for byte, on disk: what is too much to show is still there."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import BinaryIO

MIB = 1024 * 1024
GIB = 1024 * MIB


class Spill:
    """The log of one attempt. Small output never touches the disk."""

    def __init__(self, path: Path, limit_bytes: int = 2 * GIB, memory_bytes: int = 256 * 1024):
        self.path = path
        self.size_bytes = 0
        self.cut_bytes = 0  # above the limit, or not written because the disk is full
        self.problem = ""  # why nothing more is written, in words
        self._limit_bytes = limit_bytes
        self._memory_bytes = memory_bytes
        self._memory = bytearray()
        self._file: BinaryIO | None = None

    def write(self, text: str) -> bool:
        """Append ``text``. False the first time that some of it could not be kept."""
        data = text.encode("utf-8", "backslashreplace")
        if self.problem:
            self.cut_bytes += len(data)
            return True
        room = self._limit_bytes - self.size_bytes
        try:
            self._append(data[:room])
        except OSError as error:
            self.problem = f"the log could not be written: {error.strerror}"
        else:
            if len(data) > room:
                self.problem = f"the log ends at its limit of {self._limit_bytes:,} bytes"
                self.cut_bytes = len(data) - room
        return not self.problem

    def last(self, size: int) -> str:
        """The last ``size`` bytes as text."""
        if self._file is None:
            return self._memory[-size:].decode(errors="replace")
        with contextlib.suppress(OSError):  # the disk is full: it is what was written before
            self._file.flush()
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - size))
            return file.read().decode(errors="replace")

    def close(self) -> Path:
        """Write out everything; returns where it is. Raises OSError when the disk is full."""
        file = self._file or self._open()
        file.close()
        return self.path

    def discard(self) -> None:
        """Nobody needs it."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # no room for the rest of it
                self._file.close()
            self.path.unlink(missing_ok=True)

    def _append(self, data: bytes) -> None:
        if self._file is None and len(self._memory) + len(data) <= self._memory_bytes:
            self._memory += data
        else:
            (self._file or self._open()).write(data)
        self.size_bytes += len(data)

    def _open(self) -> BinaryIO:
        file = self._file = self.path.open("wb", buffering=MIB)
        file.write(self._memory)
        self._memory = bytearray()
        return file
