"""Jobs of a user, newest first, page by page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

from jupyter_remote.client import renames
from jupyter_remote.errors import UsageError
from jupyter_remote.model import Status
from jupyter_remote.wire import JobList, JobView

PAGE = 500  # jobs; a backend gives no more at a time

Ask = Callable[[dict[str, object]], JobList]
"""One page of ``GET /v1/jobs`` with these parameters."""


def jobs(ask: Ask, status: str | None = None, limit: int | None = None) -> Iterator[JobView]:
    """The newest ``limit`` (None: all), of one status or of all. Raises UsageError."""
    if status is not None and status not in list(Status):
        known = ", ".join(Status)
        raise UsageError(f"there is no status {status!r}", hint=f"it is one of {known}")
    if limit is not None and limit < 1:
        raise UsageError(f"limit={limit} lists nothing", hint="ask for one job or more")
    left, before = limit, ""
    while left is None or left > 0:
        params = {"limit": PAGE if left is None else min(left, PAGE), "before": before}
        page = ask({**params, **({"status": status} if status else {})})
        yield from page.jobs
        if not page.next:
            return
        before = page.next
        left = None if left is None else left - len(page.jobs)


def of_notebook(ask: Ask, notebook: str, limit: int) -> list[JobView]:
    """The newest jobs that come from a notebook, by whatever name it had when they were sent."""
    return list(itertools.islice(since(ask, notebook, -math.inf, limit), limit))


def since(ask: Ask, notebook: str, at: float, page: int = PAGE) -> Iterator[JobView]:
    """All of those that were sent after that time."""
    for name in renames.names_of(notebook, renames.log().all()):
        if name.until < at:
            return
        sent = _after(max(at, name.since), jobs(_named(ask, name.path, page)))
        yield from (job for job in sent if name.was_at(job.submitted_at))


def _after(at: float, sent: Iterator[JobView]) -> Iterator[JobView]:
    return itertools.takewhile(lambda job: job.submitted_at > at, sent)


def _named(ask: Ask, notebook: str, page: int) -> Ask:
    return lambda params: ask({**params, "notebook": notebook, "limit": min(page, PAGE)})
