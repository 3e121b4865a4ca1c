from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from jupyter_remote.errors import BackendUnreachable, KeyReused, NotFound, StorageFull
from jupyter_remote.model import JobId
from jupyter_remote.store.sqlite import SqliteStore, open_sqlite
from jupyter_remote.store.writer import Writer
from tests.conformance.store import ADA, new_job


class Counting:
    """A store whose groups are counted, and which can be held back."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.sizes: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def run_group(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        self.gate.wait(10)
        self.sizes.append(len(calls))
        return self.store.run_group(calls)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = open_sqlite(tmp_path / "db.sqlite")
    yield store
    store.close()


@pytest.fixture
def counting(store: SqliteStore) -> Counting:
    return Counting(store)


@pytest.fixture
def writer(counting: Counting) -> Iterator[Writer]:
    writer = Writer(counting)
    yield writer
    counting.gate.set()
    writer.close()


async def held_back(
    counting: Counting, writer: Writer, calls: Sequence[tuple[Callable[..., Any], Any]]
) -> list[Any]:
    """Let ``calls`` queue up behind a first one, then go."""
    counting.gate.clear()
    first = asyncio.create_task(writer.call(lambda: None))
    tasks = [asyncio.create_task(writer.call(verb, *arguments)) for verb, arguments in calls]
    await asyncio.sleep(0)
    counting.gate.set()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_call_gives_its_result_and_its_error(store: SqliteStore, writer: Writer) -> None:
    written = await writer.call(store.submit, [new_job()], 1.0)
    assert written[0].created
    with pytest.raises(NotFound):
        await writer.call(store.cancel, JobId("absent"), ADA, 2.0)


async def test_calls_that_queue_up_share_a_commit_and_fail_alone(
    store: SqliteStore, counting: Counting, writer: Writer
) -> None:
    store.submit([new_job("taken")], 0.0)
    jobs = [new_job("a"), new_job("taken", body_digest="other"), new_job("b")]
    answers = await held_back(counting, writer, [(store.submit, ([job], 1.0)) for job in jobs])
    assert [type(answer) for answer in answers] == [list, KeyReused, list]
    assert max(counting.sizes) >= 3
    assert {job.id for job in store.jobs(ADA)} == {"taken", "a", "b"}


async def test_half_a_failing_call_is_undone(store: SqliteStore, writer: Writer) -> None:
    store.submit([new_job("taken")], 0.0)
    batch = [new_job("a"), new_job("taken", body_digest="other")]
    with pytest.raises(KeyReused):
        await writer.call(store.submit, batch, 1.0)
    assert [job.id for job in store.jobs(ADA)] == ["taken"]


async def test_one_call_too_large_for_the_disk_does_not_take_the_others_with_it(
    store: SqliteStore, counting: Counting, writer: Writer
) -> None:
    store.submit([new_job("before")], 0.0)
    connection = store._writer.connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    jobs = [new_job("small"), new_job("large", spec=b"x" * 500_000), new_job("tiny")]
    answers = await held_back(counting, writer, [(store.submit, ([job], 1.0)) for job in jobs])
    assert [type(answer) for answer in answers] == [list, StorageFull, list]
    assert {job.id for job in store.jobs(ADA)} == {"before", "small", "tiny"}


async def test_many_threads_and_tasks_write_at_once(store: SqliteStore, writer: Writer) -> None:
    def from_a_thread(number: int) -> None:
        for n in range(20):
            writer.call_sync(store.submit, [new_job(f"thread-{number}-{n}")], 1.0)

    threads = [asyncio.to_thread(from_a_thread, number) for number in range(4)]
    tasks = [writer.call(store.submit, [new_job(f"task-{n}")], 1.0) for n in range(50)]
    await asyncio.gather(*threads, *tasks)
    assert len(store.jobs(ADA, limit=1000)) == 130
    assert store.audit() == []


async def test_a_caller_that_goes_away_does_not_stop_the_writer(
    store: SqliteStore, counting: Counting, writer: Writer
) -> None:
    counting.gate.clear()
    task = asyncio.create_task(writer.call(store.submit, [new_job("left")], 1.0))
    await asyncio.sleep(0)
    task.cancel()
    counting.gate.set()
    await writer.call(store.submit, [new_job("stayed")], 1.0)
    assert {job.id for job in store.jobs(ADA)} == {"left", "stayed"}


async def test_closing_finishes_what_was_called_and_refuses_more(store: SqliteStore) -> None:
    writer = Writer(store)
    calls = [asyncio.ensure_future(writer.call(store.submit, [new_job(f"{n}")], 1.0)) for n in "ab"]
    await asyncio.sleep(0)
    writer.close()
    writer.close()
    assert len(await asyncio.gather(*calls)) == 2
    with pytest.raises(BackendUnreachable):
        await writer.call(store.last_cursor)
