"""The calls of one client: their ids in order, those that are not done, and results found again."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from jupyter_remote import errors
from jupyter_remote.client.views.results import AsyncResult

KEPT_BYTES = 16 * 1024 * 1024  # of results that can be found again
KEPT = 1000


class NoSuchResult(errors.UsageError, KeyError):
    """An id of a call that this client did not make, or whose result is gone."""


class Record:
    """Of one client."""

    def __init__(self) -> None:
        self.history: list[str] = []
        self.results: dict[str, AsyncResult] = {}  # those that are not done, and the latest
        self._open: set[AsyncResult] = set()
        self._kept: deque[tuple[AsyncResult, int]] = deque()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def add(self, result: AsyncResult) -> list[str]:
        """From now on it can be found; its ids."""
        ids = result.msg_ids
        self.history.extend(ids)
        for id in ids:
            self.results[id] = result
        self._open.add(result)
        result.add_done_callback(self._done)
        return ids

    def _done(self, result: Any) -> None:
        self._open.discard(result)
        size = 0
        for part in result.parts_from_end():
            size += part.size_bytes
            self.results[str(part.request.id)] = result  # maps make calls one by one
        with self._lock:
            self._kept.append((result, size))
            self._kept_bytes += size
            while len(self._kept) > KEPT or self._kept_bytes > KEPT_BYTES:
                old, size = self._kept.popleft()
                self._kept_bytes -= size
                self._drop(old)

    def _drop(self, result: AsyncResult) -> None:
        for id in result.msg_ids:
            self.results.pop(id, None)

    def open(self) -> list[AsyncResult]:
        """Results that are not done."""
        return list(self._open)

    def outstanding(self) -> set[str]:
        """Ids of calls that are not done."""
        return {id for result in self.open() for id in result.ids_pending()}

    def find(self, jobs: Any, history: list[str]) -> list[AsyncResult]:
        """Results by ids, places in ``history`` and themselves, one of these or several; None:
        those that are not done.

        Raises NoSuchResult.
        """
        if jobs is None:
            return self.open()
        several = jobs if isinstance(jobs, list | tuple | set) else [jobs]
        return list(dict.fromkeys(self._one(job, history) for job in several))

    def _one(self, job: Any, history: list[str]) -> AsyncResult:
        if isinstance(job, AsyncResult):
            return job
        if not isinstance(job, int | str):
            raise TypeError(f"a call is named by its id or its result, not by {job!r}")
        try:
            id = history[job] if isinstance(job, int) else job
            whole = self.results[id]
        except (KeyError, IndexError):
            raise NoSuchResult(
                f"there is no result {job!r}", hint="hold it by a name: only the latest are kept"
            ) from None
        return whole.part_of_id(id)

    def get(self, jobs: Any, history: list[str], *, waits: bool) -> AsyncResult:
        """One result of these calls; None: of the last one."""
        found = self._whole(-1 if jobs is None else jobs, history)
        if waits:
            found.wait()
        return found

    def _whole(self, jobs: Any, history: list[str]) -> AsyncResult:
        if isinstance(jobs, AsyncResult):
            return jobs
        if isinstance(jobs, list | tuple) and len(jobs) > 1:
            whole = self.results.get(str(jobs[0]))
            if whole is not None and whole.msg_ids == list(jobs):
                return whole
        found = self.find(jobs, history)
        return found[0] if isinstance(jobs, int | str) else AsyncResult.together(found)

    def forget(self, jobs: Iterable[AsyncResult] | None) -> None:
        """They are not found any more; None: all that are done."""
        with self._lock:
            gone = {result for result, _ in self._kept} if jobs is None else set(jobs)
            self._kept = deque(k for k in self._kept if k[0] not in gone)
            self._kept_bytes = sum(size for _, size in self._kept)
        for result in gone:
            self._drop(result)

    def wait(self, results: Iterable[AsyncResult], timeout: float | None) -> bool:
        """Until all are done; False if that takes longer."""
        forever = timeout is None or timeout < 0
        until = time.monotonic() + (0.0 if timeout is None else timeout)
        done = [r.wait(None if forever else max(0.0, until - time.monotonic())) for r in results]
        return all(done)

    def wait_interactive(
        self, results: Sequence[AsyncResult], interval: float, timeout: float
    ) -> None:
        if results:
            AsyncResult.join(*results).wait_interactive(interval, timeout)

    def abort(self, results: Iterable[AsyncResult]) -> None:
        """Drop calls that have not begun."""
        for result in results:
            if not result.done():
                result.drop_waiting()
