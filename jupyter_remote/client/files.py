"""Files that go along with a job: what ``--files`` names, and the sources of local modules."""

from __future__ import annotations

import difflib
import glob
import itertools
import mmap
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from jupyter_remote import mapping, values
from jupyter_remote.errors import UsageError
from jupyter_remote.wire import FileRef, Segment, SourceLink

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAPPED_BYTES = 1024 * 1024  # larger files are mapped, not read
INLINE_BYTES = 256 * 1024  # of all files of one job inside its message; the rest are blobs
FILES = 10_000  # more than this is a mistake in a pattern
SCHEME = "s3://"
SKIPPED = frozenset({"__pycache__", "node_modules"})


@dataclass(frozen=True, slots=True)
class CapturedFile:
    """A file to be placed in the job's folder. ``content``: its bytes, by ``ref``'s digest."""

    ref: FileRef
    content: Buffer


@dataclass(slots=True)
class Inline:
    """How much may still travel inside the message."""

    left_bytes: int = field(default=INLINE_BYTES)

    def allows(self, size_bytes: int) -> bool:
        if size_bytes > self.left_bytes:
            return False
        self.left_bytes -= size_bytes
        return True


def capture_files(paths: Iterable[str | Path], folder: str | Path | None) -> list[CapturedFile]:
    """The files that ``--files`` names.

    Parameters
    ----------
    paths: files, folders and patterns (``data/**/*.csv``), relative to ``folder``, or objects of S3
        (``s3://BUCKET/KEY``, or ``s3://BUCKET/KEYS/``), which do not pass here. What a pattern
        or a folder holds goes along but for hidden files and caches, which must be named.
    folder: the notebook's; a file keeps its path relative to it. None: the current one.

    Raises UsageError for what is not there, is no plain file, or lies outside of ``folder``: the
    same relative path could not work over there. A link is followed where it is named itself;
    links inside a folder must stay inside.
    """
    root = Path(folder or ".").absolute()
    found: dict[str, Path] = {}
    given_paths = [str(path) for path in paths]
    elsewhere = _elsewhere([path for path in given_paths if path.startswith(SCHEME)])
    for given in (path for path in given_paths if not path.startswith(SCHEME)):
        for path in _expanded(given, root):
            found[_label(path, root, given)] = path
    _check_both(found, elsewhere)
    if (count := len(found) + len(elsewhere)) > FILES:
        raise UsageError(
            f"--files names {count} files; the limit is {FILES}.",
            hint="Pack them into one archive, or name a smaller folder.",
        )
    inline = Inline()
    return [*(captured(path, label, inline) for label, path in found.items()), *elsewhere]


def _elsewhere(addresses: Sequence[str]) -> list[CapturedFile]:
    """Objects of S3, which their jobs read by themselves: only what they are is looked up here."""
    if not addresses:
        return []
    from jupyter_remote.blobs.objects import Reader

    reader = Reader()
    found: dict[str, CapturedFile] = {}
    for address in addresses:
        above = address.rstrip("/").rpartition("/")[0] + "/"
        for each in itertools.islice(reader.objects(address), FILES + 1):
            path = _placed(each.source.removeprefix(above), each.source)
            stands = mapping.digest_of(f"{each.source}\0{each.version}".encode())
            ref = FileRef(
                path,
                Segment(stands, 0, b""),
                source=each.source,
                source_bytes=each.size_bytes,
                version=each.version,
            )
            if found.setdefault(path, CapturedFile(ref, b"")).ref.source != each.source:
                raise _twice(path)
    return list(found.values())


def _placed(path: str, source: str) -> str:
    """Where an object lies in the job's folder. Raises UsageError."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in path or ":" in parts[0]:
        raise UsageError(f"--files: {source} has a key that is no path.", hint="Leave it out.")
    return path


def _check_both(here: Iterable[str], elsewhere: Iterable[CapturedFile]) -> None:
    for file in elsewhere:
        if file.ref.path in here:
            raise _twice(file.ref.path)


def _twice(path: str) -> UsageError:
    return UsageError(f"--files names two files that would be {path}.", hint="Rename one of them.")


def links_of(files: Iterable[FileRef]) -> list[SourceLink]:
    """Addresses of files that lie elsewhere, under the credentials of this process."""
    sources = dict.fromkeys(file.source for file in files if file.source)
    if not sources:
        return []
    from jupyter_remote.blobs.objects import Reader

    reader = Reader()
    return [SourceLink(source, reader.address(source)) for source in sources]


def captured(path: Path, label: str, inline: Inline, *, module: bool = False) -> CapturedFile:
    """Raises UsageError when the file cannot be read."""
    try:
        content = _content(path)
        executable = path.stat().st_mode & stat.S_IXUSR
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}.", hint="Mend that, or leave it out."
        ) from error
    packed = values.pack_raw(content, chunked=False)
    segment = packed.parcel.segments[0]
    if segment.data is not None and not inline.allows(segment.size_bytes):
        segment = msgspec.structs.replace(segment, data=None)
    mode = 0o755 if executable else 0o644
    return CapturedFile(FileRef(label, segment, mode, module), content)


def _content(path: Path) -> Buffer:
    if path.stat().st_size < MAPPED_BYTES:
        return path.read_bytes()
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _expanded(given: str, root: Path) -> Iterator[Path]:
    """Plain files that one entry of ``--files`` stands for."""
    path = root / Path(given).expanduser()
    if path.is_dir():
        files = list(_below(path))
        if not files:
            raise UsageError(
                f"--files: there is no file in {given} to be sent.",
                hint="Hidden files must be named; folders are made over there by what fills them.",
            )
        yield from files
    elif os.path.lexists(path):
        yield _plain(path, given)
    elif glob.has_magic(given):
        yield from _matching(given, root)
    else:
        raise _missing(given, path)


def _matching(pattern: str, root: Path) -> Iterator[Path]:
    matches = sorted(glob.glob(pattern, root_dir=root, recursive=True))
    if not matches:
        raise UsageError(
            f"--files: nothing matches {pattern!r} in {root}.",
            hint="Patterns are relative to the notebook's folder; ** goes into folders.",
        )
    for match in matches:
        path = root / match
        if not path.is_dir() and not SKIPPED.intersection(PurePosixPath(match).parts):
            yield _plain(path, match)


def _below(top: Path) -> Iterator[Path]:
    inside = top.resolve()
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in SKIPPED)
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith("."):
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise UsageError(
                    f"--files: {path} is a link that leads out of {top}.",
                    hint="Name that file itself to send what it leads to.",
                )
            yield _plain(path, str(path))


def _plain(path: Path, given: str) -> Path:
    if path.is_symlink() and not path.exists():
        raise UsageError(f"--files: {given} is a link to nothing.", hint="Mend or remove it.")
    if not path.is_file():
        raise UsageError(f"--files: {given} is not a plain file.", hint="Leave it out.")
    return path


def _label(path: Path, root: Path, given: str) -> str:
    """The path relative to the notebook's folder; links on the way are not resolved."""
    relative = os.path.relpath(path, root)
    if relative.startswith("..") or os.path.isabs(relative):
        raise UsageError(
            f"--files: {given} lies outside of {root}, so its path would not work over there.",
            hint="Copy or link it into the notebook's folder.",
        )
    return PurePosixPath(*Path(relative).parts).as_posix()


def _missing(given: str, path: Path) -> UsageError:
    parent = path.parent
    siblings = os.listdir(parent) if parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, 1)
    hint = f"Did you mean {near[0]}?" if near else "Paths are relative to the notebook's folder."
    return UsageError(f"--files: there is no {given!r} in {parent}.", hint=hint)
