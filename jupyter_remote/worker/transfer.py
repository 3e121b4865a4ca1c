"""Bytes that a job needs, and bytes that it leaves: mapped or moved on the server's own machine,
streamed elsewhere, straight to and from S3 where blobs are there. Nothing here opens what is
inside.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from blake3 import blake3

from jupyter_remote import errors, straight
from jupyter_remote.wire import FileRef, JobSpec, Segment, SourceLink
from jupyter_remote.worker.channel import Spooled
from jupyter_remote.worker.link import Address
from jupyter_remote.worker.users import User, acting

if TYPE_CHECKING:
    from jupyter_remote.worker.courier import Courier

PIECE_BYTES = 1024 * 1024
PAUSE_S = 0.5
UNKNOWN = "its address is not known any more, since the backend was started anew; submit it again"
EXPIRED = "the credentials of who submitted it have ended; renew them and submit it again"
T = TypeVar("T")


class BadInput(Exception):
    """Something that was shipped with a job, or that it left, cannot be used; says what."""


class Transfer:
    """Where segments are, and how they come and go. ``home`` is the agent's own folder; ``user``
    runs user code, if that is not who runs the agent."""

    def __init__(self, home: Path, token: str, user: User | None = None) -> None:
        self._cache = home / "cache"
        self._own_spool = home / "spool"
        self._own_spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._user = user
        self._blob_mode = 0o400
        if user is not None:
            user.own(self._own_spool)
            self._blob_mode = 0o444
        self._token = token
        self._address = Address("")
        self._links_bytes = 0
        self._blobs: Path | None = None
        self._spool: Path | None = None
        self._threads = ThreadPoolExecutor(4, "transfer")
        self._courier: Courier | None = None
        self._lock = threading.Lock()

    def connected(self, address: Address, blobs: str, spool: str, links_bytes: int = 0) -> None:
        """The server is there; the folders are given if it shares this machine's disk.

        ``links_bytes``: see Welcome.
        """
        here = bool(blobs and spool) and os.access(spool, os.W_OK)
        self._address, self._links_bytes = address, links_bytes
        self._blobs = Path(blobs) if here else None
        self._spool = Path(spool) if here else None

    @property
    def blobs(self) -> Path | None:
        """The blob store's folder, if it is on this machine."""
        return self._blobs

    @property
    def spool(self) -> Path:
        """Where a kernel writes large results."""
        return self._spool or self._own_spool

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        if self._courier is not None:
            self._courier.close()

    # -- inputs
    def find(self, digest: str) -> str | None:
        """Where this segment can be mapped; None: it must be fetched."""
        for folder in (self._blobs, self._cache):
            if folder is not None and (path := folder / digest[:2] / digest).exists():
                return str(path)
        return None

    async def fetch(self, segment: Segment) -> str:
        """Path of the segment, streamed and verified if it is not here yet.

        Raises BadInput when the server does not have it; waits as long as no server answers.
        """
        if (path := self.find(segment.digest)) is not None:
            return path
        large = 0 < self._links_bytes <= segment.size_bytes
        return await self._patiently(lambda: self._download(segment.digest, large))

    async def place(self, file: FileRef, folder: Path, links: Sequence[SourceLink] = ()) -> None:
        """Write a shipped file. Raises BadInput for a path that leads out of ``folder``.

        ``links``: where files that lie elsewhere are read.
        """
        target = folder / safe_path(file.path)
        theirs = self._user is not None and folder.stat().st_uid == self._user.uid
        user = self._user if theirs else None
        if file.source:
            url = next((link.url for link in links if link.source == file.source), "")
            await self._in_thread(lambda: _read_new(target, file, url), user)
            return
        if (data := file.content.data) is not None:
            with acting(user):
                _write_new(target, data, file)
            return
            return
        source = Path(await self.fetch(file.content))
        await self._in_thread(lambda: _copy_new(target, source, file), user)

    # -- results
    async def inputs_of(self, spec: JobSpec, fetching: Callable[[], None]) -> dict[str, str]:
        """Where what is not inline lies, by digests; fetched first, if need be, which is told
        by ``fetching``. Raises BadInput."""
        every = (spec.function, spec.inputs, spec.checkpoint)
        parcels = [parcel for parcel in every if parcel is not None]
        paths = {}
        for segment in (s for parcel in parcels for s in parcel.segments if s.data is None):
            path = self.find(segment.digest)
            if path is None:
                fetching()
                path = await self.fetch(segment)
            paths[segment.digest] = path
        return paths

    async def give(self, spooled: Spooled) -> None:
        """Hand a segment that a kernel wrote to the server. Raises BadInput."""
        name = spooled.file
        if name and name == Path(name).name:
            await self._patiently(lambda: self._upload(spooled.segment.digest, name), self._user)

    async def give_file(self, path: Path) -> Segment:
        """Hand over a file of the agent's own; it is gone afterwards. Raises BadInput."""
        name = uuid.uuid4().hex

        def prepare() -> Segment:
            digest = _digest(path)
            shutil.move(path, self.spool / name)
            if self._user is not None:
                self._user.own(self.spool / name)
            return Segment(digest, (self.spool / name).stat().st_size)

        segment = await self._in_thread(prepare)
        await self.give(Spooled(segment, name))
        return segment

    # -- in a thread
    def _upload(self, digest: str, name: str) -> None:
        source = self.spool / name
        if self._spool is None:
            if not self._sent_straight(digest, source):
                self._carrier().put(digest, source)
            source.unlink()
        elif source.exists() or self.find(digest) is None:  # else a reply was lost
            self._carrier().adopt(digest, name)

    def _download(self, digest: str, large: bool) -> str:
        target = self._cache / digest[:2] / digest
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{digest}.{uuid.uuid4().hex}")
        try:
            if not (large and self._read_straight(digest, part)):
                self._carrier().get(digest, part)
            _check(digest, _digest(part), "what the server sent")
            part.chmod(self._blob_mode)
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)
        return str(target)

    def _sent_straight(self, digest: str, source: Path) -> bool:
        size = source.stat().st_size
        if not self._links_bytes or size < self._links_bytes:
            return False
        with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as all:
            view = memoryview(all)
            try:
                return straight.upload(self._carrier().ask, digest, view, [], lambda sent: None)
            except straight.Unreachable:
                return False
            finally:
                view.release()

    def _read_straight(self, digest: str, target: Path) -> bool:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            write = partial(_write_at, fd)
            if straight.download(self._carrier().ask, digest, write):
                return True
        except straight.Unreachable:
            pass
        finally:
            os.close(fd)
        target.unlink()
        return False

    def _carrier(self) -> Courier:
        from jupyter_remote.worker.courier import Courier  # most jobs need no HTTP at all

        with self._lock:
            if self._courier is None or self._courier.address != self._address:
                self._courier = Courier(self._address, self._token)
            return self._courier

    async def _patiently(self, work: Callable[[], T], user: User | None = None) -> T:
        while True:
            try:
                return await self._in_thread(work, user)
            except (errors.BackendUnreachable, errors.StorageFull):
                await asyncio.sleep(PAUSE_S)  # the server starts anew, or its disk is full
            except errors.JupyterRemoteError as error:
                raise BadInput(error.message) from error

    async def _in_thread(self, work: Callable[[], T], user: User | None = None) -> T:
        def run() -> T:
            with acting(user):
                return work()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, run)
        except OSError as error:
            raise BadInput(f"{error.filename}: {error.strerror}") from error


def safe_path(path: str) -> PurePosixPath:
    """A relative path that stays below its folder. Raises BadInput."""
    pure = PurePosixPath(path)
    bad = pure.is_absolute() or not pure.parts or ".." in pure.parts
    if bad or "\0" in path or "\\" in path or ":" in pure.parts[0]:
        raise BadInput(f"the file path {path!r} leads out of the job's folder")
    return pure


def _write_at(fd: int, at: int, piece: memoryview) -> None:
    while piece:
        done = os.pwrite(fd, piece, at)
        at, piece = at + done, piece[done:]


def _write_new(target: Path, data: bytes, file: FileRef) -> None:
    _check(file.content.digest, blake3(data).hexdigest(), f"the file {file.path}")
    with os.fdopen(_open_new(target, file), "wb") as out:
        out.write(data)


def _read_new(target: Path, file: FileRef, url: str) -> None:
    """Raises BadInput; no word of it has the address."""
    if not url:
        raise BadInput(f"{file.source}: {UNKNOWN}")
    fd = _open_new(target, file)
    try:
        os.truncate(fd, file.source_bytes)
        straight.read(url, file.source_bytes, file.version, partial(_write_at, fd))
    except straight.Changed:
        raise BadInput(f"{file.source} is another one than when the job was submitted") from None
    except straight.Expired:
        raise BadInput(f"{file.source}: {EXPIRED}") from None
    except straight.Unreachable as error:
        raise BadInput(f"{file.source} cannot be read: {error}") from None
    finally:
        os.close(fd)


def _copy_new(target: Path, source: Path, file: FileRef) -> None:
    hasher = blake3()
    with source.open("rb") as blob, os.fdopen(_open_new(target, file), "wb") as out:
        while piece := blob.read(PIECE_BYTES):
            hasher.update(piece)
            out.write(piece)
    _check(file.content.digest, hasher.hexdigest(), f"the file {file.path}")


def _open_new(target: Path, file: FileRef) -> int:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode & 0o777)
    except OSError as error:
        raise BadInput(f"the file {file.path} cannot be placed: {error.strerror}") from error


def _digest(path: Path) -> str:
    return blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()


def _check(digest: str, found: str, what: str) -> None:
    if digest != found:
        raise BadInput(f"{what} is not what its digest says; it was not used")
