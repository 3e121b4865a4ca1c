"""Maps over sequences that may be endless."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from jupyter_remote.client.views.pending import STEP_S
from jupyter_remote.client.views.results import AsyncResult


class LazyMap(Iterator[Any]):
    """Results of calls that are made as room is for them; made by ``imap``.

    ``most``: calls that are under way at a time; 0: as many as there are items.
    """

    def __init__(
        self,
        call: Callable[[tuple[Any, ...]], AsyncResult],
        items: Iterator[tuple[Any, ...]],
        most: int,
        *,
        ordered: bool,
        return_exceptions: bool,
    ) -> None:
        self._call = call
        self._items: Iterator[tuple[Any, ...]] | None = items
        self._most = most
        self._ordered = ordered
        self._return_exceptions = return_exceptions
        self._under_way: deque[AsyncResult] = deque()
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._fill()

    def __next__(self) -> Any:
        if not self._under_way:
            raise StopIteration
        result = self._under_way[0] if self._ordered else self._first_done()
        self._under_way.remove(result)
        try:
            return result.get(return_exceptions=self._return_exceptions)
        finally:
            self._fill()

    def cancel(self) -> None:
        """Take no more items. What is under way still comes."""
        self._items = None

    def _fill(self) -> None:
        while self._items is not None and not 0 < self._most <= len(self._under_way):
            item = next(self._items, None)
            if item is None:
                self._items = None
                return
            result = self._call(item)
            self._under_way.append(result)
            if not self._ordered:
                result.add_done_callback(self._done.put)

    def _first_done(self) -> AsyncResult:
        while True:
            try:
                result: AsyncResult = self._done.get(timeout=STEP_S)
            except queue.Empty:
                continue  # so that Ctrl-C is noticed
            return result
