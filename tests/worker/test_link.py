"""The agent's link: what is sent first, and what is asked again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from jupyter_remote.clock import FakeClock
from jupyter_remote.wire import Answer, Data, Ping, WorkerMessage
from jupyter_remote.worker.link import Link, Make, OnAnswer


class Socket:
    """Takes what is sent, and has a beat come due in the middle."""

    def __init__(self, link: Link) -> None:
        self.sent: list[Any] = []
        self._link = link

    async def send(self, data: bytes) -> None:
        self.sent.append(msgspec.msgpack.decode(data, type=WorkerMessage))
        if len(self.sent) == 2:
            self._link.post(lambda req: Ping(req), lambda _: None)


async def test_relayed_bytes_go_behind_what_renews_leases():
    link = Link(None, "token", FakeClock())  # type: ignore[arg-type]
    pieces = [Data(1, bytes([n])) for n in range(5)]
    await link.post_behind(pieces[0])  # there is no connection: it is dropped
    link._up.set()
    for piece in pieces:
        await link.post_behind(piece)
    link.post(lambda req: Ping(req), lambda _: None)
    socket: Any = Socket(link)
    await link._flush(socket)
    assert socket.sent == [Ping(1), pieces[0], Ping(2), *pieces[1:]]


async def test_what_may_be_granted_later_is_asked_again_and_a_refusal_is_taken(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("jupyter_remote.worker.link.AGAIN_S", 0.0)
    full, granted = Answer(req=0, ok=False, code="storage_full"), Answer(req=0)
    refused = Answer(req=0, ok=False, code="conflict")
    assert await settled([None, full, granted]) == (granted, 3)
    assert await settled([full, refused, granted]) == (refused, 2)


async def test_what_was_granted_at_once_is_not_asked_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("jupyter_remote.worker.link.AGAIN_S", 0.0)
    full, granted = Answer(req=0, ok=False, code="error"), Answer(req=0)
    assert await settled([], first=granted) == (granted, 0)
    assert await settled([granted], first=full) == (granted, 1)


async def settled(answers: list[Answer | None], first: Answer | None = None) -> tuple[Answer, int]:
    """What asking comes to when the server says this, and how often it was asked."""
    link = Link(None, "token", FakeClock())  # type: ignore[arg-type]
    link._up.set()
    asked = 0

    def post(make: Make, on_answer: OnAnswer) -> None:
        nonlocal asked
        asked += 1
        on_answer(answers[asked - 1])

    link.post = post  # type: ignore[method-assign]
    return await link.settle(lambda req: Ping(req), first=first), asked
