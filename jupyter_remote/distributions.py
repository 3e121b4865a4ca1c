"""Which distributions are installed, by the names of their folders: no file of any is opened, for
there are hundreds."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable

MARK = ".dist-info"


def canonical(name: str) -> str:
    """The one spelling of a distribution's name: ``Ruamel.yaml_clib`` is ``ruamel-yaml-clib``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(folders: Iterable[str] | None = None) -> dict[str, str]:
    """Distribution → version in these folders, ``sys.path`` by default. Of two in the path the
    first counts, as it does for ``import``."""
    found: dict[str, str] = {}
    for folder in sys.path if folders is None else folders:
        try:
            names = os.listdir(folder or ".")
        except OSError:  # a zip file, or a folder that is not there
            continue
        for name in names:
            if name.endswith(MARK):
                package, _, version = name.removesuffix(MARK).partition("-")
                found.setdefault(canonical(package), version)
    return found


def stamp() -> tuple[tuple[str, int], ...]:
    """Another one after something was installed or removed: what was read is then read anew."""
    found = []
    for folder in sys.path:
        with contextlib.suppress(OSError):
            found.append((folder, os.stat(folder or ".").st_mtime_ns))
    return tuple(found)
