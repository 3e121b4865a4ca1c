"""What remote code may use: ``jr.progress``, ``jr.job``, ``jr.on_checkpoint``. Light to import."""

from __future__ import annotations

import inspect
import itertools
import os
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar, overload

from jupyter_remote.wire import Bar
from jupyter_remote.worker import nesting
from jupyter_remote.worker.encodable import number_of, rate_of
from jupyter_remote.worker.ticker import Ticker

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

PERIOD_S = 0.1  # between two updates of one bar
LEAST_EVERY_S = 1.0  # between two checkpoints
PLAIN_PERIOD_S = 1.0  # between two lines on stderr, outside a job

_ids = itertools.count(1)
_ticker = Ticker(PERIOD_S)


class Purse(NamedTuple):
    """What a job had to spend at one time; a session's is also that of its cells."""

    usd: float
    usd_per_h: float
    at: float

    def left(self, now: float) -> float:
        """USD."""
        return max(0.0, self.usd - self.usd_per_h * max(0.0, now - self.at) / 3600)


class RunningJob:
    """The job that runs this code; ``jr.job``. Outside a job it is false and has no id.

    Attributes
    ----------
    stop_reason: why it was asked for a checkpoint: "budget", "cancel", "preempted"; empty: it was
        not.
    """

    def __init__(self) -> None:
        self.id: str = ""
        self.attempt: int = 0
        self.purse: Purse | None = None
        self._open: Callable[[], Any] | None = None
        self._checkpoint: Any = None
        self.stop_reason = ""
        self.send_bar: Callable[[Bar], None] | None = None

    def __bool__(self) -> bool:
        return bool(self.id)

    def __repr__(self) -> str:
        return (
            f"<job {self.id}, attempt {self.attempt}>" if self else "<no job: this code runs here>"
        )

    @property
    def budget_left(self) -> float | None:
        """USD that this job may still spend, as of now; ``None``: no limit."""
        return None if self.purse is None else self.purse.left(time.time())

    @property
    def checkpoint(self) -> Any:
        """What the job that this one goes on from had saved; ``None``: it begins anew.

        With several checkpoint functions a dict of what each gave, by their names.
        """
        if self._open is not None:
            self._checkpoint, self._open = self._open(), None
        return self._checkpoint

    def begin(
        self,
        id: str,
        attempt: int,
        send_bar: Callable[[Bar], None] | None,
        purse: Purse | None = None,
        checkpoint: Callable[[], Any] | None = None,
    ) -> None:
        """Called by the kernel process before user code runs. No ``send_bar``: bars are text.
        ``checkpoint`` opens the one that it goes on from."""
        self.id, self.attempt, self.send_bar, self.purse = id, attempt, send_bar, purse
        self._open, self._checkpoint = checkpoint, None
        if self.stop_reason == "cancel":  # of a cell before this one, in a session
            self.stop_reason = ""

    def say_bars(self) -> None:
        """Bars of :class:`progress` that moved since they were shown last."""
        _ticker.look_now()

    def end(self) -> None:
        self.id, self.attempt, self.send_bar, self.purse = "", 0, None, None
        self._open, self._checkpoint, self.stop_reason = None, None, ""
        checkpoints.clear()
        _ticker.clear()


job = RunningJob()


def _in_child() -> None:
    """Bars of a forked child have no way to the notebook: they are printed there."""
    global ask_every
    job.send_bar = ask_every = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

checkpoints: dict[str, Callable[[], Any]] = {}


ask_every: Callable[[float], object] | None = None
"""Has the agent ask for a checkpoint so often; set by the kernel process."""


@overload
def on_checkpoint(function: F, *, every: float | None = None) -> F: ...


@overload
def on_checkpoint(*, every: float | None = None) -> Callable[[F], F]: ...


def on_checkpoint(function: Any = None, *, every: float | None = None) -> Any:
    """Decorator: call ``function`` when the job is asked to stop soon, to save what is done.

    It is called without arguments in the main thread, in the midst of what runs, between two
    instructions of Python: what it looks at has to make sense at any time. What it returns is kept,
    and is ``jr.job.checkpoint`` of the job that ``%remote run --resume ID`` starts, and of the next
    attempt where a machine is lost or taken away. Of several functions a dict of what each gives is
    kept; one of the same name takes the other's place.

    Parameters
    ----------
    every: call it this often, too, in seconds (at least 1): so much is lost with a machine that is
        gone without notice.
    """
    if every is not None and not LEAST_EVERY_S <= every < float("inf"):
        raise ValueError(f"every is a number of seconds, {LEAST_EVERY_S:g} or more; not {every!r}")
    if function is None:
        return lambda function: on_checkpoint(function, every=every)
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise TypeError("on_checkpoint takes a plain function without arguments")
    checkpoints[getattr(function, "__name__", type(function).__name__)] = function
    if every is not None and ask_every is not None and job:
        ask_every(every)
    return function


class progress(Generic[T]):
    """A progress bar: around an iterable, or moved by ``update``; also a context manager.

    Parameters
    ----------
    iterable: what to go through; its length is the total if ``total`` is not given.
    total: how many there are, if known.
    desc: what is going on, shown beside the bar.
    """

    @overload
    def __init__(
        self: progress[None], *, total: float | None = None, desc: str | None = None
    ) -> None: ...

    @overload
    def __init__(
        self,
        iterable: Iterable[T] | None,
        total: float | None = None,
        desc: str | None = None,
    ) -> None: ...

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        total: float | None = None,
        desc: str | None = None,
    ) -> None:
        self._iterable = iterable
        self._id = f"jr-{next(_ids)}"
        self.n: float = 0
        self.total = total if total is not None else _length(iterable)
        self.desc = desc or ""
        self._began = time.monotonic()
        self._said = 0.0
        self._said_n: float = 0
        self._closed = False
        self._parent = nesting.enter(self, self._id, lambda bar: not bar._closed)
        self._say("open")
        _ticker.add(self._id, _looking_at(self))

    def __iter__(self) -> Iterator[T]:
        if self._iterable is None:
            raise TypeError("progress() without an iterable is moved by update()")
        try:
            for item in self._iterable:
                yield item
                self.update()
        finally:
            self.close()

    def __len__(self) -> int:
        if self.total is None:
            raise TypeError("the total of this progress is not known")
        return int(self.total)

    def update(self, n: float = 1) -> None:
        """Move the bar by ``n``."""
        self.n += n
        self._say_if_due()

    def _say_if_due(self) -> None:
        if time.monotonic() - self._said >= (PERIOD_S if job.send_bar else PLAIN_PERIOD_S):
            self._say("update")

    def _look(self, at_once: bool) -> bool:
        """Called by the ticker: the last step may have come too soon to be said."""
        if self.n != self._said_n and not self._closed:
            self._say("update") if at_once else self._say_if_due()
        return not self._closed

    def set_description(self, desc: str) -> None:
        self.desc = desc
        self._say("update")

    def close(self) -> None:
        """The bar ends as it stands; closing again does nothing."""
        if not self._closed:
            self._closed = True
            _ticker.remove(self._id)
            self._say("close")

    def __enter__(self) -> progress[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def _bar(self, state: Any) -> Bar:
        elapsed_s = time.monotonic() - self._began
        n = number_of(self.n) or 0.0
        return Bar(
            id=self._id,
            n=n,
            total=number_of(self.total),
            description=str(self.desc),
            rate=rate_of(n, elapsed_s),
            elapsed_s=elapsed_s,
            parent=self._parent,
            state=state,
        )

    def _say(self, state: str) -> None:
        self._said, self._said_n = time.monotonic(), self.n
        if job.send_bar is not None:
            job.send_bar(self._bar(state))
        elif state != "open":
            print(_line(self._bar(state)), end="\n" if state == "close" else "\r", file=sys.stderr)


def _looking_at(bar: progress[Any]) -> Callable[[bool], bool]:
    """Does not keep a bar that is dropped."""
    seen = weakref.ref(bar)
    return lambda at_once: (found := seen()) is not None and found._look(at_once)


def _length(iterable: Any) -> float | None:
    try:
        return float(len(iterable))
    except TypeError:
        return None


def _line(bar: Bar) -> str:
    share = f" {100 * bar.n / bar.total:.0f} %" if bar.total else ""
    total = f"/{bar.total:g}" if bar.total is not None else ""
    rate = f", {bar.rate:.3g} {bar.unit}/s" if bar.rate else ""
    label = f"{bar.description}: " if bar.description else ""
    return f"{label}{bar.n:g}{total}{share} [{bar.elapsed_s:.0f} s{rate}]"
