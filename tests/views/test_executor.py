"""``client.executor()``: the contract of ``concurrent.futures``, kept by workers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import importlib
import operator
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from pathlib import Path

import pytest

import jupyter_remote as jr
from jupyter_remote import errors
from jupyter_remote.client.views.executor import SessionExecutor
from tests.views.executor_fixtures import client, has_begun, hold, release, until

__all__ = ["client"]


@pytest.fixture(scope="module")
def shared(client: jr.Client) -> Iterator[SessionExecutor]:
    """Two workers for tests that leave them as they are."""
    with client.executor(2) as executor:
        yield executor


@pytest.fixture
def single(client: jr.Client) -> Iterator[SessionExecutor]:
    """One worker, which is ready."""
    with client.executor(1) as executor:
        executor.submit(pow, 2, 2).result()
        yield executor


class Held:
    """A call that runs until it is let go."""

    def __init__(self, executor: Executor, folder: Path, name: str = "held") -> None:
        self.folder, self.name = folder, name
        self.future: Future[str] = executor.submit(hold, str(folder), name)
        until(lambda: has_begun(folder, name))

    def let_go(self) -> None:
        release(self.folder, self.name)


@pytest.fixture
def held(single: SessionExecutor, tmp_path: Path) -> Iterator[Held]:
    """The one worker of ``single`` is busy."""
    call = Held(single, tmp_path)
    yield call
    call.let_go()


# --- submit -----------------------------------------------------------------------------------
def test_it_is_an_executor_and_its_calls_are_futures(shared: SessionExecutor) -> None:
    assert isinstance(shared, Executor)
    assert isinstance(shared.submit(pow, 2, 8), Future)


def test_submit_gives_the_value_of_the_call(shared: SessionExecutor) -> None:
    assert shared.submit(pow, 2, 8).result() == 256


def test_keywords_reach_the_function_also_those_named_self_and_fn(shared: SessionExecutor) -> None:
    future = shared.submit(dict, self=1, fn=2)
    assert future.result() == {"self": 1, "fn": 2}


def test_submit_needs_a_function_by_position(shared: SessionExecutor) -> None:
    with pytest.raises(TypeError):
        shared.submit(fn=pow)  # type: ignore[call-arg]


def test_calls_run_in_other_processes(shared: SessionExecutor) -> None:
    pids = {future.result() for future in [shared.submit(os.getpid) for _ in range(20)]}
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2


def test_what_a_call_raises_is_raised_by_its_type(shared: SessionExecutor) -> None:
    future = shared.submit(operator.truediv, 1, 0)
    with pytest.raises(ZeroDivisionError):
        future.result()
    assert isinstance(future.exception(), ZeroDivisionError)
    assert isinstance(future.exception(), jr.RemoteError)


def test_a_traceback_shows_no_inner_frames_below_those_of_the_caller(
    shared: SessionExecutor,
) -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        shared.submit(divmod, 1, 0).result()
    callers = errors._users(raised.tb)
    assert callers is not None
    assert callers.tb_next is None


def test_arguments_may_be_changed_after_submit(single: SessionExecutor, held: Held) -> None:
    numbers = [1, 2]
    future = single.submit(sum, numbers)
    numbers.append(3)
    held.let_go()
    assert future.result() == 3


def test_modules_beside_the_notebook_that_only_arguments_come_from_go_along(
    shared: SessionExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("only_of_one", "only_of_another"):
        (tmp_path / f"{name}.py").write_text("class Sized:\n    def __len__(self): return 7\n")
        argument = importlib.import_module(name).Sized()
        assert [shared.submit(len, argument).result() for _ in range(6)] == [7] * 6


def test_what_cannot_travel_is_told_where_it_is_submitted(shared: SessionExecutor) -> None:
    with pytest.raises(jr.CaptureError, match="lock"):
        shared.submit(id, threading.Lock())
    assert shared.submit(pow, 2, 2).result() == 4


def test_a_value_that_cannot_come_home_fails_its_own_call_alone(shared: SessionExecutor) -> None:
    with pytest.raises(jr.CaptureError, match="cannot come home"):
        shared.submit(lambda: threading.Lock()).result()
    assert shared.submit(pow, 2, 2).result() == 4


def test_what_a_call_prints_is_printed_here(
    shared: SessionExecutor, capsys: pytest.CaptureFixture[str]
) -> None:
    shared.submit(print, "from there").result()
    assert capsys.readouterr().out == "from there\n"


# --- map --------------------------------------------------------------------------------------
def test_map_gives_results_in_the_order_of_the_items(shared: SessionExecutor) -> None:
    assert list(shared.map(pow, range(10), range(10))) == list(map(pow, range(10), range(10)))


@pytest.mark.parametrize("chunksize", [2, 3, 10, 50])
def test_map_in_chunks_gives_the_same(shared: SessionExecutor, chunksize: int) -> None:
    found = shared.map(pow, range(10), range(10), chunksize=chunksize)
    assert list(found) == list(map(pow, range(10), range(10)))


def test_map_refuses_chunks_of_nothing(shared: SessionExecutor) -> None:
    with pytest.raises(ValueError, match="chunksize"):
        shared.map(pow, [1], [1], chunksize=0)


def test_map_raises_where_the_item_failed(shared: SessionExecutor) -> None:
    found = shared.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5])
    assert next(found) == (0, 1)
    assert next(found) == (0, 1)
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_map_begins_without_being_iterated(shared: SessionExecutor, tmp_path: Path) -> None:
    found = shared.map(lambda p: open(p, "w").close(), [str(tmp_path / n) for n in "ab"])
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    assert list(found) == [None, None]


def test_map_times_out(single: SessionExecutor, held: Held) -> None:
    found = single.map(abs, [1], timeout=0.05)
    with pytest.raises(TimeoutError):
        next(found)


def test_map_that_is_given_up_cancels_the_rest(single: SessionExecutor, held: Held) -> None:
    futures: list[Future[int]] = []
    submit = single.submit
    single.submit = lambda *args: futures.append(submit(*args)) or futures[-1]  # type: ignore
    found = single.map(abs, range(3), timeout=0.05)
    with pytest.raises(TimeoutError):
        next(found)
    assert all(future.cancelled() for future in futures)


# --- cancel, running, done --------------------------------------------------------------------
def test_a_call_that_runs_cannot_be_cancelled(held: Held) -> None:
    assert held.future.running()
    assert not held.future.cancel()
    held.let_go()
    assert held.future.result() == "held"
    assert not held.future.cancelled()


def test_a_call_that_waits_is_cancelled_and_never_runs(
    single: SessionExecutor, held: Held, tmp_path: Path
) -> None:
    waits = single.submit(hold, str(tmp_path), "second")
    assert not waits.running()
    assert not waits.done()
    assert waits.cancel()
    assert waits.cancel()
    assert waits.cancelled()
    assert waits.done()
    with pytest.raises(CancelledError):
        waits.result()
    with pytest.raises(CancelledError):
        waits.exception()
    held.let_go()
    assert single.submit(abs, -1).result() == 1
    assert not has_begun(tmp_path, "second")


def test_whoever_waits_hears_of_a_cancel_at_once(single: SessionExecutor, held: Held) -> None:
    waits = single.submit(abs, -1)
    told: list[Future[int]] = []
    waits.add_done_callback(told.append)
    waits.cancel()
    done, not_done = concurrent.futures.wait([waits], timeout=10)
    assert done == {waits}
    assert not not_done
    assert told == [waits]


def test_a_call_that_is_done_cannot_be_cancelled(shared: SessionExecutor) -> None:
    future = shared.submit(abs, -1)
    future.result()
    assert not future.cancel()
    assert not future.running()
    assert future.done()


def test_results_can_be_waited_for_with_a_limit(held: Held) -> None:
    with pytest.raises(TimeoutError):
        held.future.result(timeout=0.01)
    with pytest.raises(TimeoutError):
        held.future.exception(timeout=0)


def test_done_callbacks_run_in_their_order_whatever_one_of_them_raises(
    single: SessionExecutor, held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []
    held.future.add_done_callback(lambda f: seen.append(f.result()))
    held.future.add_done_callback(lambda f: 1 / 0)
    held.future.add_done_callback(lambda f: seen.append("after"))
    held.let_go()
    assert single.submit(abs, -1).result() == 1
    until(lambda: len(seen) == 2)
    assert seen == ["held", "after"]
    assert "exception calling callback" in caplog.text


def test_a_done_callback_may_submit(shared: SessionExecutor) -> None:
    more: list[Future[int]] = []
    shared.submit(abs, -1).add_done_callback(lambda f: more.append(shared.submit(abs, -2)))
    until(lambda: bool(more))
    assert more[0].result() == 2


# --- wait and as_completed --------------------------------------------------------------------
def test_wait_for_the_first(client: jr.Client, tmp_path: Path) -> None:
    with client.executor(2) as executor:
        slow = Held(executor, tmp_path)
        quick = executor.submit(pow, 21, 2)
        done, left = concurrent.futures.wait(
            [slow.future, quick], return_when=concurrent.futures.FIRST_COMPLETED, timeout=30
        )
        slow.let_go()
    assert (done, left) == ({quick}, {slow.future})


def test_wait_for_the_first_exception(client: jr.Client, tmp_path: Path) -> None:
    with client.executor(2) as executor:
        slow = Held(executor, tmp_path)
        well, fails = executor.submit(pow, 2, 2), executor.submit(divmod, 1, 0)
        done, left = concurrent.futures.wait(
            [slow.future, well, fails], return_when=concurrent.futures.FIRST_EXCEPTION, timeout=30
        )
        slow.let_go()
    assert fails in done
    assert left == {slow.future}


def test_wait_for_all(shared: SessionExecutor) -> None:
    futures = [shared.submit(pow, 2, n) for n in range(20)] + [shared.submit(divmod, 1, 0)]
    done, left = concurrent.futures.wait(futures, timeout=30)
    assert (done, left) == (set(futures), set())


def test_wait_with_a_limit_tells_what_is_left(single: SessionExecutor, held: Held) -> None:
    waits = single.submit(abs, -1)
    done, left = concurrent.futures.wait([held.future, waits], timeout=0.05)
    assert (done, left) == (set(), {held.future, waits})


def test_as_completed_gives_what_is_done_first(client: jr.Client, tmp_path: Path) -> None:
    with client.executor(2) as executor:
        slow = Held(executor, tmp_path)
        quick = executor.submit(pow, 2, 2)
        order = concurrent.futures.as_completed([slow.future, quick], timeout=30)
        assert next(order) is quick
        slow.let_go()
        assert next(order) is slow.future


def test_as_completed_with_a_limit_tells_how_many_are_left(held: Held) -> None:
    with pytest.raises(TimeoutError, match=r"1 \(of 1\) futures unfinished"):
        list(concurrent.futures.as_completed([held.future], timeout=0.01))


def test_as_completed_gives_the_same_future_once(shared: SessionExecutor) -> None:
    future = shared.submit(abs, -1)
    assert list(concurrent.futures.as_completed([future, future], timeout=30)) == [future]


# --- shutdown ---------------------------------------------------------------------------------
def test_after_shutdown_nothing_is_taken(client: jr.Client) -> None:
    executor = client.executor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(pow, 2, 2)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map(abs, [1])
    executor.shutdown()


def test_shutdown_waits_for_what_was_submitted_and_stops_the_workers(client: jr.Client) -> None:
    executor = client.executor(2)
    futures = [executor.submit(pow, 2, n) for n in range(50)]
    executor.shutdown()
    assert all(future.done() for future in futures)
    assert [future.result() for future in futures] == [2**n for n in range(50)]
    assert not any(engine.alive for engine in executor._pool.group.engines)


def test_shutdown_without_waiting_lets_calls_end(client: jr.Client, tmp_path: Path) -> None:
    executor = client.executor(1)
    call = Held(executor, tmp_path)
    after = executor.submit(pow, 2, 3)
    executor.shutdown(wait=False)
    assert not call.future.done()
    call.let_go()
    assert (call.future.result(30), after.result(30)) == ("held", 8)
    until(lambda: not any(engine.alive for engine in executor._pool.group.engines))


def test_shutdown_can_cancel_what_has_not_begun(client: jr.Client, tmp_path: Path) -> None:
    executor = client.executor(1)
    call = Held(executor, tmp_path)
    waiting = [executor.submit(pow, 2, n) for n in range(10)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    call.let_go()
    executor.shutdown()
    assert call.future.result() == "held"


def test_an_executor_that_nobody_holds_ends_its_calls_and_its_workers(client: jr.Client) -> None:
    executor = client.executor(1)
    engines, future = executor._pool.group.engines, executor.submit(pow, 2, 5)
    del executor
    gc.collect()
    assert future.result(30) == 32
    until(lambda: not any(engine.alive for engine in engines))


def test_a_client_that_closes_leaves_no_call_waiting() -> None:
    other = jr.Client()
    executor = other.executor(1)
    executor.submit(pow, 2, 2).result()
    future = executor.submit(time.sleep, 60)
    until(future.running)
    other.close()
    with pytest.raises(jr.JupyterRemoteError):
        future.result(30)
    executor.shutdown()


def test_calls_are_done_before_the_interpreter_ends(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, pathlib, time, jupyter_remote as jr\n"
        f"gate = {str(tmp_path / 'gate')!r}\n"
        "def later(n):\n"
        "    while not os.path.exists(gate):\n"
        "        time.sleep(0.01)\n"
        "    time.sleep(0.2)\n"
        "    print('done', n, flush=True)\n"
        "executor = jr.Client().executor(2)\n"
        "for n in range(4):\n"
        "    executor.submit(later, n)\n"
        "print('end of the script', flush=True)\n"
        "pathlib.Path(gate).touch()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True
    )
    first, *others = done.stdout.splitlines()
    assert first == "end of the script"
    assert sorted(others) == [f"done {n}" for n in range(4)]
    assert done.stderr == ""


# --- workers ----------------------------------------------------------------------------------
def test_the_number_of_workers_is_checked(client: jr.Client) -> None:
    for number in (0, -1):
        with pytest.raises(ValueError, match="max_workers must be greater than 0"):
            client.executor(number)


def test_submit_waits_for_no_worker_that_starts(client: jr.Client, tmp_path: Path) -> None:
    with client.executor(1, initializer=hold, initargs=(str(tmp_path), "start")) as executor:
        future = executor.submit(pow, 2, 2)
        until(lambda: has_begun(tmp_path, "start"))
        assert not future.running()
        release(tmp_path, "start")
        assert future.result(30) == 4


def test_the_initializer_is_called_by_every_worker_first(client: jr.Client) -> None:
    with client.executor(2, initializer=os.putenv, initargs=("SET_BY_IT", "yes")) as executor:
        read = ["sh", "-c", "echo $SET_BY_IT"]
        found = {executor.submit(subprocess.check_output, read).result() for _ in range(10)}
    assert found == {b"yes\n"}


def test_an_initializer_that_fails_breaks_the_executor(client: jr.Client) -> None:
    with client.executor(2, initializer=divmod, initargs=(1, 0)) as executor:
        future = executor.submit(pow, 2, 2)
        with pytest.raises(BrokenExecutor, match="modulo by zero"):
            future.result(30)
        with pytest.raises(BrokenExecutor):
            executor.submit(pow, 2, 2)


def test_an_initializer_has_to_be_a_function(client: jr.Client) -> None:
    with pytest.raises(TypeError, match="initializer must be a callable"):
        client.executor(1, initializer=1)  # type: ignore[arg-type]


def test_a_worker_that_dies_breaks_its_call_and_the_others_go_on(client: jr.Client) -> None:
    with client.executor(2) as executor:
        error = executor.submit(os._exit, 3).exception(30)
        assert isinstance(error, BrokenExecutor)
        assert isinstance(error, jr.EngineError)
        assert list(executor.map(abs, range(-20, 0))) == list(range(20, 0, -1))
        assert sum(engine.alive for engine in executor._pool.group.engines) == 1


def test_when_no_worker_is_left_waiting_calls_and_new_ones_are_told(client: jr.Client) -> None:
    with client.executor(1) as executor:
        executor.submit(abs, 1).result()
        dies = executor.submit(os._exit, 3)
        after = [executor.submit(abs, 1) for _ in range(3)]
        for future in (dies, *after):
            assert isinstance(future.exception(30), BrokenExecutor)
            assert isinstance(future.exception(), jr.EngineError)
        with pytest.raises(BrokenExecutor):
            executor.submit(abs, 1)


def test_abort_interrupts_what_runs_and_leaves_the_workers(
    single: SessionExecutor, held: Held
) -> None:
    waits = single.submit(abs, 1)
    single.abort()
    assert isinstance(held.future.exception(30), KeyboardInterrupt)
    assert waits.cancelled()
    assert single.submit(abs, -1).result(30) == 1


# --- memory -----------------------------------------------------------------------------------
def test_results_live_as_long_as_their_futures(shared: SessionExecutor) -> None:
    for found in shared.map(lambda n: {n}, range(5)):
        known = weakref.ref(found)
        del found
        until(lambda known=known: known() is None)


def test_a_call_whose_future_nobody_holds_lets_go_of_its_arguments(
    shared: SessionExecutor,
) -> None:
    class Argument:
        pass

    argument = Argument()
    known = weakref.ref(argument)
    shared.submit(id, argument)
    del argument
    until(lambda: known() is None)


# --- asyncio ----------------------------------------------------------------------------------
async def test_futures_can_be_awaited(shared: SessionExecutor) -> None:
    assert await shared.submit(pow, 2, 3) == 8
    with pytest.raises(ZeroDivisionError):
        await shared.submit(divmod, 1, 0)


async def test_it_is_an_executor_for_an_event_loop(shared: SessionExecutor) -> None:
    loop = asyncio.get_running_loop()
    found = await asyncio.gather(*(loop.run_in_executor(shared, pow, 2, n) for n in range(5)))
    assert found == [1, 2, 4, 8, 16]
