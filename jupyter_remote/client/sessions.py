"""Sessions, views and executors of a client."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from jupyter_remote import amounts
from jupyter_remote.client.workers import Workers
from jupyter_remote.wire import SessionList, SessionView

if TYPE_CHECKING:
    from jupyter_remote.client.api import Client
    from jupyter_remote.client.context import Context
    from jupyter_remote.client.views.executor import SessionExecutor
    from jupyter_remote.client.views.session import Session
    from jupyter_remote.client.views.view import DirectView
    from jupyter_remote.client.views.views import Views


class Sessions(Workers):
    """Namespaces that last, by their names; and many of them at once."""

    _context: Context
    _shared: dict[str, Views]  # made at first use, by all copies

    def with_options(self, **options: Any) -> Client:
        raise NotImplementedError

    @property
    def _views(self) -> Views:
        if (views := self._shared.get("views")) is None:
            from jupyter_remote.client.views.views import Views

            views = self._shared.setdefault("views", Views(cast("Client", self)))
        return views

    def session(
        self,
        name: str,
        machine: str | None = None,
        *,
        idle_timeout: float | str | None = "1h",
        revive: bool = False,
        **options: Any,
    ) -> Session:
        """The namespace of this name: found again from any notebook, or started.

        Parameters
        ----------
        machine, options: as for :meth:`with_options`, for a session that is started now.
        idle_timeout: it ends when nobody used it for so long ("1h", seconds, None: never).
        revive: start an empty one if the last one of this name died.

        Raises EngineError when the last one of this name died, UsageError for a bad name.
        """
        client = self._for(machine, options)
        return self._views.session(client, name, _seconds(idle_timeout), revive)

    def known_session(self, name: str) -> Session | None:
        """The session of this name if it runs; nothing is started."""
        for found in self.sessions():
            if found.name == name:
                return self.session(name)
        return None

    def sessions(self) -> list[SessionView]:
        """Sessions that are not over, newest first; those of views, too."""
        return self._context.link.call("GET", "/v1/sessions", reply=SessionList).sessions

    def view(
        self,
        n: int | None = None,
        machine: str | None = None,
        *,
        name: str | None = None,
        idle_timeout: float | str | None = "1h",
        **options: Any,
    ) -> DirectView:
        """``n`` workers (one for each core of this computer), addressed together.

        ``name``: to find them again from another notebook; without one they end with this client.
        """
        client = self._for(machine, options)
        n = os.cpu_count() or 1 if n is None else n
        return self._views.direct(self._views.start(client, n, name, _seconds(idle_timeout)))

    def executor(
        self,
        max_workers: int | None = None,
        *,
        machine: str | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        idle_timeout: float | str | None = "1h",
        **options: Any,
    ) -> SessionExecutor:
        """A :class:`concurrent.futures.Executor` of ``max_workers`` workers (one for each core of
        this computer), which start now and are stopped by its ``shutdown()``.

        ``initializer(*initargs)`` is called by each worker first.
        """
        from jupyter_remote.client.views.executor import SessionExecutor

        client = self._for(machine, options)
        idle_s = _seconds(idle_timeout)
        return SessionExecutor(client, max_workers, initializer, initargs, idle_s)

    def _for(self, machine: str | None, options: dict[str, Any]) -> Client:
        given = options if machine is None else {**options, "machine": machine}
        return self.with_options(**given) if given else cast("Client", self)


def _seconds(amount: float | str | None) -> float | None:
    return None if amount is None else amounts.seconds(amount)
