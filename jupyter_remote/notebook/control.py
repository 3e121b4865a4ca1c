"""What cards say while a cell blocks: own messages on the kernel's control channel.

Cancel is only put into a queue by the control thread; another thread asks the backend.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jupyter_remote.amounts import LONGEST_FORCE_AFTER_S
from jupyter_remote.errors import JupyterRemoteError, NotFound

if TYPE_CHECKING:
    from jupyter_remote.notebook.context import Context

MESSAGE = "jupyter_remote_cancel"
SETTING = "jupyter_remote_setting"
SHUTDOWN = "shutdown_request"
log = logging.getLogger("jupyter_remote")


class Canceller:
    """Asks the backend to cancel, from a thread of its own, in the order of the requests."""

    def __init__(self, cancel: Callable[[str, bool, float | None], object]) -> None:
        self._cancel = cancel
        self._asked: queue.SimpleQueue[tuple[str, bool, float | None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def ask(self, job: str, force: bool, force_after: float | None) -> None:
        """From any thread; returns at once. Asking twice does no harm."""
        self._asked.put((job, force, force_after))
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="jupyter-remote-cancel", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while True:
            job, force, force_after = self._asked.get()
            try:
                self._cancel(job, force, force_after)
            except NotFound:
                log.debug("asked to cancel %r, which is no job", job)
            except JupyterRemoteError as error:
                log.warning("job %s could not be cancelled: %s", job, error)


def how_of(content: dict[str, Any]) -> tuple[bool, float | None]:
    """``force`` and ``force_after`` of a card's message; a senseless time counts as none."""
    after = content.get("force_after_s")
    is_time = (
        isinstance(after, int | float)
        and not isinstance(after, bool)
        and 0 <= after <= LONGEST_FORCE_AFTER_S
    )
    return bool(content.get("force", False)), after if is_time else None


def install(kernel: Any, canceller: Canceller, context: Context) -> None:
    """Has the kernel answer our messages with ``{"status": "ok"}`` at once, and know when it is
    asked to end: a restart begins with the same signal as the stop button."""

    def cancel(content: dict[str, Any]) -> None:
        job = content.get("job")
        if isinstance(job, str) and job:
            canceller.ask(job, *how_of(content))

    def setting(content: dict[str, Any]) -> None:
        _, context.force_after = how_of(content)

    def answering(name: str, act: Callable[[dict[str, Any]], None]) -> Callable[..., None]:
        def handle(stream: Any, ident: Any, parent: dict[str, Any]) -> None:
            content = parent["content"]
            act(content if isinstance(content, dict) else {})
            kernel.session.send(stream, f"{name}_reply", {"status": "ok"}, parent, ident=ident)

        return handle

    def leave(stream: Any, ident: Any, parent: dict[str, Any]) -> Any:
        context.leaving.set()
        return kernel.shutdown_request(stream, ident, parent)

    ours = {MESSAGE: answering(MESSAGE, cancel), SETTING: answering(SETTING, setting)}
    kernel.control_handlers |= {**ours, SHUTDOWN: leave}


def uninstall(kernel: Any) -> None:
    """Takes the handlers away again."""
    for name in (MESSAGE, SETTING):
        kernel.control_handlers.pop(name, None)
    kernel.control_handlers[SHUTDOWN] = kernel.shutdown_request
