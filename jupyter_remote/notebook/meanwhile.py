"""A job's events while its cell waits for a person, who may be asked in vain by then."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import msgspec

from jupyter_remote.model import Status
from jupyter_remote.wire import Event

Queue = queue.SimpleQueue["Event | None"]


class Meanwhile:
    """Inside the block a thread takes what comes. ``moot``: called from it when the job has ended,
    or is to stop: nobody waits for the answer any more."""

    def __init__(self, events: Queue, moot: Callable[[], None]) -> None:
        self._events = events
        self._moot = moot
        self._came: list[Event] = []
        self._over = False
        self._thread = threading.Thread(
            target=self._take, name="jupyter-remote-asking", daemon=True
        )

    def __enter__(self) -> Meanwhile:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._events.put(None)
        self._thread.join()

    def handle(self, handle: Callable[[Event], None]) -> None:
        """What came, in its order."""
        for event in self._came:
            handle(event)

    def _take(self) -> None:
        while (event := self._events.get()) is not None or not self._over:
            if event is None:
                continue
            self._came.append(event)
            if _ends_waiting(event):
                self._moot()


def _ends_waiting(event: Event) -> bool:
    if event.type == "status":
        told = msgspec.json.decode(event.data)
        return isinstance(told, dict) and told.get("status") == Status.CANCELLING
    return event.type == "done"
