"""A real backend whose blobs are in S3, and jobs that read files from there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import jupyter_remote as jr
from tests.conftest import isolate, stop_backend
from tests.s3 import BUCKET, Store

LARGE = 3_000_000  # numbers of 8 bytes


@pytest.fixture(scope="module")
def running() -> Iterator[Store]:
    store = Store()
    yield store
    store.stop()


@pytest.fixture
def store(running: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", running.endpoint)
    with running.opened(monkeypatch):
        yield running


@pytest.fixture
def client(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[jr.Client]:
    env = isolate(tmp_path / "home")
    env |= {"JUPYTER_REMOTE_BLOBS": f"s3://{BUCKET}/mine"}
    env |= {"JUPYTER_REMOTE_S3_ENDPOINT": store.endpoint}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with jr.Client() as client:
        yield client
    stop_backend(env)


def doubled(numbers: np.ndarray) -> np.ndarray:
    return numbers * 2


def first_line(path: str) -> str:
    with open(path) as file:
        return file.readline()


def test_large_values_go_there_and_back_through_s3(client: jr.Client, store: Store) -> None:
    numbers = np.arange(LARGE, dtype=np.float64)
    job = client.submit(doubled, numbers)
    assert np.array_equal(job.result(60), numbers * 2)
    straight = [seen.method for seen in store.seen if "X-Amz-Signature" in seen.query]
    assert {"PUT", "GET"} <= set(straight)
    numbers[5] = -1.0
    before = len([seen for seen in store.seen if "X-Amz-Signature" in seen.query])
    assert client.submit(doubled, numbers).result(60)[5] == -2.0
    new = [s for s in store.seen if "X-Amz-Signature" in s.query][before:]
    assert sum(s.method == "PUT" for s in new) == straight.count("PUT") // 2  # the result's only


def test_a_file_in_s3_is_read_by_the_job(client: jr.Client, store: Store) -> None:
    store.client().put_object(Bucket=BUCKET, Key="data/table.csv", Body=b"a,b\n1,2\n")
    reading = client.with_options(files=[f"s3://{BUCKET}/data/table.csv"])
    job = reading.submit(first_line, "table.csv")
    assert job.result(60) == "a,b\n"
    receipt = job.receipt
    assert receipt is not None
    sources = {file["source"] for file in receipt["files"]} - {""}  # modules of the tests go, too
    assert sources == {f"s3://{BUCKET}/data/table.csv"}


def test_a_bucket_that_is_not_there_is_told_by_whoever_starts_the_backend(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = isolate(tmp_path / "home")
    env |= {"JUPYTER_REMOTE_BLOBS": "s3://there-is-none/x"}
    env |= {"JUPYTER_REMOTE_S3_ENDPOINT": store.endpoint}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with jr.Client() as client, pytest.raises(jr.JupyterRemoteError, match="aws s3 mb"):
        client.jobs()
