"""The workers of one view: started together, numbered, stopped together."""

from __future__ import annotations

import functools
import sys
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jupyter_remote import errors
from jupyter_remote.client.used import of_namespace
from jupyter_remote.client.views.engine import Engine
from jupyter_remote.wire import JobSpec, SessionList, SessionView

if TYPE_CHECKING:
    from jupyter_remote.client.api import Client
    from jupyter_remote.client.job import Job
    from jupyter_remote.client.views.dispatcher import Dispatcher
    from jupyter_remote.client.views.views import Views

IDLE_S = 3600.0
ENDED_WELL = ("cancelled",)  # somebody stopped it: a new one of that name surprises nobody


class NoSuchEngine(errors.UsageError, IndexError):
    """A number that no worker of the view has."""


class Group:
    """Workers with the numbers 0 … n-1. ``owned``: they end with the client."""

    def __init__(self, client: Client, views: Views, engines: list[Engine], *, owned: bool) -> None:
        self.client = client
        self.space = views.space
        self.record = views.record
        self.engines = engines
        self.owned = owned

    @functools.cached_property
    def dispatcher(self) -> Dispatcher:
        from jupyter_remote.client.views.dispatcher import Dispatcher

        return Dispatcher(self)

    @property
    def ids(self) -> list[int]:
        """Numbers of the workers that live."""
        return [engine.id for engine in self.engines if engine.alive]

    def choose(self, targets: Any) -> list[Engine]:
        """The workers that ``targets`` (a number, a list, a slice, "all", None) means.

        Raises NoSuchEngine, which is an IndexError, UsageError in a forked process.
        """
        self.space.exchange.check()
        if targets is None or targets == "all":
            return list(self.engines)
        if isinstance(targets, slice):
            return self.engines[targets]
        wanted = [targets] if isinstance(targets, int) else list(targets)
        by_id = {engine.id: engine for engine in self.engines}
        found = []
        for id in wanted:
            if not isinstance(id, int):
                raise TypeError(f"{id!r} is no number of a worker")
            engine = by_id.get(id if id >= 0 else id + len(self.engines))
            if engine is None:
                known = ", ".join(map(str, by_id)) or "none"
                raise NoSuchEngine(f"there is no worker {id}", hint=f"there are: {known}")
            found.append(engine)
        if not found:
            raise errors.UsageError("no worker is chosen", hint="give targets, such as [0, 1]")
        return found

    def status(self, targets: Any, verbose: bool) -> dict[Any, Any]:
        """See :meth:`View.queue_status`."""
        held = self.dispatcher.held()
        status: dict[Any, Any] = {}
        for engine in self.choose(targets):
            queue: Any = engine.outstanding
            status[engine.id] = {
                "queue": queue if verbose else len(queue),
                "completed": engine.completed,
                "tasks": held.get(engine.id, 0),
            }
        if isinstance(targets, int):
            return dict(next(iter(status.values())))
        return {"unassigned": self.dispatcher.unassigned(), **status}

    def stop(self, engines: Sequence[Engine]) -> None:
        """End their sessions."""
        for engine in engines:
            if engine.alive:
                engine.job.cancel()
        for engine in engines:
            engine.job.wait(10)
            engine.close()


def start_session(client: Client, name: str, *, idle_timeout_s: float | None) -> Job:
    """A new session. Raises Conflict when there is one of that name."""
    spec = JobSpec(
        kind="session",
        name=name,
        session=name,
        executable=sys.executable,
        idle_timeout_s=idle_timeout_s,
        quiet_progress=client.options.quiet_progress,
    )
    return client.submit_spec(
        spec, description=f"session {name}", used=of_namespace(client.namespace)
    )


def sessions(client: Client, name: str = "") -> list[SessionView]:
    """Those that are not over; with a name the latest of that name, whatever became of it."""
    params = {"name": name} if name else None
    link = client._context.link
    return link.call("GET", "/v1/sessions", reply=SessionList, params=params).sessions


def session_job(client: Client, name: str, *, idle_timeout_s: float | None, revive: bool) -> Job:
    """The session of this name; a new one if there was none, or its last one was stopped.

    Raises EngineError when the last one was lost: what it held is gone, and that is not hidden.
    """
    for found in sessions(client, name):
        view = found.job
        if view.ended_at is None:
            return client._context.handle(view, client.namespace)
        if view.status not in ENDED_WELL and not revive:
            raise errors.EngineError(
                f"the session {name!r} is over: {view.detail or view.reason or view.status}",
                hint=f"its variables are lost; `-s {name} --revive`, or "
                f"client.session({name!r}, revive=True), starts an empty one",
            )
    try:
        return start_session(client, name, idle_timeout_s=idle_timeout_s)
    except errors.Conflict:  # somebody else was quicker
        return session_job(client, name, idle_timeout_s=idle_timeout_s, revive=False)


def start_engines(
    client: Client, views: Views, n: int, name: str | None, idle_timeout_s: float | None
) -> Group:
    """``n`` workers; of a name, those that are there already."""
    if n < 1:
        raise errors.UsageError(f"a view has at least one worker, not {n}")
    base = name or f"view-{uuid.uuid4().hex[:8]}"
    engines = []
    for id in range(n):
        own = f"{base}.{id}"
        if name is None:
            job = start_session(client, own, idle_timeout_s=idle_timeout_s)
        else:
            job = session_job(client, own, idle_timeout_s=idle_timeout_s, revive=False)
        engines.append(Engine(views.space, id, job))
    return Group(client, views, engines, owned=name is None)
