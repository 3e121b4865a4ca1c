"""Results of views and jobs in an event loop."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

import jupyter_remote as jr
from jupyter_remote.client.views.balanced import LoadBalancedView
from tests.views.executor_fixtures import client, has_begun, hold, release, until

__all__ = ["client"]


@pytest.fixture(scope="module")
def view(client: jr.Client) -> Any:
    return client.view(2)


@pytest.fixture(scope="module")
def balanced(client: jr.Client, view: Any) -> LoadBalancedView:
    return LoadBalancedView(view._group)


async def come_true(fulfilled: Any) -> None:
    await asyncio.to_thread(until, fulfilled)


async def test_awaiting_gives_what_get_gives(view: Any) -> None:
    assert await view.apply_async(pow, 2, 3) == [8, 8]
    assert await view[0].apply_async(pow, 2, 3) == 8
    assert await view.map_async(abs, range(-5, 0)) == [5, 4, 3, 2, 1]


async def test_awaiting_raises_what_the_call_raised(view: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        await view[0].apply_async(divmod, 1, 0)
    with pytest.raises(jr.CompositeError):
        await view.apply_async(divmod, 1, 0)


async def test_a_result_that_is_there_can_be_awaited_again(view: Any) -> None:
    result = view[0].apply_async(pow, 2, 3)
    assert [await result, await result, result.get()] == [8, 8, 8]


async def test_other_tasks_go_on_while_one_awaits(
    balanced: LoadBalancedView, tmp_path: Path
) -> None:
    result = balanced.apply_async(hold, str(tmp_path), "held")

    async def let_go() -> None:
        await come_true(lambda: has_begun(tmp_path, "held"))
        release(tmp_path, "held")

    value, _ = await asyncio.gather(result, let_go())
    assert value == "held"


async def test_many_tasks_may_await_the_same_result(
    balanced: LoadBalancedView, tmp_path: Path
) -> None:
    result = balanced.apply_async(hold, str(tmp_path), "held")
    waiting = asyncio.gather(*(_value_of(result) for _ in range(5)))
    await come_true(lambda: has_begun(tmp_path, "held"))
    release(tmp_path, "held")
    assert await waiting == ["held"] * 5


async def _value_of(result: Any) -> Any:
    return await result


# --- async for --------------------------------------------------------------------------------
async def test_async_for_gives_the_items_of_a_map_in_their_order(
    view: Any, balanced: LoadBalancedView
) -> None:
    for result in (view.map_async(abs, range(-20, 0)), balanced.map_async(abs, range(-20, 0))):
        assert [value async for value in result] == list(range(20, 0, -1))


async def test_async_for_gives_the_results_of_workers(view: Any) -> None:
    pids = [pid async for pid in view.apply_async(os.getpid)]
    assert len(set(pids)) == 2


async def test_async_for_gives_nothing_of_an_empty_map(balanced: LoadBalancedView) -> None:
    assert [value async for value in balanced.map_async(abs, [])] == []


async def test_async_for_gives_results_as_they_come(
    balanced: LoadBalancedView, tmp_path: Path
) -> None:
    result = balanced.map_async(
        hold, [str(tmp_path)] * 2, ["slow", "quick"], chunksize=1, ordered=False
    )
    values = aiter(result)
    await come_true(lambda: has_begun(tmp_path, "slow") and has_begun(tmp_path, "quick"))
    release(tmp_path, "quick")
    assert await anext(values) == "quick"
    assert not result.done()
    release(tmp_path, "slow")
    assert await anext(values) == "slow"
    with pytest.raises(StopAsyncIteration):
        await anext(values)


async def test_async_for_gives_what_there_is_before_it_raises(balanced: LoadBalancedView) -> None:
    values = aiter(balanced.map_async(divmod, [1, 1, 1], [1, 0, 1], chunksize=1))
    assert await anext(values) == (1, 0)
    with pytest.raises(jr.CompositeError) as caught:
        await anext(values)
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)


async def test_async_for_refuses_a_single_result_as_for_does(view: Any) -> None:
    result = view[0].apply_async(pow, 2, 3)
    with pytest.raises(TypeError, match="not iterable"):
        aiter(result)
    assert await result == 8


async def test_async_for_gives_those_of_joined_results(
    balanced: LoadBalancedView, tmp_path: Path
) -> None:
    quick = balanced.apply_async(abs, -1)
    slow = balanced.apply_async(hold, str(tmp_path), "slow")
    values = aiter(jr.AsyncResult.join(quick, slow))
    assert await anext(values) == 1
    assert not slow.done()
    release(tmp_path, "slow")
    assert [value async for value in values] == ["slow"]


# --- cancelling -------------------------------------------------------------------------------
async def test_cancelling_a_task_that_awaits_interrupts_the_call(view: Any, tmp_path: Path) -> None:
    result = view[0].apply_async(hold, str(tmp_path), "held")
    task = asyncio.ensure_future(_value_of(result))
    await come_true(lambda: has_begun(tmp_path, "held"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await come_true(result.done)
    assert isinstance(result.exception(), KeyboardInterrupt)
    assert await view[0].apply_async(abs, -1) == 1


async def test_cancelling_a_task_that_iterates_stops_the_rest_of_a_map(
    balanced: LoadBalancedView, tmp_path: Path
) -> None:
    names = [f"{n}" for n in range(6)]
    result = balanced.map_async(hold, [str(tmp_path)] * 6, names, chunksize=1)

    async def iterate() -> list[str]:
        return [value async for value in result]

    task = asyncio.ensure_future(iterate())
    await come_true(lambda: has_begun(tmp_path, "0") and has_begun(tmp_path, "1"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await come_true(result.done)
    assert not has_begun(tmp_path, "5")


async def test_a_call_that_was_interrupted_elsewhere_ends_no_event_loop(
    view: Any, tmp_path: Path
) -> None:
    result = view[0].apply_async(hold, str(tmp_path), "held")
    await come_true(lambda: has_begun(tmp_path, "held"))
    result.cancel()
    with pytest.raises(jr.JobCancelled, match="interrupted"):
        await result


async def test_a_limit_of_time_stops_the_call(view: Any, tmp_path: Path) -> None:
    result = view[0].apply_async(hold, str(tmp_path), "held")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(result, 0.2)
    await come_true(result.done)
    assert await view[0].apply_async(abs, -1) == 1


# --- jobs -------------------------------------------------------------------------------------
async def test_async_for_over_a_batch_of_jobs(client: jr.Client) -> None:
    batch = client.map(abs, range(-4, 0))
    assert [value async for value in batch] == [4, 3, 2, 1]
    assert await batch == [4, 3, 2, 1]


async def test_cancelling_a_task_that_iterates_over_a_batch_cancels_its_jobs(
    client: jr.Client, tmp_path: Path
) -> None:
    batch = client.map(hold, [str(tmp_path)] * 4, [f"{n}" for n in range(4)])

    async def iterate() -> list[str]:
        return [value async for value in batch]

    task = asyncio.ensure_future(iterate())
    await come_true(lambda: has_begun(tmp_path, "0"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(batch.wait, 60)
    assert [job.status for job in batch] == ["cancelled"] * 4
