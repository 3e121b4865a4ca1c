"""joblib, and with it scikit-learn, on workers: ``parallel_config(backend="jupyter_remote")``.

Large arrays are files in memory that are named by their content: the same array is sent once,
however many tasks and calls use it.
"""

from __future__ import annotations

import contextvars
import operator
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from joblib.parallel import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)

from jupyter_remote import amounts, remotely
from jupyter_remote.client.views import shown
from jupyter_remote.client.views.bars import WaitBar
from jupyter_remote.client.views.executor import SessionExecutor

if TYPE_CHECKING:
    from jupyter_remote.client.api import Client

SHOWN_AFTER_S = 1.0  # shorter calls have no bar
REDRAWN_S = 0.2


class SessionBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """A joblib backend. Its workers stay for the next call, until nobody used them for a while.

    Parameters
    ----------
    client: by default the one that the notebook's own cells use.
    machine, options: as for ``client.with_options()``.
    idle_timeout: of the workers, seconds or a time in words.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1
    MIN_IDEAL_BATCH_DURATION = 0.05  # less than joblib's own: a call costs less

    def __init__(
        self,
        client: Client,
        *,
        idle_timeout: float | str = "5m",
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self.parallel: Any = None
        self._client = client.with_options(**options)
        self._idle_s = amounts.seconds(idle_timeout)
        self._executor: SessionExecutor | None = None
        self._bar: _Bar | None = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many workers. One is the caller itself, as with joblib's own backends; so it is
        inside of a worker."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if self.nesting_level:
            return 1
        n = self.default_n_jobs if n_jobs is None else n_jobs
        return n if n > 0 else max(1, (os.cpu_count() or 1) + 1 + n)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: Any = None,
        require: Any = None,
        **_: Any,
    ) -> int:
        n = self.effective_n_jobs(n_jobs)
        if n == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._executor = self._found_or_started(n)
        return n

    def _found_or_started(self, n: int) -> SessionExecutor:
        views = self._client._views
        variables: dict[str, str] = self._prepare_worker_env(n_jobs=n)
        key = (n, self._client.options, tuple(variables.items()))
        with views.lock:
            executor = views.executors.get(key)
            if executor is None or not executor.whole:
                self._make_room()
                executor = views.executors[key] = SessionExecutor(
                    self._client, n, remotely.limit_threads, (variables,), self._idle_s
                )
            executor.users += 1
        return executor

    def _make_room(self) -> None:
        """Stop workers that are of no use now: there may be no room for others beside them."""
        executors = self._client._views.executors
        for key, executor in list(executors.items()):
            if not executor.users or not executor.whole:
                del executors[key]
                executor.shutdown()

    # -- one call of Parallel
    def start_call(self) -> None:
        if shown.in_notebook() and self.in_main_thread() and not self.parallel.verbose:
            self._bar = _Bar(self.parallel)

    def submit(
        self, func: Any, callback: Callable[[Future[Any]], Any] | None = None
    ) -> Future[Any]:
        """``func`` is a batch of tasks. What goes wrong is in the future: joblib submits from
        done-callbacks, too."""
        assert self._executor is not None
        future: Future[Any]
        try:
            future = self._executor.submit(operator.call, func)
        except Exception as error:
            future = Future()
            future.set_exception(error)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        return out.result()

    def batch_completed(self, batch_size: int, duration: float) -> None:
        super().batch_completed(batch_size, duration)
        if self._bar is not None:
            self._bar.moved(batch_size)

    def abort_everything(self, ensure_ready: bool = True) -> None:
        if self._executor is not None:
            self._executor.abort()

    def stop_call(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def terminate(self) -> None:
        if self._executor is not None:
            with self._client._views.lock:
                self._executor.users -= 1
            self._executor = None
        self.reset_batch_stats()


class _Bar:
    """Tasks that are done, shown in the cell that waits."""

    def __init__(self, parallel: Any) -> None:
        self._parallel = parallel
        self._bar = WaitBar("Parallel", parallel.n_tasks)
        self._context = contextvars.copy_context()  # says whose cell that is
        self._began_at = time.monotonic()
        self._drawn_at = 0.0
        self._done = 0

    def moved(self, tasks: int) -> None:
        """In the executor's thread."""
        self._done += tasks
        now = time.monotonic()
        if now - self._began_at > SHOWN_AFTER_S and now - self._drawn_at > REDRAWN_S:
            self._drawn_at = now
            if self._parallel._original_iterator is None:  # all tasks are known
                self._bar.total = self._parallel.n_dispatched_tasks
            self._context.run(self._bar.show, self._done, now - self._began_at)

    def close(self) -> None:
        if self._drawn_at:
            self._bar.total = self._parallel.n_dispatched_tasks
            self._bar.show(self._done, time.monotonic() - self._began_at, last=True)
