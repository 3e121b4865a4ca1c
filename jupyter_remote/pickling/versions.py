"""What must be alike on both sides before a pickle is opened.

A pickle of another Python loads and then crashes: the bytecode in it is not checked by anybody.
"""

from __future__ import annotations

import importlib.util
import sys

from jupyter_remote.errors import EnvironmentMismatch
from jupyter_remote.wire import Parcel

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
MAGIC = importlib.util.MAGIC_NUMBER.hex()
VERSIONED = ("cloudpickle", "numpy", "pandas", "torch")


def versions_used(pickled: bytes) -> dict[str, str]:
    """Versions of the packages that the pickle names."""
    used = (name for name in VERSIONED if name in sys.modules and name.encode() in pickled)
    return {name: _version_of(name) for name in used}


class Difference(str):
    """A difference between two environments, in words. ``fatal``: unpickling may crash."""

    fatal: bool

    def __new__(cls, text: str, fatal: bool) -> Difference:
        self = super().__new__(cls, text)
        self.fatal = fatal
        return self


def differences(parcel: Parcel) -> list[Difference]:
    """How the environment that packed ``parcel`` differs from this one."""
    found: list[Difference] = []
    if parcel.format == "raw":
        return found
    if parcel.magic != MAGIC:
        found.append(Difference(f"Python {parcel.python or 'unknown'} there, {PYTHON} here", True))
    for name, theirs in sorted(parcel.versions.items()):
        ours = _version_of(name)
        if ours and ours.split(".")[:2] != theirs.split(".")[:2]:
            fatal = ours.split(".")[0] != theirs.split(".")[0]
            found.append(Difference(f"{name} {theirs} there, {ours} here", fatal))
    return found


def _version_of(package: str) -> str:
    """Installed version, ``""`` if it is not installed. Does not import it."""
    if version := getattr(sys.modules.get(package), "__version__", None):
        return str(version)
    import importlib.metadata  # 20 ms

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def check_environment(parcel: Parcel) -> None:
    found = differences(parcel)
    if any(d.fatal for d in found):
        raise EnvironmentMismatch(
            f"Nothing was unpickled, the environments differ: {'; '.join(found)}.",
            hint="Use the same Python and the same versions on both sides (see `--env`).",
        )
