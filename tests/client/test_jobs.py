"""Jobs as futures, at the level of the protocol."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import pickle
import signal
import threading
import time
from pathlib import Path

import msgspec
import pytest

from jupyter_remote import errors
from jupyter_remote.client.api import Client
from jupyter_remote.client.handle import provisional
from jupyter_remote.client.jobs import Job
from jupyter_remote.client.origin import Cell
from jupyter_remote.wire import Event, raw

from .fake_backend import FakeBackend


def double(x: int) -> int:
    print("doubling")
    print(x)
    return 2 * x


def wait_for(gate: Path) -> None:
    while not gate.exists():
        time.sleep(0.01)


def fail(x: object) -> None:
    raise ZeroDivisionError(f"of {x}")


def test_a_job_gives_its_value_and_its_output(client: Client) -> None:
    job = client.submit(double, 21)
    assert job.result(60) == 42
    assert job.stdout == "doubling\n21\n"
    assert job.outputs == [{"output_type": "stream", "name": "stdout", "text": "doubling\n21\n"}]
    assert (job.status, job.done(), job.running(), job.cancelled()) == (
        "completed",
        True,
        False,
        False,
    )


def test_a_small_result_needs_no_request_but_the_submit(
    client: Client, backend: FakeBackend
) -> None:
    client.submit(double, 1).result(60)
    backend.requests.clear()
    client.submit(double, 2).result(60)
    assert [path for _, path, _ in backend.requests] == ["/v1/jobs"]


def test_events_that_come_before_the_reply_to_the_submit_lose_nothing_of_it() -> None:
    waiting = provisional("a" * 36, "session", "", "local", "private")
    job = Job(None, waiting, own=True)  # type: ignore[arg-type]
    reply = msgspec.structs.replace(waiting, session="lab", client="c", stage="queued", cursor=1)
    runs, bar = {"status": "running", "attempt": 1}, {"id": "b", "n": 3, "state": "open"}
    for cursor, type, data in [(1, "status", {"status": "queued", "stage": "old"}),
                               (2, "status", runs), (0, "progress", bar)]:  # fmt: skip
        job.feed(Event(job=job.id, type=type, data=raw(data), cursor=cursor))
    job.accepted(reply)
    view = job.view
    assert (view.session, view.client, view.status, view.attempt) == ("lab", "c", "running", 1)
    assert [bar.n for bar in view.progress] == [3]


@pytest.mark.parametrize(("limit", "count"), [(5, 5), (8, 8), (50, 9), (None, 9)])
def test_more_jobs_than_a_page_holds_are_listed(
    client: Client, monkeypatch: pytest.MonkeyPatch, limit: int | None, count: int
) -> None:
    monkeypatch.setattr("jupyter_remote.client.listing.PAGE", 4)
    submitted = [client.submit(double, i).id for i in range(9)]
    assert [job.id for job in client.jobs(limit=limit)] == submitted[::-1][:count]


def test_no_jobs_or_a_status_that_there_is_not_cannot_be_asked_for(client: Client) -> None:
    with pytest.raises(errors.UsageError, match="lists nothing"):
        client.jobs(limit=0)
    with pytest.raises(errors.UsageError, match="no status 'lost'"):
        client.jobs(status="lost")


def test_a_remote_exception_is_raised_here(client: Client) -> None:
    job = client.submit(fail, 3)
    with pytest.raises(ZeroDivisionError, match="of 3"):
        job.result(60)
    assert isinstance(job.exception(), errors.RemoteError)


def test_result_after_its_time_raises_timeout(client: Client, backend: FakeBackend) -> None:
    backend.state.hold.clear()
    job = client.submit(double, 1)
    with pytest.raises(TimeoutError):
        job.result(0.05)
    backend.state.hold.set()
    assert job.result(60) == 2


def test_waiting_is_interrupted_at_once(client: Client, backend: FakeBackend) -> None:
    backend.state.hold.clear()
    job = client.submit(double, 1)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    started = time.monotonic()

    def interrupted() -> None:
        timer.start()  # when it comes is for nobody to say
        job.result(600)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - started < 60
    timer.join()


def test_cancelled_jobs_raise_what_futures_raise(client: Client, backend: FakeBackend) -> None:
    backend.state.hold.clear()
    job = client.submit(double, 1)
    assert job.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        job.result(60)
    assert job.cancelled()
    assert job.cancel()  # again is no error


def test_cancel_after_the_end_says_so(client: Client) -> None:
    job = client.submit(double, 1)
    job.result(60)
    assert job.cancel() is False
    assert job.result() == 2


def test_concurrent_futures_knows_jobs(client: Client) -> None:
    jobs = [client.submit(double, i) for i in range(5)]
    done = [job.result() for job in concurrent.futures.as_completed(jobs, 60)]
    assert sorted(done) == [0, 2, 4, 6, 8]
    assert concurrent.futures.wait(jobs, 60).not_done == set()


async def test_a_job_is_awaited(client: Client) -> None:
    first, second = client.submit(double, 1), client.submit(fail, 1)
    assert await first == 2
    with pytest.raises(ZeroDivisionError):
        await second
    assert await asyncio.wrap_future(client.submit(double, 4)) == 8


async def test_cancelling_the_waiting_task_cancels_the_job(
    client: Client, backend: FakeBackend
) -> None:
    backend.state.hold.clear()
    job = client.submit(double, 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(job, 0.1)
    assert await asyncio.to_thread(job.wait, 60)
    assert job.cancelled()


def test_callbacks_run_when_it_is_done(client: Client) -> None:
    seen: list[str] = []
    called = threading.Event()
    job = client.submit(double, 1)
    job.add_done_callback(lambda j: (seen.append(j.status), called.set()))  # type: ignore[attr-defined]
    assert called.wait(60)
    assert seen == ["completed"]


def test_on_event_gets_each_event_once_also_late(client: Client) -> None:
    job = client.submit(double, 5)
    job.result(60)
    early: list[int] = []
    job.on_event(lambda event: early.append(event.cursor))
    assert early == sorted(set(early))
    assert len(early) >= 4


def test_an_error_in_a_callback_harms_nobody(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.listen(lambda event: 1 / 0)  # type: ignore[arg-type, return-value]
    assert client.submit(double, 1).result(60) == 2
    assert client.submit(double, 2).result(60) == 4


def test_any_kernel_finds_a_job_by_its_id(client: Client, backend: FakeBackend) -> None:
    job = client.submit(double, 8)
    job.result(60)
    with Client(backend.url, backend.token) as other:
        again = other.job(job.id)
        assert again.done()
        assert again.result(60) == 16
        assert again.stdout == "doubling\n8\n"
        assert other.job(job.id[:8]).result(60) == 16
        assert other.job("last").id == job.id


def test_another_kernel_follows_a_running_job(client: Client, backend: FakeBackend) -> None:
    backend.state.hold.clear()
    job = client.submit(double, 8)
    with Client(backend.url, backend.token) as other:
        again = other.job(job.id)
        assert not again.done()
        texts: list[str] = []
        again.on_event(lambda event: texts.append(event.type))
        backend.state.hold.set()
        assert again.result(60) == 16
        assert texts[-1] == "done"
        assert texts.count("stream") == 2
        assert again.stdout == job.stdout


def test_an_ambiguous_beginning_lists_the_jobs(client: Client, backend: FakeBackend) -> None:
    for _ in range(17):  # two of them begin alike
        client.submit(double, 1)
    starts = [id[0] for id in backend.state.jobs]
    start = next(c for c in starts if starts.count(c) > 1)
    with pytest.raises(errors.UsageError, match=f"jobs begin with '{start}'") as caught:
        client.job(start)
    assert all(id in str(caught.value) for id in backend.state.jobs if id.startswith(start))


@pytest.mark.parametrize(("id", "error"), [("zz", errors.UsageError), ("", errors.UsageError)])
def test_what_is_no_id_is_told(client: Client, id: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        client.job(id)


def test_an_unknown_id_is_not_found(client: Client) -> None:
    with pytest.raises(errors.NotFound):
        client.job("0" * 8 + "-0000-0000-0000-" + "0" * 12)


def test_a_job_is_no_value_to_send(client: Client) -> None:
    job = client.submit(double, 1)
    with pytest.raises(TypeError, match="result"):
        pickle.dumps(job)


def test_a_job_in_one_line(client: Client) -> None:
    job = client.with_options(description="my sweep").submit(double, 1)
    job.result(60)
    assert repr(job) == f"<Job {job.id[:8]} 'my sweep': completed>"
    assert job._repr_mimebundle_()["text/plain"] == repr(job)


def test_map_keeps_order_and_sends_the_function_once(client: Client, backend: FakeBackend) -> None:
    batch = client.map(double, range(25))
    assert batch.results(60) == [2 * i for i in range(25)]
    posted = [path for method, path, _ in backend.requests if method == "POST"]
    assert posted == ["/v1/plans", "/v1/batches"]  # the first: where, and what is installed there
    assert batch.progress == (25, 0, 25)
    assert {type(job) for job in batch[:3]} == {Job}
    assert sorted(job.result() for job in batch.as_completed(60)) == batch.results()
    assert len(list(batch.as_completed(timeout=0))) == 25  # those that have ended are not late


def test_an_interrupt_between_two_looks_at_a_batch_says_that_its_jobs_go_on(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    batch = client.map(wait_for, [gate, gate])

    def interrupted(job: Job, timeout: float | None = None) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Job, "wait", interrupted)  # which runs while nothing has ended
        with pytest.raises(KeyboardInterrupt) as caught:
            next(batch.as_completed())
    assert caught.value.__notes__ == ["the jobs go on; cancel() stops them"]
    gate.touch()
    assert batch.results(60) == [None, None]


def test_several_failures_come_as_a_group(client: Client) -> None:
    batch = client.map(fail, range(3))
    with pytest.raises(errors.CompositeError, match="3 of 3 jobs failed") as caught:
        batch.results(60)
    assert len(caught.value.exceptions) == 3
    assert caught.group_contains(ZeroDivisionError)
    given = batch.results(return_exceptions=True)
    assert [str(e) for e in given] == ["of 0", "of 1", "of 2"]


async def test_a_batch_is_awaited_and_iterated(client: Client) -> None:
    batch = client.map(double, [1, 2], [])
    assert await batch == []
    batch = client.map(double, [1, 2])
    assert await batch == [2, 4]
    assert [value async for value in batch] == [2, 4]


def test_a_wrong_option_names_the_nearest(client: Client) -> None:
    with pytest.raises(errors.UsageError, match="did you mean 'machine'"):
        client.with_options(machin="local")
    options = client.with_options(gpu="A10G:2", memory="16GB", timeout="2h", max_cost=0.5).options
    assert (options.need.gpu, options.need.gpu_count) == ("A10G", 2)
    assert options.need.memory_bytes == 16 * 1024**3
    assert options.timeout_s == 7200
    assert options.max_cost_ucredits == 50_000_000
    for cost in (1e300, float("inf"), float("nan"), -1.0):
        with pytest.raises(errors.UsageError, match="max_cost="):
            client.with_options(max_cost=cost)
    assert client.with_options(gpu_idle="10m").options.gpu_idle_s == 600.0


def test_a_job_knows_its_cell_before_the_backend_does(client: Client) -> None:
    seen: list[tuple[str, str]] = []
    client.cell = lambda: Cell("c1", "0badcafe")
    call = client.prepare_call(double, (1,), {})
    client.submit_call(call, lambda job: seen.append((job.view.cell, job.view.cell_code)))
    assert seen == [("c1", "0badcafe")]
