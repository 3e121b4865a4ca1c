"""Files that a job's code wrote into its folder, which ends with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from jupyter_remote.wire import JobSpec, LeftBehind

LOOKED_AT = 1000  # files
NAMED = 5
NOT_DATA = ("__pycache__", ".ipynb_checkpoints")
WHY = "files written there end with the job; read into a variable what you need"


def left_in(folder: str, spec: JobSpec, since: float) -> list[LeftBehind]:
    """What is new there, or was changed after ``since`` (seconds since 1970)."""
    shipped = {file.path for file in spec.files}
    found = [
        path
        for path, entry in _files(Path(folder))
        if path not in shipped or _changed_at(entry) > since
    ]
    told = [LeftBehind(path, "file", WHY) for path in found[:NAMED]]
    if more := len(found) - NAMED:
        told += [LeftBehind(f"and {more} more", "files", WHY)] if more > 0 else []
    return told


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # a thread that still runs has just removed it
        return 0.0


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    number = 0
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in NOT_DATA]
        for name in sorted(names):
            path = Path(root, name)
            if path.is_file() and not path.is_symlink():
                yield path.relative_to(folder).as_posix(), path
            number += 1
            if number == LOOKED_AT:
                return
