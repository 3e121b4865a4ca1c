"""Streams that share a WebSocket: in their order, with windows, ended once."""

from __future__ import annotations

import asyncio

import pytest

from jupyter_remote.multiplex import PIECE_BYTES, TELL_BYTES, WINDOW_BYTES, Channel, Channels
from jupyter_remote.wire import ChannelMessage, Data, Shut, Took

PIECE = b"x" * PIECE_BYTES


class Pair:
    """Two ends; what one posts the other hears."""

    def __init__(self) -> None:
        self.posted: list[ChannelMessage] = []
        self.left, self.right = Channels(self._to_right), Channels(self._to_left)
        self.ends = self.left.new(), self.right.new(1)

    async def _to_right(self, message: ChannelMessage) -> None:
        self.posted.append(message)
        self.right.hear(message)

    async def _to_left(self, message: ChannelMessage) -> None:
        self.posted.append(message)
        self.left.hear(message)


async def test_bytes_arrive_in_their_order_and_then_the_end():
    pair = Pair()
    one, other = pair.ends
    await one.send(b"a")
    await one.send(b"b")
    await pair.left.close(one, "enough")
    assert [await other.receive() for _ in range(3)] == [b"a", b"b", b""]
    assert other.why == "enough"
    with pytest.raises(BrokenPipeError, match="enough"):
        await other.send(b"c")
    await pair.right.close(other)
    assert pair.posted == [Data(1, b"a"), Data(1, b"b"), Shut(1, "enough")]


async def test_who_is_not_taken_from_waits_and_goes_on_when_there_is_room():
    one, other = Pair().ends
    for _ in range(WINDOW_BYTES // PIECE_BYTES):
        await one.send(PIECE)
    waiting = asyncio.create_task(one.send(PIECE))
    await asyncio.sleep(0)
    assert not waiting.done()
    for _ in range(TELL_BYTES // PIECE_BYTES):
        await other.took(len(await other.receive()))
    await waiting


async def test_all_of_a_long_stream_passes_through_one_window():
    pair = Pair()
    one, other = pair.ends

    async def write() -> None:
        for n in range(300):
            await one.send(bytes([n % 256]) * (PIECE_BYTES - n))
        await one.shut()

    writing = asyncio.create_task(write())
    sizes = []
    while data := await other.receive():
        sizes.append(len(data))
        await other.took(len(data))
    await writing
    assert sizes == [PIECE_BYTES - n for n in range(300)]
    assert sum(isinstance(message, Took) for message in pair.posted) < 300 / 2


@pytest.mark.parametrize("end", ["shut", "lost"])
async def test_who_waits_hears_of_the_end(end: str):
    pair = Pair()
    one, other = pair.ends
    for _ in range(WINDOW_BYTES // PIECE_BYTES):
        await one.send(PIECE)
    sending = asyncio.create_task(one.send(PIECE))
    receiving = asyncio.create_task(one.receive())
    await asyncio.sleep(0)
    if end == "shut":
        await other.shut()
    else:
        pair.left.lose()
    assert await receiving == b""
    with pytest.raises(BrokenPipeError):
        await sending
    assert one.lost is (end == "lost")


async def test_a_channel_of_a_connection_that_is_lost_says_nothing_on_the_next():
    pair = Pair()
    one, _ = pair.ends
    pair.left.lose()
    again = pair.left.new()
    assert again.number == one.number
    await pair.left.close(one)
    await one.took(WINDOW_BYTES)
    assert pair.posted == []
    pair.left.hear(Data(1, b"for the new one"))
    assert await again.receive() == b"for the new one"


async def test_who_sends_more_than_it_may_is_cut_off_and_costs_no_memory():
    pair = Pair()
    one, _ = pair.ends
    for _ in range(2 * WINDOW_BYTES // PIECE_BYTES):
        pair.left.hear(Data(1, PIECE))
    assert await one.receive() == b""
    await pair.left.close(one)
    assert pair.posted == [Shut(1)]
    assert one.why == "it sent more than it may"


async def test_more_room_than_there_is_cannot_be_given():
    posted: list[ChannelMessage] = []

    async def post(message: ChannelMessage) -> None:
        posted.append(message)

    one = Channel(1, post)
    one.hear(Took(1, 10 * WINDOW_BYTES))
    for _ in range(WINDOW_BYTES // PIECE_BYTES):
        await one.send(PIECE)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(one.send(PIECE), 0.01)
