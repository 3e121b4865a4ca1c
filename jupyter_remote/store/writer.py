"""Groups commits: calls that come while another commit waits for the disk share the next one.

Each has its own savepoint: one that fails is undone alone. Nobody is answered before the commit.
They run in a thread of their own. Where the disk is quick, single calls of verbs that are quick run
on the event loop itself, those of one turn of it in one commit: two hops between threads and the
fight for the interpreter's lock take longer than such a commit. Wherever they run, the calls of an
event loop are committed, and their callers told, in the order in which they were made.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Container, Sequence
from concurrent.futures import Future
from typing import Any, ParamSpec, Protocol, TypeVar

from jupyter_remote.errors import BackendUnreachable, StorageFull

P = ParamSpec("P")
T = TypeVar("T")

LARGEST_GROUP = 200
HERE_BELOW_S = 0.005  # commits that take longer on average do not hold up the event loop
LONGEST_LIST = 8  # a verb that is quick for one job is not for many
WEIGHT = 0.1  # of the latest commit in the average


class Grouped(Protocol):
    """A store that runs several calls in one transaction."""

    def run_group(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """Each result, or the exception that undid that call alone."""
        ...


class _Commit(asyncio.Future[Any]):
    """Whoever waits for a commit and is cancelled meanwhile is told first how it went."""

    def cancel(self, msg: Any = None) -> bool:
        """It cannot be: what was called is written."""
        return False


class _Call:
    """One call and whom to tell."""

    __slots__ = ("error", "loop", "result", "run", "waiting")

    def __init__(
        self,
        run: Callable[[], Any],
        waiting: Future[Any] | asyncio.Future[Any],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self.run = run
        self.waiting = waiting
        self.loop = loop
        self.result: Any = None
        self.error: BaseException | None = None

    def tell(self) -> None:
        if self.error is not None:
            self.waiting.set_exception(self.error)
        else:
            self.waiting.set_result(self.result)


class Writer:
    """Runs verbs that write. ``close`` finishes what was called before it."""

    def __init__(
        self, store: Grouped, name: str = "store-writer", *, quick: Container[str] = ()
    ) -> None:
        """``quick``: names of verbs that may run on the event loop."""
        self._store = store
        self._quick = quick
        self._here: list[_Call] = []  # to run in the loop's next turn
        self._aside = 0  # calls that the thread has
        self._lock = threading.Lock()
        self._usual_s = 0.0
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def call(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``verb`` and wait for its commit. Raises what it raises, and StorageFull."""
        return await self.send(verb, *args, **kwargs)

    def send(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """As :meth:`call`, queued at once. Futures are resolved in the order of the commits."""
        loop = asyncio.get_running_loop()
        waiting = _Commit(loop=loop)
        call = _Call(lambda: verb(*args, **kwargs), waiting, loop)
        if self._may_run_here(verb, args):
            if not self._here:
                loop.call_soon(self._run_here)
            self._here.append(call)
        else:
            self._hand_over()
            self._put(call)
        return waiting

    def _may_run_here(self, verb: Callable[..., Any], args: Sequence[Any]) -> bool:
        return (
            getattr(verb, "__name__", "") in self._quick
            and self._aside == 0
            and self._usual_s < HERE_BELOW_S
            and not self._closed
            and not any(isinstance(a, list) and len(a) > LONGEST_LIST for a in args)
        )

    def _run_here(self) -> None:
        if self._aside:  # whatever came there meanwhile is to be told first
            self._hand_over()
        calls, self._here = self._here, []
        if calls:
            self._run(calls)
            _tell_all(calls)

    def _hand_over(self) -> None:
        """Nothing overtakes: what waits here goes to the thread, too, before what comes next."""
        calls, self._here = self._here, []
        for call in calls:
            self._put(call)

    def call_sync(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As :meth:`call`, for threads without an event loop."""
        waiting: Future[T] = Future()
        self._put(_Call(lambda: verb(*args, **kwargs), waiting, None))
        return waiting.result()

    def close(self) -> None:
        """Called again it is the same."""
        if not self._closed:
            self._closed = True
            self._calls.put(None)
        self._thread.join()
        self._run_here()

    def _put(self, call: _Call) -> None:
        if self._closed:
            raise BackendUnreachable("the store is closed", hint="The backend is ending.")
        with self._lock:
            self._aside += 1
        self._calls.put(call)

    def _work(self) -> None:
        while (first := self._calls.get()) is not None:
            group, last = self._group_of(first)
            self._run(group)
            _tell(group)
            with self._lock:  # not before: what runs on the event loop from now on is told later
                self._aside -= len(group)
            if last:
                return

    def _group_of(self, first: _Call) -> tuple[list[_Call], bool]:
        """What is queued just now, and whether the writer is to end after it."""
        group = [first]
        while len(group) < LARGEST_GROUP:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                break
            if call is None:
                return group, True
            group.append(call)
        return group, False

    def _run(self, group: list[_Call]) -> None:
        """Fill in each call's result or error."""
        began = time.perf_counter()
        self._commit(group)
        took_s = time.perf_counter() - began
        self._usual_s += WEIGHT * (took_s / max(1, len(group)) - self._usual_s)

    def _commit(self, group: list[_Call]) -> None:
        try:
            results = self._store.run_group([call.run for call in group])
        except StorageFull as error:
            if len(group) > 1:  # one may be too large for the disk and another not
                for call in group:
                    self._commit([call])
                return
            group[0].error = error
        except BaseException as error:
            for call in group:
                call.error = error
        else:
            for call, result in zip(group, results, strict=True):
                if isinstance(result, BaseException):
                    call.error = result
                else:
                    call.result = result


def _tell(group: list[_Call]) -> None:
    """Resolve all futures, with one wake-up for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop | None, list[_Call]] = {}
    for call in group:
        by_loop.setdefault(call.loop, []).append(call)
    for loop, calls in by_loop.items():
        if loop is None:
            _tell_all(calls)
        elif not loop.is_closed():
            loop.call_soon_threadsafe(_tell_all, calls)


def _tell_all(calls: list[_Call]) -> None:
    for call in calls:
        call.tell()
