"""What a call of a view gives at once: a future of one or several results."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION
from typing import Any, NoReturn

from jupyter_remote import errors
from jupyter_remote.client.views import shown
from jupyter_remote.client.views.bars import WaitBar
from jupyter_remote.client.views.parts import Part
from jupyter_remote.client.views.pending import Pending
from jupyter_remote.client.views.timing import Timed


class WrongMoment(errors.UsageError, RuntimeError, ValueError):
    """It is not done yet, or is done already."""


class AsyncResult(Timed, Pending):
    """Results of one call of a view, of one worker or of several.

    A superset of ``multiprocessing.pool.AsyncResult``, with ipyparallel's names; also a
    :class:`concurrent.futures.Future`, awaitable, and iterable by ``for`` and ``async for``.

    Attributes
    ----------
    ordered: iterating gives results in the order of the calls; False: what is done first.
    """

    ordered = True

    def __repr__(self) -> str:
        state = "pending"
        if self.done():
            state = "failed" if any(part.failed for part in self._parts) else "finished"
        return f"<{type(self).__name__}({self._name}): {state}>"

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(self._parts[0].metadata() if self._parts else ())]

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AsyncResult is of this process; send what get() gives")

    def __len__(self) -> int:
        return len(self._parts)

    # -- multiprocessing's and ipyparallel's
    def get(
        self,
        timeout: float | None = None,
        return_exceptions: bool | None = None,
        return_when: str | None = None,
    ) -> Any:
        """The result; of several workers a list.

        Parameters
        ----------
        timeout: seconds; None or a negative number: as long as it takes.
        return_exceptions: exceptions are among the results instead of being raised.
        return_when: ``FIRST_EXCEPTION`` raises as soon as one call failed.

        Raises TimeoutError("Result not ready."), RemoteError as the code did, CompositeError where
        several workers were called.
        """
        keep = self._return_exceptions if return_exceptions is None else return_exceptions
        if return_when == FIRST_EXCEPTION and not keep:
            self._until(lambda: self.done() or any(p.failed for p in self._parts), _limit(timeout))
            self._raise_errors()
        if not self.wait(timeout):
            raise errors.ResultNotReady("Result not ready.")
        return self._with_exceptions() if keep else self._values()

    def result(self, timeout: float | None = None) -> Any:
        return self.get(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What :meth:`get` would raise; None if all went well."""
        if not self.wait(timeout):
            raise errors.ResultNotReady("Result not ready.")
        try:
            self._values()
        except Exception as error:
            return error
        return None

    def wait(self, timeout: float | None = None, return_when: str | None = None) -> Any:
        """Until all is done; False if that takes longer.

        With ``return_when`` (see :func:`concurrent.futures.wait`): two sets of results of single
        calls, those that are done and those that are not.
        """
        if return_when is None:
            return self._until(self.done, _limit(timeout))
        return concurrent.futures.wait(self.split(), _limit(timeout), return_when)

    def wait_for_send(self, timeout: float | None = None) -> None:
        """Arguments are free to be changed: they are packed before the call returns."""

    def wait_for_output(self, timeout: float | None = None) -> bool:
        """What it printed comes before its result."""
        return self._until(self.done, _limit(timeout))

    def ready(self) -> bool:
        return self.done()

    def successful(self) -> bool:
        """Raises RuntimeError, which is a ValueError, as long as it is not ready."""
        if not self.ready():
            raise WrongMoment("it is not done, so nobody knows", hint="wait() for it")
        return all(part.error(self._space) is None for part in self._parts)

    def abort(self) -> None:
        """Drop the calls that have not begun. Raises RuntimeError when it is done."""
        if self.ready():
            raise WrongMoment("Can't abort, I am already done!", hint="get() gives its result")
        self.drop_waiting()

    def cancel(self) -> bool:
        """Drop the calls that wait, interrupt those that run. False when it was done."""
        if self.done():
            return False
        self._stop_all(running=True)
        return True

    def cancelled(self) -> bool:
        return self.done() and any(
            p.request.reply is not None and p.request.reply.dropped for p in self._parts
        )

    @property
    def r(self) -> Any:
        """:meth:`get`."""
        return self.get()

    def get_dict(self, timeout: float | None = None) -> dict[int, Any]:
        """Results by the worker's id. Raises ValueError if one worker has several."""
        found = self.get(timeout)
        ids = [part.engine.id for part in self._parts if part.engine is not None]
        if len(set(ids)) < len(ids):
            raise ValueError("Cannot build dict, more than one job ran on some engines")
        return dict(zip(ids, [found] if self._single else found, strict=False))

    @property
    def result_dict(self) -> dict[int, Any]:
        return self.get_dict()

    @property
    def metadata(self) -> Any:
        """Of the call: submitted, started, completed, received, engine_id, stdout and so on; of
        several calls a list."""
        found = [part.metadata() for part in self._parts]
        return found[0] if self._single else found

    @property
    def sent(self) -> bool:
        return True

    def __getitem__(self, key: Any) -> Any:
        """Metadata by their name; a place in the result, or a slice of it.

        Raises TimeoutError when there is no result yet.
        """
        if isinstance(key, str):
            found = [part.metadata()[key] for part in self._parts]
            return found[0] if self._single else found
        self._ready_or_raise()
        return self._values()[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
            ) from None

    def __iter__(self) -> Iterator[Any]:
        """Results in their order, each as soon as it is there; see ``ordered``."""
        self._several_or_raise()
        return self._each()

    def _each(self) -> Iterator[Any]:
        given: set[int] = set()
        while True:
            over = self.done()
            while ready := self._ready_parts(given):
                given.update(ready)
                for index in ready:
                    yield from self._items_of(self._parts[index])
            if over:
                return
            self._until(lambda: self._ready_parts(given) != [] or self.done(), None)

    def _several_or_raise(self) -> None:
        if self._single:
            raise TypeError("AsyncResults with a single result are not iterable; use get()")

    def _items_of(self, part: Part) -> Sequence[Any]:
        return [self._given(part)]

    def _ready_parts(self, given: set[int]) -> list[int]:
        """Those that may be given next."""
        if self.ordered:
            index = len(given)
            there = index < len(self._parts) and self._parts[index].request.done
            return [index] if there else []
        return [i for i, p in enumerate(self._parts) if p.request.done and i not in given]

    # -- what it said
    def display_outputs(self, groupby: str = "type", result_only: bool = False) -> None:
        """Show what was printed and displayed, that of each worker; waits for the end.

        groupby: "type" (all stdout, then all stderr, …), "engine", or "order" (the first display
        of all workers, then the second ones).
        """
        if groupby not in shown.GROUPINGS:
            raise ValueError(f"groupby is one of {', '.join(shown.GROUPINGS)}, not {groupby!r}")
        self.wait()
        said = [
            (None if p.engine is None or self._single else p.engine.id, p.outputs)
            for p in self._parts
        ]
        shown.replay(said, groupby, result_only=result_only)

    def wait_interactive(
        self,
        interval: float = 0.1,
        timeout: float | None = None,
        widget: Any = None,
        return_when: str | None = None,
    ) -> None:
        """Wait with a bar."""
        bar = WaitBar(self._name, len(self))
        limit = _limit(timeout)
        until = None if limit is None else time.monotonic() + limit
        while not self.ready():
            bar.show(self.progress, self.elapsed)
            left = interval if until is None else min(interval, until - time.monotonic())
            if left <= 0 or (return_when == FIRST_EXCEPTION and any(p.failed for p in self._parts)):
                break
            self._until(self.ready, left)
        bar.show(self.progress, self.elapsed, last=True)

    # -- inside
    def _ready_or_raise(self) -> None:
        if not self.ready():
            raise errors.ResultNotReady("Result not ready.")

    def _given(self, part: Part) -> Any:
        """Its value, or its exception where these are not raised."""
        error = part.error(self._space)
        if error is None:
            return part.value(self._space)
        if self._return_exceptions:
            return error
        raise self._raised([error])

    def _raised(self, found: list[Exception]) -> Exception:
        if self._single:
            return found[0].with_traceback(None)
        return errors.CompositeError(f"one or more exceptions raised in: {self._name}", found)

    def _raise_errors(self) -> None:
        done = [part for part in self._parts if part.request.done]
        found = [error for part in done if (error := part.error(self._space)) is not None]
        if found:
            raise self._raised(found)

    def _values(self) -> Any:
        if self._return_exceptions:
            return self._with_exceptions()
        self._raise_errors()
        found = [part.value(self._space) for part in self._parts]
        return self._joined(found)

    def _joined(self, found: list[Any]) -> Any:
        if self._single:
            return found[0]
        return found if self._join is None else self._join(found)

    def _with_exceptions(self) -> Any:
        found = [part.error(self._space) or part.value(self._space) for part in self._parts]
        return self._joined(found)

    # -- asyncio. Whoever waits in a task that is cancelled stops the calls
    def __await__(self) -> Generator[Any, None, Any]:
        return self._awaited().__await__()

    async def _awaited(self) -> Any:
        async with self._watched() as news:
            while not self.done():
                await news.wait()
                news.clear()
            return await asyncio.to_thread(_harmless, self._values)

    def __aiter__(self) -> AsyncIterator[Any]:
        """Results as iteration gives them."""
        self._several_or_raise()
        return self._each_async()

    async def _each_async(self) -> AsyncIterator[Any]:
        given: set[int] = set()
        async with self._watched() as news:
            while True:
                over = self.done()
                while ready := self._ready_parts(given):
                    given.update(ready)
                    for index in ready:
                        get = functools.partial(self._items_of, self._parts[index])
                        for value in await asyncio.to_thread(_harmless, get):
                            yield value
                if over:
                    return
                await news.wait()
                news.clear()

    @contextlib.asynccontextmanager
    async def _watched(self) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever one of the calls is done."""
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def tell(_: Any = None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(news.set)

        self._watchers.append(tell)
        self.add_done_callback(tell)
        try:
            yield news
        except asyncio.CancelledError:
            if not self.done():
                self.cancel()
            raise
        finally:
            self._watchers.remove(tell)


AsyncResult._kind = AsyncResult


class AsyncMapResult(AsyncResult):
    """Of a map: one flat list, in the order of the items; iterates over items."""

    _total = 0  # items, when not all parts are made yet

    def _items_of(self, part: Part) -> Sequence[Any]:
        found = self._given(part)
        return found if isinstance(found, list) else [found]

    def __len__(self) -> int:
        return self._total or sum(part.size for part in self._parts)

    def _with_exceptions(self) -> Any:
        found: list[Any] = []
        for part in self._parts:
            value = part.error(self._space) or part.value(self._space)
            found += value if isinstance(value, list) else [value]
        return found


def _limit(timeout: float | None) -> float | None:
    return None if timeout is None or timeout < 0 else timeout


def _harmless(get: Callable[[], Any]) -> Any:
    """What ``get`` gives. A KeyboardInterrupt of over there would end the event loop here."""
    try:
        return get()
    except KeyboardInterrupt as error:
        raise errors.JobCancelled("the call was interrupted") from error
