"""Server-sent events, however a network cuts them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import msgspec
import pytest

from jupyter_remote import errors, wire
from jupyter_remote.server.hub import frame_of
from jupyter_remote.sse import Events


class Pieces:
    """A reply that came in these pieces, and broke then if it should."""

    status = 200
    sock: socket.socket | None = None

    def __init__(self, pieces: list[bytes], *, breaks: bool = False) -> None:
        self.pieces = pieces
        self.breaks = breaks

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces
        if self.breaks:
            raise ConnectionResetError

    def close(self) -> None:
        pass


def event(cursor: int, text: str) -> wire.Event:
    return wire.Event(job="j", type="stream", data=wire.raw({"text": text}), cursor=cursor)


def read(pieces: list[bytes], *, breaks: bool = False) -> Events:
    return Events(Pieces(pieces, breaks=breaks), lambda error: errors.BackendUnreachable("u"))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_events_are_the_same_however_they_are_cut(size: int) -> None:
    sent = [event(n, "line\n\nline\r\n" * n) for n in range(5)]
    stream = b": hello\n\n" + b"".join(map(frame_of, sent)) + b": still here\n\n"
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert list(read(pieces)) == sent


def test_a_large_event_in_many_pieces_comes_as_one() -> None:
    text = "x" * 30_000_000
    frame = frame_of(event(1, text))
    [one] = read([frame[at : at + 4096] for at in range(0, len(frame), 4096)])
    assert msgspec.json.decode(one.data)["text"] == text


def test_an_event_that_was_cut_in_two_is_not_given_out() -> None:
    whole, half = frame_of(event(1, "a")), frame_of(event(2, "b"))
    stream = iter(read([whole, half[:-1]], breaks=True))
    assert next(stream) == event(1, "a")
    with pytest.raises(errors.BackendUnreachable):
        next(stream)
