"""The card's Cancel while a cell blocks: an own message on the kernel's control channel.

The control thread only puts the request into a queue; another thread asks the backend.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from jupyter_remote.errors import JupyterRemoteError, NotFound

MESSAGE = "jupyter_remote_cancel"
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
    known = isinstance(after, int | float) and not isinstance(after, bool)
    return bool(content.get("force", False)), after if known else None


def install(kernel: Any, canceller: Canceller, leaving: threading.Event) -> None:
    """Has the kernel answer :data:`MESSAGE` with ``{"status": "ok"}`` at once, and set ``leaving``
    when it is asked to end: a restart begins with the same signal as the stop button."""

    def handle(stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        content = parent["content"]
        content = content if isinstance(content, dict) else {}
        job = content.get("job")
        if isinstance(job, str) and job:
            canceller.ask(job, *how_of(content))
        reply = {"status": "ok"}
        kernel.session.send(stream, f"{MESSAGE}_reply", reply, parent, ident=ident)

    def leave(stream: Any, ident: Any, parent: dict[str, Any]) -> Any:
        leaving.set()
        return kernel.shutdown_request(stream, ident, parent)

    kernel.control_handlers |= {MESSAGE: handle, SHUTDOWN: leave}


def uninstall(kernel: Any) -> None:
    """Takes the handlers away again."""
    kernel.control_handlers.pop(MESSAGE, None)
    kernel.control_handlers[SHUTDOWN] = kernel.shutdown_request
