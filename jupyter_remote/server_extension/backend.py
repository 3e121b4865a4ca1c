"""The backend as the page may see it: some of its routes, asked with a token that stays here."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from jupyter_remote import errors
from jupyter_remote.client import embedded
from jupyter_remote.client.link import Link
from jupyter_remote.settings import Settings
from jupyter_remote.wire import HTTP_STATUS, Problem, problem_of

_ID = r"[0-9a-f-]{36}"
ROUTES = [
    (method, re.compile(pattern))
    for method, pattern in (
        ("GET", r"v1/jobs"),
        ("GET", rf"v1/jobs/{_ID}"),
        ("GET", rf"v1/jobs/{_ID}/(history|receipt)"),
        ("POST", rf"v1/jobs/{_ID}/cancel"),
        ("GET", r"v1/account(/summary)?"),
        ("GET", r"v1/machines"),
        ("GET", r"v1/sessions"),
        ("GET", r"v1/server"),
    )
]
"""What the page needs, and no more: no tokens, no workers, no values."""

NOT_RUNNING = Problem(
    title="not running",
    status=503,
    code="not_running",
    detail="the embedded backend does not run",
    hint="It starts with the first job, or when the panel is opened.",
)
# Of the backend, not of Jupyter Server: a page takes 401 and 403 for its own login.
_STATUS = {"backend_unreachable": 503, "not_authenticated": 502, "not_authorized": 502}


class Answer(msgspec.Struct, frozen=True):
    """What goes to the page. ``body`` is JSON."""

    status: int
    body: bytes


def is_allowed(method: str, path: str) -> bool:
    """May the page ask this?"""
    return any(method == known and pattern.fullmatch(path) for known, pattern in ROUTES)


class Backend:
    """Thread-safe; its calls block."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._link = Link(settings)
        self._begun = False

    def ask(
        self, method: str, path: str, params: Mapping[str, str], body: bytes, *, start: bool
    ) -> Answer:
        """One request of the page. ``start``: an embedded backend that does not run is started."""
        if not (start or self._is_there()):
            return _answer(NOT_RUNNING)
        try:
            content = body or (b"{}" if method == "POST" else None)
            reply = self._link.call(method, f"/{path}", content, reply=msgspec.Raw, params=params)
        except errors.JupyterRemoteError as error:
            self._begun = False
            return _answer(problem_of(error))
        self._begun = True
        return Answer(200, bytes(reply))

    def _is_there(self) -> bool:
        """Without starting one."""
        if self._begun or not self._link.embedded:
            return True
        return embedded.running(self._settings) is not None

    def close(self) -> None:
        self._link.close()


def _answer(problem: Problem) -> Answer:
    status = _STATUS.get(problem.code, HTTP_STATUS.get(problem.code, problem.status))
    return Answer(status, msgspec.json.encode(problem))
