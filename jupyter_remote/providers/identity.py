"""Which backend a machine elsewhere belongs to: an id in the backend's home, kept for good."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from pathlib import Path

from jupyter_remote.errors import UsageError

FILE = "backend_id"
_FORM = re.compile(r"[0-9a-f]{16}")


def backend_id(home: Path) -> str:
    """The id of the backend on ``home``, made when there is none.

    Machines are tagged with it: a backend that is started again finds its own, and no other's.
    """
    file = home / FILE
    if not file.exists():
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = home / f".{FILE}.{uuid.uuid4().hex}"
        draft.write_text(uuid.uuid4().hex[:16])
        with contextlib.suppress(FileExistsError):  # another process was first: its id counts
            os.link(draft, file)
        draft.unlink()
    return _read(file)


def known_id(home: Path) -> str:
    """The same, empty where no backend with machines elsewhere was."""
    file = home / FILE
    return _read(file) if file.exists() else ""


def _read(file: Path) -> str:
    id = file.read_text().strip()
    if not _FORM.fullmatch(id):
        raise UsageError(
            f"{file} holds no id of a backend.",
            hint="Put back the id that its machines are tagged with, in jupyter-remote:backend; "
            "delete the file if there are none.",
        )
    return id
