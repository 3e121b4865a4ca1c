"""Tells the timer of a machine that its agent hears of the server. See `providers/bootstrap.sh`."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

EVERY_S = 1.0
CHARS = 40  # of the file, always: writing over what is there needs no room on the disk


class Beat:
    """A file that is there, and that changes as long as the server is heard."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._heard_at = float("-inf")

    def heard(self, heard_at: float) -> None:
        """When the server was heard last, on a clock that never goes back; called often."""
        if heard_at < self._heard_at + EVERY_S:
            return
        with contextlib.suppress(OSError):  # the next time; if it never works, the machine ends
            with self._path.open("r+b", buffering=0) as file:
                os.pwrite(file.fileno(), f"{heard_at:<{CHARS}.3f}".encode(), 0)
            self._heard_at = heard_at
