"""Bytes that are named by their content: digests, chunks, and files mapped instead of read.

A blob on this machine is mapped privately (copy-on-write), so that an array in it is writable while
the file stays as it is. A mapping that nobody wrote to is known to be unchanged from the kernel's
page table, without reading it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
import uuid
import weakref
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any, ClassVar

from blake3 import blake3

from jupyter_remote.errors import DigestMismatch

if TYPE_CHECKING:
    from pyfastcdc import FastCDC
    from typing_extensions import Buffer

MIB = 1024 * 1024
THREADED_BYTES = MIB  # below this one thread hashes faster than several
FINE_CHUNK_BYTES = 64 * 1024  # average chunk of a segment up to COARSE_ABOVE_BYTES
COARSE_CHUNK_BYTES = MIB  # and above, so that the list of chunks stays short
COARSE_ABOVE_BYTES = 1024 * MIB
WRITE_BYTES = 16 * MIB  # one write() call; Linux takes at most 2 GiB


# --- digests and chunks ----------------------------------------------------------------------
def flat(buffer: Buffer) -> memoryview:
    """The bytes of a contiguous buffer of any shape and type, without copying."""
    return PickleBuffer(buffer).raw()


def digest_of(buffer: Buffer) -> str:
    """BLAKE3 of the raw bytes, 64 hex digits. Large buffers are hashed by all cores."""
    view = flat(buffer)
    if view.nbytes < THREADED_BYTES or _pool.lost:
        return blake3(view).hexdigest()
    _pool.started = True
    return blake3(view, max_threads=blake3.AUTO).hexdigest()


class _Pool:
    """BLAKE3's threads do not survive a fork, and it would wait for them for ever."""

    started = False
    lost = False

    def forked(self) -> None:
        self.lost = self.lost or self.started


_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.forked)


def cut(buffer: Buffer) -> list[tuple[str, int]]:
    """Content-defined chunks of ``buffer``, in order, as ``(digest, size in bytes)``."""
    view = flat(buffer)
    coarse = view.nbytes > COARSE_ABOVE_BYTES
    chunker = _chunker(COARSE_CHUNK_BYTES if coarse else FINE_CHUNK_BYTES)
    return [(blake3(c.data).hexdigest(), c.length) for c in chunker.cut_buf(view)]


def _chunker(average_bytes: int) -> FastCDC:
    from pyfastcdc import FastCDC

    return FastCDC(average_bytes, min_size=average_bytes // 4, max_size=average_bytes * 4)


# --- mapping ---------------------------------------------------------------------------------
class _Mapped:
    """A live mapping: where it is, what it holds, and whether it is still there."""

    __slots__ = ("alive", "digest", "size_bytes")

    def __init__(self, area: mmap.mmap, digest: str, forget: Any) -> None:
        self.alive = weakref.ref(area, forget)
        self.digest = digest
        self.size_bytes = len(area)


_mapped: dict[int, _Mapped] = {}  # by address
_verified: set[tuple[str, int, int, int, int]] = set()
_lock = threading.Lock()


def blob_path(folder: str | Path, digest: str) -> Path:
    """Where a blob lies in a folder of blobs."""
    return Path(folder) / digest[:2] / digest


def map_blob(path: str | Path, digest: str, size_bytes: int) -> memoryview:
    """The blob as writable memory; what is written stays private and never reaches the file.

    The digest is verified once for each process and file (inode, size and time of change). The
    mapping lives as long as anything that uses it, also after the file was deleted.

    Raises DigestMismatch when the file is not what its name says, FileNotFoundError.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        found = os.fstat(fd)
        if found.st_size != size_bytes:
            raise _damaged(path, f"{found.st_size} bytes instead of {size_bytes}")
        if size_bytes == 0:
            return memoryview(bytearray())
        area = mmap.mmap(fd, size_bytes, access=mmap.ACCESS_COPY)
    finally:
        os.close(fd)
    if _identity(found, digest) not in _verified:
        if digest_of(area) != digest:
            raise _damaged(path, "its content is not what its name says")
        trust(found, digest)
    _remember(area, digest)
    return memoryview(area)


def trust(found: os.stat_result, digest: str) -> None:
    """This file holds what its digest says: this process verified it, or wrote it."""
    _verified.add(_identity(found, digest))


def _identity(found: os.stat_result, digest: str) -> tuple[str, int, int, int, int]:
    return digest, found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _damaged(path: str | Path, why: str) -> DigestMismatch:
    return DigestMismatch(
        f"The stored blob {Path(path).name[:12]}… is damaged: {why}.",
        hint="Run it again: what is missing is sent again. `%remote doctor` checks the disk.",
    )


def _remember(area: mmap.mmap, digest: str) -> None:
    address, _ = extent(area)

    def forget(ref: weakref.ref[mmap.mmap]) -> None:
        # The address may have been given to a newer mapping by now.
        if (entry := _mapped.get(address)) is not None and entry.alive is ref:
            del _mapped[address]

    with _lock:
        _mapped[address] = _Mapped(area, digest, forget)


def clean_digest(buffer: Buffer) -> str | None:
    """The digest of a buffer that is exactly one mapped blob and that nobody has written to.

    Costs a walk of the page table instead of a hash. None: not a mapping, a part of one, written
    to, or this system does not tell.
    """
    if not _mapped:
        return None
    address, size_bytes = extent(buffer)
    entry = _mapped.get(address)
    if entry is None or entry.size_bytes != size_bytes or entry.alive() is None:
        return None
    return entry.digest if _untouched(address, size_bytes) else None


# In /proc/self/pagemap each page has 64 bits. The topmost byte says: 0x80 in memory, 0x40 swapped
# out, 0x20 a page of the file, 0x02 write-protected, 0x01 mapped by this process only. A page of a
# private mapping that was written to is no longer a page of the file.
_OF_THE_FILE = bytes(b for b in range(256) if b & 0x20 or not b & 0xC0)


def _untouched(address: int, size_bytes: int) -> bool:
    first, last = address // mmap.PAGESIZE, (address + size_bytes - 1) // mmap.PAGESIZE
    try:
        fd = os.open("/proc/self/pagemap", os.O_RDONLY)
    except OSError:
        return False
    try:
        return all(_file_pages_only(fd, at, last + 1) for at in range(first, last + 1, MIB))
    except OSError:
        return False
    finally:
        os.close(fd)


def _file_pages_only(fd: int, first: int, end: int) -> bool:
    """Whether no page from ``first`` on, at most 1 Mi of them (8 MiB of entries), was copied."""
    position, stop = first * 8, min(first + MIB, end) * 8
    while position < stop:
        entries = os.pread(fd, stop - position, position)
        if not entries or entries[7::8].translate(None, _OF_THE_FILE):
            return False
        position += len(entries)
    return True


# --- writing ---------------------------------------------------------------------------------
def spool(contents: Mapping[str, Buffer], folder: str | Path) -> dict[str, str]:
    """Write buffers into new files in ``folder`` (mode 0600), for the backend to take over.

    Returns the bare file name of each digest. When it fails nothing of it is left. Raises OSError.
    """
    names: dict[str, str] = {}
    try:
        for digest, buffer in contents.items():
            names[digest] = uuid.uuid4().hex
            _write_file(Path(folder, names[digest]), flat(buffer))
    except BaseException:
        for name in names.values():
            Path(folder, name).unlink(missing_ok=True)
        raise
    return names


def _write_file(path: Path, view: memoryview) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        position = 0
        while position < view.nbytes:
            position += os.write(fd, view[position : position + WRITE_BYTES])
    finally:
        os.close(fd)


# --- where a buffer is -----------------------------------------------------------------------
class _PyBuffer(ctypes.Structure):
    """``Py_buffer`` of the stable ABI. ``ctypes`` itself reaches only writable buffers."""

    _fields_: ClassVar = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


@cache
def _buffer_calls() -> tuple[Any, Any]:
    get, release = ctypes.pythonapi.PyObject_GetBuffer, ctypes.pythonapi.PyBuffer_Release
    get.argtypes = [ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int]
    release.argtypes = [ctypes.POINTER(_PyBuffer)]
    release.restype = None
    return get, release


def extent(buffer: Buffer) -> tuple[int, int]:
    """Address and size in bytes of a contiguous buffer."""
    get, release = _buffer_calls()
    found = _PyBuffer()
    get(buffer, ctypes.byref(found), 0)
    try:
        return found.buf or 0, found.len
    finally:
        release(ctypes.byref(found))
