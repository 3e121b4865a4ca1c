"""Fans events out to whoever listens, in memory. What a listener missed it reads in the store.

Called on the event loop only. Events are published in the order of their commits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec

from jupyter_remote.wire import Event

QUEUED_FRAMES = 2_000  # of one listener; a slower one reads the rest in the store
QUEUED_BYTES = 8 * 1024 * 1024
PAGE = 500
STATUS_S = 0.005  # a status waits so long for what comes with it: a short job is told of at once
KEEP_ALIVE_S = 10.0
KEEP_ALIVE = b": alive\n\n"


class Topic(NamedTuple):
    """What one listens to: all jobs that a client submitted, or one job."""

    owner: str = ""
    client: str = ""
    job: str = ""


Reader = Callable[[int, int], Awaitable[list[Event]]]
"""Stored events after a cursor, at most so many."""


def frame_of(event: Event) -> bytes:
    """An event as SSE. A worker's JSON may hold line ends between tokens; SSE may not."""
    data = msgspec.json.encode(event)
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    if event.cursor:
        return b"id: %d\ndata: %b\n\n" % (event.cursor, data)
    return b"data: %b\n\n" % data


class Subscription:
    """A listener's queue of frames, bounded; ``behind`` once frames had to be dropped."""

    def __init__(self) -> None:
        self.behind = False
        self.closed = False
        self._frames: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._wake: asyncio.Future[None] | None = None
        self._soon: asyncio.TimerHandle | None = None

    def push(self, cursor: int, frame: bytes, patient: bool = False) -> None:
        """Called by the hub with each frame of the topic; a ``patient`` one can wait a moment."""
        if self.behind:
            return
        self._frames.append((cursor, frame))
        self._bytes += len(frame)
        if len(self._frames) > QUEUED_FRAMES or self._bytes > QUEUED_BYTES:
            self.clear()
            self.behind = True
        if not patient:
            self._notify()
        elif self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(STATUS_S, self._notify)

    def close(self) -> None:
        """The backend ends: the stream ends after what is queued."""
        self.closed = True
        self._notify()

    def _notify(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def clear(self) -> None:
        """Begin anew; called before what is stored is read."""
        self._frames.clear()
        self._bytes = 0
        self.behind = False

    def take(self) -> list[tuple[int, bytes]]:
        """All that is queued."""
        frames = list(self._frames)
        self._frames.clear()
        self._bytes = 0
        return frames

    async def wait(self, timeout_s: float) -> bool:
        """Until there is something to do; False when nothing came in time."""
        if self._frames or self.behind or self.closed:
            return True
        loop = asyncio.get_running_loop()
        wake = self._wake = loop.create_future()
        timer = loop.call_later(timeout_s, self._notify)
        try:
            await wake
        finally:
            timer.cancel()
            self._wake = None
        return bool(self._frames) or self.behind or self.closed


class Hub:
    """Who listens to what."""

    def __init__(self) -> None:
        self._topics: dict[Topic, set[Subscription]] = {}
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many streams are open."""
        return sum(len(s) for s in self._topics.values())

    def publish(self, owner: str, client: str, job: str, events: Sequence[Event]) -> None:
        """Hand events of a job to its listeners; nothing is encoded when there are none."""
        by_client = self._topics.get(Topic(owner, client), ())
        by_job = self._topics.get(Topic(job=job), ())
        if not by_client and not by_job:
            return
        patient = all(event.type == "status" for event in events)
        for event in events:
            frame = frame_of(event)
            for subscription in (*by_client, *by_job):
                subscription.push(event.cursor, frame, patient)

    def subscribe(self, topic: Topic) -> Subscription:
        """A queue of what comes from now on; give it back with :meth:`leave`."""
        subscription = Subscription()
        subscription.closed = self._closed
        self._topics.setdefault(topic, set()).add(subscription)
        return subscription

    def leave(self, topic: Topic, subscription: Subscription) -> None:
        """The listener is gone."""
        listeners = self._topics[topic]
        listeners.discard(subscription)
        if not listeners:
            del self._topics[topic]

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        for listeners in self._topics.values():
            for subscription in listeners:
                subscription.close()

    async def stream(self, topic: Topic, after: int, read: Reader) -> AsyncIterator[bytes]:
        """Stored events after a cursor, then live ones: no gap, no repeat, for ever."""
        subscription = self.subscribe(topic)
        try:
            cursor = after
            while not subscription.closed:
                subscription.clear()  # whatever is pushed from here on is queued, so no gap
                async for place, frames in _stored(cursor, read):
                    cursor = place
                    yield frames
                async for place, frames in _live(cursor, subscription):
                    cursor = place
                    yield frames
        finally:
            self.leave(topic, subscription)


async def _stored(cursor: int, read: Reader) -> AsyncIterator[tuple[int, bytes]]:
    while page := await read(cursor, PAGE):
        cursor = page[-1].cursor
        yield cursor, b"".join(map(frame_of, page))


async def _live(cursor: int, subscription: Subscription) -> AsyncIterator[tuple[int, bytes]]:
    """Frames as they are published, until the listener falls behind or the hub closes."""
    while not subscription.behind:
        frames = []
        for number, frame in subscription.take():
            if number == 0 or number > cursor:
                frames.append(frame)
                cursor = max(cursor, number)
        if frames:
            yield cursor, b"".join(frames)
        elif subscription.closed:
            return
        elif not await subscription.wait(KEEP_ALIVE_S):
            yield cursor, KEEP_ALIVE
