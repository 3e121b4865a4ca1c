"""What a call gives at once: a future with ipyparallel's and multiprocessing's names."""

from __future__ import annotations

import asyncio
import concurrent.futures
from datetime import datetime
from pathlib import Path

import pytest

import jupyter_remote as jr
from tests.views.gates import Gate, held

KEYS = (
    *("submitted", "started", "completed", "received", "status", "engine_id", "engine_uuid"),
    *("msg_id", "stdout", "stderr", "after", "follow"),
)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


# --- before it is done ------------------------------------------------------------------------
def test_get_past_its_time_raises_a_timeout_error(one, gate):
    result = one.apply(held, gate.path)
    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError, match=r"^Result not ready\.$"):
            result.get(timeout)
    gate.open()
    assert result.get(-1) == "open"


def test_a_result_that_is_not_there_says_so_and_is_not_waited_for(one, gate):
    result = one.apply(held, gate.path)
    assert (result.ready(), result.done(), result.wait(0), result.wait(0.01)) == (False,) * 4
    assert repr(result) == "<AsyncResult(held): pending>"
    for ask in (
        lambda: result[0],
        lambda: result.serial_time,
        lambda: result.wall_time,
        lambda: result.get_dict(0),
        lambda: result.exception(0),
    ):
        with pytest.raises(TimeoutError):
            ask()
    for kind in (RuntimeError, ValueError):
        with pytest.raises(kind, match="not done"):
            result.successful()
    assert result.elapsed >= 0
    gate.open()
    assert result.wait() is True


def test_metadata_of_a_pending_call_are_there(one, gate):
    result = one.apply(held, gate.path)
    assert (result["status"], result.engine_id, result.stdout) == (None, 0, "")
    gate.open()
    result.get()
    assert result.status == "ok"


# --- done -------------------------------------------------------------------------------------
def test_metadata_tell_when_and_where(one, view):
    result = one.apply(print, "hello")
    result.get()
    found = result.metadata
    assert set(KEYS) <= set(found)
    assert all(isinstance(found[k], datetime) and found[k].tzinfo for k in KEYS[:4])
    assert found.submitted <= found.started <= found.completed <= found.received
    assert (found.status, found.engine_id, found.stdout) == ("ok", 0, "hello\n")
    assert isinstance(found.msg_id, str)
    assert (found.after, found.follow) == ([], [])
    assert found.engine_uuid == view.client[0].apply(int).engine_uuid
    assert [m.engine_id for m in view.apply(int).metadata] == [0, 1]


def test_a_label_is_in_the_metadata(view, balanced):
    with view.temp_flags(label="mine"):
        assert view.apply(int).label == ["mine", "mine"]
    assert balanced.set_flags(label="b").apply(int).label == "b"


def test_results_of_several_workers_are_indexed_by_place_and_metadata_by_name(view):
    view.execute("a = 5", block=True)
    result = view.apply(abs, jr.Reference("a"))
    assert result.wait()
    assert (result[0], result[:], result[-1], list(result), len(result)) == (
        5,
        [5, 5],
        5,
        [5, 5],
        2,
    )
    assert result["engine_id"] == result.engine_id == [0, 1]
    assert result.get_dict() == result.result_dict == {0: 5, 1: 5}
    assert result.r == [5, 5]
    with pytest.raises(IndexError):
        result[7]
    with pytest.raises(KeyError):
        result["nothing"]
    assert not hasattr(result, "nothing")
    assert "stdout" in dir(result)


def test_a_single_result_is_indexed_itself_and_not_iterated(one):
    result = one.apply(list, "abc")
    assert result.get() == ["a", "b", "c"]
    assert (result[1], result.get_dict(), len(result)) == ("b", {0: ["a", "b", "c"]}, 1)
    with pytest.raises(TypeError, match="not iterable"):
        list(result)


def test_two_results_of_one_worker_make_no_dict(one):
    with pytest.raises(ValueError, match="more than one"):
        jr.AsyncResult.join(one.apply(int), one.apply(int)).get_dict()


def test_times_of_calls_add_up(view):
    result = view.apply(sum, range(10))
    result.get()
    longest = result.timedelta(result.submitted, result.received)
    assert result.wall_time == result.elapsed == pytest.approx(longest, abs=1e-5)
    assert 0 < result.serial_time < 2 * result.wall_time
    assert result.speedup == result.serial_time / result.wall_time
    assert result.progress == 2


def test_a_failed_result_says_so_without_raising(one):
    result = one.apply(divmod, 1, 0)
    assert result.wait()
    assert repr(result) == "<AsyncResult(divmod): failed>"
    assert (result.successful(), result.status) == (False, "error")
    assert isinstance(result.exception(), ZeroDivisionError)
    assert isinstance(result.get(return_exceptions=True), ZeroDivisionError)


# --- as they come -----------------------------------------------------------------------------
def test_results_are_given_as_they_come(view, gate):
    view.client[0]["call"] = int
    view.client[1].push({"call": held}, block=True)
    result = view.apply(
        lambda call, path: call(path) if call is not int else "first",
        jr.Reference("call"),
        gate.path,
    )
    found = iter(result)
    assert next(found) == "first"
    assert (result.progress, result.ready()) == (1, False)
    gate.open()
    assert next(found) == "open"


def test_a_result_is_split_into_those_of_its_calls(view, gate):
    view.client[0]["wait"] = False
    view.client[1]["wait"] = True
    result = view.apply(
        lambda wait, path: held(path) if wait else "first", jr.Reference("wait"), gate.path
    )
    done, pending = result.wait(return_when="FIRST_COMPLETED")
    assert [r.get() for r in done] == ["first"]
    gate.open()
    assert [r.get() for r in pending] == ["open"]
    assert [r.engine_id for r in result.split()] == [0, 1]
    done, pending = result.wait(return_when="ALL_COMPLETED")
    assert (len(done), len(pending)) == (2, 0)


def test_results_are_joined_and_end_with_the_last_one(one, balanced):
    whole = jr.AsyncResult.join(one.apply(int), balanced.apply(str), one.apply(list))
    assert whole.get() == [0, "", []]
    assert len(whole.msg_ids) == 3


def test_the_first_exception_is_raised_while_others_run(view, gate):
    view.client[0]["wait"] = False
    view.client[1]["wait"] = True
    result = view.apply(
        lambda wait, path: held(path) if wait else 1 / 0, jr.Reference("wait"), gate.path
    )
    with pytest.raises(jr.CompositeError) as caught:
        result.get(return_when="FIRST_EXCEPTION")
    assert [e[0] for e in caught.value.elist] == ["ZeroDivisionError"]
    assert not result.ready()
    gate.open()
    assert result.wait()


# --- as other futures -------------------------------------------------------------------------
def test_it_is_a_future_of_concurrent_futures(view, one):
    called = []
    result = view.apply(int)
    result.add_done_callback(called.append)
    assert result.result() == [0, 0]
    done, _ = concurrent.futures.wait([result, one.apply(str)])
    assert len(done) == 2
    assert called == [result]
    failed = one.apply(divmod, 1, 0)
    done, _ = concurrent.futures.wait([failed], return_when="FIRST_EXCEPTION")
    assert isinstance(done.pop().exception(), ZeroDivisionError)


def test_it_is_awaitable(view, one):
    async def main() -> tuple:
        both = await asyncio.gather(view.apply(int), asyncio.wrap_future(one.apply(str)))
        with pytest.raises(ZeroDivisionError):
            await one.apply(divmod, 1, 0)
        return tuple(both)

    assert asyncio.run(main()) == ([0, 0], "")


# --- stopping and finding ---------------------------------------------------------------------
def test_abort_drops_calls_that_wait_and_leaves_the_one_that_runs(one, gate):
    runs, waits, other, last = one.apply(held, gate.path), *(one.apply(int) for _ in range(3))
    gate.until_held()
    waits.abort()
    one.abort(other)
    one.client.abort(last.msg_ids)
    runs.drop_waiting()
    gate.open()
    assert runs.get() == "open"
    for dropped in (waits, other, last):
        with pytest.raises(jr.TaskAborted):
            dropped.get()
        assert (dropped.status, dropped.cancelled()) == ("aborted", True)
    with pytest.raises(RuntimeError, match="already done"):
        runs.abort()


def test_views_and_client_wait_for_some_calls_or_all(one, view, gate):
    result = one.apply(held, gate.path)
    assert one.outstanding == set(result.msg_ids) <= one.client.outstanding
    assert view.outstanding == set()
    for wait in (one.wait, one.client.wait):
        assert wait(result, 0) is False
        assert wait(result.msg_ids[0], 0.01) is False
        assert wait(timeout=0) is False
    assert view.wait(timeout=0) is True
    gate.open()
    assert (one.wait(), one.client.wait([result]), one.outstanding) == (True, True, set())


def test_a_result_is_found_again_by_its_id_and_by_its_place(one, view):
    result = view.apply(int)
    id = result.msg_ids[1]
    result.get()
    client = one.client
    assert client.get_result(id).engine_id == 1
    assert client.get_result(result.msg_ids) is result
    assert view.get_result(-1).get() == 0
    assert client.get_result([id]).get() == [0]
    assert client.history[-2:] == result.msg_ids
    assert view.history == result.msg_ids
    assert client.results[id] is result
    client.purge_results("all")
    del result
    with pytest.raises(KeyError, match="no result"):
        client.get_result("nothing")


def test_large_results_that_nobody_holds_are_let_go(one):
    ids = [one.apply_async(bytes, 400_000).msg_ids[0] for _ in range(60)]
    one.wait()
    kept = [id for id in ids if id in one.client.results]
    assert ids[-1] in kept
    assert 20 < len(kept) < 45
