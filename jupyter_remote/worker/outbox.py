"""Events of one attempt on their way to the server, gathered into beats.

One beat is under way at a time: what comes meanwhile goes with the next one, and the server can
never have an event without those before it.
"""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import Callable

import msgspec

from jupyter_remote.clock import Clock
from jupyter_remote.wire import Answer, Beat, WorkerEvent, encode
from jupyter_remote.worker.channel import Out
from jupyter_remote.worker.link import Link

GATHER_S = 0.015  # between two beats with output
PATIENCE_S = 0.1  # for what can wait: stages, progress, figures
REFUSED_S = 0.5  # until a beat that the server could not store is sent again
BEAT_BYTES = 1024 * 1024
FULL_BYTES = 32 * 1024 * 1024  # not acknowledged: the kernel has to wait


class Outbox:
    """Numbers events, keeps them until they are acknowledged, sends them again if need be."""

    def __init__(
        self,
        link: Link,
        job: str,
        epoch: int,
        clock: Clock,
        on_answer: Callable[[Answer, float], None],
    ) -> None:
        self._link = link
        self._job = job
        self._epoch = epoch
        self._clock = clock
        self._on_answer = on_answer  # with the time at which the beat was sent
        self._seq = 0
        self._bytes = 0
        self._waiting: deque[WorkerEvent] = deque()
        self._flying: deque[WorkerEvent] = deque()
        self._latest: dict[str, WorkerEvent] = {}
        self._unsent: set[str] = set()
        self._last: set[str] = set()
        self._stage = ""
        self._under_way = False
        self._closed = False
        # not asked for its time: uvloop gives a handle without one where the delay is almost none
        self._timer: asyncio.Handle | None = None
        self._due = 0.0
        self._roomy = asyncio.Event()
        self._roomy.set()
        self.sent_at = 0.0

    def add(self, type: str, data: bytes) -> None:
        """An event to be stored: goes at once, unless one went a moment ago."""
        self._seq += 1
        self._waiting.append(WorkerEvent(type, data, self._seq, self._clock.now()))
        self._bytes += len(data)
        if self._bytes > FULL_BYTES:
            self._roomy.clear()
        self._send_by(self.sent_at + GATHER_S)

    def add_comm(self, out: Out) -> None:
        """A message of a widget."""
        data = {
            "msg_type": out.msg_type,
            "content": msgspec.Raw(out.content),
            "metadata": msgspec.Raw(out.metadata),
            "buffers": [base64.b64encode(buffer).decode() for buffer in out.buffers],
        }
        self.add("comm", encode(data))

    def add_latest(
        self, key: str, type: str, data: bytes, *, at_once: bool = False, last: bool = False
    ) -> None:
        """An event of which only the newest of each ``key`` matters; not stored.

        ``last``: there will be none after it, so that it is forgotten when it has arrived.
        """
        self._latest[key] = WorkerEvent(type, data, 0, self._clock.now())
        self._unsent.add(key)
        if last:
            self._last.add(key)
        now = self._clock.monotonic()
        self._send_by(self.sent_at + GATHER_S if at_once else now + PATIENCE_S)

    def set_stage(self, stage: str, at_once: bool = False) -> None:
        """What the attempt does now."""
        self._stage = stage
        self._send_by(self.sent_at + GATHER_S if at_once else self._clock.monotonic() + PATIENCE_S)

    def beat(self) -> None:
        """Renew the lease, whether or not there is something to say."""
        if not self._under_way and self._link.up and not self._closed:
            self._post()

    async def room(self) -> None:
        """Return when more may be added: the kernel waits meanwhile."""
        await self._roomy.wait()

    def resume(self) -> None:
        """The link is up again: what was not acknowledged goes once more."""
        self._take_back()
        self._unsent.update(self._latest)
        self.beat()

    def close(self) -> list[WorkerEvent]:
        """No more beats: everything that is not acknowledged, for the last message."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._roomy.set()
        bars = [self._latest[key] for key in sorted(self._unsent)]
        return [*bars, *self._flying, *self._waiting]

    def _send_by(self, when: float) -> None:
        if self._closed or self._under_way or not self._link.up:
            return  # goes with the next beat
        delay_s = when - self._clock.monotonic()
        if delay_s <= 0:
            self._post()
            return
        if self._timer is not None:
            if self._due <= when:
                return
            self._timer.cancel()
        self._due = when
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self.beat()

    def _post(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        events = [self._latest[key] for key in sorted(self._unsent)]
        keys, self._unsent = self._unsent, set()
        size = 0
        while self._waiting and size < BEAT_BYTES:
            event = self._waiting.popleft()
            self._flying.append(event)
            events.append(event)
            size += len(event.data)
        stage, self._stage = self._stage, ""
        sent_at = self.sent_at = self._clock.monotonic()
        self._under_way = True
        self._link.post(
            lambda req: Beat(req=req, job=self._job, epoch=self._epoch, events=events, stage=stage),
            lambda answer: self._answered(answer, sent_at, keys, stage),
        )

    def _answered(self, answer: Answer | None, sent_at: float, keys: set[str], stage: str) -> None:
        self._under_way = False
        if self._closed:
            return
        if answer is not None and answer.ok:
            self._acknowledged(keys)
        else:
            self._take_back()
            self._unsent |= keys
            self._stage = self._stage or stage
        if answer is not None:
            self._on_answer(answer, sent_at)
            if self._waiting or self._unsent or self._stage:
                urgent = GATHER_S if self._waiting else PATIENCE_S
                self._send_by(sent_at + (urgent if answer.ok else REFUSED_S))

    def _acknowledged(self, keys: set[str]) -> None:
        for key in (keys & self._last) - self._unsent:
            self._last.remove(key)
            del self._latest[key]
        self._bytes -= sum(len(event.data) for event in self._flying)
        self._flying.clear()
        if self._bytes <= FULL_BYTES:
            self._roomy.set()

    def _take_back(self) -> None:
        self._waiting.extendleft(reversed(self._flying))
        self._flying.clear()
