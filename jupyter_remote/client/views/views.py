"""The views of one client."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
import weakref
from typing import TYPE_CHECKING, Any

from jupyter_remote import errors
from jupyter_remote.client.origin import session_name
from jupyter_remote.client.views import shown
from jupyter_remote.client.views.balanced import LoadBalancedView
from jupyter_remote.client.views.engine import Engine
from jupyter_remote.client.views.group import (
    ENDED_WELL,
    IDLE_S,
    Group,
    session_job,
    start_engines,
)
from jupyter_remote.client.views.record import Record
from jupyter_remote.client.views.session import Session
from jupyter_remote.client.views.space import Space
from jupyter_remote.client.views.view import DirectView
from jupyter_remote.model import Status

if TYPE_CHECKING:
    from jupyter_remote.client.api import Client
    from jupyter_remote.client.views.executor import SessionExecutor

ENDS_S = 10.0  # a worker that is gone is known to be so here


class Views:
    """Made at first use, and shared by all copies of a client with other options."""

    def __init__(self, client: Client) -> None:
        self.space = Space(client._context, client.namespace, about_here())
        self.executors: dict[Any, SessionExecutor] = {}  # of joblib, kept for its next call
        self.record = Record()
        self._owned: list[Engine] = []  # that end with this
        self._default: Group | None = None
        self._sessions: dict[str, Session] = {}
        self.lock = threading.RLock()
        shown.show_composites()
        self._end = weakref.finalize(
            self, _end, weakref.ref(self), self._owned, self.space, os.getpid()
        )

    def default(self, client: Any, n: int | None = None) -> Group:
        """The workers of ``client[...]``: ``n`` if they are to be started, or one for each core."""
        with self.lock:
            ended = self._default
            if ended is not None and ended.ids:
                return ended
            if ended is not None:
                _warn_ended(ended)
                self.forget(ended)
            self._default = self.start(client, n or os.cpu_count() or 1, None, IDLE_S)
            return self._default

    def start(
        self, client: Client, n: int, name: str | None, idle_timeout_s: float | None
    ) -> Group:
        group = start_engines(client, self, n, name, idle_timeout_s)
        if group.owned:
            self._owned.extend(group.engines)
        return group

    def forget(self, group: Group) -> None:
        """Its workers ended."""
        self._owned[:] = [engine for engine in self._owned if engine not in group.engines]

    def direct(self, group: Group, targets: Any = None, **flags: Any) -> DirectView:
        every = [engine.id for engine in group.engines]
        return DirectView(group, every if targets is None else targets, **flags)

    def balanced(self, group: Group, targets: Any = None, **flags: Any) -> LoadBalancedView:
        return LoadBalancedView(group, targets, **flags)

    def session(
        self, client: Client, name: str, idle_timeout_s: float | None, revive: bool
    ) -> Session:
        """The session of this name, found or started."""
        if (
            not name
            or len(name) > 100
            or not name.replace("-", "_").replace(".", "_").isidentifier()
        ):
            raise errors.UsageError(
                f"{name!r} cannot be the name of a session",
                hint="letters, digits and _ - ., beginning with a letter",
            )
        with self.lock:
            known = self._sessions.get(name)
            if known is not None and known.alive:
                return known
            job = session_job(client, name, idle_timeout_s=idle_timeout_s, revive=revive)
            group = Group(client, self, [Engine(self.space, 0, job)], owned=False)
            is_new = job.view.client == client.id
            self._sessions[name] = Session(
                group, name, is_new=is_new, idle_timeout_s=idle_timeout_s
            )
            return self._sessions[name]

    def close(self) -> None:
        """Stop the workers that nobody could find again; hang up on the others."""
        for executor in self.executors.values():
            executor.shutdown(cancel_futures=True)
        self._end()


def about_here() -> str:
    """Who calls, for others who wait for the same session."""
    name = session_name() or os.environ.get("JUPYTER_REMOTE_NOTEBOOK") or ""
    return os.path.basename(name) or f"process {os.getpid()}"


def _warn_ended(group: Group) -> None:
    """Unless somebody stopped them."""
    until, hows = time.monotonic() + ENDS_S, []
    for job in (engine.job for engine in group.engines):
        is_known, view = job.wait(max(0.0, until - time.monotonic())), job.view
        if view.status not in (*ENDED_WELL, Status.CANCELLING):
            how = view.detail or view.reason or view.status
            hows.append(how if is_known else "they do not answer any more")
    if hows:
        why = "; ".join(dict.fromkeys(hows)).replace("_", " ")
        told = f"the workers of this client ended, and what they held is lost: {why}"
        warnings.warn_explicit(f"{told}; new ones start empty", UserWarning, "jupyter_remote", 1)


def _end(views: weakref.ref[Views], owned: list[Engine], space: Space, pid: int) -> None:
    """Called by :meth:`Views.close`, at the end of the process, or by whoever collects garbage: in
    the middle of anything, so that others have to wait for the backend."""
    if os.getpid() != pid:
        return
    if views() is not None:
        _close(owned, space)
    else:
        name = "jupyter-remote-close"
        threading.Thread(target=_close, args=(owned, space), name=name, daemon=True).start()


def _close(owned: list[Engine], space: Space) -> None:
    for engine in owned:
        if engine.alive:
            with contextlib.suppress(errors.JupyterRemoteError):
                engine.job.cancel(force=True)
    space.close()
