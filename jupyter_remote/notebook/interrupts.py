"""The stop button while a cell waits for its job: soft, then hard, then away."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """Counts SIGINTs in place of raising KeyboardInterrupt wherever the main thread is.

    Outside the main thread, where no handler can be set, it changes nothing.

    Parameters
    ----------
    wake: called at each one, in the signal handler.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.count = 0
        self._wake = wake
        self._previous: Any = None

    def _interrupted(self, signum: int, frame: FrameType | None) -> None:
        self.count += 1
        self._wake()

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Inside the block an interrupt is a KeyboardInterrupt, as without this."""
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
