"""How long workers live, and what is said when they ended."""

from __future__ import annotations

import gc
import os
import threading
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

import jupyter_remote as jr
from jupyter_remote import errors
from tests.views.executor_fixtures import LIMIT_S, hold, release, until


@pytest.fixture
def own() -> Iterator[jr.Client]:
    with jr.Client(namespace={}) as client:
        client.wait_for_engines(1)
        yield client


def test_workers_that_died_are_followed_by_empty_ones_with_a_warning(own: jr.Client) -> None:
    own[0]["a"] = 1
    died = own[0].apply_async(os._exit, 3).exception(LIMIT_S)
    assert isinstance(died, errors.EngineError)
    with pytest.warns(UserWarning, match=r"ended, and what they held is lost: .*exit"):
        fresh = own[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "a" not in fresh.apply_sync(dir)
        assert all(engine.alive for engine in own._views._owned)


def test_also_of_workers_whose_end_nobody_knows_yet_it_is_told(
    own: jr.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_remote.client.views.views.ENDS_S", 0.0)
    died = own[0].apply_async(os._exit, 3).exception(LIMIT_S)
    assert isinstance(died, errors.EngineError)
    for engine in own._views._owned:
        monkeypatch.setattr(engine.job, "wait", lambda timeout: False)
    with pytest.warns(UserWarning, match="what they held is lost"):
        own[0].apply_sync(dir)


def test_workers_that_were_stopped_are_followed_by_others_without_a_word(own: jr.Client) -> None:
    stopped = own[0].apply_sync(os.getpid)
    own[:].shutdown()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert own[0].apply_sync(os.getpid) != stopped


def _used() -> tuple[weakref.ref[jr.Client], str, str]:
    """A client that nobody holds any more: its folder in memory, and a worker without a name."""
    client = jr.Client(namespace={})
    view, session = client.view(1), client.session("outlives-its-client")
    assert view.apply_sync(abs, -1) == [1]
    assert session.apply_sync(abs, -1) == 1
    assert client.load_balanced_view().map_sync(abs, [-1, -2]) == [1, 2]
    assert client.load_balanced_view().apply_sync(abs, -1) == 1
    assert list(client.load_balanced_view().imap(abs, [-1])) == [1]
    job = view._group.engines[0].job.id
    return weakref.ref(client), client._views.space.shared.path, job


def _exchanging() -> set[threading.Thread]:
    """Threads that wait for replies."""
    return {thread for thread in threading.enumerate() if thread.name == "jupyter-remote-calls"}


def test_a_client_that_nobody_holds_leaves_nothing_behind() -> None:
    others = _exchanging()
    gone, folder, job = _used()

    def is_over() -> bool:
        gc.collect()  # again: its workers may just be connected
        return gone() is None and not os.path.exists(folder) and _exchanging() <= others

    until(is_over)
    with jr.Client(namespace={}) as client:
        until(lambda: client.job(job).done())
        session = client.session("outlives-its-client")
        assert not session.is_new
        session.stop()


def test_a_result_keeps_what_it_comes_from(tmp_path: Path) -> None:
    def begun(balanced: bool) -> jr.AsyncResult:
        client = jr.Client(namespace={})
        view = client.view(1)
        if balanced:
            return client.load_balanced_view().apply_async(hold, str(tmp_path), "a")
        return view[0].apply_async(hold, str(tmp_path), "a")

    results = [begun(balanced=True), begun(balanced=False)]
    gc.collect()
    release(tmp_path, "a")
    assert [result.get(LIMIT_S) for result in results] == ["a", "a"]
