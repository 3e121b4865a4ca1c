"""What is installed where this worker runs: told in its first message, for plans."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import sys

from jupyter_remote.wire import WorkerEnvironment

MARK = ".dist-info"


@functools.cache
def environment() -> WorkerEnvironment:
    """Python, platform and packages of this process."""
    return WorkerEnvironment(
        python=platform.python_version(),
        magic=importlib.util.MAGIC_NUMBER.hex(),
        platform=platform.system(),
        machine=platform.machine(),
        packages=_packages(),
    )


def _packages() -> dict[str, str]:
    """Distribution → version, by the names of their folders: no file of any is opened, for there
    are hundreds. Of two in the path the first counts, as it does for ``import``."""
    found: dict[str, str] = {}
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:  # a zip file, or a folder that is not there
            continue
        for name in names:
            if name.endswith(MARK):
                package, _, version = name.removesuffix(MARK).partition("-")
                found.setdefault(package.replace("_", "-").lower(), version)
    return found
