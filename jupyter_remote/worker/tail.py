"""Text that a kernel process has not sent yet, in memory that outlives it."""

from __future__ import annotations

import mmap
import os
import re
import struct
from collections.abc import Iterator

from jupyter_remote.worker import channel

REGION_BYTES = 5 * 1024 * 1024
FULL_BYTES = 4 * 1024 * 1024
NAMES = ("stdout", "stderr")

# The region that is added to; how many bytes of text the process had said before the other one.
_HEAD = struct.Struct("<BQ")
# What is being read from a pipe: the mark of its stream, the bytes, nothing but _END behind them.
_READING = _HEAD.size + 2 * REGION_BYTES
READ_BYTES = 64 * 1024
SIZE_BYTES = _READING + 1 + READ_BYTES  # faulthandler writes behind it

# Before text of either stream, and behind the last: bytes that UTF-8 does not have.
_MARKS = {"stdout": b"\xfe", "stderr": b"\xff"}
_END = b"\xfd"
_STREAMS = {mark: name for name, mark in _MARKS.items()}


class Tail:
    """A file shared with the launcher: what is not sent when the process dies is still there.

    There are two regions: text is added to one while that in the other is on its way. How much
    of that has arrived is known to the launcher. Called with the writer's lock held.
    """

    def __init__(self, fd: int) -> None:
        os.ftruncate(fd, SIZE_BYTES)
        os.lseek(fd, SIZE_BYTES, os.SEEK_SET)
        self._memory = mmap.mmap(fd, SIZE_BYTES)
        self._adding = self._begin = self._at = self._limit = 0
        self._name = ""
        self._said_bytes = 0  # before what is added now
        self._empty(0)
        self._memory[_READING:] = _END * (1 + READ_BYTES)
        self._reading = memoryview(self._memory)[_READING + 1 :]
        self._write_head()

    @property
    def full(self) -> bool:
        """Whoever adds more has to wait."""
        return self._at - self._begin > FULL_BYTES

    def add(self, name: str, text: str) -> None:
        """Adding after each print has to be quick."""
        data = text.encode() + _END
        if name != self._name:
            data = _MARKS[name] + data
        end = self._at + len(data)
        if end <= self._limit:
            self._memory[self._at : end] = data
            self._name, self._at = name, end - 1

    def read(self, fd: int, name: str) -> bytes:
        """What is in a pipe, ``READ_BYTES`` at most. It goes from there to here without a moment
        in which a death would lose it, and has to be added next. By one thread at a time."""
        self._memory[_READING : _READING + 1] = _MARKS[name]
        size = os.readv(fd, [self._reading])
        data = bytes(self._reading[:size])
        self._reading[:size] = _END * size
        return data

    def depart(self, text_bytes: int) -> None:
        """What was added is on its way now; it is so much."""
        self._adding = 1 - self._adding
        self._empty(self._adding)
        self._write_head()
        self._said_bytes += text_bytes

    def _empty(self, region: int) -> None:
        self._begin = self._at = _HEAD.size + region * REGION_BYTES
        self._limit = self._begin + REGION_BYTES
        self._name = ""
        self._memory[self._begin : self._begin + 1] = _END

    def _write_head(self) -> None:
        self._memory[: _HEAD.size] = _HEAD.pack(self._adding, self._said_bytes)


def read_tail(fd: int, heard_bytes: int) -> tuple[list[channel.Text], str]:
    """What a dead kernel has said beyond the ``heard_bytes`` of text that arrived, and what
    faulthandler said about its death."""
    head = os.pread(fd, _HEAD.size, 0)
    if len(head) < _HEAD.size:  # it died before it began
        return [], ""
    adding, said_bytes = _HEAD.unpack(head)
    texts = [*_texts(fd, 1 - adding), *_texts(fd, adding)]
    said = b""
    while part := os.pread(fd, 1 << 20, SIZE_BYTES + len(said)):
        said += part
    beyond = [*_beyond(texts, max(0, heard_bytes - said_bytes)), *_being_read(fd)]
    return beyond, said.decode("utf-8", "replace")


def _being_read(fd: int) -> Iterator[channel.Text]:
    data = os.pread(fd, 1 + READ_BYTES, _READING).rstrip(_END)
    if text := data[1:].decode("utf-8", "replace"):
        yield channel.Text(_STREAMS[data[:1]], text)


def _texts(fd: int, region: int) -> list[tuple[str, bytes]]:
    data, _, _ = os.pread(fd, REGION_BYTES, _HEAD.size + region * REGION_BYTES).partition(_END)
    entries = re.findall(rb"([\xfe\xff])([^\xfe\xff]*)", data)
    return [(_STREAMS[mark], text) for mark, text in entries]


def _beyond(texts: list[tuple[str, bytes]], heard_bytes: int) -> Iterator[channel.Text]:
    for name, text in texts:
        if rest := text[heard_bytes:]:
            yield channel.Text(name, rest.decode("utf-8", "replace"))
        heard_bytes = max(0, heard_bytes - len(text))
