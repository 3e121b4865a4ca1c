"""What machines elsewhere install: the worker of exactly this version, from this environment.

One ZIP with the files of the packages that a worker needs, as they are installed here, so that a
machine needs no index. Its wheels are those of this interpreter and platform; where another one
runs, the machine takes our own code from here and the rest, at the same versions, from an index.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import stat
import sys
import threading
import uuid
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import jupyter_remote

DISTRIBUTION = "jupyter-remote-run"
NOT_FOR_WORKERS = frozenset(
    (
        *("alembic", "httptools", "sqlalchemy", "starlette", "uvicorn"),  # of the server
        *("anywidget", "jupyterlab-widgets", "widgetsnbextension"),  # of the page
        *("debugpy", "jedi", "parso"),  # what others use if it is there
    )
)
AS_WELL = ("pip", "uv")  # machines that cannot use our wheels need pip, and often have none
PINS = "requirements.txt"  # what else is in the ZIP, at its versions
OURS = "jupyter_remote/"
LEFT_OUT = (
    "jupyter_remote/labextension/",
    "jupyter_remote/server_extension/",
    "jupyter_remote/server/page_files/",
)
PROGRAMS = ("uv",)
PIECE_BYTES = 1 << 20
QUICKLY = 1  # of zlib's levels: most of it is one program that packs badly
EPOCH = (1980, 1, 1, 0, 0, 0)

log = logging.getLogger("jupyter_remote.package")

Entries = dict[str, Path]


class Package(msgspec.Struct, frozen=True):
    """A built ZIP."""

    path: Path
    digest: str  # SHA-256
    size_bytes: int


def python_here() -> str:
    """The minor version of Python whose wheels these are."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def platform_here() -> str:
    """As ``uname -sm`` says it, in lower case."""
    return f"{platform.system()} {platform.machine()}".lower()


class Packages:
    """Builds the ZIP when it is asked for first, and keeps it in ``folder`` for servers of the same
    environment. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._known: Package | None = None

    def current(self) -> Package:
        """Takes seconds when it has to be built: call it in a thread. Raises OSError."""
        with self._lock:
            if self._known is None or not self._known.path.exists():
                self._known = self._found_or_built()
            return self._known

    def prepare(self) -> None:
        """Begin to build it, if need be: it will be asked for soon."""
        if self._known is None:
            threading.Thread(target=self._prepare, name="package", daemon=True).start()

    def _prepare(self) -> None:
        try:
            self.current()
        except OSError as error:  # whoever asks for it is told
            log.warning("the worker's package was not built: %s", error)

    def _found_or_built(self) -> Package:
        dists = closure()
        entries = entries_of(dists)
        key = _key(entries)
        for path in self._folder.glob(f"{key}-*.zip"):
            digest = path.stem.partition("-")[2]
            return Package(path, digest, path.stat().st_size)
        return self._build(key, entries, pins_of(dists))

    def _build(self, key: str, entries: Entries, pins: str) -> Package:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in self._folder.iterdir():
            old.unlink()
        draft = self._folder / f"{uuid.uuid4().hex}.draft"
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=QUICKLY) as out:
            out.writestr(zipfile.ZipInfo(PINS, EPOCH), pins)
            for name, source in sorted(entries.items()):
                _add(out, name, source)
        with draft.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        path = draft.replace(self._folder / f"{key}-{digest}.zip")
        return Package(path, digest, path.stat().st_size)


def _add(out: zipfile.ZipFile, name: str, source: Path) -> None:
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    runs = source.stat().st_mode & stat.S_IXUSR
    info.external_attr = (stat.S_IFREG | (0o755 if runs else 0o644)) << 16
    with source.open("rb") as file, out.open(info, "w") as target:
        while piece := file.read(PIECE_BYTES):
            target.write(piece)


def closure() -> dict[str, metadata.Distribution]:
    """The installed distributions that a worker needs, ours among them, by their names."""
    found = dict[str, metadata.Distribution]()
    wanted = [(name, "") for name in (DISTRIBUTION, *AS_WELL)]
    seen = set(wanted)
    while wanted:
        name, extra = wanted.pop()
        if (dist := _installed(name)) is None:
            continue  # not needed on this platform, or it is broken here, too
        found[name] = dist
        for requirement in map(Requirement, dist.requires or ()):
            marker = requirement.marker
            if marker is not None and not marker.evaluate({"extra": extra}):
                continue
            needed = canonicalize_name(requirement.name)
            more = {(needed, e) for e in ("", *requirement.extras)} - seen
            if needed not in NOT_FOR_WORKERS:
                wanted += more
                seen |= more
    return found


def _installed(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


def entries_of(dists: dict[str, metadata.Distribution]) -> Entries:
    """Names in the ZIP, with the files that they are read from."""
    entries = Entries()
    for name, dist in dists.items():
        for path in dist.files or ():
            if (target := _target(path)) and (source := Path(str(path.locate()))).is_file():
                entries[target] = source
        if name == DISTRIBUTION:  # an editable install lists no files of the package
            entries |= _own_files()
    return entries


def _target(path: metadata.PackagePath) -> str:
    """Where a listed file goes; empty: nowhere."""
    parts = path.parts
    if parts[0] == ".." or path.suffix == ".pth":
        return f"bin/{parts[-1]}" if parts[-2:-1] == ("bin",) and parts[-1] in PROGRAMS else ""
    if "__pycache__" in parts or path.is_absolute():
        return ""
    target = path.as_posix()
    return "" if target.startswith(LEFT_OUT) else target


def _own_files() -> Iterator[tuple[str, Path]]:
    root = Path(jupyter_remote.__file__).parent
    for source in sorted(root.rglob("*")):
        target = OURS + source.relative_to(root).as_posix()
        unwanted = "__pycache__" in source.parts or target.startswith(LEFT_OUT)
        if source.is_file() and not unwanted:
            yield target, source


def pins_of(dists: dict[str, metadata.Distribution]) -> str:
    """Requirements with exact versions, of all that is not ours."""
    others = sorted(set(dists) - {DISTRIBUTION})
    return "".join(f"{name}=={dists[name].version}\n" for name in others)


@cache
def program_here(name: str) -> Path | None:
    """A program that came with a package, as ``uv``."""
    dist = _installed(name)
    for path in dist.files or () if dist else ():
        if path.name == name and path.parts[0] == "..":
            found = Path(str(path.locate())).resolve()
            return found if found.is_file() else None
    return None


def _key(entries: Entries) -> str:
    """Differs when a file does: by size and time, as `make` has it."""
    hasher = hashlib.sha256()
    for name, source in sorted(entries.items()):
        seen = source.stat()
        hasher.update(f"{name}\0{seen.st_size}\0{seen.st_mtime_ns}\n".encode())
    return hasher.hexdigest()[:16]
