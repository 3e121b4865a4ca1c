"""Calls that wait until a test lets them go on."""

from __future__ import annotations

import os
import time
from pathlib import Path

LIMIT_S = 30.0
LOOKS_S = 0.002


class Gate:
    """A file that a call waits for."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "gate")

    def open(self) -> None:
        Path(self.path).touch()


def held(path: str) -> str:
    """Returns when the gate was opened."""
    until = time.monotonic() + LIMIT_S
    while not os.path.exists(path):
        if time.monotonic() > until:
            raise TimeoutError("nobody opened the gate")
        time.sleep(LOOKS_S)
    return "open"
