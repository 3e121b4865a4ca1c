"""Calls that wait until a test lets them go on."""

from __future__ import annotations

import os
import threading
from pathlib import Path


class Gate:
    """A named pipe: a call that reads it is held until :meth:`open`."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "gate")
        os.mkfifo(self.path)

    def open(self, times: int = 1) -> None:
        for _ in range(times):
            opened = threading.Thread(target=self._open, daemon=True)
            opened.start()
            opened.join(20)
            assert not opened.is_alive(), "nobody waits at the gate"

    def _open(self) -> None:
        with open(self.path, "wb"):
            pass


def held(path: str) -> str:
    """Returns when the gate was opened."""
    with open(path, "rb") as gate:
        gate.read()
    return "open"
