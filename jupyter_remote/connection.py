"""The connection file: where a running embedded backend is found, and its token. Light.

A port is nobody's own: when a backend has died, another process may listen where it did. So the
token is not said before whoever listens has proved to know the file's ``key``.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from jupyter_remote.settings import Settings

FILE_NAME = "jupyter_remote.json"
HOME_FILE_NAME = "backend.json"  # the same beside the state, for whoever has another runtime folder


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """What a client must know to talk to the embedded backend."""

    url: str  # "http://127.0.0.1:43210"
    token: str
    pid: int
    started_at: float
    version: str
    protocol: int
    server_id: str  # made anew at each start; the same as /health says
    key: str = ""  # what it proves to know
    mark: str = ""  # which process it is, see `processes`

    def __repr__(self) -> str:
        return f"Connection(url={self.url!r}, pid={self.pid}, token='…')"


def path_of(settings: Settings) -> Path:
    """Where the connection file is: in ``settings.runtime``, or Jupyter's runtime folder."""
    if settings.runtime:
        return Path(settings.runtime) / FILE_NAME
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir()) / FILE_NAME


def home_of(settings: Settings) -> Path:
    """The embedded backend's state: ``settings.home``, or a folder in Jupyter's data folder."""
    if settings.home:
        return Path(settings.home)
    from jupyter_core.paths import jupyter_data_dir

    return Path(jupyter_data_dir()) / "jupyter_remote"


def proof_of(key: str, challenge: str) -> str:
    """What only a backend that knows ``key`` can answer to ``challenge``."""
    return hmac.new(key.encode(), challenge.encode(), hashlib.sha256).hexdigest()


def read(path: Path) -> Connection | None:
    """The connection in a file; None when it is absent, unreadable, half written, or another
    user's: whoever could put it there would be sent this user's code."""
    try:
        with path.open("rb") as file:
            if hasattr(os, "getuid") and os.fstat(file.fileno()).st_uid != os.getuid():
                return None
            return msgspec.json.decode(file.read(), type=Connection)
    except (OSError, msgspec.DecodeError):
        return None


def write(path: Path, connection: Connection) -> None:
    """Put the file there at once and whole, readable by its owner only. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.encode(connection))
        os.replace(draft, path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def remove(path: Path, server_id: str) -> None:
    """Take the file away if it is still that of ``server_id``."""
    found = read(path)
    if found is not None and found.server_id == server_id:
        path.unlink(missing_ok=True)
