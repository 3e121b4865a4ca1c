"""What a call of a view gives at once: a future of one or several results."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from jupyter_remote import calls, errors
from jupyter_remote.client.views import shown
from jupyter_remote.client.views.exchange import Output, Request

if TYPE_CHECKING:
    from jupyter_remote.client.views.engine import Engine, Space

STEP_S = 0.1  # of waiting: how soon Ctrl-C is noticed
_NOTHING = object()


class Metadata(dict[str, Any]):
    """Of one call; its keys are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Part:
    """One call of an AsyncResult: which worker, which share of the whole."""

    __slots__ = ("_value", "after", "engine", "follow", "request", "size")

    def __init__(self, request: Request, engine: Engine | None, size: int = 1) -> None:
        self.request = request
        self.engine = engine
        self.size = size
        self.after: list[str] = []
        self.follow: list[str] = []
        self._value: Any = _NOTHING

    def value(self, space: Space) -> Any:
        """Unpacked once, by who asks first. Raises what the call raised."""
        if self._value is _NOTHING:
            try:
                self._value = space.value_of(self.request)
            except errors.RemoteError as error:
                error.engine_id = None if self.engine is None else self.engine.id
                raise
        return self._value

    def error(self, space: Space) -> BaseException | None:
        try:
            self.value(space)
        except Exception as error:
            return error
        return None

    def metadata(self) -> Metadata:
        request, engine = self.request, self.engine
        reply = request.reply
        return Metadata(
            msg_id=str(request.id),
            submitted=_time(request.sent_at),
            started=None if reply is None else _time(reply.began_at),
            completed=None if reply is None else _time(reply.ended_at),
            received=_time(request.received_at),
            engine_id=None if engine is None else engine.id,
            engine_uuid=None if engine is None else engine.uuid,
            status=_status(request),
            stdout=_text(request, "stdout"),
            stderr=_text(request, "stderr"),
            outputs=shown.rich(request.outputs),
            execute_result=shown.execute_result(request.outputs),
            error=None if reply is None else reply.error,
            after=self.after,
            follow=self.follow,
            data={},
        )


def _status(request: Request) -> str | None:
    if not request.done:
        return None
    reply = request.reply
    if reply is None or reply.error is not None:
        return "error"
    return "aborted" if reply.dropped else "ok"


def _time(at: float) -> datetime | None:
    return datetime.fromtimestamp(at, UTC) if at else None


def _text(request: Request, name: str) -> str:
    return "".join(o.text for o in request.outputs if isinstance(o, calls.Text) and o.name == name)


class AsyncResult(Future[Any]):
    """Results of one call of a view, of one worker or of several.

    A superset of ``multiprocessing.pool.AsyncResult``, with ipyparallel's names; also a
    :class:`concurrent.futures.Future`, awaitable, and iterable by ``for`` and ``async for``.

    Attributes
    ----------
    ordered: iterating gives results in the order of the calls; False: what is done first.
    """

    ordered = True

    def __init__(
        self,
        space: Space,
        parts: Sequence[Part],
        *,
        single: bool,
        name: str,
        join: Callable[[list[Any]], Any] | None = None,
        more: bool = False,
    ) -> None:
        """``join``: makes one value of those of the parts. The requests of the parts have to call
        :meth:`heard`. ``more``: parts will come by :meth:`add`, until :meth:`no_more`."""
        super().__init__()
        self._space = space
        self._parts = list(parts)
        self._single = single
        self._join = join
        self._name = name
        self._left = len(self._parts)
        self._more = more
        self._counting = threading.Lock()
        self._begun = time.time()
        self._ended = 0.0
        self._live: shown.Live | None = None
        self.drop: Callable[[list[Request]], set[int]] | None = None  # those not handed out yet
        self.withdraw: Callable[[], bool] | None = None  # items of a map that are in no part yet
        self._waiter: threading.Event | None = None
        self._watchers: list[Callable[[], None]] = []  # told of each call that is done
        if not self._parts and not more:
            self._settle()

    def heard(self, request: Request) -> None:
        """One of the calls is done; called in the exchange's thread."""
        with self._counting:
            self._left -= 1
            over = self._left == 0 and not self._more
        if self._waiter is not None:
            self._waiter.set()
        for tell in list(self._watchers):
            tell()
        if over:
            self._settle()

    def add(self, part: Part) -> None:
        """One more call, behind those that are there."""
        with self._counting:
            self._parts.append(part)
            self._left += 1
        if self._live is not None:
            part.request.on_output = self._outputs

    def no_more(self) -> None:
        """All parts are there."""
        with self._counting:
            self._more = False
            over = self._left == 0
        if over:
            self._settle()

    def _settle(self) -> None:
        self._ended = time.time()
        with contextlib.suppress(Exception):
            super().set_result(None)  # the values are unpacked by who asks for them

    def show_live(self, live: shown.Live) -> None:
        """What its calls print is shown while somebody waits."""
        self._live = live
        for part in self._parts:
            part.request.on_output = self._outputs

    def _outputs(self, request: Request, output: Output) -> None:
        if self._live is not None:
            engine = next((p.engine for p in self._parts if p.request is request), None)
            self._live.add(None if engine is None else engine.id, output)
        if self._waiter is not None:
            self._waiter.set()

    def __repr__(self) -> str:
        state = "finished" if self.ready() else f"{self.progress} of {len(self)} done"
        return f"<{type(self).__name__}: {self._name}:{state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AsyncResult is of this process; send what get() gives")

    def __len__(self) -> int:
        return len(self._parts)

    # -- multiprocessing's and ipyparallel's
    def get(self, timeout: float | None = None) -> Any:
        """The result; of several workers a list.

        Raises TimeoutError("Result not ready.") after ``timeout`` seconds (None or -1: never),
        RemoteError as the code did, CompositeError where several workers were called.
        """
        if not self._waited(timeout):
            raise errors.ResultNotReady("Result not ready.")
        return self._values()

    def result(self, timeout: float | None = None) -> Any:
        return self.get(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What :meth:`get` would raise; None if all went well."""
        if not self._waited(timeout):
            raise errors.ResultNotReady("Result not ready.")
        try:
            self._values()
        except Exception as error:
            return error
        return None

    def wait(self, timeout: float | None = None) -> bool:
        """Until all is done; False if that takes longer."""
        return self._waited(timeout)

    def wait_for_send(self, timeout: float | None = None) -> bool:
        """Arguments are free to be changed: they are packed before the call returns."""
        return True

    def wait_for_output(self, timeout: float | None = None) -> bool:
        """What it printed comes before its result."""
        return self._waited(timeout)

    def ready(self) -> bool:
        return self.done()

    def successful(self) -> bool:
        """Raises AssertionError as long as it is not ready."""
        assert self.ready(), "not ready"
        return all(part.error(self._space) is None for part in self._parts)

    def abort(self) -> None:
        """Drop the calls that have not begun."""
        assert not self.ready(), "Can't abort, I am already done!"
        self._stop_all(running=False)

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

    def _stop_all(self, *, running: bool) -> None:
        if self.withdraw is not None:
            self.withdraw()
        for part in list(self._parts):
            self._stop(part, running=running)

    def _stop(self, part: Part, *, running: bool) -> None:
        request = part.request
        if self.drop is not None and self.drop([request]):
            return
        if request.connection is not None and not request.done:
            request.connection.stop(request, running)

    def parts_from_end(self) -> Iterator[Part]:
        """The latest first."""
        return reversed(self._parts)

    @property
    def r(self) -> Any:
        """:meth:`get`."""
        return self.get()

    def get_dict(self, timeout: float | None = None) -> dict[int, Any]:
        """Results by the worker's id. Raises ValueError if one worker has several."""
        if not self._waited(timeout):
            raise errors.ResultNotReady("Result not ready.")
        ids = self.engine_id if isinstance(self.engine_id, list) else [self.engine_id]
        if len(set(ids)) < len(ids):
            raise ValueError("Cannot build dict, more than one job ran on some engines")
        self._raise_errors()
        return {id: part.value(self._space) for id, part in zip(ids, self._parts, strict=True)}

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
    def msg_ids(self) -> list[str]:
        return [str(part.request.id) for part in self._parts]

    @property
    def sent(self) -> bool:
        return True

    def __getitem__(self, key: Any) -> Any:
        """A result by its place, several by a slice, or metadata by their name."""
        if isinstance(key, str):
            found = [part.metadata()[key] for part in self._parts]
            return found[0] if self._single else found
        self._waited(None)
        if isinstance(key, slice):
            return [self._value_of(part) for part in self._parts[key]]
        return self._value_of(self._parts[key])

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
        given: set[int] = set()
        while len(given) < len(self._parts) or self._more:
            self._until(lambda: self._ready_parts(given) != [] or self.done(), None)
            for index in self._ready_parts(given):
                given.add(index)
                yield from self._items_of(self._parts[index])

    def _items_of(self, part: Part) -> Sequence[Any]:
        return [self._value_of(part)]

    def _ready_parts(self, given: set[int]) -> list[int]:
        """Those that may be given next."""
        if self.ordered:
            index = len(given)
            there = index < len(self._parts) and self._parts[index].request.done
            return [index] if there else []
        return [i for i, p in enumerate(self._parts) if p.request.done and i not in given]

    # -- how far it is, and how long it took
    @property
    def progress(self) -> int:
        """Calls that are done."""
        return sum(part.request.done for part in self._parts)

    @property
    def elapsed(self) -> float:
        """Seconds since it was submitted, until it was done."""
        return (self._ended or time.time()) - self._begun

    @property
    def serial_time(self) -> float:
        """Seconds that the calls took, added up."""
        replies = [part.request.reply for part in self._parts]
        return sum(r.ended_at - r.began_at for r in replies if r is not None)

    @property
    def wall_time(self) -> float:
        """Seconds from the first submit to the last reply."""
        received = max((p.request.received_at for p in self._parts), default=0.0)
        return max(0.0, received - min((p.request.sent_at for p in self._parts), default=0.0))

    @property
    def speedup(self) -> float:
        """How much quicker it was than one worker alone."""
        return self.serial_time / self.wall_time if self.wall_time else 0.0

    def timedelta(
        self,
        start: Any,
        end: Any,
        start_key: Callable[..., Any] = min,
        end_key: Callable[..., Any] = max,
    ) -> float:
        """Seconds between two times of the metadata, or two lists of them."""
        first = start_key(start) if isinstance(start, list) else start
        last = end_key(end) if isinstance(end, list) else end
        delta: timedelta = last - first
        return delta.total_seconds()

    # -- what it said
    def display_outputs(self, groupby: str = "type", result_only: bool = False) -> None:
        """Show what was printed and displayed, worker by worker; waits for the end."""
        self._waited(None)
        for part in self._parts:
            id = None if part.engine is None or self._single else part.engine.id
            shown.replay(id, part.request.outputs, result_only=result_only)

    def wait_interactive(
        self, interval: float = 0.1, timeout: float | None = None, widget: Any = None
    ) -> None:
        """Wait with a bar."""
        bar = shown.WaitBar(self._name, len(self))
        until = None if timeout is None or timeout < 0 else time.monotonic() + timeout
        while not self.ready():
            bar.show(self.progress, self.elapsed)
            left = interval if until is None else min(interval, until - time.monotonic())
            if left <= 0:
                break
            self._until(self.ready, left)
        bar.show(self.progress, self.elapsed, last=True)

    # -- inside
    def _waited(self, timeout: float | None) -> bool:
        return self._until(self.done, None if timeout is None or timeout < 0 else timeout)

    def _until(self, fulfilled: Callable[[], bool], timeout: float | None) -> bool:
        """Wait, showing what comes. Ctrl-C stops the calls, and raises KeyboardInterrupt."""
        if fulfilled():
            self._flush()
            return True
        until = None if timeout is None else time.monotonic() + timeout
        waiter = self._waiter = threading.Event()
        try:
            while not fulfilled():
                left = STEP_S if until is None else min(STEP_S, until - time.monotonic())
                if left <= 0:
                    return False
                waiter.wait(left)
                waiter.clear()
                self._flush()
        except KeyboardInterrupt as error:
            errors.explain(error, f"{self._name} was asked to stop")
            self.cancel()
            raise
        finally:
            self._waiter = None
        return True

    def _flush(self) -> None:
        if self._live is not None and threading.current_thread() is threading.main_thread():
            self._live.flush()

    def _value_of(self, part: Part) -> Any:
        return part.value(self._space)

    def _raise_errors(self) -> None:
        found = [error for p in self._parts if (error := p.error(self._space)) is not None]
        if not found:
            return
        if self._single:
            raise found[0].with_traceback(None)
        raise errors.CompositeError(
            f"one or more exceptions raised in: {self._name}",
            [e if isinstance(e, Exception) else errors.JobCancelled(str(e)) for e in found],
        )

    def _values(self) -> Any:
        self._raise_errors()
        if self._single:
            return self._parts[0].value(self._space)
        found = [part.value(self._space) for part in self._parts]
        return found if self._join is None else self._join(found)

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
        return self._given_async()

    async def _given_async(self) -> AsyncIterator[Any]:
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


class AsyncMapResult(AsyncResult):
    """Of a map: one flat list, in the order of the items; iterates over items."""

    _total = 0  # items, when not all parts are made yet

    def _items_of(self, part: Part) -> Sequence[Any]:
        items: Sequence[Any] = self._value_of(part)
        return items

    def __len__(self) -> int:
        return self._total or sum(part.size for part in self._parts)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return super().__getitem__(key)
        self._waited(None)
        return self.get()[key]

    @property
    def progress(self) -> int:
        return sum(part.size for part in self._parts if part.request.done)


def _harmless(get: Callable[[], Any]) -> Any:
    """What ``get`` gives. A KeyboardInterrupt of over there would end the event loop here."""
    try:
        return get()
    except KeyboardInterrupt as error:
        raise errors.JobCancelled("the call was interrupted") from error
