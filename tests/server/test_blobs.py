from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from blake3 import blake3

from jupyter_remote import errors, wire
from jupyter_remote.http import Http

from .conftest import Running


def digest_of(content: bytes) -> str:
    return blake3(content).hexdigest()


def path_of(content: bytes) -> str:
    return f"/v1/blobs/{digest_of(content)}"


def test_a_blob_comes_back_as_it_was(server: Running) -> None:
    content = random.Random(1).randbytes(3_000_000)
    server.http.upload(path_of(content), content)
    assert b"".join(server.http.download(path_of(content))) == content
    status, body = server.raw("HEAD", path_of(content), {"Authorization": f"Bearer {server.token}"})
    assert (status, body) == (200, b"")


def test_bytes_that_do_not_fit_their_digest_are_refused(server: Running) -> None:
    with pytest.raises(errors.DigestMismatch):
        server.http.upload(path_of(b"right"), b"wrong")
    with pytest.raises(errors.NotFound):
        list(server.http.download(path_of(b"right")))


def test_a_segment_is_put_together_from_chunks(server: Running) -> None:
    pieces = [random.Random(n).randbytes(50_000 + n) for n in range(5)]
    for piece in pieces:
        server.http.upload(path_of(piece), piece)
    whole = b"".join(pieces)
    chunks = [(digest_of(p), len(p)) for p in pieces]
    view = server.http.call(
        "POST", path_of(whole), wire.Assemble(len(whole), chunks), wire.BlobView
    )
    assert view == wire.BlobView(digest_of(whole), len(whole))
    assert b"".join(server.http.download(path_of(whole))) == whole


def test_a_changed_segment_needs_only_its_changed_chunk(server: Running) -> None:
    pieces = [random.Random(n).randbytes(50_000) for n in range(4)]
    whole = b"".join(pieces)
    for piece in pieces:
        server.http.upload(path_of(piece), piece)
    chunks = [(digest_of(p), len(p)) for p in pieces]
    server.http.call("POST", path_of(whole), wire.Assemble(len(whole), chunks), wire.BlobView)
    changed = [pieces[0], b"new" * 1000, *pieces[2:]]
    other = b"".join(changed)
    wanted = [(digest_of(p), len(p)) for p in changed]
    request = wire.EstimateRequest(
        segments=[wire.Segment(digest_of(other), len(other), chunks=wanted)]
    )
    missing = server.http.call("POST", "/v1/plans", request, wire.PlanReply).missing
    assert [m.chunks for m in missing] == [[digest_of(changed[1])]]
    server.http.upload(path_of(changed[1]), changed[1])
    server.http.call("POST", path_of(other), wire.Assemble(len(other), wanted), wire.BlobView)
    assert b"".join(server.http.download(path_of(other))) == other


def test_chunks_that_are_not_there_or_do_not_add_up_are_refused(server: Running) -> None:
    whole = b"some content"
    with pytest.raises(errors.NotFound):
        server.http.call(
            "POST", path_of(whole), wire.Assemble(12, [("ab" * 32, 12)]), wire.BlobView
        )
    with pytest.raises(errors.InvalidRequest, match="add up"):
        server.http.call(
            "POST", path_of(whole), wire.Assemble(13, [("ab" * 32, 12)]), wire.BlobView
        )


def test_a_spooled_file_is_taken_over_without_a_copy(server: Running) -> None:
    info = server.http.call("GET", "/v1/server", reply=wire.ServerInfo)
    content = b"spooled" * 10_000
    file = Path(info.spool) / "a-b-c"
    file.write_bytes(content)
    inode = os.stat(file).st_ino
    server.http.call("PUT", path_of(content), b"", headers={"X-Spool": "a-b-c"})
    digest = digest_of(content)
    stored = Path(info.blobs) / digest[:2] / digest
    assert stored.stat().st_ino == inode
    assert b"".join(server.http.download(path_of(content))) == content


@pytest.mark.parametrize("name", ["../db.sqlite", "/etc/passwd", ".hidden", "a/b", "a\\b"])
def test_only_bare_names_are_spooled(server: Running, name: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        server.http.call("PUT", path_of(b"x"), b"", headers={"X-Spool": name})


def test_a_name_that_is_not_in_the_spool_is_absent(server: Running) -> None:
    with pytest.raises(errors.NotFound):
        server.http.call("PUT", path_of(b"x"), b"", headers={"X-Spool": "nothing"})


def test_another_owners_blob_looks_absent(server: Running) -> None:
    content = b"mine" * 100
    server.http.upload(path_of(content), content)
    stranger = Http(server.url, server.make_token("read", "submit", owner="mallory"))
    told = []
    for path in (path_of(content), path_of(b"absent")):
        with pytest.raises(errors.NotFound) as error:
            list(stranger.download(path))
        told.append(str(error.value))
    assert told[0] == told[1]
    stranger.close()


@pytest.mark.parametrize("digest", ["A" * 64, "0" * 63, "..", "0" * 65])
def test_a_digest_is_64_hex_digits(server: Running, digest: str) -> None:
    with pytest.raises((errors.InvalidRequest, errors.NotFound)):
        server.http.upload(f"/v1/blobs/{digest}", b"")
