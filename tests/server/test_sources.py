"""Files in S3: read by the worker, under the credentials of who submits; no address is kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from jupyter_remote import errors, wire
from jupyter_remote.client.files import capture_files, links_of
from jupyter_remote.http import Http
from jupyter_remote.worker.transfer import BadInput, Transfer
from tests.s3 import BUCKET, Seen, Store

from .conftest import Running, Worker, request, until

TABLE = b"a,b\n1,2\n" * 1000
SOURCE = f"s3://{BUCKET}/data/table.csv"


@pytest.fixture(scope="module")
def running() -> Iterator[Store]:
    store = Store()
    yield store
    store.stop()


@pytest.fixture
def store(running: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", running.endpoint)
    with running.opened(monkeypatch):
        running.client().put_object(Bucket=BUCKET, Key="data/table.csv", Body=TABLE)
        running.client().put_object(Bucket=BUCKET, Key="data/deep/er.bin", Body=b"er")
        yield running


def submitted(server: Running, source: str = SOURCE, **changes: Any) -> wire.Submitted:
    files = [file.ref for file in capture_files([source], None)]
    asked = request(spec=wire.JobSpec(kind="cell", code="1", files=files), **changes)
    return server.http.call("POST", "/v1/jobs", asked, wire.Submitted)


def placed(assign: wire.Assign, folder: Path) -> Path:
    moved = Transfer(folder / "agent", "no token")
    try:
        for file in assign.spec.files:
            asyncio.run(moved.place(file, folder, assign.links))
    finally:
        moved.close()
    return folder


def test_an_object_is_read_where_the_job_runs(
    store: Store, server: Running, worker: Worker, tmp_path: Path
) -> None:
    files = [file.ref for file in capture_files([SOURCE], None)]
    asked = request(spec=wire.JobSpec(kind="cell", code="1", files=files), links=links_of(files))
    store.seen.clear()
    server.http.call("POST", "/v1/jobs", asked, wire.Submitted)
    assign = worker.pull(wire.Assign)
    assert [link.url for link in assign.links] == [link.url for link in asked.links]
    assert (placed(assign, tmp_path) / "table.csv").read_bytes() == TABLE
    assert [seen.method for seen in store.seen] == ["GET"]
    assert "authorization" not in store.seen[0].headers


def test_what_lies_below_a_key_keeps_its_path(store: Store) -> None:
    files = capture_files([f"s3://{BUCKET}/data/"], None)
    assert [(f.ref.path, f.ref.source_bytes) for f in files] == [
        ("data/deep/er.bin", 2),
        ("data/table.csv", len(TABLE)),
    ]


def test_an_embedded_backend_makes_addresses_of_its_own_for_a_repeat(
    store: Store, server: Running, worker: Worker, tmp_path: Path
) -> None:
    first = submitted(server)
    worker.run()
    again = wire.RepeatRequest(id="00000000-0000-4000-8000-000000000001")
    server.http.call("POST", f"/v1/jobs/{first.job.id}/repeat", again, wire.Submitted)
    assign = worker.pull(wire.Assign)
    assert (placed(assign, tmp_path) / "table.csv").read_bytes() == TABLE


def test_no_address_is_kept_or_told(
    store: Store,
    server: Running,
    worker: Worker,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "jupyter_remote")
    files = [file.ref for file in capture_files([SOURCE], None)]
    asked = request(spec=wire.JobSpec(kind="cell", code="1", files=files), links=links_of(files))
    assert "X-Amz" in asked.links[0].url
    assert "X-Amz" not in repr(asked)
    job = server.http.call("POST", "/v1/jobs", asked, wire.Submitted).job
    assert "X-Amz" not in repr(worker.run())
    until(lambda: job.id not in server.backend.sources._known)
    receipt = server.http.call("GET", f"/v1/jobs/{job.id}/receipt", None, wire.Receipt)
    [file] = receipt.files
    assert (file.path, file.source, file.size_bytes) == ("table.csv", SOURCE, len(TABLE))
    assert "X-Amz" not in caplog.text
    for path in Path(server.settings.home).rglob("*"):
        assert not path.is_file() or b"X-Amz" not in path.read_bytes()


def test_nobody_says_where_the_files_of_anothers_job_lie(
    store: Store, server: Running, tmp_path: Path
) -> None:
    files = [file.ref for file in capture_files([SOURCE], None)]
    asked = request(spec=wire.JobSpec(kind="cell", code="1", files=files), links=links_of(files))
    server.http.call("POST", "/v1/jobs", asked, wire.Submitted)
    theirs = [wire.SourceLink(SOURCE, "https://evil.example.com/table.csv")]
    bob = Http(server.url, server.make_token("submit", owner="bob"))
    with closing(bob), pytest.raises(errors.JupyterRemoteError):
        bob.call("POST", "/v1/jobs", replace(asked, links=theirs), wire.Submitted)
    known = server.backend.sources._known[asked.id]
    assert [link.url for link in known] == [link.url for link in asked.links]


def test_another_version_than_at_submit_is_not_used(
    store: Store, server: Running, worker: Worker, tmp_path: Path
) -> None:
    submitted(server)
    assign = worker.pull(wire.Assign)
    store.faults.append(lambda s: (412, "PreconditionFailed") if s.method == "GET" else None)
    with pytest.raises(BadInput, match="another one than when the job was submitted"):
        placed(assign, tmp_path)
    assert store.seen[-1].headers["if_match"] == assign.spec.files[0].version


def test_an_address_that_has_ended_says_so_and_is_not_told(
    store: Store, server: Running, worker: Worker, tmp_path: Path
) -> None:
    submitted(server)
    assign = worker.pull(wire.Assign)
    store.faults.append(lambda s: (403, "AccessDenied") if s.method == "GET" else None)
    with pytest.raises(BadInput, match="renew them and submit it again") as caught:
        placed(assign, tmp_path)
    assert "X-Amz" not in str(caught.value)


def test_another_owners_backend_lends_nobody_its_credentials(
    store: Store, server: Running, worker: Worker, tmp_path: Path
) -> None:
    server.backend.sources._embedded = False
    submitted(server)
    assign = worker.pull(wire.Assign)
    assert assign.links == []
    with pytest.raises(BadInput, match="submit it again"):
        placed(assign, tmp_path)


@pytest.mark.parametrize(
    ("source", "url"),
    [
        (SOURCE, "file:///etc/passwd"),
        ("s3://other/key", "https://example.org"),
    ],
)
def test_addresses_are_of_files_and_of_the_web(
    store: Store, server: Running, source: str, url: str
) -> None:
    with pytest.raises(errors.InvalidRequest):
        submitted(server, links=[wire.SourceLink(source, url)])


# --- what is wrong with it ---------------------------------------------------------------------
def test_an_absent_object_is_told_before_anything_is_sent(store: Store) -> None:
    with pytest.raises(errors.NotFound, match="aws s3 ls"):
        capture_files([f"s3://{BUCKET}/absent"], None)
    with pytest.raises(errors.NotFound, match="nothing below"):
        capture_files([f"s3://{BUCKET}/absent/"], None)
    with pytest.raises(errors.NotFound, match="no bucket nowhere-at-all"):
        capture_files(["s3://nowhere-at-all/x"], None)


def test_missing_rights_and_missing_credentials_differ(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(seen: Seen) -> tuple[int, str] | None:
        return (403, "AccessDenied") if seen.method == "HEAD" else None

    store.faults.append(refuse)
    with pytest.raises(errors.NotAuthorized, match="s3:GetObject"):
        capture_files([SOURCE], None)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(errors.NotAuthorized, match=r"not public(?s:.*)aws configure"):
        capture_files([SOURCE], None)


def test_what_is_public_needs_no_credentials(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    public = {"Body": TABLE, "ACL": "public-read"}
    store.client().put_object(Bucket=BUCKET, Key="data/table.csv", **public)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    files = [file.ref for file in capture_files([SOURCE], None)]
    [link] = links_of(files)
    assert link.url == f"{store.endpoint}/{BUCKET}/data/table.csv"


def test_a_changed_object_is_another_input(store: Store) -> None:
    before = capture_files([SOURCE], None)[0].ref.content
    assert capture_files([SOURCE], None)[0].ref.content == before
    store.client().put_object(Bucket=BUCKET, Key="data/table.csv", Body=TABLE[:-1])
    assert capture_files([SOURCE], None)[0].ref.content.digest != before.digest


def test_two_files_of_one_path_are_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("here")
    with pytest.raises(errors.UsageError, match="two files"):
        capture_files(["table.csv", SOURCE], tmp_path)


@pytest.mark.parametrize("given", ["s3://", f"s3://{BUCKET}", f"s3://{BUCKET}/", "s3:///x"])
def test_what_is_no_object_is_refused(store: Store, given: str) -> None:
    with pytest.raises(errors.UsageError):
        capture_files([given], None)
