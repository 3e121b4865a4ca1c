"""Output of C code and child processes: file descriptors 1 and 2 become pipes to ourselves."""

from __future__ import annotations

import codecs
import functools
import os
import select
import sys
import threading
from collections.abc import Iterable
from typing import Any

from jupyter_remote.worker.outputs import Writer
from jupyter_remote.worker.tail import READ_BYTES

NAMES = {1: "stdout", 2: "stderr"}


class _Polls(threading.local):
    """Of each thread its own: a poll object serves one at a time."""

    def __init__(self, fds: Iterable[int]) -> None:
        poll = select.poll()
        for fd in fds:
            poll.register(fd, select.POLLIN)
        self.poll = poll.poll


class Capture:
    """Reads the pipes in a thread, and at once in whoever prints next, so that order holds."""

    def __init__(self, writer: Writer, pipes: list[int]) -> None:
        """``pipes``: reading and writing end of one for stdout, and of one for stderr."""
        self._writer = writer
        self._lock = threading.RLock()
        self._reading = False
        self._writing: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._decoders: dict[int, codecs.IncrementalDecoder] = {}
        for (fd, name), reading, writing in zip(
            NAMES.items(), pipes[::2], pipes[1::2], strict=True
        ):
            os.dup2(writing, fd, inheritable=True)
            self._writing[fd] = writing
            self._names[reading] = name
            self._decoders[reading] = codecs.getincrementaldecoder("utf-8")("replace")
        self._polls = _Polls(list(self._names))
        threading.Thread(target=self._watch, name="jupyter-remote-fds", daemon=True).start()

    def _watch(self) -> None:
        while True:
            self._polls.poll()
            self.drain()

    def drain(self) -> None:
        """Pass on what is in the pipes now."""
        # Asked in this order: what is no longer in a pipe is being read, or was passed on.
        if self._writer.forked or not (self._polls.poll(0) or self._reading):
            return
        with self._lock:
            self._reading = True
            try:
                for fd, _ in self._polls.poll(0):
                    self._pass_on(fd)
            finally:
                self._reading = False

    def _pass_on(self, fd: int) -> None:
        while True:
            try:
                data = self._writer.read(fd, self._names[fd])
            except BlockingIOError:
                return
            if text := self._decoders[fd].decode(data):
                self._writer.text(self._names[fd], text)
            if len(data) < READ_BYTES:
                return

    def finish(self) -> None:
        """At the end of a job: what C code still buffers, then what is in the pipes."""
        if sys.platform != "win32":
            _libc().fflush(None)
        self.drain()

    def put_back(self) -> None:
        """After a job that may have closed or replaced its file descriptors 1 and 2."""
        for fd, writing in self._writing.items():
            if not _is_same_file(fd, writing):
                os.dup2(writing, fd, inheritable=True)


def _is_same_file(fd: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(fd, other)
    except OSError:  # it was closed
        return False


@functools.cache
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None)
