"""Text that a kernel process has not sent yet, in memory that outlives it."""

from __future__ import annotations

import mmap
import os
import re
import struct

from jupyter_remote.worker import channel

REGION_BYTES = 5 * 1024 * 1024
FULL_BYTES = 4 * 1024 * 1024
NAMES = ("stdout", "stderr")

# The region that is added to; is the other on its way; how much of its text has arrived.
_HEAD = struct.Struct("<B?I")
SIZE_BYTES = _HEAD.size + 2 * REGION_BYTES  # faulthandler writes behind it

# Before text of either stream, and behind the last: bytes that UTF-8 does not have.
_MARKS = {"stdout": b"\xfe", "stderr": b"\xff"}
_END = b"\xfd"
_STREAMS = {mark: name for name, mark in _MARKS.items()}


class Tail:
    """A file shared with the launcher: what is not sent when the process dies is still there.

    There are two regions: text is added to one while that in the other is on its way.
    Called with the writer's lock held.
    """

    def __init__(self, fd: int) -> None:
        os.ftruncate(fd, SIZE_BYTES)
        os.lseek(fd, SIZE_BYTES, os.SEEK_SET)
        self._memory = mmap.mmap(fd, SIZE_BYTES)
        self._adding = self._begin = self._at = self._limit = 0
        self._name = ""
        self._empty(0)
        self._write_head(False)

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

    def depart(self) -> None:
        """What was added is on its way now."""
        self._adding = 1 - self._adding
        self._empty(self._adding)
        self._write_head(True)

    def passed(self, sent_bytes: int) -> None:
        """So much of the text that is on its way has reached the socket."""
        self._write_head(True, sent_bytes)

    def arrived(self) -> None:
        """All of it has."""
        self._write_head(False)

    def _empty(self, region: int) -> None:
        self._begin = self._at = _HEAD.size + region * REGION_BYTES
        self._limit = self._begin + REGION_BYTES
        self._name = ""
        self._memory[self._begin : self._begin + 1] = _END

    def _write_head(self, flying: bool, sent_bytes: int = 0) -> None:
        self._memory[: _HEAD.size] = _HEAD.pack(self._adding, flying, sent_bytes)


def read_tail(fd: int) -> tuple[list[channel.Text], str]:
    """What a dead kernel had not sent, and what faulthandler said about its death."""
    head = os.pread(fd, _HEAD.size, 0)
    if len(head) < _HEAD.size:  # it died before it began
        return [], ""
    adding, flying, sent_bytes = _HEAD.unpack(head)
    texts = _texts(fd, 1 - adding, sent_bytes) if flying else []
    said = b""
    while part := os.pread(fd, 1 << 20, SIZE_BYTES + len(said)):
        said += part
    return [*texts, *_texts(fd, adding, 0)], said.decode("utf-8", "replace")


def _texts(fd: int, region: int, sent_bytes: int) -> list[channel.Text]:
    data, _, _ = os.pread(fd, REGION_BYTES, _HEAD.size + region * REGION_BYTES).partition(_END)
    found = list[channel.Text]()
    for mark, text in re.findall(rb"([\xfe\xff])([^\xfe\xff]*)", data):
        rest = text[sent_bytes:]
        sent_bytes = max(0, sent_bytes - len(text))
        if rest:
            found.append(channel.Text(_STREAMS[mark], rest.decode("utf-8", "replace")))
    return found
