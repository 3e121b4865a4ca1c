"""The next step after errors that code meets only because it runs somewhere else."""

from __future__ import annotations

import os
from pathlib import Path

from jupyter_remote.errors import RemoteError


def advise(error: Exception) -> None:
    """Adds it to a remote error and to what is shown of it."""
    if isinstance(error, RemoteError) and (hint := _hint(error)):
        error.hint = hint
        error.traceback = [*error.traceback, "", hint]


def _hint(error: RemoteError) -> str:
    if isinstance(error, FileNotFoundError):
        name = error.filename
        if isinstance(name, str) and not Path(name).is_absolute() and Path(name).exists():
            return f"{name} is beside this notebook: `--files {name}` ships it."
    if isinstance(error, KeyError) and any("environ" in line for line in error.traceback):
        name = str((*error.args, "")[0])
        if name in os.environ:
            return (
                "Environment variables of this notebook do not travel: "
                f"set {name} in the cell, or pass its value as a variable."
            )
    return ""
