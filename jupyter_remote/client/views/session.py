"""One worker by its name: a namespace that lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_remote import remotely
from jupyter_remote.client.views.group import Group
from jupyter_remote.client.views.proxy import Proxy
from jupyter_remote.client.views.variables import Variables
from jupyter_remote.client.views.view import DirectView
from jupyter_remote.errors import ResultNotReady

if TYPE_CHECKING:
    from jupyter_remote.client.job import Job

FETCHED_BYTES = 64 * 1024 * 1024  # of a proxy's parts, unasked


class Session(DirectView):
    """A view over one worker. ``session["a"]`` fetches, ``session["a"] = 1`` sends."""

    def __init__(
        self, group: Group, name: str, *, is_new: bool = False, idle_timeout_s: float | None = None
    ) -> None:
        super().__init__(group, 0)
        self.name = name
        self.is_new = is_new  # started by this client just now
        self.idle_timeout_s = idle_timeout_s  # as asked for by this client

    def busy_with(self) -> str:
        """In words, what it does for somebody else; empty: not known."""
        return self._group.engines[0].busy_with()

    def restored(self) -> tuple[int, str]:
        """Which attempt of its job it is on, and what of its variables is there again in words:
        empty unless a machine of its was taken away. Waits until it takes calls."""
        engine = self._group.engines[0]
        _ = engine.connection
        return engine.attempt, self.apply_sync(remotely.restored) if engine.attempt > 1 else ""

    def __repr__(self) -> str:
        job = self.job
        return f"<Session {self.name!r} on {job.machine}: {job.status}>"

    @property
    def job(self) -> Job:
        """Its job: status, cost, history, and ``cancel()``."""
        return self._group.engines[0].job

    @property
    def alive(self) -> bool:
        """Can it take calls?"""
        return self._group.engines[0].alive

    @property
    def cost(self) -> float:
        """USD so far; the time that it waits is paid, too."""
        return self.job.cost

    def stop(self) -> None:
        """End it. What it holds is lost."""
        self._group.stop(self._group.engines)

    def vars(self) -> Variables:
        """Name, type, shape, dtype, device and bytes of what it holds. Fetches nothing."""
        return Variables(self.name, self.apply_sync(remotely.described))

    def ref(self, name: str, limit: int = FETCHED_BYTES) -> Proxy:
        """A stand-in for a value over there: its repr, shape, attributes and slices come from
        there, the whole only by ``get()``.

        ``limit``: of parts that are fetched unasked, bytes. Raises NameError.
        """
        self.apply_sync(remotely.represent, name, False)
        return Proxy(self, name, limit)

    def complete(self, line: str, timeout: float | None = None) -> tuple[str, list[str]]:
        """What may stand at the end of a line over there: the text that it replaces, and the
        completions. Raises ResultNotReady when the session is busy for longer."""
        asked = self.apply_async(remotely.complete, line)
        try:
            found: tuple[str, list[str]] = asked.get(timeout)
        except ResultNotReady:
            asked.drop_waiting()
            raise
        return found

    def __contains__(self, name: Any) -> bool:
        return bool(self.apply_sync(remotely.names_there, [name]))
