"""What nobody needs is forgotten; what comes again meanwhile stays."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_remote import errors, wire
from jupyter_remote.blobs.disk import DiskBlobs
from jupyter_remote.clock import FakeClock
from jupyter_remote.http import Http
from jupyter_remote.model import JobId
from jupyter_remote.server.blob_shelf import BlobShelf
from jupyter_remote.store.sqlite import open_sqlite

from .conftest import LIMIT_S, Running, Worker, until
from .test_blobs import digest_of, path_of
from .test_tenants import naming, send_job

CONTENT = random.Random(3).randbytes(200_000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path, unused_blobs_s=0.0, retention_s=0.0)
    yield running
    running.stop()


def tidy(server: Running) -> None:
    """Now, instead of in some minutes."""
    scheduler = server.backend.scheduler
    assert scheduler._main is not None
    loop = scheduler._main.get_loop()
    asyncio.run_coroutine_threadsafe(scheduler.tidy(), loop).result(LIMIT_S)


def file_of(server: Running, content: bytes) -> Path:
    assert server.backend.blobs.folder
    digest = digest_of(content)
    return server.backend.blobs.folder / digest[:2] / digest


def test_unused_bytes_and_ended_jobs_are_forgotten(server: Running) -> None:
    worker = Worker(server)
    worker.hello()
    send_job(server.http, waiting := naming(CONTENT))
    server.http.upload(path_of(CONTENT), CONTENT)
    assign = worker.pull(wire.Assign)
    tidy(server)
    assert file_of(server, CONTENT).exists()  # a job needs them
    worker.start(assign)
    worker.complete(assign)
    until(lambda: server.backend.store.job(JobId(waiting.id)).ended_at)
    tidy(server)
    tidy(server)  # what the job needed is unused since it was forgotten
    assert not file_of(server, CONTENT).exists()
    with pytest.raises(errors.NotFound):
        server.http.call("GET", f"/v1/jobs/{waiting.id}", reply=wire.JobView)
    assert send_job(server.http, naming(CONTENT)).missing
    assert server.backend.store.audit() == []
    worker.close()


def test_what_comes_again_while_it_is_forgotten_is_there(server: Running) -> None:
    """Uploads and submits of one digest against the clean-up that wants to delete it."""
    stop = threading.Event()

    def tidy_for_ever() -> None:
        while not stop.is_set():
            tidy(server)

    cleaner = threading.Thread(target=tidy_for_ever)
    cleaner.start()
    http = Http(server.url, server.token)
    try:
        for _ in range(15):
            body = naming(CONTENT)
            reply = send_job(http, body)
            for _ in range(5):
                if not reply.missing:
                    break
                http.upload(path_of(CONTENT), CONTENT)
                reply = send_job(http, body)
            assert reply.missing == []
            assert file_of(server, CONTENT).read_bytes() == CONTENT
            http.call("POST", f"/v1/jobs/{body.id}/cancel", wire.CancelRequest(), wire.JobView)
    finally:
        stop.set()
        cleaner.join()
        http.close()
    assert server.backend.store.audit() == []


def test_bytes_that_nobody_knows_of_are_found_and_deleted(server: Running) -> None:
    """A crash between the row and the bytes, or an upload that was never committed."""
    server.http.upload(path_of(CONTENT), CONTENT)
    send_job(server.http, naming(CONTENT))
    orphan, spooled = file_of(server, b"orphan"), Path(server.backend.blobs.spool or "") / "left"
    orphan.parent.mkdir(exist_ok=True)
    for file in (orphan, spooled):
        file.write_bytes(b"orphan")
        os.utime(file, (1.0, 1.0))
    os.utime(file_of(server, CONTENT), (1.0, 1.0))
    young = file_of(server, b"young")
    young.parent.mkdir(exist_ok=True)
    young.write_bytes(b"young")
    tidy(server)
    assert [f.exists() for f in (orphan, spooled, young)] == [False, False, True]
    assert file_of(server, CONTENT).exists()


def test_a_deletion_gives_way_to_bytes_that_are_just_coming(tmp_path: Path) -> None:
    digest = digest_of(CONTENT)
    store, blobs = open_sqlite(tmp_path / "db.sqlite"), DiskBlobs(tmp_path / "blobs")

    async def commit(verb: Callable[..., Any], *args: Any) -> Any:
        return verb(*args)

    shelf = BlobShelf(store, blobs, FakeClock(), commit)

    async def put() -> None:
        async def body() -> AsyncIterator[bytes]:
            yield CONTENT

        await blobs.put(digest, body(), len(CONTENT))

    async def scenario() -> None:
        await put()
        store.blob_present(digest, len(CONTENT), 0.0)
        assert store.collect(1.0, 0.5) == [digest]
        async with shelf.arriving(digest):  # sent again before the bytes are deleted
            await put()
            await shelf.discard(digest)
            assert await blobs.size(digest)
            store.blob_present(digest, len(CONTENT), 2.0)
        await shelf.discard(digest)
        assert await blobs.size(digest)
        assert store.collect(3.0, 0.5) == [digest]
        await shelf.discard(digest)
        assert await blobs.size(digest) is None

    asyncio.run(scenario())
    store.close()
