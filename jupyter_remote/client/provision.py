"""What packages a job needs where it runs, and how they get there.

Nothing is needed, and nothing is asked, where a job runs in the interpreter of its notebook, or
where everything that it imports is there in the same version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from packaging.version import InvalidVersion, Version

from jupyter_remote import connection
from jupyter_remote.client import locking, packages, requirements
from jupyter_remote.client.files import CapturedFile
from jupyter_remote.client.locking import Lock, Target
from jupyter_remote.client.places import NOTHING, Place, Provided
from jupyter_remote.distributions import installed, stamp
from jupyter_remote.errors import EnvironmentUnavailable
from jupyter_remote.settings import Settings
from jupyter_remote.wire import (
    EnvironmentSpec,
    FileRef,
    WorkerEnvironment,
    environment_digest,
)

AUTO = "auto"
FOUND_BY_ITSELF = "what the code imports"


def provided(
    choice: str,
    where: Callable[[], Place],
    used: Iterable[str],
    files: Iterable[FileRef],
    settings: Settings,
) -> Provided:
    """The environment of a job.

    Parameters
    ----------
    choice: ``auto`` or a file.
    where: tells where it runs; asked only if it matters.
    used: modules that it imports; ``files``: what travels, local modules among it.

    Raises UsageError for a file that cannot be used, EnvironmentUnavailable where nothing can be
    locked.
    """
    folder = connection.home_of(settings) / "locks"
    if choice != AUTO:
        asked = requirements.read(choice, Path.cwd())
        target = _target_of(where())
        made = locking.lock(asked.lines, {}, target, folder)
        return _as_spec(made, target, [], choice, asked.notices)
    local = {f.path.partition("/")[0].removesuffix(".py") for f in files if f.module}
    names = packages.imported(used, local)
    place = where() if names else Place(same_python=True)
    if place.same_python:
        return NOTHING
    wanted = _Wanted(names, place.there)
    if wanted.is_there():
        return NOTHING
    return _by_itself(wanted, _target_of(place), folder)


def _target_of(place: Place) -> Target:
    return locking.target_here() if place.same_python else locking.target_of(place.there)


class _Wanted:
    """Distributions and their versions here, by how they get there."""

    def __init__(self, names: Iterable[str], there: WorkerEnvironment | None) -> None:
        self._there = there.packages if there is not None else None
        self.pins: dict[str, str] = {}  # from an index
        self.carried: dict[str, str] = {}  # as wheels, made here
        for name in names:
            version = packages.version_of(name)
            origin = packages.origin_of(name)
            if not version or origin.editable or self._comes_anyway(name):
                continue  # the modules of an editable one travel as files
            kind = self.carried if origin.url else self.pins
            kind[name] = version

    def _comes_anyway(self, name: str) -> bool:
        """Every worker has what it needs itself, and it is not replaced."""
        own = name in packages.of_the_worker()
        return own and (self._there is None or name in self._there)

    def carry(self, names: Iterable[str]) -> bool:
        """These travel as they are here; False: there is none among them that could."""
        more = [n for n in names if n not in self.carried and packages.version_of(n)]
        for name in more:
            self.pins.pop(name, None)
            self.carried[name] = packages.version_of(name)
        return bool(more)

    def is_there(self) -> bool:
        """Has the worker all of it, in these versions?"""
        if self._there is None:
            return not self.pins and not self.carried
        return not self.carried and all(self._there.get(n) == v for n, v in self.pins.items())


def _by_itself(wanted: _Wanted, target: Target, folder: Path) -> Provided:
    """At the versions here; what no index has in these travels as wheels."""
    while True:
        now = stamp()
        wheels = [packages.wheel_of(name, v, now) for name, v in wanted.carried.items()]
        try:
            made = _locked(wanted, wheels, target, folder)
        except locking.Absent as error:
            if not wanted.carry(error.names):
                raise
        else:
            return _as_spec(made, target, wheels, FOUND_BY_ITSELF)


def _locked(wanted: _Wanted, wheels: Sequence[CapturedFile], target: Target, folder: Path) -> Lock:
    lines = [f"{name}=={_public(version)}" for name, version in wanted.pins.items()]
    lines += [f"{name}=={version}" for name, version in wanted.carried.items()]
    asked = {*wanted.pins, *wanted.carried}
    others = {n: _public(v) for n, v in installed().items() if n not in asked and _is_version(v)}
    try:
        return locking.lock(lines, others, target, folder, wheels)
    except EnvironmentUnavailable as error:
        # What is installed together here may not be there for another Python, or not at all.
        if isinstance(error, locking.Absent) and asked.intersection(error.names):
            raise
    return locking.lock(lines, {}, target, folder, wheels)


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _public(version: str) -> str:
    """``2.1+cu121`` is built for this computer; another one may need another build of 2.1."""
    return version.partition("+")[0]


def _as_spec(
    made: Lock,
    target: Target,
    wheels: Sequence[CapturedFile],
    source: str,
    notices: Sequence[str] = (),
) -> Provided:
    refs = [wheel.ref for wheel in wheels]
    carried = {locking.name_of(wheel): wheel.ref.path.split("-")[1] for wheel in wheels}
    spec = EnvironmentSpec(
        digest=environment_digest(made.text, target.python, refs),
        lock=made.text,
        python=target.python,
        packages={**made.packages, **carried},
        wheels=refs,
        source=source,
    )
    return Provided(spec, list(wheels), list(notices), made.size_bytes)
