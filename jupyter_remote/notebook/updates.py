"""Updates of displays for programs that run notebooks: these read what the present cell sends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Updates:
    """Sends them; what goes between two cells goes again when the next one begins.

    Made while a cell runs, of the ``events`` of its shell.
    """

    def __init__(self, events: Any) -> None:
        self._runs = True
        self._missed: dict[str, Callable[[], None]] = {}  # the latest of each display
        self._lock = threading.Lock()  # no cell ends between a look at whether it runs and a send
        events.register("pre_run_cell", self._begins)
        events.register("post_run_cell", self._ends)

    def send(self, id: str, send: Callable[[], None]) -> None:
        """``send`` shows what the display of this id shows from now on; from any thread."""
        with self._lock:
            if self._runs:
                self._missed.pop(id, None)
            else:
                self._missed[id] = send
            send()

    def _begins(self, _: object) -> None:
        with self._lock:
            self._runs = True
            missed, self._missed = self._missed, {}
            for send in missed.values():
                send()

    def _ends(self, _: object) -> None:
        with self._lock:
            self._runs = False
