"""An answer that is asked for once in a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from jupyter_remote.errors import LaunchRefused

T = TypeVar("T")
ERROR_S = 5.0  # who has no credentials is not asked for them at every look


class Kept(Generic[T]):
    """What ``ask`` gave, for ``keep_s``; an error for a shorter time. One thread asks at once."""

    def __init__(
        self, ask: Callable[[], T], keep_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._keep_s = keep_s
        self._now = now
        self._lock = threading.Lock()
        self._value: tuple[T] | None = None
        self._error: LaunchRefused | OSError | None = None
        self._until = 0.0

    def get(self) -> T:
        with self._lock:
            if self._now() >= self._until:
                self._renew()
            if self._value is None:
                assert self._error is not None
                raise _again(self._error)
            return self._value[0]

    def _renew(self) -> None:
        self._value = self._error = None
        self._until = 0.0  # an error that nobody foresaw is not kept
        try:
            self._value = (self._ask(),)
        except (LaunchRefused, OSError) as error:
            self._error = error
        self._until = self._now() + (ERROR_S if self._error else self._keep_s)


def _again(error: LaunchRefused | OSError) -> LaunchRefused | OSError:
    """The same error, with a traceback of its own."""
    if isinstance(error, LaunchRefused):
        return LaunchRefused(error.message, hint=error.hint, kind=error.kind)
    return ConnectionError(str(error))
