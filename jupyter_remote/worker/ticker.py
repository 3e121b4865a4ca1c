"""A thread that looks at open bars some times a second, and is there only while there are any.

Bars say themselves when they move, but not more often than their pace allows: a step that comes
right after another would be seen only with the next one, which may be an hour away.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

# Called with whether to say what there is at once, however long ago the last time was; its answer
# False: there is nothing to look at any more.
Look = Callable[[bool], bool]


class Ticker:
    """Calls what was added every ``period_s``. All methods may be called from any thread."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._looks: dict[str, Look] = {}
        # Reentrant: bars are closed by the garbage collector, too, anywhere.
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin_anew)

    @property
    def running(self) -> bool:
        return self._thread is not None

    def add(self, id: str, look: Look) -> None:
        with self._lock:
            self._looks[id] = look
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="jupyter-remote-bars", daemon=True
                )
                self._thread.start()

    def remove(self, id: str) -> None:
        with self._lock:
            self._looks.pop(id, None)

    def clear(self) -> None:
        with self._lock:
            self._looks.clear()

    def look_now(self) -> None:
        """Everything that is open, before it ends."""
        for id, look in list(self._looks.items()):
            self._look(id, look, at_once=True)

    def _begin_anew(self) -> None:
        """In a forked child: no thread of ours came along, and the bars are the parent's."""
        self._looks, self._lock, self._thread = {}, threading.RLock(), None

    def _run(self) -> None:
        while True:
            time.sleep(self._period_s)
            with self._lock:
                if not self._looks:
                    self._thread = None
                    return
                looks = list(self._looks.items())
            for id, look in looks:
                self._look(id, look)

    def _look(self, id: str, look: Look, at_once: bool = False) -> None:
        try:
            there = look(at_once)
        except Exception:  # a class derived from a bar may be broken; its job shall not suffer
            there = False
        if not there:
            self.remove(id)
