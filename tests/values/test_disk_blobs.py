from __future__ import annotations

import asyncio
import errno
import os
import stat
from pathlib import Path

import pytest

from jupyter_remote.blobs.disk import DiskBlobs
from jupyter_remote.errors import DigestMismatch, InvalidRequest, NotFound, StorageFull
from jupyter_remote.mapping import blob_path, digest_of, map_blob, spool
from tests.conformance.blobs import LIMIT, BlobsConformance, body_of, get, put


@pytest.fixture
def blobs(tmp_path: Path) -> DiskBlobs:
    return DiskBlobs(tmp_path / "blobs")


class TestDiskBlobs(BlobsConformance):
    pass


def spooled(blobs: DiskBlobs, data: bytes) -> tuple[str, str]:
    return next(iter(spool({digest_of(data): data}, blobs.spool).items()))


async def test_only_the_owner_sees_blobs_and_nobody_writes_them(blobs: DiskBlobs) -> None:
    path = blob_path(blobs.folder, await put(blobs, b"secret"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    for folder in (path.parent, blobs.folder, blobs.spool):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_spooled_file_becomes_a_blob(blobs: DiskBlobs) -> None:
    digest, name = spooled(blobs, b"spooled" * 1000)
    assert await blobs.adopt(digest, name) == 7000
    path = blob_path(blobs.folder, digest)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert bytes(map_blob(path, digest, 7000)) == b"spooled" * 1000
    assert list(blobs.spool.iterdir()) == []


async def test_adopting_again_after_a_lost_reply_is_fine(blobs: DiskBlobs) -> None:
    digest, name = spooled(blobs, b"once")
    assert await blobs.adopt(digest, name) == await blobs.adopt(digest, name) == 4
    with pytest.raises(NotFound):
        await blobs.adopt(digest_of(b"never"), name)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc/hosts", "a/b", ".hidden", "a\0b"])
async def test_names_outside_the_spool_are_refused(blobs: DiskBlobs, name: str) -> None:
    with pytest.raises(InvalidRequest):
        await blobs.adopt(digest_of(b""), name)


async def test_only_plain_files_of_their_own_are_adopted(blobs: DiskBlobs, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (blobs.spool / "symlink").symlink_to(outside)
    os.link(outside, blobs.spool / "hardlink")
    os.mkfifo(blobs.spool / "fifo")
    (blobs.spool / "folder").mkdir()
    for name in ("symlink", "hardlink", "fifo", "folder"):
        with pytest.raises(InvalidRequest):
            await blobs.adopt(digest_of(b"mine"), name)
    assert await blobs.size(digest_of(b"mine")) is None
    assert stat.S_IMODE(outside.stat().st_mode) != 0o400


async def test_a_lying_spooled_file_is_noticed_by_its_reader_and_healed_by_a_put(
    blobs: DiskBlobs,
) -> None:
    digest = digest_of(b"the truth")
    (blobs.spool / "lie").write_bytes(b"not truth")
    await blobs.adopt(digest, "lie")
    with pytest.raises(DigestMismatch):
        map_blob(blob_path(blobs.folder, digest), digest, 9)
    await put(blobs, b"the truth")
    assert bytes(map_blob(blob_path(blobs.folder, digest), digest, 9)) == b"the truth"


def test_old_leftovers_of_the_spool_are_removed_at_start(tmp_path: Path) -> None:
    spool_folder = DiskBlobs(tmp_path).spool
    for name, age_s in (("old", 4000), ("new", 60)):
        (spool_folder / name).touch()
        now = (spool_folder / name).stat().st_mtime
        os.utime(spool_folder / name, (now - age_s, now - age_s))
    assert [p.name for p in DiskBlobs(tmp_path).spool.iterdir()] == ["new"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
async def test_a_full_disk_is_told_and_leaves_nothing(
    blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fails(fd: int, data: memoryview) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", fails)
    with pytest.raises(StorageFull) as caught:
        await blobs.put(digest_of(b"x" * 300_000), body_of(b"x" * 300_000), LIMIT)
    monkeypatch.undo()
    assert caught.value.hint
    assert list(blobs.spool.iterdir()) == list(blobs.folder.rglob("?" * 64)) == []


async def test_without_copy_file_range_chunks_are_copied(
    blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await put(blobs, b"abc" * 1_000_000)

    def refuses(*_: object) -> int:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "copy_file_range", refuses)
    wanted = b"abc" * 900_000
    assert await blobs.assemble(digest_of(wanted), [(first, 3, 2_700_000)]) == 2_700_000
    assert await get(blobs, digest_of(wanted)) == wanted


async def test_a_large_put_lets_the_event_loop_run(blobs: DiskBlobs) -> None:
    data = os.urandom(1 << 20) * 24
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await blobs.put(digest_of(data), body_of(data, 1 << 20), LIMIT)
    counting.cancel()
    assert turns > 24


async def test_readers_of_a_deleted_blob_keep_what_they_mapped(blobs: DiskBlobs) -> None:
    digest = await put(blobs, b"z" * 100_000)
    view = map_blob(blob_path(blobs.folder, digest), digest, 100_000)
    await blobs.delete(digest)
    assert bytes(view) == b"z" * 100_000
