"""SIGINT in a kernel process: KeyboardInterrupt in user code, nothing between jobs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType, TracebackType
from typing import Any, Generic, NoReturn, TypeVar

AGAIN_S = 0.01

T = TypeVar("T")


class Interruptible(Generic[T]):
    """Awaits a coroutine so that an interrupt is a KeyboardInterrupt at its ``await``.

    asyncio itself can only cancel, which user code would see as CancelledError.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[Any] | None = None
        self._interrupted = False

    def interrupt(self) -> None:
        """Called on the loop, never while a step of it runs."""
        if self._task is not None and not self._task.done():
            self._interrupted = True
            self._task.cancel()

    def __await__(self) -> Generator[Any, Any, T]:
        self._task = asyncio.current_task()
        value: Any = None
        step: Any = self._coroutine.send
        while True:
            try:
                future = step(value)
            except StopIteration as stop:
                result: T = stop.value
                return result
            try:
                value = yield future
                step = self._coroutine.send
            except BaseException as error:
                value = self._translated(error)
                step = self._coroutine.throw

    def _translated(self, error: BaseException) -> BaseException:
        if not (self._interrupted and isinstance(error, asyncio.CancelledError)):
            return error
        self._interrupted = False
        if self._task is not None:
            self._task.uncancel()
        return KeyboardInterrupt()


class Interrupts:
    """Owns the SIGINT handler of the process."""

    def __init__(self) -> None:
        self._open = False
        self._held = 0
        self._pending = False
        self._ran = False
        self._waiting: Interruptible[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._instead: Callable[[], None] | None = None
        self._deferred: list[Callable[[], None]] = []
        self._aside = False
        self._came = False  # one did, in the midst of what runs aside
        self._hook = sys.unraisablehook

    def install(self) -> None:
        signal.signal(signal.SIGINT, self._on_sigint)

    def _on_sigint(self, signum: int, frame: FrameType | None) -> None:
        if self._aside and not self._held:
            self._leave_aside()
        elif not self._open:
            # Before the first job it can only be meant for the job that is on its way.
            self._pending = not self._ran
        elif self._held:
            self._pending = True
        elif self._instead is not None:
            self._instead()
        elif self._loop is not None and self._waiting is not None and self._idle():
            self._loop.call_soon_threadsafe(self._waiting.interrupt)
        else:
            raise KeyboardInterrupt

    def _idle(self) -> bool:
        """Is the loop waiting, so that an exception raised here would hit no user code?"""
        return asyncio.current_task(self._loop) is None

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """User code runs: an interrupt raises KeyboardInterrupt in it."""
        self.install()
        self._open = True
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        try:
            self._raise_pending()
            yield
        finally:
            self._open = False
            self._ran = True
            self._pending = False
            if sys.unraisablehook == self._unraisable:
                sys.unraisablehook = self._hook

    def _unraisable(self, what: sys.UnraisableHookArgs) -> None:
        """Python drops what is raised in ``__del__``, after a fork and the like: an interrupt that
        came just then comes once more."""
        if _raised_in(what.exc_traceback) is _ON_SIGINT:
            threading.Timer(AGAIN_S, os.kill, (os.getpid(), signal.SIGINT)).start()
        else:
            self._hook(what)

    @contextmanager
    def held(self) -> Iterator[None]:
        """An interrupt waits until the end of the block: nothing is lost half-way."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        while self._deferred and not self._held:
            self._deferred.pop(0)()
        self._raise_pending()

    def _raise_pending(self) -> None:
        if self._pending and not self._held:
            self._pending = False
            if self._aside:
                self._leave_aside()
            raise KeyboardInterrupt

    def soon(self, action: Callable[[], None]) -> None:
        """Call ``action`` now; or, where an interrupt would wait, when it would not any more."""
        if self._held:
            self._deferred.append(action)
        else:
            action()

    def aside(self, work: Callable[[], None]) -> None:
        """Do ``work`` in the midst of whatever runs. An interrupt ends the work, and then is for
        what it was done in the midst of."""
        self._aside, self._came = True, False
        try:
            work()
        except KeyboardInterrupt:
            if not self._came:
                raise
        finally:
            self._aside = False
        if self._came:
            self._on_sigint(signal.SIGINT, None)

    def ends(self, error: BaseException) -> bool:
        """Is this how an interrupt ends the work aside? Of a handler of the user's own nobody knows
        whether it was one: then it is taken for one."""
        own = signal.getsignal(signal.SIGINT) == self._on_sigint
        return self._came or (issubclass(type(error), KeyboardInterrupt) and not own)

    def _leave_aside(self) -> NoReturn:
        self._came = True
        raise KeyboardInterrupt

    @contextmanager
    def instead(self, action: Callable[[], None]) -> Iterator[None]:
        """Inside the block an interrupt calls ``action`` and raises nothing by itself."""
        self._instead = action
        try:
            yield
        finally:
            self._instead = None

    @contextmanager
    def waiting(self, loop: asyncio.AbstractEventLoop, what: Interruptible[Any]) -> Iterator[None]:
        """``what`` is awaited on ``loop``: while the loop is idle, interrupt it there."""
        before = self._loop, self._waiting
        self._loop, self._waiting = loop, what
        try:
            yield
        finally:
            self._loop, self._waiting = before


_ON_SIGINT = Interrupts._on_sigint.__code__


def _raised_in(tb: TracebackType | None) -> CodeType | None:
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    return tb and tb.tb_frame.f_code
