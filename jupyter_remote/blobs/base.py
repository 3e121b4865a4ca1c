"""The seam for bytes: named by their BLAKE3 digest, never changed once there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Protocol


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
