from __future__ import annotations

import asyncio
import functools
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from jupyter_remote.errors import BackendUnreachable, KeyReused, NotFound, StorageFull
from jupyter_remote.model import JobId, WorkerId
from jupyter_remote.store.sqlite import SqliteStore, open_sqlite
from jupyter_remote.store.writer import Writer
from tests.conformance.store import ADA, new_job
from tests.server.conftest import LIMIT_S, until


class Counting:
    """A store whose groups are counted, and which can be held back."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.sizes: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def run_group(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        self.gate.wait(LIMIT_S)
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


class Threads(Counting):
    """Notes in which thread each group ran."""

    def __init__(self, store: SqliteStore) -> None:
        super().__init__(store)
        self.here: list[bool] = []

    def run_group(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        self.here.append(threading.current_thread() is threading.main_thread())
        return super().run_group(calls)


async def test_quick_calls_of_one_turn_share_a_commit_on_the_event_loop(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_remote.store.writer.HERE_BELOW_S", LIMIT_S)
    store.submit([new_job("taken")], 0.0)
    noting = Threads(store)
    writer = Writer(noting, quick={"submit", "claim"})
    jobs = [new_job("a"), new_job("taken", body_digest="other"), new_job("b")]
    sent = [writer.send(store.submit, [job], 1.0) for job in jobs]
    claim = writer.send(store.claim, JobId("b"), WorkerId("w"), 1.0, 45.0)
    answers = await asyncio.gather(*sent, claim, return_exceptions=True)
    assert [type(answer) for answer in answers] == [list, KeyReused, list, tuple]
    assert (noting.sizes, noting.here) == ([4], [True])
    assert isinstance(await writer.call(store.submit, [new_job("c")], 1.0), list)
    with pytest.raises(KeyReused):
        await writer.call(store.submit, [new_job("c", body_digest="other")], 1.0)
    assert noting.here == [True] * 3
    writer.close()


async def test_what_may_take_long_does_not_hold_up_the_event_loop(store: SqliteStore) -> None:
    noting = Threads(store)
    writer = Writer(noting, quick={"submit"})
    await writer.call(store.submit, [new_job(f"{n}") for n in range(50)], 1.0)
    await writer.call(store.forget_jobs, 0.0)
    assert noting.here == [False, False]
    writer.close()


async def test_on_a_slow_disk_quick_calls_too_run_in_the_thread(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    noting = Threads(store)
    writer = Writer(noting, quick={"submit"})
    monkeypatch.setattr("jupyter_remote.store.writer.HERE_BELOW_S", 0.0)
    await writer.call(store.submit, [new_job("a")], 1.0)
    assert noting.here == [False]
    writer.close()


@pytest.mark.parametrize("turn", [1, 2, 5, 60])
async def test_commits_are_made_and_told_in_the_order_of_the_calls(
    store: SqliteStore, turn: int
) -> None:
    """Quick and slow calls mixed, so many in each turn of the event loop, and a thread that is
    quicker than the next turn."""
    writer = Writer(store, quick={"submit"})
    told: list[int] = []
    cursors: list[int] = []

    def note(number: int, done: asyncio.Future[Any]) -> None:
        told.append(number)
        cursors.append(done.result()[-1].event.cursor)

    mixed = random.Random(turn)
    for number in range(240):
        jobs = [new_job(f"{number}-{n}") for n in range(mixed.choice([1, 1, 20]))]
        sent = writer.send(store.submit, jobs, 1.0)
        sent.add_done_callback(functools.partial(note, number))
        if number % turn == turn - 1:
            until(lambda: not writer._aside)
            await asyncio.sleep(0)
    await writer.call(store.submit, [new_job("last")], 1.0)
    await asyncio.sleep(0)
    assert told == list(range(240))
    assert cursors == sorted(cursors)
    writer.close()
