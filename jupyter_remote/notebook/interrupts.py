"""The stop button while a cell waits for its job: soft, then hard, then away."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
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
        self._asking = False
        self._is_ours = False  # the signal that comes next

    def _interrupted(self, signum: int, frame: FrameType | None) -> None:
        ours, self._is_ours = self._is_ours, False
        asking, self._asking = self._asking, False
        self.count += not ours
        if asking:
            raise KeyboardInterrupt
        self._wake()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Inside the block, which waits for a person, an interrupt counts and is raised, too."""
        self._asking = True
        try:
            yield
        finally:
            self._asking = False

    def end_asking(self) -> None:
        """Ends the block with KeyboardInterrupt, from another thread: it waits for nothing more."""
        if self._previous is None or not self._asking:
            return
        self._is_ours = True
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        else:
            _thread.interrupt_main()

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
