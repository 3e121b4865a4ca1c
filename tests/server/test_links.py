"""Blobs in S3: large ones go straight there and back, and tenants stay apart."""

from __future__ import annotations

import asyncio
import logging
import random
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_remote import errors, straight, wire
from jupyter_remote.client import transfer
from jupyter_remote.client.link import Link
from jupyter_remote.http import Http
from jupyter_remote.mapping import cut
from jupyter_remote.settings import Settings
from jupyter_remote.worker.channel import Spooled
from jupyter_remote.worker.link import Address
from jupyter_remote.worker.transfer import Transfer
from tests.s3 import BUCKET, Seen, Store

from .conftest import Running
from .test_blobs import digest_of, path_of

MIB = 1024 * 1024
LARGE = random.Random(3).randbytes(40 * MIB)
SEGMENT = wire.Segment(digest_of(LARGE), len(LARGE), chunks=cut(LARGE))


@pytest.fixture(scope="module")
def running() -> Iterator[Store]:
    store = Store()
    yield store
    store.stop()


@pytest.fixture
def store(running: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(straight, "FIRST_PAUSE_S", 0.01)
    with running.opened(monkeypatch):
        yield running


@pytest.fixture
def server(store: Store, tmp_path: Path) -> Iterator[Running]:
    server = Running(tmp_path, blobs=f"s3://{BUCKET}/x", s3_endpoint=store.endpoint)
    yield server
    server.stop()


def link_of(server: Running, token: str = "") -> Link:
    return Link(Settings(url=server.url, token=token or server.token))


def send(link: Link, segment: wire.Segment = SEGMENT, content: bytes = LARGE) -> list[int]:
    """What a client does when a submit says that a segment is missing."""
    outgoing, told = transfer.Outgoing(), []
    outgoing.add([segment], {segment.digest: content})
    lacking = [digest for digest, _ in dict.fromkeys(segment.chunks)]
    missing = [wire.MissingSegment(segment.digest, lacking)]
    transfer.send(link, missing, outgoing, lambda sent, total: told.append(sent))
    return told


def straight_ones(store: Store) -> list[Seen]:
    return [seen for seen in store.seen if "X-Amz-Signature" in seen.query]


def test_a_large_segment_goes_straight_to_s3_and_comes_straight_back(
    server: Running, store: Store
) -> None:
    link = link_of(server)
    assert send(link)[-1] == len(LARGE)
    parts = [s for s in straight_ones(store) if s.method == "PUT"]
    assert sum(int(s.headers["content_length"]) for s in parts) == len(LARGE)
    assert len(parts) == 3
    assert transfer.fetch(link, SEGMENT) == LARGE
    assert len([s for s in straight_ones(store) if s.method == "GET"]) == 3
    link.close()


def test_no_token_goes_to_s3(server: Running, store: Store, tmp_path: Path) -> None:
    link = link_of(server)
    send(link)
    transfer.fetch(link, SEGMENT)
    moved = worker_of(server, tmp_path)
    asyncio.run(moved.fetch(SEGMENT))
    assert len(straight_ones(store)) >= 9
    for seen in straight_ones(store):
        assert "authorization" not in seen.headers
        assert not any("jr_" in value for value in (seen.path, seen.query, *seen.headers.values()))
    moved.close()
    link.close()


def worker_of(server: Running, home: Path) -> Transfer:
    moved = Transfer(home / "agent", server.make_token("worker"))
    welcome = server.backend.links_bytes
    key = server.backend.facts.key
    moved.connected(Address(server.url, key), "", "", welcome)
    return moved


def test_a_worker_reads_and_gives_straight(server: Running, store: Store, tmp_path: Path) -> None:
    moved = worker_of(server, tmp_path)
    (moved.spool / "result").write_bytes(LARGE)
    asyncio.run(moved.give(Spooled(SEGMENT, "result")))
    assert list(moved.spool.iterdir()) == []
    assert Path(asyncio.run(moved.fetch(SEGMENT))).read_bytes() == LARGE
    assert {s.method for s in straight_ones(store)} == {"PUT", "GET"}
    moved.close()


def test_what_was_sent_straight_is_known_by_its_chunks(server: Running, store: Store) -> None:
    link = link_of(server)
    send(link)
    changed = LARGE[: 20 * MIB] + b"changed" + LARGE[20 * MIB :]
    chunks = cut(changed)
    known = {digest for digest, _ in SEGMENT.chunks}
    new = [digest for digest, _ in chunks if digest not in known]
    segment = wire.Segment(digest_of(changed), len(changed), chunks=chunks)
    before = len(straight_ones(store))
    outgoing = transfer.Outgoing()
    outgoing.add([segment], {segment.digest: changed})
    transfer.send(link, [wire.MissingSegment(segment.digest, new)], outgoing)
    assert len(straight_ones(store)) == before
    assert transfer.fetch(link, segment) == changed
    link.close()


def test_small_blobs_pass_the_server(server: Running, store: Store) -> None:
    link = link_of(server)
    small = b"small" * 100_000
    send(link, wire.Segment(digest_of(small), len(small)), small)
    assert transfer.fetch(link, wire.Segment(digest_of(small), len(small))) == small
    assert straight_ones(store) == []
    link.close()


def test_parts_that_fail_are_sent_again_and_no_others(server: Running, store: Store) -> None:
    failed: list[Seen] = []

    def sometimes(seen: Seen) -> tuple[int, str] | None:
        if "X-Amz-Signature" in seen.query and seen.method == "PUT" and len(failed) < 2:
            failed.append(seen)
            return 503, "SlowDown"
        return None

    store.faults.append(sometimes)
    link = link_of(server)
    assert send(link)[-1] == len(LARGE)
    assert len([s for s in straight_ones(store) if s.method == "PUT"]) == 5
    link.close()


def test_an_address_that_expired_is_asked_for_again(server: Running, store: Store) -> None:
    link = link_of(server)
    expired: list[Seen] = []

    def once(seen: Seen) -> tuple[int, str] | None:
        if "X-Amz-Signature" in seen.query and not expired:
            expired.append(seen)
            return 403, "AccessDenied"
        return None

    store.faults.append(once)
    send(link)
    expired.clear()
    assert transfer.fetch(link, SEGMENT) == LARGE
    link.close()


def test_what_cannot_reach_s3_goes_through_the_server_and_no_address_is_told(
    server: Running, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "jupyter_remote")
    store.faults.append(lambda s: (403, "Nobody") if "X-Amz-Signature" in s.query else None)
    link = link_of(server)
    send(link)
    assert transfer.fetch(link, SEGMENT) == LARGE
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("jupyter_remote")]
    assert "X-Amz" not in "".join(ours)
    link.close()


def test_neither_errors_nor_texts_of_messages_have_an_address(server: Running) -> None:
    link = link_of(server)
    send(link)
    told = link.call("GET", f"{path_of(LARGE)}/link", reply=wire.BlobLink)
    assert "X-Amz-Signature" in told.url
    assert "X-Amz" not in repr(told)
    asked = wire.UploadRequest(size_bytes=len(LARGE), numbers=[1])
    links = link.call("POST", f"{path_of(b'other')}/upload", asked, reply=wire.UploadLinks)
    assert "X-Amz" in links.urls[0]
    assert "X-Amz" not in repr(links)
    for url in (told.url.replace("http://127.0.0.1", "http://127.0.0.1:1/"), told.url + "\n x"):
        with pytest.raises(straight.Unreachable) as caught:
            straight.fetch(url, 10, lambda at, piece: None, lambda: told.url)
        assert "X-Amz" not in "".join(traceback.format_exception(caught.value))
    link.close()


# --- owners ----------------------------------------------------------------------------------
def begun(who: Http, content: bytes, size: int) -> wire.UploadLinks:
    asked = wire.UploadRequest(size_bytes=size, numbers=[1])
    return who.call("POST", f"{path_of(content)}/upload", asked, wire.UploadLinks)


def completed(who: Http, content: bytes, upload: str, size: int) -> wire.BlobView:
    done = wire.UploadDone(upload=upload, size_bytes=size)
    return who.call("POST", f"{path_of(content)}/complete", done, wire.BlobView)


def put(url: str, content: bytes) -> None:
    straight._put(url, memoryview(content))


@pytest.fixture
def mallory(server: Running) -> Iterator[Http]:
    stranger = Http(server.url, server.make_token("read", "submit", owner="mallory"))
    yield stranger
    stranger.close()


def test_other_bytes_prove_nothing_and_replace_nothing(
    server: Running, store: Store, mallory: Http
) -> None:
    content = LARGE[: 9 * MIB]
    server.http.upload(path_of(content), content)
    links = begun(mallory, content, len(content))
    put(links.urls[0], bytes(len(content)))
    with pytest.raises(errors.DigestMismatch):
        completed(mallory, content, links.upload, len(content))
    with pytest.raises(errors.NotFound):
        mallory.call("GET", f"{path_of(content)}/link", None, wire.BlobLink)
    assert b"".join(server.http.download(path_of(content))) == content
    assert not any("incoming" in name for name in store.names())


def test_nothing_sent_proves_nothing(server: Running, mallory: Http) -> None:
    content = LARGE[: 9 * MIB]
    server.http.upload(path_of(content), content)
    links = begun(mallory, content, len(content))
    with pytest.raises(errors.Conflict):
        completed(mallory, content, links.upload, len(content))
    for upload in ("", "/", "/guessed", "0" * 32 + "/guessed", "../x/guessed"):
        with pytest.raises(errors.NotFound):
            completed(mallory, content, upload, len(content))


def test_an_upload_belongs_to_who_began_it(server: Running, mallory: Http) -> None:
    content = LARGE[: 9 * MIB]
    token = server.make_token("read", "submit", owner="alice")
    alice = Http(server.url, token)
    links = begun(alice, content, len(content))
    put(links.urls[0], content)
    with pytest.raises(errors.NotFound):
        completed(mallory, content, links.upload, len(content))
    asked = wire.UploadRequest(size_bytes=len(content), upload=links.upload, numbers=[1])
    [url] = mallory.call("POST", f"{path_of(content)}/upload", asked, wire.UploadLinks).urls
    with pytest.raises((straight.Unreachable, straight.Expired)):
        put(url, bytes(len(content)))
    for _ in range(2):  # the first reply may be lost
        assert completed(alice, content, links.upload, len(content)).size_bytes == len(content)
    assert b"".join(alice.download(path_of(content))) == content
    alice.close()


def test_what_another_owner_sends_is_read_by_the_server_first(
    server: Running, store: Store
) -> None:
    token = server.make_token("read", "submit", owner="alice")
    link = link_of(server, token)
    send(link)
    assert transfer.fetch(link, SEGMENT) == LARGE
    assert store.names() == ["x/backend", f"x/objects/{SEGMENT.digest}"]
    link.close()


def test_wrong_bytes_of_the_only_user_are_found_by_who_reads_them(
    server: Running, store: Store, tmp_path: Path
) -> None:
    links = begun(server.http, LARGE, len(LARGE))
    size = links.part_bytes
    asked = wire.UploadRequest(size_bytes=len(LARGE), upload=links.upload, numbers=[1, 2, 3])
    again = server.http.call("POST", f"{path_of(LARGE)}/upload", asked, wire.UploadLinks)
    for url, part_bytes in zip(again.urls, (size, size, len(LARGE) - 2 * size), strict=True):
        put(url, bytes(part_bytes))
    completed(server.http, LARGE, links.upload, len(LARGE))
    moved = worker_of(server, tmp_path)
    with pytest.raises(Exception, match="not what its digest says"):
        asyncio.run(moved.fetch(SEGMENT))
    moved.close()
