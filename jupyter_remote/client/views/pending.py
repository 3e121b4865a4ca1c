"""Futures of several calls: how they come to their end, and what waiting for them shows."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, ClassVar, Self

from jupyter_remote import errors
from jupyter_remote.client.views import shown
from jupyter_remote.client.views.exchange import Output, Request
from jupyter_remote.client.views.parts import Part

if TYPE_CHECKING:
    from jupyter_remote.client.views.group import Group
    from jupyter_remote.client.views.space import Space

STEP_S = 0.1  # of waiting: how soon Ctrl-C is noticed

Join = Callable[[list[Any]], Any]


class _Failed(Exception):
    """Tells ``concurrent.futures.wait`` that there is an error; ``exception()`` says which."""


class Pending(Future[Any]):
    """What is the same for every kind of result."""

    _kind: ClassVar[Any]  # of results of single calls, and of several together

    def __init__(
        self,
        space: Space,
        parts: Sequence[Part],
        *,
        single: bool,
        name: str,
        join: Join | None = None,
        more: bool = False,
        return_exceptions: bool = False,
    ) -> None:
        """``join``: makes one value of those of the parts. The requests of the parts have to call
        :meth:`heard`. ``more``: parts will come by :meth:`add`, until :meth:`no_more`."""
        super().__init__()
        self.drop: Callable[[list[Request]], set[int]] | None = None  # those not handed out yet
        self.withdraw: Callable[[], bool] | None = None  # items of a map that are in no part yet
        self.group: Group | None = None  # whose workers do not end before this is collected
        self._space = space
        self._parts = list(parts)
        self._single = single
        self._join = join
        self._name = name
        self._return_exceptions = return_exceptions
        self._left = len(self._parts)
        self._more = more
        self._counting = threading.Lock()
        self._begun = time.time()
        self._fresh: deque[tuple[int | None, Output]] | None = None  # that no Live has shown yet
        self._live: shown.Live | None = None
        self._waiter: threading.Event | None = None
        self._watchers: list[Callable[[], None]] = []  # told of each call that is done
        self._splits: dict[int, Self] = {}  # results of one part, by its request
        for part in self._parts:
            part.request.on_output = functools.partial(self._said, part)
        if not self._parts and not more:
            self._settle()

    # -- how it comes to its end
    def heard(self, request: Request) -> None:
        """One of the calls is done; called in the exchange's thread."""
        with self._counting:
            self._left -= 1
            over = self._left == 0 and not self._more
            split = self._splits.pop(request.id, None) if self._splits else None
        if split is not None:
            split._settle()
            split._wake()
        if over:
            self._end()
        self._tell()  # whoever waits finds all of it

    def add(self, part: Part) -> None:
        """One more call, behind those that are there."""
        part.request.on_output = functools.partial(self._said, part)
        with self._counting:
            self._parts.append(part)
            self._left += 1

    def no_more(self) -> None:
        """All parts are there."""
        with self._counting:
            self._more = False
            over = self._left == 0
        if over:
            self._end()

    def _end(self) -> None:
        self._settle()
        for part in self._parts:
            part.request.let_go()

    def _settle(self) -> None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            if any(part.failed for part in self._parts):
                super().set_exception(_Failed())
            else:
                super().set_result(None)  # the values are unpacked by who asks for them

    def _said(self, part: Part, request: Request, output: Output) -> None:
        if not (part.silent and shown.is_result(output)):
            if self._fresh is None:
                self._fresh = deque()
            self._fresh.append((None if part.engine is None else part.engine.id, output))
            self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            waiter.set()

    def _tell(self) -> None:
        self._wake()
        for tell in list(self._watchers):
            tell()

    def wait_shown(self, many: bool) -> None:
        """Wait; what its calls print is shown meanwhile. ``many``: with their workers."""
        self._live = shown.Live(many)
        try:
            self._until(self.done, None)
        finally:
            self._live.flush(self._fresh or deque(), last=True)
            self._live = None

    @property
    def msg_ids(self) -> list[str]:
        return [str(part.request.id) for part in self._parts]

    def ids_pending(self) -> list[str]:
        """Of the calls that are not done."""
        return [str(part.request.id) for part in self._parts if not part.request.done]

    def part_of_id(self, id: str) -> Self:
        """The result of one of the calls alone, if there are several."""
        if len(self._parts) == 1:
            return self
        return next(self._split(part) for part in self._parts if str(part.request.id) == id)

    # -- stopping
    def drop_waiting(self) -> None:
        """Calls that have not begun will not."""
        self._stop_all(running=False)

    def _stop_all(self, *, running: bool) -> None:
        if self.withdraw is not None:
            self.withdraw()
        for part in list(self._parts):
            if self.drop is None or not self.drop([part.request]):
                part.request.stop(running=running)

    def parts_from_end(self) -> Iterator[Part]:
        """The latest first."""
        return reversed(self._parts)

    # -- one of several, and several as one
    def split(self) -> tuple[Self, ...]:
        """A result for each of the calls."""
        if len(self._parts) == 1:
            return (self,)
        return tuple(self._split(part) for part in self._parts)

    def _split(self, part: Part) -> Self:
        own: Self = self._kind(self._space, [], single=True, name=self._name, more=True)
        own._parts = [part]
        own.group = self.group
        with self._counting:
            if not part.request.done:
                known = self._splits.setdefault(part.request.id, own)
                known.drop = self.drop
                return known
        own._settle()
        return own

    @classmethod
    def join(cls, *results: Self) -> Self:
        """One result of several, in their order."""
        if not results:
            raise errors.UsageError("there is nothing to join", hint="give at least one result")
        return results[0] if len(results) == 1 else cls.together(results)

    @classmethod
    def together(cls, results: Sequence[Self]) -> Self:
        """The same; of one, a list of one value."""
        first = results[0]
        whole: Self = first._kind(first._space, [], single=False, name=first._name, more=True)
        whole.group = first.group
        whole._parts = [part for result in results for part in result._parts]
        left = [len(results)]

        def one_less(_: Any) -> None:
            with whole._counting:
                left[0] -= 1
            if left[0] == 0:
                whole._settle()
            whole._tell()

        for result in results:
            result.add_done_callback(one_less)
        return whole

    # -- waiting
    def _until(self, fulfilled: Callable[[], bool], timeout: float | None) -> bool:
        """Wait, showing what comes. Ctrl-C stops the calls, and raises KeyboardInterrupt."""
        if fulfilled():
            self._flush()
            return True
        until = None if timeout is None else time.monotonic() + timeout
        waiter = threading.Event()
        before, self._waiter = self._waiter, waiter
        try:
            while not fulfilled():
                self._flush()
                left = STEP_S if until is None else min(STEP_S, until - time.monotonic())
                if left <= 0:
                    return False
                waiter.wait(left)
                waiter.clear()
        except KeyboardInterrupt as error:
            errors.explain(error, f"{self._name} was asked to stop")
            self.cancel()
            raise
        finally:
            self._waiter = before
        self._flush()
        return True

    def _flush(self) -> None:
        if self._live is not None and threading.current_thread() is threading.main_thread():
            self._live.flush(self._fresh or deque())
