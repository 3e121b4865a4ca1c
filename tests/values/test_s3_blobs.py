from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from jupyter_remote.blobs import joining
from jupyter_remote.blobs.s3 import S3Blobs, open_s3
from jupyter_remote.errors import (
    DigestMismatch,
    NotAuthorized,
    NotFound,
    StorageFull,
    TooLarge,
    UsageError,
)
from jupyter_remote.mapping import digest_of
from tests.conformance.blobs import LIMIT, BlobsConformance, body_of, broken_body, get, put
from tests.s3 import BUCKET, Seen, Store

MIB = joining.MIB
ADDRESS = f"s3://{BUCKET}/of/tests"


@pytest.fixture(scope="module")
def running() -> Iterator[Store]:
    store = Store()
    yield store
    store.stop()


@pytest.fixture
def store(running: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with running.opened(monkeypatch):
        yield running


@pytest.fixture
def blobs(store: Store) -> S3Blobs:
    return open_s3(ADDRESS, endpoint=store.endpoint)


class TestS3Blobs(BlobsConformance):
    pass


def large(size: int) -> bytes:
    return b"".join(i.to_bytes(4, "big") for i in range(size // 4))


async def test_a_large_blob_goes_in_parts_and_comes_back_from_any_offset(
    blobs: S3Blobs, store: Store
) -> None:
    data = large(27 * MIB)
    digest = await put(blobs, data)
    assert sum("partNumber=" in seen.query for seen in store.seen) == 4
    assert await get(blobs, digest) == data
    assert await get(blobs, digest, 20 * MIB + 1) == data[20 * MIB + 1 :]


async def test_a_large_blob_needs_the_memory_of_a_few_parts(blobs: S3Blobs) -> None:
    piece = bytes(MIB)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(120):
            yield piece

    tracemalloc.start()
    try:
        with pytest.raises(DigestMismatch):
            await blobs.put(digest_of(b"another"), body(), LIMIT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 110 * MIB + 120 * MIB  # moto keeps the parts in this process, too


@pytest.mark.parametrize("what", ["wrong", "broken", "too large"])
async def test_parts_of_what_was_not_stored_are_given_up(
    blobs: S3Blobs, store: Store, what: str
) -> None:
    data = large(20 * MIB)
    body = broken_body(data) if what == "broken" else body_of(data, MIB)
    digest = digest_of(data if what != "wrong" else b"else")
    error = {"wrong": DigestMismatch, "broken": ConnectionError, "too large": TooLarge}[what]
    with pytest.raises(error):
        await blobs.put(digest, body, 17 * MIB if what == "too large" else LIMIT)
    assert await blobs.size(digest) is None
    assert store.uploads() == []


async def test_what_is_there_is_not_written_again(blobs: S3Blobs, store: Store) -> None:
    for data in (b"small", large(17 * MIB)):
        digest = await put(blobs, data)
        before = store.client().head_object(Bucket=BUCKET, Key=f"of/tests/objects/{digest}")
        await put(blobs, data)
        after = store.client().head_object(Bucket=BUCKET, Key=f"of/tests/objects/{digest}")
        assert before["LastModified"] == after["LastModified"]
        assert await get(blobs, digest) == data
    assert store.uploads() == []


async def test_what_was_cut_short_is_replaced(blobs: S3Blobs, store: Store) -> None:
    for data in (b"whole", large(9 * MIB)):
        digest = digest_of(data)
        store.client().put_object(Bucket=BUCKET, Key=f"of/tests/objects/{digest}", Body=b"who")
        await put(blobs, data)
        assert await get(blobs, digest) == data


async def test_large_pieces_are_copied_by_s3_itself(blobs: S3Blobs, store: Store) -> None:
    data = large(24 * MIB)
    first = await put(blobs, data)
    new = await put(blobs, b"changed")
    pieces = [(first, 0, 7 * MIB), (new, 0, 7), (first, 7 * MIB + 7, 17 * MIB - 7)]
    whole = data[: 7 * MIB] + b"changed" + data[7 * MIB + 7 :]
    before = len(store.seen)
    assert await blobs.assemble(digest_of(whole), pieces) == len(whole)
    asked = store.seen[before:]
    assert sum("x_amz_copy_source" in seen.headers for seen in asked) == 2
    sent = sum(int(s.headers.get("content_length") or 0) for s in asked if s.method == "PUT")
    assert sent <= 5 * MIB
    assert await get(blobs, digest_of(whole)) == whole


def test_every_part_but_the_last_is_large_enough_and_nothing_is_lost() -> None:
    sizes = [1, 5 * MIB, 3 * MIB, 5 * MIB + 1, 11 * MIB, 0, 2, 1100 * MIB, 7, 6 * MIB, 4 * MIB, 9]
    sizes += [2048 * MIB + 3, 5 * MIB - 1, 5 * MIB - 1, 1]
    pieces = [(f"key-{i}", i, size) for i, size in enumerate(sizes)]
    parts = list(joining.parts_of(pieces))
    for part in parts[:-1]:
        assert sum(size for _, _, size in part.pieces) >= joining.LEAST_BYTES
    for part in parts:
        assert not part.copied or (len(part.pieces) == 1 and part.pieces[0][2] <= 1024 * MIB)
    flat = [piece for part in parts for piece in part.pieces]
    assert list(joining.joined(flat)) == list(joining.joined(pieces))


def test_a_terabyte_fits_into_the_parts_that_s3_takes() -> None:
    assert sum(joining.part_bytes(number) for number in range(joining.PARTS)) > 2 * 1024**4
    assert joining.part_bytes_of(1024**4) * joining.PARTS >= 1024**4


async def test_old_blobs_and_abandoned_uploads_are_left_over(
    blobs: S3Blobs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jupyter_remote.blobs import s3

    digest = await put(blobs, b"old")
    key = "of/tests/objects/" + digest_of(b"never ended")
    store.client().create_multipart_upload(Bucket=BUCKET, Key=key)
    store.client().put_object(Bucket=BUCKET, Key="of/tests/incoming/whose/what", Body=b"x")
    assert await blobs.left_over() == []
    assert any("incoming" in name for name in store.names())
    assert store.uploads() == []  # to moto each was begun in 2010
    monkeypatch.setattr(s3, "LEFTOVER_S", -60.0)
    monkeypatch.setattr(s3, "ABANDONED_S", -60.0)
    assert await blobs.left_over() == [digest]
    assert not any("incoming" in name for name in store.names())


async def test_throttling_is_waited_for(blobs: S3Blobs, store: Store) -> None:
    left = [2]

    def slow_down(seen: Seen) -> tuple[int, str] | None:
        if seen.method != "PUT" or not left[0]:
            return None
        left[0] -= 1
        return 503, "SlowDown"

    store.faults.append(slow_down)
    digest = await put(blobs, b"patience")
    assert await get(blobs, digest) == b"patience"
    assert left == [0]


@pytest.mark.parametrize(
    ("status", "code", "error", "step"),
    [
        (403, "AccessDenied", NotAuthorized, "s3:PutObject"),
        (400, "ExpiredToken", NotAuthorized, "aws sso login"),
        (403, "InvalidAccessKeyId", NotAuthorized, "aws configure"),
        (404, "NoSuchBucket", NotFound, "aws s3 mb"),
        (301, "PermanentRedirect", UsageError, "ec2_region"),
        (501, "NotImplemented", StorageFull, "Try again"),
    ],
)
async def test_refusals_say_the_next_step(
    blobs: S3Blobs, store: Store, status: int, code: str, error: type[Exception], step: str
) -> None:
    store.faults.append(lambda seen: (status, code) if seen.method == "PUT" else None)
    with pytest.raises(error, match=step):
        await put(blobs, b"refused")


def test_a_bucket_that_is_absent_stops_the_start(store: Store) -> None:
    with pytest.raises(NotFound, match="aws s3 mb s3://there-is-none"):
        open_s3("s3://there-is-none/x", endpoint=store.endpoint)


def test_a_bucket_of_another_region_stops_the_start(store: Store) -> None:
    client = store.client()
    where = {"LocationConstraint": "eu-west-1"}
    client.create_bucket(Bucket="over-there", CreateBucketConfiguration=where)
    with pytest.raises(UsageError, match="eu-west-1"):
        open_s3("s3://over-there", endpoint=store.endpoint)
    client.delete_bucket(Bucket="over-there")


def test_missing_credentials_stop_the_start(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(NotAuthorized, match="aws configure"):
        open_s3(ADDRESS, endpoint=store.endpoint)


def test_a_bucket_that_cannot_be_written_stops_the_start(store: Store, tmp_path: Path) -> None:
    store.faults.append(lambda seen: (403, "AccessDenied") if seen.method == "PUT" else None)
    with pytest.raises(NotAuthorized, match="s3:PutObject"):
        open_s3(ADDRESS, endpoint=store.endpoint, id_file=tmp_path / "id")


def test_no_answer_is_told(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    from jupyter_remote.blobs import bucket

    monkeypatch.setattr(bucket, "TRIES", 1)
    with pytest.raises(StorageFull, match="does not answer"):
        open_s3(ADDRESS, endpoint="http://127.0.0.1:9")


@pytest.mark.parametrize("address", ["s3://", "s3:///x", "https://b/x", "s3://a b/x", "s3://u@b"])
def test_what_is_no_address_is_refused(address: str, store: Store) -> None:
    with pytest.raises(UsageError, match="s3://BUCKET"):
        open_s3(address, endpoint=store.endpoint)


def test_two_backends_do_not_share_a_prefix(store: Store, tmp_path: Path) -> None:
    for _ in range(2):
        open_s3(ADDRESS, endpoint=store.endpoint, id_file=tmp_path / "first")
    with pytest.raises(UsageError, match="another backend"):
        open_s3(ADDRESS, endpoint=store.endpoint, id_file=tmp_path / "second")
    open_s3(ADDRESS + "/else", endpoint=store.endpoint, id_file=tmp_path / "second")


async def test_readers_that_stop_early_leave_nothing_running(blobs: S3Blobs) -> None:
    digest = await put(blobs, large(40 * MIB))
    _, content = await blobs.open(digest)
    assert len(await anext(content)) == 8 * MIB
    await content.aclose()  # type: ignore[attr-defined]
    assert [t for t in asyncio.all_tasks() if t is not asyncio.current_task()] == []
