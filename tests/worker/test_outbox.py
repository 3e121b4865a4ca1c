"""When an attempt's events leave the agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import uvloop

from jupyter_remote.clock import FakeClock
from jupyter_remote.wire import Answer
from jupyter_remote.worker.outbox import GATHER_S, Outbox


class Link:
    """Takes messages and answers when told to."""

    up = True

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self._answer: Callable[[Answer | None], None] | None = None

    def post(self, make: Any, answered: Callable[[Answer | None], None]) -> None:
        self.sent.append(make(len(self.sent)))
        self._answer = answered

    def answer(self) -> None:
        assert self._answer is not None
        self._answer(Answer(req=0))


def test_an_event_that_is_due_almost_now_is_no_trouble_for_the_next_one():
    async def scenario() -> list[str]:
        link, clock = Link(), FakeClock()
        clock.advance(1.0)
        outbox = Outbox(link, "job", 1, clock, lambda answer, at: None)  # type: ignore[arg-type]
        outbox.sent_at = clock.monotonic() - GATHER_S + 1e-9
        outbox.add("stream", b"1")
        outbox.add("stream", b"2")
        outbox.set_stage("executing", at_once=True)
        outbox.beat()
        return [bytes(event.data).decode() for beat in link.sent for event in beat.events]

    assert uvloop.run(scenario()) == ["1", "2"]
