"""Workers as a :class:`concurrent.futures.Executor`."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import itertools
import os
import queue
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import TYPE_CHECKING, Any

from jupyter_remote import errors, remotely
from jupyter_remote.client.views import shown
from jupyter_remote.client.views.dispatcher import Dispatcher, Pace, Single
from jupyter_remote.client.views.engine import Engine
from jupyter_remote.client.views.exchange import Request
from jupyter_remote.client.views.functions import Shipped
from jupyter_remote.client.views.parts import Part
from jupyter_remote.client.views.space import Space
from jupyter_remote.wire import Parcel

if TYPE_CHECKING:
    from jupyter_remote.client.api import Client


class BrokenWorkers(errors.EngineError, BrokenExecutor):
    """A worker of an executor died in the middle of a call, or none is left."""


class Submitted(Future[Any]):
    """The future of one call; awaitable, too.

    It is running from when a worker was given it. Until then ``cancel()`` takes it back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.drop: Callable[[], None] | None = None

    def cancel(self) -> bool:
        if not super().cancel():
            return False
        if self.drop is not None:
            self.drop()
        return True

    def result(self, timeout: float | None = None) -> Any:
        # a frame of ours: what a notebook shows of a traceback ends above it
        return super().result(timeout)

    def __await__(self) -> Generator[Any, None, Any]:
        return asyncio.wrap_future(self).__await__()


class _Work(Single):
    """One call of an executor."""

    def __init__(
        self, pool: _Pool, shipped: Shipped, plain: bytes, inputs: Parcel | None, pace: Pace
    ) -> None:
        request = Request(pool.heard, tag=self)
        super().__init__(Part(request, None, name=shipped.name), shipped, plain, inputs, pace, None)
        self.future = Submitted()
        self.future.drop = functools.partial(pool.drop, self)
        self.context = contextvars.copy_context()  # says whose cell shows what it prints
        self._pool = pool

    def take(self, engine: Engine, workers: int) -> Request | None:
        if self.future.set_running_or_notify_cancel():
            return super().take(engine, workers)
        self.withdraw()
        self._pool.over(self)
        return None

    def fail(self, error: Exception) -> None:
        self._pool.broken = _broken(error)
        if self.future.set_running_or_notify_cancel():
            super().fail(self._pool.broken)
        else:
            self.withdraw()
            self._pool.over(self)


class _Pool:
    """The workers of one executor, and the thread that opens what they give back: done-callbacks
    run there. The thread ends, and the workers with it, when the pool is closed and has nothing
    more to do."""

    def __init__(
        self, client: Client, n: int, prepare: Callable[[Engine], None] | None, idle_s: float | None
    ) -> None:
        self._views = client._views
        self.group = self._views.start(client, n, None, idle_s)
        self.space = self.group.space
        self.broken: BrokenWorkers | None = None
        self._dispatcher = Dispatcher(self.group, prepare)
        self._paces: dict[int, Pace] = {}
        self._works: set[_Work] = set()  # that are not over
        self._ended: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=self._run, name="jupyter-remote-executor", daemon=True
        )
        self._thread.start()

    def submit(self, shipped: Shipped, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Submitted:
        """Raises CaptureError; RuntimeError when it was closed."""
        plain, inputs = self.space.packed_arguments(args, kwargs)
        pace = self._paces.setdefault(shipped.number, Pace())
        work = _Work(self, shipped, plain, inputs, pace)
        with self._lock:
            self.check()
            self._works.add(work)
        self._dispatcher.add(work)
        return work.future

    def check(self) -> None:
        """Raises what stands against one more call."""
        if self.broken is not None:
            raise BrokenWorkers(self.broken.message, hint=self.broken.hint)
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def heard(self, request: Request) -> None:
        """A call is done; called in the exchange's thread."""
        work: _Work = request.tag
        self._dispatcher.done(request, work.part.engine, work.pace, 1)
        self._ended.put(work)

    def drop(self, work: _Work) -> None:
        """Its future was cancelled."""
        if self._dispatcher.withdraw(work):
            work.future.set_running_or_notify_cancel()
            self.over(work)

    def over(self, work: _Work) -> None:
        """Let go of it, so that its value lives as long as its future."""
        work.future.drop = work.part.request.tag = None
        with self._lock:
            self._works.discard(work)
            last = self._closed and not self._works
        if last:
            self._ended.put(None)

    def close(self, cancel: bool = False) -> None:
        """Take no more calls. ``cancel``: those that have not begun will not."""
        with self._lock:
            self._closed = True
            works = list(self._works) if cancel else []
        for work in works:
            work.future.cancel()
        self._ended.put(None)

    def abort(self) -> None:
        """Cancel the calls that have not begun, interrupt the others."""
        with self._lock:
            works = list(self._works)
        for work in works:
            if not work.future.cancel():
                work.part.request.stop()

    def join(self) -> None:
        """Until all calls are done and the workers stopped."""
        if self._thread is not threading.current_thread():
            self._thread.join()

    @property
    def whole(self) -> bool:
        """Do all workers live, and may calls come?"""
        return not self._closed and self.broken is None and all(e.alive for e in self.group.engines)

    # -- in the thread
    def _run(self) -> None:
        while not (self._closed and not self._works):
            work = self._ended.get()
            if work is not None:
                self._settle(work)
            del work  # nobody shall find its value here while this waits
        self._views.forget(self.group)
        with contextlib.suppress(errors.JupyterRemoteError):
            self.group.stop(self.group.engines)

    def _settle(self, work: _Work) -> None:
        if work.part.request.outputs:
            with contextlib.suppress(Exception):  # a closed stdout costs nobody the result
                work.context.run(shown.replay, [(None, work.part.request.outputs)], "type")
        try:
            value = work.part.value(self.space)
        except errors.EngineError as error:
            work.future.set_exception(_broken(error))
        except BaseException as error:
            work.future.set_exception(error.with_traceback(None))
        else:
            work.future.set_result(value)
        self.over(work)


def _broken(error: Exception) -> BrokenWorkers:
    """Of what happened to a worker."""
    if isinstance(error, BrokenWorkers):
        return error
    if isinstance(error, errors.EngineError):
        return BrokenWorkers(error.message, hint="what it was doing is lost; submit it again")
    broken = BrokenWorkers(f"the workers cannot be used: {error}", hint="make another executor")
    broken.__cause__ = error
    return broken


class SessionExecutor(Executor):
    """What ``client.executor()`` gives. What a call prints is shown where it was submitted."""

    users = 0  # that joblib has for it just now

    def __init__(
        self,
        client: Client,
        max_workers: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        idle_timeout_s: float | None = None,
    ) -> None:
        n = os.cpu_count() or 1 if max_workers is None else max_workers
        if n <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        space = client._views.space
        prepare = None
        if initializer is not None:
            packed = space.packed_arguments(tuple(initargs), {})
            shipped = space.functions.shipped(initializer)
            prepare = functools.partial(_prepare, space, shipped, *packed)
        self._max_workers = n  # the name that other libraries look for
        self._functions = space.functions
        self._pool = _Pool(client, n, prepare, idle_timeout_s)
        self._collected = weakref.finalize(self, self._pool.close)
        self._collected.atexit = False
        _pools.add(self._pool)
        _keeper()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._max_workers} workers>"

    def submit(self, fn: Callable[..., Any] | Shipped, /, *args: Any, **kwargs: Any) -> Submitted:
        """Call ``fn(*args, **kwargs)`` in a worker that is free. Arguments may be changed after.

        Raises CaptureError for what cannot travel, RuntimeError after :meth:`shutdown`,
        BrokenWorkers when no worker is left.
        """
        self._pool.check()
        shipped = fn if isinstance(fn, Shipped) else self._functions.shipped(fn)
        return self._pool.submit(shipped, args, kwargs)

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **others: Any,
    ) -> Iterator[Any]:
        """``fn`` of each item, in their order; ``chunksize`` items make one call."""
        self._pool.check()
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1:
            shipped: Any = self._functions.shipped(fn)
            return super().map(shipped, *iterables, timeout=timeout, **others)
        shipped = self._functions.shipped(functools.partial(remotely.run_chunk, fn))
        chunks = _chunks(zip(*iterables, strict=False), chunksize)
        found = super().map(shipped, chunks, timeout=timeout, **others)
        return itertools.chain.from_iterable(found)

    @property
    def whole(self) -> bool:
        """Do all workers live, and may calls come?"""
        return self._pool.whole

    def abort(self) -> None:
        """Cancel the calls that have not begun, interrupt the others. More may be submitted."""
        self._pool.abort()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and stop the workers when those that were submitted are done."""
        self._pool.close(cancel_futures)
        if wait:
            self._pool.join()


def _chunks(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while chunk := list(itertools.islice(items, size)):
        yield chunk


def _prepare(
    space: Space, shipped: Shipped, plain: bytes, inputs: Parcel | None, engine: Engine
) -> None:
    """Call the initializer there. Raises what it raised."""
    done = threading.Event()
    request = Request(lambda _: done.set())
    engine.call(request, shipped, plain, inputs)
    done.wait()
    Part(request, engine).value(space)


# --- the end of the interpreter ---------------------------------------------------------------
_pools: weakref.WeakSet[_Pool] = weakref.WeakSet()


@functools.cache
def _keeper() -> None:
    """Calls that were submitted are done before the interpreter ends, as those of the standard
    library's executors are. The interpreter waits for this thread, which is no daemon."""
    threading.Thread(target=_finish_all, name="jupyter-remote-keeper").start()


def _finish_all() -> None:
    threading.main_thread().join()
    for pool in list(_pools):
        pool.close()
        pool.join()
