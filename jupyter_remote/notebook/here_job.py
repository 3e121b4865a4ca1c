"""What ``.submit`` and ``--name`` give where the toggle is off: a job that has run here."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import msgspec

from jupyter_remote.cards.state import HERE
from jupyter_remote.client.handle import provisional
from jupyter_remote.client.jobs import Batch, Job
from jupyter_remote.model import History, Reason, Status
from jupyter_remote.notebook import here
from jupyter_remote.notebook.here import in_own_loop

if TYPE_CHECKING:
    from jupyter_remote.client.api import Client


class HereJob(Job):
    """A job that ended. Its output is where it was called; no backend knows of it."""

    def __init__(self, client: Client, kind: str, name: str, run: Callable[[], Any]) -> None:
        began = time.time()
        super().__init__(
            client._context,
            provisional(str(uuid.uuid4()), kind, name, HERE, "private"),
            namespace=client.namespace,
            own=True,
        )
        status, reason, detail = Status.COMPLETED.value, "", ""
        try:
            self._value = run()
            self.set_result(None)
        except (Exception, SystemExit) as error:
            status, reason = Status.FAILED.value, Reason.USER_ERROR.value
            detail = f"{type(error).__name__}: {error}"
            self.set_exception(error)
        self._job = msgspec.structs.replace(
            self._job,
            status=status,
            stage="",
            reason=reason,
            detail=detail,
            started_at=began,
            ended_at=time.time(),
        )

    def result(self, timeout: float | None = None) -> Any:
        """Its value; raises what the code raised, with its own traceback."""
        if self._exception is not None:
            raise self._exception
        return self._value

    def cancel(
        self,
        force: bool = False,
        *,
        checkpoint: bool = False,
        force_after: str | float | None = None,
    ) -> bool:
        return False

    def logs(self) -> str:
        return ""

    @property
    def history(self) -> list[History]:
        return []


def call(client: Client, function: Callable[..., Any], *args: Any, **kwargs: Any) -> HereJob:
    """Runs it now."""

    def run() -> Any:
        if iscoroutinefunction(function):
            return in_own_loop(lambda: function(*args, **kwargs))
        return function(*args, **kwargs)

    return HereJob(client, "call", getattr(function, "__name__", ""), run)


def map(client: Client, function: Callable[..., Any], *iterables: Any) -> Batch:
    """Runs it on the items of ``iterables``, one after the other."""
    jobs = [call(client, function, *items) for items in zip(*iterables, strict=False)]
    return Batch(str(uuid.uuid4()), list(jobs))


def cell(client: Client, shell: Any, title: str, outputs: list[str] | None, source: str) -> HereJob:
    """Runs a cell. Its value, as that of a cell that ran remotely, is the names that it gave a
    value; ``outputs``: only these stay, others are as before."""

    def run() -> dict[str, Any]:
        before = dict(shell.user_ns)
        try:
            here.run_cell(shell, source)
        finally:
            changed = _changed(before, shell.user_ns)
            if outputs is not None:
                deleted = before.keys() - shell.user_ns.keys()
                _put_back(before, shell.user_ns, (changed.keys() | deleted) - set(outputs))
        return {name: changed[name] for name in changed if outputs is None or name in outputs}

    return HereJob(client, "cell", title, run)


def _changed(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Names that were bound; those that IPython keeps for itself begin with an underscore."""
    return {
        name: value
        for name, value in now.items()
        if not (name in before and before[name] is value) and name[:1] != "_"
    }


def _put_back(before: dict[str, Any], now: dict[str, Any], names: Iterable[str]) -> None:
    for name in names:
        if name in before:
            now[name] = before[name]
        else:
            del now[name]
