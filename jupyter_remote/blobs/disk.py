"""Blobs as files: ``<folder>/objects/<2 hex>/<digest>``, mode 0400, in folders of mode 0700.

A blob appears by one rename after its digest was checked, so it is there whole or not at all, also
when a process is killed. Nothing is synced to the disk: after a power failure a blob may be
damaged, which whoever reads it notices by its digest; sending it again replaces it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import mmap
import os
import re
import stat
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from blake3 import blake3

from jupyter_remote.errors import (
    DigestMismatch,
    InvalidRequest,
    NotFound,
    StorageFull,
    TooLarge,
)
from jupyter_remote.mapping import blob_path, digest_of

MIB = 1024 * 1024
PIECE_BYTES = MIB  # read and written at once
IN_LOOP_BYTES = 128 * 1024  # less than this is written without a thread: a hop costs 0.1 ms
LEFTOVER_S = 3600.0  # age from which files in the spool belong to nobody

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SPOOLED = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_DISK_FAILS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG}
_CANNOT_COPY = {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM}

Piece = tuple[str, int, int]  # blob digest, offset, size in bytes


class DiskBlobs:
    """Implements :class:`jupyter_remote.blobs.base.Blobs` on one folder of this machine."""

    def __init__(self, folder: Path | str) -> None:
        """Makes the folders and removes old leftovers of the spool. Raises StorageFull."""
        self._objects = Path(folder) / "objects"
        self._spool = Path(folder) / "spool"
        with _disk_errors():
            for each in (self._objects, self._spool):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_leftovers(self._spool, time.time() - LEFTOVER_S)

    @property
    def folder(self) -> Path:
        return self._objects

    @property
    def spool(self) -> Path:
        return self._spool

    @property
    def links(self) -> None:
        return None

    async def put(self, digest: str, body: AsyncIterator[bytes], limit_bytes: int) -> int:
        target = self._path(digest)
        with _known(target) as known, contextlib.ExitStack() as stack:
            taken = _Taken(known, lambda: stack.enter_context(self._new_file()))
            async for batch in _batches(body):
                if taken.size + sum(map(len, batch)) > limit_bytes:
                    raise TooLarge(f"The blob is larger than {limit_bytes} bytes.")
                await _aside(taken.size, taken.take, batch)
            _compare(taken.end(), digest)
            if taken.new is not None:
                _publish(*taken.new, target)
        return taken.size

    async def adopt(self, digest: str, spooled: str) -> int:
        target = self._path(digest)
        if not _SPOOLED.fullmatch(spooled):
            raise InvalidRequest("The name of a spooled file has no folders and no leading dot.")
        path = self._spool / spooled
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return await self._adopted_before(digest)
        except OSError as error:
            raise InvalidRequest("The spooled file cannot be opened.") from error
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                raise InvalidRequest("The spooled file is not a plain file of its own.")
            with _disk_errors():
                _publish(path, fd, target)
        finally:
            os.close(fd)
        return found.st_size

    async def _adopted_before(self, digest: str) -> int:
        """The reply to the first adoption may have been lost: then the blob is there."""
        if (size := await self.size(digest)) is None:
            raise NotFound("There is no such file in the spool folder.")
        return size

    async def assemble(self, digest: str, pieces: Iterable[Piece]) -> int:
        target = self._path(digest)
        with self._new_file() as (path, fd):
            await asyncio.to_thread(self._join, fd, list(pieces))
            _compare(await asyncio.to_thread(_digest_of_file, fd), digest)
            _publish(path, fd, target)
            return os.fstat(fd).st_size

    def _join(self, fd: int, pieces: list[Piece]) -> None:
        for source, offset, size in _joined(pieces):
            with _opened(self._path(source)) as source_fd:
                _copy(source_fd, fd, offset, size)

    async def open(self, digest: str, offset: int = 0) -> tuple[int, AsyncIterator[bytes]]:
        size = await self.size(digest)
        if size is None:
            raise NotFound(f"There is no blob {digest[:12]}….")
        if not 0 <= offset <= size:
            raise InvalidRequest(f"The blob has {size} bytes; it cannot be read from {offset}.")
        return size, _stream(self._path(digest), offset, size)

    async def size(self, digest: str) -> int | None:
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            return None

    async def delete(self, digest: str) -> None:
        with _disk_errors():
            self._path(digest).unlink(missing_ok=True)

    async def left_over(self) -> list[str]:
        before = time.time() - LEFTOVER_S
        return await asyncio.to_thread(self._left_over, before)

    def _left_over(self, before: float) -> list[str]:
        with _disk_errors():
            _remove_leftovers(self._spool, before)
            files = self._objects.glob("??/*")
            return [f.name for f in files if _DIGEST.fullmatch(f.name) and _older(f, before)]

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise InvalidRequest("A blob is named by 64 lower-case hex digits.")
        return blob_path(self._objects, digest)

    @contextlib.contextmanager
    def _new_file(self) -> Iterator[tuple[Path, int]]:
        """A file that is removed at the end unless it was published."""
        path = self._spool / f"new-{uuid.uuid4().hex}"
        with _disk_errors():
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                yield path, fd
            finally:
                os.close(fd)
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """A disk that is full or fails becomes StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FAILS:
            raise
        raise StorageFull(
            f"The disk of the backend does not take it: {os.strerror(error.errno)}.",
            hint="Free some space and run it again; `%remote doctor` shows what is stored.",
        ) from error


def _remove_leftovers(spool: Path, before: float) -> None:
    for path in spool.iterdir():
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            if path.lstat().st_mtime < before:
                path.unlink()


def _older(path: Path, before: float) -> bool:
    try:
        return path.lstat().st_mtime < before
    except FileNotFoundError:  # deleted meanwhile
        return False


# --- writing ---------------------------------------------------------------------------------
async def _batches(body: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Small pieces of a body together, so that a thread is asked for once a MiB."""
    batch: list[bytes] = []
    waiting = 0
    async for piece in body:
        batch.append(piece)
        waiting += len(piece)
        if waiting >= PIECE_BYTES:
            yield batch
            batch, waiting = [], 0
    yield batch


async def _aside(size: int, work: Callable[..., None], *arguments: Any) -> None:
    """In a thread, unless it is over sooner than a thread starts."""
    if size < IN_LOOP_BYTES:
        work(*arguments)
    else:
        await asyncio.to_thread(work, *arguments)


class _Taken:
    """A body as it comes: hashed, and compared with the blob that may be there already.

    From the first difference on it is written to a new file. So a blob that is there whole is not
    written again, and one that is damaged is replaced.
    """

    def __init__(self, known: int | None, begin: Callable[[], tuple[Path, int]]) -> None:
        self.size = 0
        self.new: tuple[Path, int] | None = None
        self._known = known
        self._begin = begin
        self._hasher = blake3()

    def take(self, pieces: list[bytes]) -> None:
        """The next part of the body. Raises OSError."""
        for piece in pieces:
            self._hasher.update(piece)
            if self.new is None and not self._as_before(piece):
                self._start()
            if self.new is not None:
                _write(self.new[1], piece)
            self.size += len(piece)

    def end(self) -> str:
        """The digest of all that came."""
        if self.new is None and (self._known is None or os.fstat(self._known).st_size != self.size):
            self._start()
        return self._hasher.hexdigest()

    def _as_before(self, piece: bytes) -> bool:
        return self._known is not None and os.pread(self._known, len(piece), self.size) == piece

    def _start(self) -> None:
        self.new = self._begin()
        if self._known is not None:
            _copy(self._known, self.new[1], 0, self.size)


@contextlib.contextmanager
def _known(path: Path) -> Iterator[int | None]:
    """The blob if it is there."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _write(fd: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]


def _compare(found: str, digest: str) -> None:
    if found != digest:
        raise DigestMismatch(
            f"The bytes of {digest[:12]}… are not what their digest says; they were not stored."
        )


def _publish(path: Path, fd: int, target: Path) -> None:
    """Make the file of ``fd`` at ``path`` the blob ``target``, in place of an older one."""
    os.fchmod(fd, 0o400)
    target.parent.mkdir(mode=0o700, exist_ok=True)
    os.rename(path, target)
    if os.lstat(target).st_ino != os.fstat(fd).st_ino:
        target.unlink(missing_ok=True)
        raise InvalidRequest("The file was exchanged while it was taken over.")


# --- reading ---------------------------------------------------------------------------------
@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise NotFound(f"There is no blob {path.name[:12]}….") from error
    try:
        yield fd
    finally:
        os.close(fd)


async def _stream(path: Path, offset: int, size: int) -> AsyncIterator[bytes]:
    with _opened(path) as fd:
        while offset < size:
            wanted = min(PIECE_BYTES, size - offset)
            if wanted < IN_LOOP_BYTES:
                piece = os.pread(fd, wanted, offset)
            else:
                piece = await asyncio.to_thread(os.pread, fd, wanted, offset)
            if not piece:
                raise DigestMismatch(f"The blob {path.name[:12]}… is shorter than it was.")
            yield piece
            offset += len(piece)


def _joined(pieces: list[Piece]) -> Iterator[Piece]:
    """Neighbours in one blob as one piece."""
    last: Piece | None = None
    for digest, offset, size in pieces:
        if last is not None and (digest, offset) == (last[0], last[1] + last[2]):
            last = (digest, last[1], last[2] + size)
            continue
        if last is not None:
            yield last
        last = (digest, offset, size)
    if last is not None:
        yield last


def _copy(source: int, target: int, offset: int, size: int) -> None:
    while size:
        copied = _copy_some(source, target, offset, size)
        if not copied:
            raise DigestMismatch("A chunk is shorter than it should be.")
        offset += copied
        size -= copied


def _copy_some(source: int, target: int, offset: int, size: int) -> int:
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(source, target, size, offset)
        except OSError as error:
            if error.errno not in _CANNOT_COPY:
                raise
    return os.write(target, os.pread(source, min(size, PIECE_BYTES), offset))


def _digest_of_file(fd: int) -> str:
    if os.fstat(fd).st_size == 0:
        return digest_of(b"")
    with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as area:
        return digest_of(area)
