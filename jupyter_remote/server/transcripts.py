"""What jobs showed, as the outputs of cells, kept while somebody follows them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from jupyter_remote.model import JobId
from jupyter_remote.outputs import Fold
from jupyter_remote.store.base import Store

MOST_BYTES = 64 * 1024 * 1024  # of what is seen at a time
PAGE = 1000
KEPT = 200  # transcripts: whoever follows a job asks again and again
KEPT_BYTES = 4 * MOST_BYTES  # of all


class Transcript:
    """The outputs of one job, as far as they were read."""

    def __init__(self, job: JobId) -> None:
        self.lock = asyncio.Lock()
        self.fold = Fold()
        self.shown_at = 0  # cursor of the last event that is to be seen
        self.cut = False
        self._job = job
        self._read_to = 0

    def read(self, store: Store) -> None:
        """What came since. Blocks."""
        while not self.cut and (
            page := store.events(after=self._read_to, job=self._job, limit=PAGE)
        ):
            for event in page:
                self._read_to = event.cursor
                if self.fold.take(event):
                    self.shown_at = event.cursor
                self.cut = self.fold.size_bytes > MOST_BYTES
                if self.cut:
                    break


class Transcripts:
    """Those that were asked for last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[JobId, Transcript] = OrderedDict()

    def of(self, job: JobId) -> Transcript:
        found = self._kept.pop(job, None) or Transcript(job)
        self._kept[job] = found
        while len(self._kept) > KEPT or (len(self._kept) > 1 and self._size_bytes > KEPT_BYTES):
            self._kept.popitem(last=False)
        return found

    @property
    def _size_bytes(self) -> int:
        return sum(transcript.fold.size_bytes for transcript in self._kept.values())
