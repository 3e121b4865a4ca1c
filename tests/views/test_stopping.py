"""Calls that are stopped: those that wait, those that run, and the rest of a map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import jupyter_remote as jr
from jupyter_remote.client.views.balanced import LoadBalancedView
from tests.views.executor_fixtures import client, has_begun, hold, release, until

__all__ = ["client"]


@pytest.fixture(scope="module")
def view(client: jr.Client) -> Any:
    return client.view(1)[0]


def test_abort_drops_what_waits_and_lets_go_on_what_runs(view: Any, tmp_path: Path) -> None:
    runs = view.apply_async(hold, str(tmp_path), "runs")
    waits = view.apply_async(hold, str(tmp_path), "waits")
    until(lambda: has_begun(tmp_path, "runs"))
    view.abort([runs, waits])
    last = view.apply_async(abs, -1)
    release(tmp_path, "runs")
    assert runs.get(30) == "runs"
    with pytest.raises(jr.TaskAborted):
        waits.get(30)
    assert last.get(30) == 1
    assert not has_begun(tmp_path, "waits")


def test_cancel_interrupts_what_runs_too(view: Any, tmp_path: Path) -> None:
    runs = view.apply_async(hold, str(tmp_path), "runs")
    until(lambda: has_begun(tmp_path, "runs"))
    runs.cancel()
    assert isinstance(runs.exception(30), KeyboardInterrupt)


def test_the_rest_of_a_map_that_is_aborted_is_not_begun(view: Any, tmp_path: Path) -> None:
    names = [f"{n}" for n in range(5)]
    balanced = LoadBalancedView(view._group)
    result = balanced.map_async(hold, [str(tmp_path)] * 5, names, chunksize=1)
    until(lambda: has_begun(tmp_path, "0"))
    result.abort()
    release(tmp_path, "0")
    assert result.wait(30)
    assert [name for name in names if has_begun(tmp_path, name)] == ["0"]
    with pytest.raises(jr.CompositeError):
        result.get()


def test_a_worker_that_died_before_its_first_call_costs_the_others_nothing(
    client: jr.Client,
) -> None:
    view = client.view(2)
    job = view._group.engines[0].job
    job.cancel(force=True)
    assert job.wait(30)
    balanced = LoadBalancedView(view._group)
    assert list(balanced.map_sync(abs, range(-20, 0))) == list(range(20, 0, -1))
