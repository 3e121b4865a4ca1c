"""Rows and bytes of blobs kept in step: what is forgotten is deleted, unless it comes again."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from jupyter_remote.blobs.base import Blobs
from jupyter_remote.clock import Clock
from jupyter_remote.store.base import Store

log = logging.getLogger("jupyter_remote.blobs")

SWEEP_EVERY_S = 86_400.0


class BlobShelf:
    """Used on the event loop only: nothing else runs there between a look and a deletion."""

    def __init__(self, store: Store, blobs: Blobs, clock: Clock) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._arriving: Counter[str] = Counter()
        self._swept_at = float("-inf")

    @contextmanager
    def arriving(self, digest: str) -> Iterator[None]:
        """From before the bytes of a blob are put there until its row is committed."""
        self._arriving[digest] += 1
        try:
            yield
        finally:
            self._arriving[digest] -= 1
            if not self._arriving[digest]:
                del self._arriving[digest]

    async def discard(self, digest: str) -> None:
        """Delete bytes whose row was forgotten, unless they came again meanwhile."""
        if not self._arriving[digest] and self._store.blob(digest) is None:
            await self._blobs.delete(digest)

    async def sweep(self) -> None:
        """Once a day: delete what a crash left between rows and bytes."""
        if self._clock.monotonic() - self._swept_at < SWEEP_EVERY_S:
            return
        self._swept_at = self._clock.monotonic()
        for digest in await self._blobs.left_over():
            await self.discard(digest)
            await asyncio.sleep(0)
