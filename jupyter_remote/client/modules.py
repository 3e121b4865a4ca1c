"""Modules that exist only here: beside the notebook, installed editable, or on an own path.

They travel as source files and are imported over there under the same name, so that what they
define pickles by reference and ``import helpers`` works in remote code. Their *state* does not
travel: a module is imported afresh.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from pathlib import Path

from jupyter_remote.amounts import size as in_words
from jupyter_remote.client import sources
from jupyter_remote.client.files import SKIPPED, CapturedFile, Inline, captured
from jupyter_remote.errors import CaptureError

DATA_BYTES = 10_000_000  # a larger file of a package that is not Python stays here
PACKAGE_BYTES = 100_000_000
PACKAGE_FILES = 5_000
NAMED = 5  # of what differs
INSTALLED = frozenset({"site-packages", "dist-packages"})
OUR_OWN = frozenset({"jupyter_remote"})  # every worker has it


@dataclass(slots=True)
class LocalModules:
    """Files to send, and what the user should know of them."""

    files: list[CapturedFile] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    imports: dict[str, None] = field(default_factory=dict)  # what these modules import
    paths: list[Path] = field(default_factory=list)  # of the files, here

    def has(self, name: str) -> bool:
        """Is a module of this dotted name among them?"""
        return any(_name_of(f.ref.path) == name for f in self.files)


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a local module: where it is, and its path below the root that imports it."""

    path: Path
    label: str


def local_modules(names: Iterable[str], folder: str | Path | None) -> LocalModules:
    """Sources of the local modules among ``names``, and of the local modules these import.

    Parameters
    ----------
    names: dotted names of modules in use; those that do not exist are passed over.
    folder: the notebook's; its modules count as local even if it is not on ``sys.path``.

    Raises CaptureError for a package too large to be sent.
    """
    result = LocalModules()
    found: dict[str, Found] = {}
    todo = [name.partition(".")[0] for name in names]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        files = _files_of(name, folder, result.notices)
        found.update((f.label, f) for f in files)
        for file in files:
            source = sources.read(file.path)
            todo += source.imports
            result.imports.update(dict.fromkeys(source.imports))
            result.notices += _state_of(file, source)
    inline = Inline()
    result.paths = [f.path for f in found.values()]
    result.files = [captured(f.path, f.label, inline, module=True) for f in found.values()]
    return result


def _files_of(name: str, folder: str | Path | None, notices: list[str]) -> list[Found]:
    if name in sys.stdlib_module_names or name in OUR_OWN or name == "__main__":
        return []
    places, is_package = _places(name, folder)
    local = [place for place in places if is_local(place)]
    if not is_package:
        return [Found(place, place.name) for place in local]
    files = [f for place in local for f in _package_files(name, place, notices)]
    _check_size(name, files)
    if any(f.label.endswith(tuple(EXTENSION_SUFFIXES)) for f in files):
        notices.append(f"Package {name} has compiled parts; they fit this platform only.")
    return files


def _places(name: str, folder: str | Path | None) -> tuple[list[Path], bool]:
    """File of a module, or folders of a package; a namespace package may have several."""
    module = sys.modules.get(name)
    spec = module.__spec__ if module is not None else _spec(name, folder)
    paths = getattr(module, "__path__", None) or (spec and spec.submodule_search_locations)
    if paths:
        return [Path(path) for path in paths if os.path.isdir(path)], True
    origin = getattr(module, "__file__", None) or (
        spec.origin if spec and spec.has_location else None
    )
    if not origin or not os.path.isfile(origin):
        return [], False
    return [Path(origin)], False


def _spec(name: str, folder: str | Path | None) -> ModuleSpec | None:
    """Where a module would be imported from. Imports nothing."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):  # what a broken finder or name raises
        spec = None
    if spec is None and folder is not None:
        spec = PathFinder.find_spec(name, [str(folder)])
    return spec


def is_local(place: Path) -> bool:
    """Neither installed nor part of Python: nobody else has this file."""
    path = place.absolute()
    if INSTALLED.intersection(path.parts) or _has_distributions(path.parent):
        return False
    return not any(path.is_relative_to(top) for top in _python_folders())


@lru_cache(maxsize=1024)
def _has_distributions(folder: Path) -> bool:
    """Did pip put packages there (``--target``)? What was built in place has another folder."""
    return next(folder.glob("*.dist-info"), None) is not None


@lru_cache(maxsize=1)
def _python_folders() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib")
    folders = {Path(sysconfig.get_path(name)) for name in names}
    return tuple(folders | {folder.resolve() for folder in folders})


def _package_files(name: str, top: Path, notices: list[str]) -> Iterator[Found]:
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in SKIPPED)
        below = Path(folder).relative_to(top)
        for file in sorted(files):
            path = Path(folder, file)
            if file.startswith(".") or file.endswith((".pyc", ".pyo")) or not path.is_file():
                continue
            size = path.stat().st_size
            if size > DATA_BYTES and not file.endswith((".py", *EXTENSION_SUFFIXES)):
                notices.append(
                    f"{path} ({in_words(size)}) of package {name} stays here; "
                    "send it with --files if it is needed."
                )
                continue
            yield Found(path, (Path(name) / below / file).as_posix())


def _name_of(label: str) -> str:
    """``pkg/sub/mod.py`` is ``pkg.sub.mod``."""
    return label.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _state_of(file: Found, source: sources.Source) -> list[str]:
    """A word where a module is not as its file says."""
    name = _name_of(file.label)
    module = sys.modules.get(name)
    if module is None or getattr(module, "__file__", None) != str(file.path):
        return []
    if not (names := sources.differing(module, source)):
        return []
    which = ", ".join(f"{name}.{each}" for each in names[:NAMED])
    return [f"Changed here since the import: {which}. Over there they are as in {file.path.name}."]


def _check_size(name: str, files: list[Found]) -> None:
    size = sum(f.path.stat().st_size for f in files)
    if size > PACKAGE_BYTES or len(files) > PACKAGE_FILES:
        raise CaptureError(
            f"Local package {name} is too large to be sent: {len(files)} files, {in_words(size)} "
            f"(limits: {PACKAGE_FILES} files, {in_words(PACKAGE_BYTES)}).",
            hint="Install it over there, or move what is not code out of it.",
        )
