"""The backend as the page may see it: some of its routes, asked with a token that stays here."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence

import msgspec

from jupyter_remote import errors
from jupyter_remote.cards.render import card_json
from jupyter_remote.cards.state import state_of
from jupyter_remote.client import embedded
from jupyter_remote.client.link import Link
from jupyter_remote.settings import Settings
from jupyter_remote.wire import HTTP_STATUS, JobView, Problem, problem_of

_ID = r"[0-9a-f-]{36}"
ONE_ID = re.compile(_ID)
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

NOTHING = 204
"""The embedded backend does not run: it starts with the first job, or when the panel is opened.
That is no failure, which a page would write into its console."""

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
            return Answer(NOTHING, b"")
        try:
            content = body or (b"{}" if method == "POST" else None)
            reply = self._link.call(method, f"/{path}", content, reply=msgspec.Raw, params=params)
        except errors.JupyterRemoteError as error:
            self._begun = False
            return _answer(problem_of(error))
        self._begun = True
        return Answer(200, bytes(reply))

    def cards(self, ids: Sequence[str]) -> Answer:
        """What the cards of these jobs show now; of those that are not known, nothing."""
        if not self._is_there():
            return Answer(NOTHING, b"")
        found = []
        for id in ids:
            try:
                view = self._link.call("GET", f"/v1/jobs/{id}", reply=JobView)
            except errors.NotFound:
                continue
            except errors.JupyterRemoteError as error:
                return _answer(problem_of(error))
            found.append(card_json(state_of(view), time.time()))
        return Answer(200, msgspec.json.encode(found))

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
