"""Calls that wait until a test lets them go on."""

from __future__ import annotations

import os
import time
from pathlib import Path

LIMIT_S = 60.0
LOOKS_S = 0.002


class Gate:
    """A file that a call waits for."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "gate")

    def open(self) -> None:
        Path(self.path).touch()

    def until_held(self) -> None:
        """Wait until a call stands before it."""
        end = time.monotonic() + LIMIT_S
        while not os.path.exists(f"{self.path}.reached"):
            assert time.monotonic() < end, "nobody stands before the gate"
            time.sleep(LOOKS_S)


def held(path: str) -> str:
    """Returns when the gate was opened."""
    Path(f"{path}.reached").touch()
    end = time.monotonic() + LIMIT_S
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise TimeoutError("nobody opened the gate")
        time.sleep(LOOKS_S)
    return "open"
