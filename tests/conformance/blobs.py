"""What every implementation of ``jupyter_remote.blobs.base.Blobs`` does.

Subclass it and give a fixture ``blobs``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from jupyter_remote.blobs.base import Blobs
from jupyter_remote.errors import DigestMismatch, InvalidRequest, NotFound, TooLarge
from jupyter_remote.mapping import cut, digest_of

LIMIT = 1 << 30


async def body_of(data: bytes, piece: int = 100_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), piece):
        yield data[at : at + piece]


async def broken_body(data: bytes) -> AsyncIterator[bytes]:
    yield data
    raise ConnectionError("the client went away")


async def put(blobs: Blobs, data: bytes) -> str:
    digest = digest_of(data)
    assert await blobs.put(digest, body_of(data), LIMIT) == len(data)
    return digest


async def get(blobs: Blobs, digest: str, offset: int = 0) -> bytes:
    _, content = await blobs.open(digest, offset)
    return b"".join([bytes(piece) async for piece in content])


class BlobsConformance:
    @pytest.mark.parametrize("size", [0, 1, 65_537, 3_000_000])
    async def test_what_was_put_is_read_again(self, blobs: Blobs, size: int) -> None:
        data = bytes(range(256)) * (size // 256 + 1)
        digest = await put(blobs, data[:size])
        assert await get(blobs, digest) == data[:size]
        assert await blobs.size(digest) == size

    async def test_reading_starts_at_an_offset(self, blobs: Blobs) -> None:
        digest = await put(blobs, b"0123456789")
        assert await get(blobs, digest, 7) == b"789"
        assert await get(blobs, digest, 10) == b""
        with pytest.raises(InvalidRequest):
            await blobs.open(digest, 11)

    async def test_putting_twice_is_putting_once(self, blobs: Blobs) -> None:
        assert await put(blobs, b"same") == await put(blobs, b"same")
        assert await get(blobs, digest_of(b"same")) == b"same"

    async def test_wrong_bytes_are_refused_and_leave_nothing(self, blobs: Blobs) -> None:
        digest = digest_of(b"right")
        with pytest.raises(DigestMismatch):
            await blobs.put(digest, body_of(b"wrong"), LIMIT)
        assert await blobs.size(digest) is None

    async def test_a_body_above_the_limit_is_refused(self, blobs: Blobs) -> None:
        data = b"x" * 1001
        with pytest.raises(TooLarge):
            await blobs.put(digest_of(data), body_of(data), 1000)
        assert await blobs.size(digest_of(data)) is None

    async def test_a_body_that_breaks_off_leaves_nothing(self, blobs: Blobs) -> None:
        data = b"y" * 2_000_000
        with pytest.raises(ConnectionError):
            await blobs.put(digest_of(data), broken_body(data), LIMIT)
        assert await blobs.size(digest_of(data)) is None

    async def test_absent_blobs_are_not_found(self, blobs: Blobs) -> None:
        absent = digest_of(b"absent")
        assert await blobs.size(absent) is None
        with pytest.raises(NotFound):
            await blobs.open(absent)
        await blobs.delete(absent)

    async def test_a_deleted_blob_is_gone(self, blobs: Blobs) -> None:
        digest = await put(blobs, b"for a while")
        await blobs.delete(digest)
        assert await blobs.size(digest) is None

    @pytest.mark.parametrize("name", ["", "..", "../" * 22, "A" * 64, "0" * 63, "0" * 64 + "\n"])
    async def test_only_digests_are_names(self, blobs: Blobs, name: str) -> None:
        with pytest.raises(InvalidRequest):
            await blobs.put(name, body_of(b""), LIMIT)
        with pytest.raises(InvalidRequest):
            await blobs.open(name)

    async def test_a_segment_is_assembled_from_its_chunks(self, blobs: Blobs) -> None:
        data = b"".join(i.to_bytes(3, "big") for i in range(700_000))
        chunks = cut(data)
        assert len(chunks) > 3
        at = 0
        for _, size in chunks:
            await put(blobs, data[at : at + size])
            at += size
        whole = digest_of(data)
        assert await blobs.assemble(whole, [(d, 0, n) for d, n in chunks]) == len(data)
        assert await get(blobs, whole) == data

    async def test_pieces_come_from_inside_other_segments(self, blobs: Blobs) -> None:
        first = await put(blobs, b"abcdefgh")
        pieces = [(first, 4, 2), (first, 6, 2), (first, 0, 3)]
        assert await blobs.assemble(digest_of(b"efghabc"), pieces) == 7
        assert await get(blobs, digest_of(b"efghabc")) == b"efghabc"

    async def test_a_wrong_assembly_leaves_nothing(self, blobs: Blobs) -> None:
        first = await put(blobs, b"abc")
        wanted = digest_of(b"abcd")
        for pieces in ([(first, 0, 3)], [(first, 0, 3), (first, 2, 2)]):
            with pytest.raises(DigestMismatch):
                await blobs.assemble(wanted, pieces)
        with pytest.raises(NotFound):
            await blobs.assemble(wanted, [(first, 0, 3), (digest_of(b"d"), 0, 1)])
        assert await blobs.size(wanted) is None

    async def test_an_empty_segment_is_assembled_from_nothing(self, blobs: Blobs) -> None:
        assert await blobs.assemble(digest_of(b""), []) == 0
        assert await get(blobs, digest_of(b"")) == b""
