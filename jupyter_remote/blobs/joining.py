"""How an object of S3 is put together from parts of others. Pure.

S3 copies by itself what has at least 5 MiB; every part but the last has to be as large.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

MIB = 1024 * 1024
LEAST_BYTES = 5 * MIB  # of a part, unless it is the last one
MOST_COPIED_BYTES = 1024 * MIB  # in one request: it is answered when all is copied
PART_BYTES = 8 * MIB
PARTS = 10_000
LARGEST_PART_BYTES = 512 * MIB

Piece = tuple[str, int, int]  # key, offset, size in bytes


class Part(NamedTuple):
    """Either one piece that S3 copies, or pieces that are read and sent."""

    pieces: list[Piece]
    copied: bool


def part_bytes(number: int) -> int:
    """Size of part ``number`` (from 0) of a stream of unknown length: few stay small, so that
    10,000 of them are terabytes."""
    return int(min(LARGEST_PART_BYTES, PART_BYTES * 2 ** (number // 1000)))


def part_bytes_of(size_bytes: int) -> int:
    """Size of each part of an upload whose size is known, in whole MiB."""
    return max(2 * PART_BYTES, -(-size_bytes // (PARTS * MIB)) * MIB)


def joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Neighbours in one object as one piece; nothing of what is empty."""
    last: Piece | None = None
    for key, offset, size in pieces:
        if not size:
            continue
        if last is not None and (key, offset) == (last[0], last[1] + last[2]):
            last = (key, last[1], last[2] + size)
            continue
        if last is not None:
            yield last
        last = (key, offset, size)
    if last is not None:
        yield last


def parts_of(pieces: Iterable[Piece]) -> Iterator[Part]:
    """Small pieces together until they are a part; a large one gives them what they lack."""
    small: list[Piece] = []
    waiting = made = 0
    for key, given_at, given in joined(pieces):
        offset, size = given_at, given
        if waiting or size < LEAST_BYTES:
            taken = size if size < LEAST_BYTES else min(size, max(0, LEAST_BYTES - waiting))
            if size - taken < LEAST_BYTES:
                taken = size
            if taken:
                small.append((key, offset, taken))
            waiting, offset, size = waiting + taken, offset + taken, size - taken
            if waiting >= part_bytes(made) or (size and waiting >= LEAST_BYTES):
                yield Part(small, copied=False)
                small, waiting, made = [], 0, made + 1
        for piece in _copies(key, offset, size):
            yield Part([piece], copied=True)
            made += 1
    if small:
        yield Part(small, copied=False)


def _copies(key: str, offset: int, size: int) -> Iterator[Piece]:
    while size:
        taken = min(size, MOST_COPIED_BYTES)
        if 0 < size - taken < LEAST_BYTES:
            taken -= LEAST_BYTES
        yield key, offset, taken
        offset, size = offset + taken, size - taken
