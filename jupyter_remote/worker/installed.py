"""What is installed where this worker runs: told in its first message, for plans."""

from __future__ import annotations

import functools
import importlib.util
import platform

from jupyter_remote import distributions
from jupyter_remote.wire import WorkerEnvironment


@functools.cache
def environment() -> WorkerEnvironment:
    """Python, platform and packages of this process."""
    return WorkerEnvironment(
        python=platform.python_version(),
        magic=importlib.util.MAGIC_NUMBER.hex(),
        platform=platform.system(),
        machine=platform.machine(),
        packages=distributions.installed(),
    )
