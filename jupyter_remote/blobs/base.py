"""The seam for bytes: named by their BLAKE3 digest, never changed once there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol


class Blobs(Protocol):
    """Where segments live. Conformance: ``tests/conformance/blobs.py``.

    ``put`` and ``assemble`` verify the digest before a blob becomes visible and are idempotent.
    Raises DigestMismatch, StorageFull, NotFound.
    """

    async def put(self, digest: str, body: AsyncIterator[bytes], limit_bytes: int) -> int:
        """Store a streamed body; returns its size. Raises TooLarge above ``limit_bytes``."""
        ...

    async def adopt(self, digest: str, spooled: str) -> int:
        """Take over a file that a client on this machine wrote into :attr:`spool`.

        ``spooled`` is a bare file name. The content is verified by whoever reads it, as always.
        """
        ...

    async def assemble(self, digest: str, pieces: Iterable[tuple[str, int, int]]) -> int:
        """Make a blob of ``(blob digest, offset, size)`` pieces of blobs that are there."""
        ...

    async def open(self, digest: str, offset: int = 0) -> tuple[int, AsyncIterator[bytes]]:
        """Size and content. Raises NotFound."""
        ...

    async def size(self, digest: str) -> int | None:
        """None when it is not there."""
        ...

    async def delete(self, digest: str) -> None:
        """Absent is fine."""
        ...

    async def left_over(self) -> list[str]:
        """Forget spooled files that nobody claimed; digests of blobs that are not quite new.

        The caller deletes those among them that its database does not know.
        """
        ...

    @property
    def folder(self) -> Path | None:
        """Where a process on the same machine may map ``folder/<2 hex>/<digest>``; or None."""
        ...

    @property
    def spool(self) -> Path | None:
        """Where a process on the same machine may write files for :meth:`adopt`; or None."""
        ...

    @property
    def links(self) -> Links | None:
        """How others reach the bytes without the server in between; None: they cannot."""
        ...


class Upload(NamedTuple):
    """Parts that whoever has their addresses may send, each as large but for the last."""

    id: str
    part_bytes: int


class Links(Protocol):
    """Addresses of bytes that are good for a while. Whoever knows one needs nothing else: they
    are secrets, and are in no log, error or database.

    ``trusted``: what ``owner`` sends need not be read here to be taken for what its digest says.
    Whoever reads a blob checks it, as always.
    """

    least_bytes: int  # smaller blobs are as quick through the server

    async def download(self, digest: str) -> str:
        """An address to read a blob from, also parts of it."""
        ...

    async def begin(self, digest: str, size_bytes: int, owner: str, *, trusted: bool) -> Upload:
        """Prepare an upload of parts, which are numbered from 1."""
        ...

    async def parts(
        self, digest: str, upload: str, numbers: Sequence[int], owner: str, *, trusted: bool
    ) -> list[str]:
        """Where to put these parts. Raises NotFound for another's upload."""
        ...

    async def end(
        self, digest: str, upload: str, size_bytes: int, owner: str, *, trusted: bool
    ) -> int:
        """The blob is there. Raises Conflict when parts are missing, DigestMismatch, NotFound."""
        ...
