"""Rows and bytes of blobs kept in step: what is forgotten is deleted, unless it comes again."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from blake3 import blake3

from jupyter_remote.blobs.base import Blobs
from jupyter_remote.clock import Clock
from jupyter_remote.errors import JupyterRemoteError
from jupyter_remote.store.base import Store
from jupyter_remote.store.base_parts import BlobRow
from jupyter_remote.wire import Segment

log = logging.getLogger("jupyter_remote.blobs")

Commit = Callable[..., Awaitable[Any]]
SWEEP_EVERY_S = 86_400.0


class BlobShelf:
    """Used on the event loop only. Bytes that arrive are not deleted, those that are being deleted
    do not arrive; both may take a while where blobs are in S3."""

    def __init__(self, store: Store, blobs: Blobs, clock: Clock, commit: Commit) -> None:
        self._store = store
        self._commit = commit
        self._blobs = blobs
        self._clock = clock
        self._arriving: Counter[str] = Counter()
        self._arrived = 0
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._swept_at = float("-inf")

    @asynccontextmanager
    async def arriving(self, digest: str) -> AsyncIterator[None]:
        """From before the bytes of a blob are put there until its row is committed."""
        self._arriving[digest] += 1
        try:
            if (leaving := self._leaving.get(digest)) is not None:
                await asyncio.wait([leaving])
            yield
        finally:
            self._arrived += 1
            self._arriving[digest] -= 1
            if not self._arriving[digest]:
                del self._arriving[digest]

    async def look_for(self, segments: Sequence[Segment]) -> None:
        """Bytes that are gone, or cut short, are asked for again: called before a submit."""
        rows = [self._store.blob(segment.digest) for segment in segments]
        known = [row for row in rows if row is not None and row.present]
        gone = await asyncio.gather(*(self._gone(row) for row in known))
        for row in itertools.compress(known, gone):
            await self._lost(row.digest)

    async def _gone(self, row: BlobRow) -> bool:
        while not self._arriving[row.digest]:
            before = self._arrived
            if await self._blobs.size(row.digest) == row.size_bytes:
                return False
            if before == self._arrived:
                return True
        return False

    async def check(self, segments: Sequence[Segment]) -> None:
        """Read bytes that somebody found to be other than their digest; damaged ones are deleted,
        so that the next submit asks for them."""
        for segment in segments:
            if not self._arriving[segment.digest] and not await self._is_whole(segment.digest):
                await self._lost(segment.digest)

    async def _is_whole(self, digest: str) -> bool:
        found = blake3()
        try:
            _, content = await self._blobs.open(digest)
            async for part in content:
                await asyncio.to_thread(found.update, part)
        except JupyterRemoteError:
            return False
        return found.hexdigest() == digest

    async def _lost(self, digest: str) -> None:
        log.error("the bytes of %s are damaged or gone", digest)
        await self._commit(self._store.blob_lost, digest)
        if not self._arriving[digest]:
            await self._delete(digest)

    async def _delete(self, digest: str) -> None:
        leaving = asyncio.create_task(self._blobs.delete(digest))
        self._leaving[digest] = leaving
        try:
            await leaving
        finally:
            self._leaving.pop(digest, None)

    async def discard(self, digest: str) -> None:
        """Delete bytes whose row was forgotten, unless they came again meanwhile."""
        if not self._arriving[digest] and self._store.blob(digest) is None:
            await self._delete(digest)

    async def sweep(self) -> None:
        """Once a day: delete what a crash left between rows and bytes."""
        if self._clock.monotonic() - self._swept_at < SWEEP_EVERY_S:
            return
        self._swept_at = self._clock.monotonic()
        for digest in await self._blobs.left_over():
            await self.discard(digest)
            await asyncio.sleep(0)
