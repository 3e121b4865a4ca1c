"""State of a process that its next job must not find changed: signals, timers, hooks, logging.

What libraries set up for themselves when they are imported stays: they would not do so again.
"""

from __future__ import annotations

import faulthandler
import gc
import inspect
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

NUMBERS = sorted(map(int, set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}))
handler_of = inspect.unwrap(signal.getsignal)  # does not look for a name of each
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_OURS = "jupyter-remote"  # names of our threads begin so


class Kept(NamedTuple):
    """One piece of state: read after each job, put back where it is not what it was."""

    read: Callable[[], Any]
    write: Callable[[Any], object]


def _set_handlers(handlers: list[Any]) -> None:
    for number, handler in zip(NUMBERS, handlers, strict=True):
        if handler is not None and handler is not handler_of(number):  # None: not Python's
            signal.signal(number, handler)


_LIMITS = sorted({number for name, number in vars(resource).items() if name[:7] == "RLIMIT_"})


def _limits() -> list[tuple[int, int]]:
    return [resource.getrlimit(number) for number in _LIMITS]


def _set_limits(limits: list[tuple[int, int]]) -> None:
    for number, (soft, hard) in zip(_LIMITS, limits, strict=True):
        now = resource.getrlimit(number)
        if now != (soft, hard):  # a hard limit that was lowered stays so
            resource.setrlimit(number, (_lower(soft, now[1]), now[1]))


def _lower(limit: int, other: int) -> int:
    """Of two limits, where -1 is none."""
    return min(limit, other, key=lambda one: float("inf") if one == resource.RLIM_INFINITY else one)


KEPT = (
    Kept(lambda: list(map(handler_of, NUMBERS)), _set_handlers),
    Kept(
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        lambda mask: signal.pthread_sigmask(signal.SIG_SETMASK, mask),
    ),
    Kept(_limits, _set_limits),
    Kept(sys.getrecursionlimit, sys.setrecursionlimit),
    Kept(sys.getswitchinterval, sys.setswitchinterval),
    Kept(sys.gettrace, sys.settrace),
    Kept(sys.getprofile, sys.setprofile),
    Kept(threading.gettrace, threading.settrace),
    Kept(threading.getprofile, threading.setprofile),
    Kept(gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    Kept(gc.get_threshold, lambda threshold: gc.set_threshold(*threshold)),
    Kept(socket.getdefaulttimeout, socket.setdefaulttimeout),
    Kept(lambda: tempfile.tempdir, lambda folder: setattr(tempfile, "tempdir", folder)),
    Kept(lambda: sys.excepthook, lambda hook: setattr(sys, "excepthook", hook)),
    Kept(lambda: threading.excepthook, lambda hook: setattr(threading, "excepthook", hook)),
    Kept(lambda: warnings.showwarning, lambda show: setattr(warnings, "showwarning", show)),
)


class ProcessState:
    """As it is when this is made. ``fault_fd``: where faulthandler writes."""

    def __init__(self, shell: Any, fault_fd: int) -> None:
        self._shell = shell
        self._fault_fd = fault_fd
        self._kept = [(kept, kept.read()) for kept in KEPT]
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._logging = _Logging()
        self._events = {name: list(called) for name, called in shell.events.callbacks.items()}
        self._xmode = shell.InteractiveTB.mode

    def put_back(self) -> None:
        """After a job."""
        stop_timers()
        faulthandler.cancel_dump_traceback_later()
        logging.captureWarnings(False)
        for kept, before in self._kept:
            if kept.read() != before:
                kept.write(before)
        os.umask(self._umask)
        if not faulthandler.is_enabled():
            faulthandler.enable(self._fault_fd, all_threads=False)
        self._logging.put_back()
        self._put_back_shell()
        if (multiprocessing := sys.modules.get("multiprocessing")) is not None:
            multiprocessing.set_start_method(None, force=True)
        if (decimal := sys.modules.get("decimal")) is not None:
            decimal.setcontext(decimal.Context())

    def _put_back_shell(self) -> None:
        for name, called in self._shell.events.callbacks.items():
            if called != self._events[name]:
                before = self._events[name]
                called[:] = [f for f in called if f in before or _is_imported(_module_of(f))]
                self._events[name] = list(called)
        if self._shell.InteractiveTB.mode != self._xmode:
            self._shell.InteractiveTB.set_mode(self._xmode)


def _is_imported(module: str | None) -> bool:
    """Does it belong to a module or package of a file? That set it up once, at its import."""
    package = sys.modules.get((module or "").partition(".")[0])
    return package is not None and getattr(package, "__file__", None) is not None


def _module_of(function: Any) -> str | None:
    return getattr(function, "__module__", None)


class _Logging:
    """Levels and handlers of loggers, but those that a library has for itself."""

    def __init__(self) -> None:
        self._root = _of(logging.root)
        self._disabled = logging.root.manager.disable
        self._loggers: dict[str, tuple[Any, ...]] = {}
        self._learn()

    def put_back(self) -> None:
        if _of(logging.root) != self._root:
            _set(logging.root, self._root)
        if logging.root.manager.disable != self._disabled:
            logging.disable(self._disabled)
        if self._present() != self._loggers:
            for name, now in self._present().items():
                before = self._loggers.get(name) or (now if _is_imported(name) else _PLAIN)
                if now != before:
                    _set(logging.getLogger(name), before)
            self._learn()

    def _learn(self) -> None:
        self._loggers = self._present()

    def _present(self) -> dict[str, tuple[Any, ...]]:
        loggers = list(logging.root.manager.loggerDict.items())
        return {name: _of(one) for name, one in loggers if isinstance(one, logging.Logger)}


_PLAIN: tuple[Any, ...] = (logging.NOTSET, [], [], True, False)


def _of(logger: logging.Logger) -> tuple[Any, ...]:
    handlers, filters = list(logger.handlers), list(logger.filters)
    return logger.level, handlers, filters, logger.propagate, logger.disabled


def _set(logger: logging.Logger, state: tuple[Any, ...]) -> None:
    level, logger.handlers[:], logger.filters[:], logger.propagate, logger.disabled = state
    logger.setLevel(level)


def stop_timers() -> None:
    """What a job's alarm would interrupt from here on is ours."""
    for timer in _TIMERS:
        signal.setitimer(timer, 0)


def users_threads() -> list[threading.Thread]:
    """Threads that code of jobs started, and that are still there."""
    return [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread()
        and not thread.name.startswith(_OURS)
        and type(thread).__name__ != "TMonitor"  # tqdm's, which serves all bars there will be
    ]
