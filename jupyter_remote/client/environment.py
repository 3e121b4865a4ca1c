"""What runs here: Python, platform and packages, to be compared with the other side."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import platform
import sys
from collections.abc import Iterable, Mapping

import msgspec

from jupyter_remote.distributions import canonical
from jupyter_remote.wire import WorkerEnvironment

# packages whose pickles depend on their version
VERSIONED = ("cloudpickle", "numpy", "pandas", "torch")


class Environment(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One side's Python and packages."""

    python: str  # "3.11.7"
    magic: str  # hex of importlib.util.MAGIC_NUMBER: which bytecode it runs
    platform: str  # "Linux"
    machine: str = ""  # "x86_64"
    packages: dict[str, str] = {}  # import name -> version, of those in use


class Difference(msgspec.Struct, frozen=True):
    """One difference in words. ``fatal``: values cannot travel safely."""

    text: str
    fatal: bool = False


def here(packages: Iterable[str] = ()) -> Environment:
    """This process. ``packages``: import names beside those whose pickles depend on a version."""
    names = sorted({*VERSIONED, *packages})
    versions = {name: version for name in names if (version := version_of(name))}
    return Environment(
        python=platform.python_version(),
        magic=importlib.util.MAGIC_NUMBER.hex(),
        platform=platform.system(),
        machine=platform.machine(),
        packages=versions,
    )


def packages_among(modules: Iterable[str], local: Iterable[str] = ()) -> list[str]:
    """Import names of the installed packages among ``modules``, dotted names; ``local`` ones travel
    as files."""
    tops = {name.partition(".")[0] for name in modules}
    known = {*sys.stdlib_module_names, "jupyter_remote", *local}
    return sorted(name for name in tops - known if version_of(name))


def compared(packages: Iterable[str], there: WorkerEnvironment) -> list[Difference]:
    """What of these packages, or of Python, is not there as it is here."""
    names = list(packages)
    ours = here(names)
    used = {n: v for n, v in ours.packages.items() if n in names}
    theirs = {n: v for n in names if (v := there.packages.get(_distribution(n)))}
    return differences(
        msgspec.structs.replace(ours, packages=used),
        Environment(
            python=there.python,
            magic=there.magic,
            platform=there.platform,
            machine=there.machine,
            packages=theirs,
        ),
    )


def _distribution(name: str) -> str:
    """Under which a worker lists what is imported as ``name``."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        name = next(iter(_distributions().get(name, [name])))
    return canonical(name)


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def version_of(name: str) -> str:
    """Version of an installed package, "" if there is none. Imports nothing."""
    if isinstance(version := getattr(sys.modules.get(name), "__version__", None), str):
        return version
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def differences(here: Environment, there: Environment) -> list[Difference]:
    """What differs, the fatal ones first.

    Fatal are another bytecode (functions would crash the interpreter) and another major version of
    a package whose pickles depend on it. Packages that only one side names are compared where the
    other has them at all.
    """
    found = []
    if here.magic != there.magic:
        found.append(Difference(f"Python {there.python} there, {here.python} here", True))
    elif here.python != there.python:
        found.append(Difference(f"Python {there.python} there, {here.python} here"))
    if (here.platform, here.machine) != (there.platform, there.machine):
        ours, theirs = f"{here.platform} {here.machine}", f"{there.platform} {there.machine}"
        found.append(Difference(f"{theirs.strip()} there, {ours.strip()} here"))
    for name, ours in sorted(here.packages.items()):
        found += _package(name, ours, there.packages.get(name))
    return sorted(found, key=lambda d: not d.fatal)


def _package(name: str, ours: str, theirs: str | None) -> list[Difference]:
    if theirs is None:
        return [Difference(f"{name} {ours} here, none there")] if name != "cloudpickle" else []
    if ours == theirs:
        return []
    fatal = name in VERSIONED and ours.split(".")[0] != theirs.split(".")[0]
    return [Difference(f"{name} {theirs} there, {ours} here", fatal)]
