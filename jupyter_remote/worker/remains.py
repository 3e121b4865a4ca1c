"""What a kernel process leaves to its launcher when it dies: what it has written and not sent."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import sys
import tempfile
import termios
from collections.abc import Mapping

from jupyter_remote.worker import channel
from jupyter_remote.worker.stacks import readable
from jupyter_remote.worker.tail import NAMES, read_tail

PIPE_BYTES = 256 * 1024
FULL_S = 1.0
READ_BYTES = 256 * 1024


class Remains:
    """The tail file, and the pipes that are the process's stdout and stderr."""

    def __init__(self) -> None:
        self._tail = [_nameless_file()]
        self._reading, self._writing = list[int](), list[int]()
        self._full_since: dict[int, float] = {}
        for reading, writing in (_pipe(), _pipe()):
            self._reading.append(reading)
            self._writing.append(writing)

    @property
    def fds(self) -> list[int]:
        """For the kernel process: the tail file, then the two ends of either pipe."""
        out, err = zip(self._reading, self._writing, strict=True)
        return [*self._tail, *out, *err]

    def handed_over(self) -> None:
        """The process has these descriptors now."""
        for fd in self._writing:
            os.close(fd)
        self._writing.clear()

    def last_words(
        self, heard_bytes: int, names: Mapping[str, str], folder: str
    ) -> list[channel.FromKernel]:
        """Of a dead process; see ``read_tail`` and ``readable``."""
        texts, dump = read_tail(self._tail[0], heard_bytes)
        written = [_rest_of(fd).decode("utf-8", "replace") for fd in self._reading]
        written[1] = readable(written[1] + dump, names, folder).rstrip("\n")
        written[1] += "\n" if written[1] else ""
        ends = [channel.Text(n, text) for n, text in zip(NAMES, written, strict=True) if text]
        return [*texts, *ends]

    def relieve(self, now: float) -> list[channel.Text]:
        """What is in pipes that stay full: C code that prints and holds the interpreter meanwhile
        would wait for ever for the thread that reads them."""
        texts = []
        for fd, name in zip(self._reading, NAMES, strict=False):
            if not _is_full(fd):
                self._full_since.pop(fd, None)
            elif now - self._full_since.setdefault(fd, now) >= FULL_S:
                texts.append(channel.Text(name, _rest_of(fd).decode("utf-8", "replace")))
        return texts

    def close(self) -> None:
        for fds in (self._tail, self._reading, self._writing):
            while fds:
                os.close(fds.pop())


def _pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # C code may print while nobody can read
        with contextlib.suppress(OSError):  # a user has only so much
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return reading, writing


def _is_full(fd: int) -> bool:
    """Is there less room in a pipe than one write may want? A page may be full of one byte."""
    if not hasattr(fcntl, "F_GETPIPE_SZ"):
        return False
    held = int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)
    return held > fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) - select.PIPE_BUF


def _rest_of(fd: int) -> bytes:
    parts = []
    with contextlib.suppress(BlockingIOError):
        while part := os.read(fd, READ_BYTES):
            parts.append(part)
    return b"".join(parts)


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("jupyter-remote-tail")
    fd, path = tempfile.mkstemp()
    os.unlink(path)
    return fd
