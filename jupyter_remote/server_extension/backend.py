"""The backend as the page may see it: some of its routes, asked with a token that stays here."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from jupyter_remote import errors
from jupyter_remote.cards.render import card_json
from jupyter_remote.cards.state import state_of
from jupyter_remote.client import embedded, listing, renames
from jupyter_remote.client.homecoming import home_of
from jupyter_remote.client.link import Address, Link
from jupyter_remote.client.renames import Rename
from jupyter_remote.model import BudgetRename
from jupyter_remote.money.budgets import NOTEBOOK
from jupyter_remote.settings import Settings
from jupyter_remote.wire import (
    HTTP_STATUS,
    PROTOCOL,
    BudgetList,
    BudgetRenames,
    JobList,
    JobOutputs,
    JobView,
    Problem,
    SessionList,
    problem_of,
)

T = TypeVar("T")
log = logging.getLogger("jupyter_remote")
JOBS = "v1/jobs"
ONE_JOB = re.compile(r"v1/jobs/[^/]+(/cancel)?")
SESSIONS = "v1/sessions"
BUDGETS = "v1/account/budgets"
LOG_BYTES = 1 << 20  # of the end of a log; all of it is no text for a page
_ID = r"[0-9a-f-]{36}"
ONE_ID = re.compile(_ID)
CURSOR = re.compile(r"[0-9]{0,15}")
ROUTES = [
    (method, re.compile(pattern))
    for method, pattern in (
        ("GET", JOBS),
        ("GET", rf"v1/jobs/{_ID}"),
        ("GET", rf"v1/jobs/{_ID}/(history|receipt)"),
        ("GET", rf"v1/jobs/{_ID}/log"),
        ("POST", rf"v1/jobs/{_ID}/(cancel|repeat)"),
        ("POST", r"v1/plans"),
        ("GET", r"v1/account/summary"),
        ("GET", r"v1/machines(/instances)?"),
        ("GET", SESSIONS),
    )
]
"""What the page needs, and no more: no tokens, no workers, no values."""

NOTHING = 204
"""The embedded backend does not run: it starts with the first job, or when the panel is opened.
That is no failure, which a page would write into its console."""

# Of the backend, not of Jupyter Server: a page takes 401 and 403 for its own login.
_STATUS = {"backend_unreachable": 503, "not_authenticated": 502, "not_authorized": 502}


class Answer(msgspec.Struct, frozen=True):
    """What goes to the page."""

    status: int
    body: bytes
    type: str = "application/json"


def is_allowed(method: str, path: str) -> bool:
    """May the page ask this?"""
    return any(method == known and pattern.fullmatch(path) for known, pattern in ROUTES)


class _Absent(errors.BackendUnreachable):
    """No embedded backend of our protocol runs."""


def _running(settings: Settings) -> Address:
    found = embedded.running(settings)
    if found is None or found.protocol != PROTOCOL:
        raise _Absent("The embedded backend does not run.")
    return found


class Backend:
    """Thread-safe; its calls block. A look starts no embedded backend, whatever it finds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._link = Link(settings, ensure=None if settings.url else _running)
        self._followed = 0  # renames: budgets have the names of after them
        self._lock = threading.Lock()

    def ask(
        self, method: str, path: str, params: Mapping[str, str], body: bytes, *, start: bool
    ) -> Answer:
        """One request of the page. ``start``: an embedded backend that does not run is started."""
        content = body or (b"{}" if method == "POST" else None)

        def asked() -> Answer:
            self._reach()
            if path.endswith("/log"):
                return Answer(200, self._log(path), "text/plain; charset=utf-8")
            if path == SESSIONS:
                return Answer(200, _without_keys(self._call(method, path, SessionList)))
            if path == JOBS:
                return Answer(200, msgspec.json.encode(self._jobs(params)))
            if ONE_JOB.fullmatch(path):
                job = self._call(method, path, JobView, content, params)
                return Answer(200, msgspec.json.encode(_as_now([job])[0]))
            return Answer(200, bytes(self._call(method, path, msgspec.Raw, content, params)))

        return self._told(asked, start=start)

    def _jobs(self, params: Mapping[str, str]) -> JobList:
        """A page of jobs; of one notebook those of all its names."""

        notebook, limit = params.get("notebook"), params.get("limit", str(listing.PAGE))
        if notebook and limit.isdecimal():
            return JobList(_as_now(listing.of_notebook(self._page, notebook, int(limit))))
        found = self._page(params)
        return msgspec.structs.replace(found, jobs=_as_now(found.jobs))

    def settle(self) -> None:
        """Budgets follow now, if the backend runs; else with the next request."""
        with contextlib.suppress(errors.JupyterRemoteError):
            self._reach()

    def _reach(self) -> None:
        self._link.check()
        found = renames.log().all()
        with self._lock:
            if len(found) != self._followed:
                try:
                    self._move_budgets(found)
                except errors.BackendUnreachable:
                    raise
                except errors.JupyterRemoteError as error:
                    log.warning("budgets do not follow what was renamed: %s", error)
                self._followed = len(found)

    def _move_budgets(self, found: Sequence[Rename]) -> None:
        """To the names that their notebooks have now."""
        moved = []
        for one in self._call("GET", BUDGETS, BudgetList).budgets:
            [now, *_] = renames.names_of(renames.now_of(one.name, one.set_at, found), found)
            if one.scope == NOTEBOOK and one.set_at and now.path != one.name:
                moved.append(
                    BudgetRename(name=one.name, to=now.path, set_at=one.set_at, since=now.since)
                )
        if moved:
            body = msgspec.json.encode(BudgetRenames(moved))
            self._call("POST", f"{BUDGETS}/rename", BudgetList, body)

    def _page(self, params: Mapping[str, object]) -> JobList:
        return self._call("GET", JOBS, JobList, params=params)

    def _told(self, ask: Callable[[], Answer], *, start: bool) -> Answer:
        """The answer, perhaps of a backend that is started for it."""

        def found_or_started() -> Answer:
            try:
                return ask()
            except _Absent:
                if not start:
                    raise
                embedded.ensure(self._settings)
                return ask()

        return _told(found_or_started)

    def cards(self, ids: Sequence[str]) -> Answer:
        """What the cards of these jobs show now; of those that are not known, nothing."""
        return _told(lambda: Answer(200, msgspec.json.encode(list(self._cards(ids)))))

    def _cards(self, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        self._reach()
        if ids:
            asked = {"ids": ",".join(ids), "limit": str(len(ids))}
            for job in self._call("GET", JOBS, JobList, params=asked).jobs:
                yield card_json(state_of(job), time.time())

    def outputs(self, id: str, after: str, *, start: bool) -> Answer:
        """What a job showed, and its card, as outputs of a cell; its card alone if it goes on and
        there is nothing after that cursor.

        ``null`` for a job that is not known: a card may be of anybody's, and a page writes what
        is not found into its console.
        """

        def asked() -> Answer:
            try:
                return Answer(200, msgspec.json.encode(self._outputs(id, after)))
            except errors.NotFound:
                return Answer(200, b"null")

        return self._told(asked, start=start)

    def _outputs(self, id: str, after: str) -> dict[str, Any]:
        self._reach()
        path = f"{JOBS}/{id}/outputs"
        told = self._call("GET", path, JobOutputs, params={"after": after} if after else None)
        if told.outputs is None and told.job.ended_at is not None:  # what it ended with is new
            told = self._call("GET", path, JobOutputs)
        home = home_of(told, time.time())
        return {
            "card": home.card,
            "outputs": None if told.outputs is None else home.outputs,
            "cursor": told.cursor,
            "is_over": told.job.ended_at is not None,
            "cleared": home.cleared,
            "updated": home.updated,
        }

    def _log(self, path: str) -> bytes:
        end = {"last_bytes": str(LOG_BYTES)}
        return self._link.twice(lambda http: b"".join(http.download(f"/{path}", end)))

    def _call(
        self,
        method: str,
        path: str,
        reply: type[T],
        body: bytes | None = None,
        params: Mapping[str, object] | None = None,
    ) -> T:
        return self._link.call(method, f"/{path}", body, reply=reply, params=params)


def _as_now(jobs: Sequence[JobView]) -> list[JobView]:
    """With the names that their notebooks have now."""
    found = renames.log().all()
    return [
        msgspec.structs.replace(job, notebook=renames.now_of(job.notebook, job.submitted_at, found))
        for job in jobs
    ]


def _without_keys(found: SessionList) -> bytes:
    """Who knows the socket and the key of a session's kernel can run code in it."""
    shown = [msgspec.structs.replace(one, address="", key="") for one in found.sessions]
    return msgspec.json.encode(SessionList(shown))


def _told(ask: Callable[[], Answer]) -> Answer:
    """The answer, or what hinders it in the page's words."""
    try:
        return ask()
    except _Absent:
        return Answer(NOTHING, b"")
    except errors.JupyterRemoteError as error:
        return _answer(problem_of(error))


def _answer(problem: Problem) -> Answer:
    status = _STATUS.get(problem.code, HTTP_STATUS.get(problem.code, problem.status))
    return Answer(status, msgspec.json.encode(problem))
