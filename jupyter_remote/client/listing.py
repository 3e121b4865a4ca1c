"""Jobs of a user, newest first, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
