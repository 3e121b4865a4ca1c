"""Many jobs of one function."""

from __future__ import annotations

import queue
import time
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, overload

from jupyter_remote import errors
from jupyter_remote.client.job import STEP_S, Job


class BatchProgress(NamedTuple):
    """How far a batch is, in jobs."""

    done: int
    failed: int  # of those done
    total: int


class Batch(Sequence[Job]):
    """The jobs of :meth:`Client.map`, in the order of their inputs.

    ``async for`` gives results in that order; ``await`` gives the list of them. Where a task that
    waits so is cancelled, the jobs are.
    """

    def __init__(self, id: str, jobs: list[Job]) -> None:
        self.id = id
        self._jobs = jobs

    def __repr__(self) -> str:
        done, failed, total = self.progress
        return f"<Batch {self.id[:8]}: {done} of {total} done, {failed} failed>"

    def __len__(self) -> int:
        return len(self._jobs)

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> Batch: ...
    def __getitem__(self, index: int | slice) -> Job | Batch:
        if isinstance(index, slice):
            return Batch(self.id, self._jobs[index])
        return self._jobs[index]

    @property
    def progress(self) -> BatchProgress:
        """Jobs done, of them failed or cancelled, and all."""
        done = [job for job in self._jobs if job.done()]
        failed = sum(1 for job in done if job.exception() is not None)
        return BatchProgress(len(done), failed, len(self._jobs))

    def done(self) -> bool:
        """Have all ended?"""
        return all(job.done() for job in self._jobs)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for all, ``timeout`` seconds at most. Returns whether all have ended."""
        until = None if timeout is None else time.monotonic() + timeout
        with _interruptible():
            for job in self._jobs:
                if not job.wait(None if until is None else max(0.0, until - time.monotonic())):
                    return False
        return True

    def results(
        self, timeout: float | None = None, *, return_exceptions: bool = False
    ) -> list[Any]:
        """All values. Raises what the one that failed raised, or CompositeError of several.

        With ``return_exceptions`` exceptions stand in the list instead. Raises TimeoutError after
        ``timeout`` seconds.
        """
        if not self.wait(timeout):
            raise self._late(timeout)
        raised = [job.exception() for job in self._jobs]
        if not return_exceptions:
            self._raise([e for e in raised if isinstance(e, Exception)])
        pairs = zip(self._jobs, raised, strict=True)
        return [job.result() if e is None else e for job, e in pairs]

    def result(self, timeout: float | None = None) -> list[Any]:
        """All values, as :meth:`results`; a batch can be asked as a job is."""
        return self.results(timeout)

    def as_completed(self, timeout: float | None = None) -> Iterator[Job]:
        """Jobs as they end. Raises TimeoutError, and BackendUnreachable as ``result()`` does."""
        until = None if timeout is None else time.monotonic() + timeout
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for job in self._jobs:
            job.add_done_callback(ended.put)
        for _ in self._jobs:
            with _interruptible():  # around all that waits: a signal comes at any line of it
                came = self._next(ended, until)
            if came is None:
                raise self._late(timeout)
            yield came

    def cancel(self, force: bool = False, *, force_after: str | float | None = None) -> int:
        """Ask all that have not ended to stop, as a job does; returns how many."""
        going_on = [job for job in self._jobs if not job.done()]
        return sum(job.cancel(force, force_after=force_after) for job in going_on)

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self._awaited().__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        import asyncio

        for job in self._jobs:
            try:
                value = await job
            except asyncio.CancelledError:
                await asyncio.to_thread(self.cancel)
                raise
            yield value

    async def _awaited(self) -> list[Any]:
        import asyncio

        given = await asyncio.gather(*map(_result_of, self._jobs), return_exceptions=True)
        pairs = zip(self._jobs, given, strict=True)
        self._raise([e for job, e in pairs if job.exception() and isinstance(e, Exception)])
        return list(given)

    def _next(self, ended: queue.SimpleQueue[Any], until: float | None) -> Job | None:
        """One that ended; None when the time is over."""
        while True:
            try:
                job: Job = ended.get(timeout=STEP_S)
                return job
            except queue.Empty:
                waiting = next((job for job in self._jobs if not job.done()), None)
                if waiting is not None:
                    waiting.wait(0.001)  # raises when the backend is away for long
            if until is not None and time.monotonic() > until:
                return None

    def _late(self, timeout: float | None) -> errors.StillRunning:
        done, _, total = self.progress
        return errors.StillRunning(
            f"{total - done} of {total} jobs have not ended after {timeout or 0:g} s",
            hint="they go on: ask again, or stop them with cancel()",
        )

    def _raise(self, raised: list[Exception]) -> None:
        if len(raised) == 1:
            raise raised[0].with_traceback(None)
        if raised:
            what = f"{len(raised)} of {len(self._jobs)} jobs failed"
            raise errors.CompositeError(what, raised)


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        error.__notes__ = []  # of the one job that was waited for
        errors.explain(error, "the jobs go on; cancel() stops them")
        raise


async def _result_of(job: Job) -> Any:
    return await job
