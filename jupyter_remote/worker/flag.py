"""An event that a signal handler may set while its own thread does the same."""

from __future__ import annotations

import _thread
from collections import deque


class Flag:
    """As ``threading.Event``, which has a lock inside that is not reentrant: a handler that comes
    while its thread holds that would wait for ever. Here each step is one of the interpreter's."""

    def __init__(self) -> None:
        self._set = False
        self._waiting: deque[_thread.LockType] = deque()

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        while self._waiting:
            try:
                waiter = self._waiting.popleft()
            except IndexError:  # another thread, or a handler, was quicker
                return
            waiter.release()

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout_s: float = -1) -> bool:
        """Was it set within so long? Negative: however long it takes."""
        if self._set:
            return True
        waiter = _thread.allocate_lock()
        waiter.acquire()
        self._waiting.append(waiter)
        if self._set or not waiter.acquire(timeout=timeout_s):
            try:
                self._waiting.remove(waiter)
            except ValueError:  # it was set just now
                return True
            return self._set
        return True
