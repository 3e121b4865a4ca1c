"""A pickle in memory, read without a copy of it."""

from __future__ import annotations


class Reader:
    """The file that an unpickler wants."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def read(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        return bytes(self._data[start : self._at])

    def readinto(self, target: memoryview) -> int:
        piece = self._data[self._at : self._at + len(target)]
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def readline(self) -> bytes:
        """Only old protocols have lines; ours has none."""
        raise EOFError("a pickle of an old protocol")
