"""Files of local modules that sessions are given, as they are now."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from jupyter_remote.client.modules import local_modules

Stamp = tuple[int, int] | None


class LocalFiles:
    """Of one client. ``contents``: by paths below the folder that they are imported from."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self._names: set[str] = set()
        self._stamps: dict[Path, Stamp] = {}
        self._lock = threading.RLock()

    def add(self, names: Iterable[str]) -> list[str]:
        """Paths of the files of these modules, and of local modules that they import. Raises
        CaptureError for a package too large to be sent."""
        names = set(names)
        found = local_modules(names, None)
        with self._lock:
            contents = dict(self.contents)  # another thread may be reading
            for file in found.files:
                content = bytes(file.content)
                if contents.get(file.ref.path) != content:
                    contents[file.ref.path] = content
            self.contents = contents
            if found.files:
                self._names |= names
                self._stamps.update({path: _stamp(path) for path in found.paths})
        return [file.ref.path for file in found.files]

    def look_again(self) -> None:
        """Take over what was edited since. Raises CaptureError."""
        with self._lock:
            if all(_stamp(path) == stamp for path, stamp in self._stamps.items()):
                return
            self.add(self._names)
            self._stamps = {path: _stamp(path) for path in self._stamps}  # also of what is gone


def _stamp(path: Path) -> Stamp:
    """Another one after an edit; None: it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
