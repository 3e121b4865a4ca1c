"""joblib and scikit-learn on workers."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_backend, parallel_config
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

import jupyter_remote as jr
from jupyter_remote import shared
from jupyter_remote.client.views import shown
from tests.views.executor_fixtures import client, has_begun, hold

__all__ = ["client"]

SMALL_BYTES = 256 * 1024


@pytest.fixture
def remote(client: jr.Client) -> Iterator[Any]:
    """Parallel calls run on two workers."""
    with parallel_config(backend="jupyter_remote", client=client, n_jobs=2) as config:
        yield config


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what is put where workers find it."""
    sizes: list[int] = []
    write = shared.write

    def noting(folder: str, digest: str, view: memoryview) -> bool:
        sizes.append(view.nbytes)
        return write(folder, digest, view)

    monkeypatch.setattr(shared, "write", noting)
    return sizes


# --- registering ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "imports",
    ["import jupyter_remote, joblib", "import joblib, jupyter_remote", "import jupyter_remote"],
)
def test_the_backend_is_there_whichever_is_imported_first(imports: str) -> None:
    code = (
        f"import sys, json\n{imports}\nalone = 'joblib' in sys.modules\n"
        "import joblib.parallel\n"
        "print(json.dumps([alone, 'jupyter_remote' in joblib.parallel.BACKENDS]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["joblib" in imports, True]


def test_options_of_the_backend_are_checked_where_they_are_written(client: jr.Client) -> None:
    with pytest.raises(jr.JupyterRemoteError, match="machin"):
        parallel_config(backend="jupyter_remote", client=client, machin="g5.xlarge")


# --- calls ------------------------------------------------------------------------------------
def test_tasks_run_in_workers_and_results_keep_their_order(remote: Any) -> None:
    assert Parallel()(delayed(pow)(n, 2) for n in range(500)) == [n * n for n in range(500)]
    assert os.getpid() not in Parallel()(delayed(os.getpid)() for _ in range(8))


def test_parallel_backend_of_old_takes_it_too(client: jr.Client) -> None:
    with parallel_backend("jupyter_remote", n_jobs=2, client=client):
        assert os.getpid() not in Parallel()(delayed(os.getpid)() for _ in range(8))


def test_workers_are_the_same_in_the_next_call(client: jr.Client) -> None:
    seen = set()
    for _ in range(3):
        with parallel_config(backend="jupyter_remote", client=client, n_jobs=2):
            seen.update(Parallel()(delayed(os.getpid)() for _ in range(8)))
    assert len(seen) <= 2


def test_another_number_of_workers_takes_the_place_of_those_that_idle(client: jr.Client) -> None:
    with parallel_config(backend="jupyter_remote", client=client):
        Parallel(n_jobs=2)(delayed(abs)(n) for n in range(8))
        [before] = client._views.executors.values()
        assert Parallel(n_jobs=3)(delayed(abs)(n) for n in range(8)) == list(range(8))
    [after] = client._views.executors.values()
    assert not before.whole
    assert after.whole


def test_workers_that_died_are_started_anew(remote: Any) -> None:
    with pytest.raises(jr.EngineError):
        Parallel()(delayed(os._exit)(1) for _ in range(2))
    assert Parallel()(delayed(abs)(n) for n in range(8)) == list(range(8))


def test_results_come_as_a_generator(remote: Any) -> None:
    found = Parallel(return_as="generator")(delayed(pow)(n, 2) for n in range(20))
    assert list(found) == [n * n for n in range(20)]


def test_one_job_runs_here(client: jr.Client) -> None:
    with parallel_config(backend="jupyter_remote", client=client, n_jobs=1):
        assert Parallel()(delayed(os.getpid)() for _ in range(2)) == [os.getpid()] * 2


def test_tiny_tasks_are_sent_in_batches(remote: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with Parallel() as parallel:
        parallel(delayed(abs)(n) for n in range(3000))
        assert parallel.n_dispatched_batches < 1500


def test_threads_inside_of_workers_are_few_and_nested_calls_stay_there(remote: Any) -> None:
    def inner() -> tuple[int, list[int], str]:
        pids = joblib.Parallel(n_jobs=2)(joblib.delayed(os.getpid)() for _ in range(4))
        return os.getpid(), pids, os.environ["OMP_NUM_THREADS"]

    for pid, pids, threads in Parallel()(delayed(inner)() for _ in range(4)):
        assert set(pids) == {pid}
        assert int(threads) <= max(1, (os.cpu_count() or 1) // 2)


def test_the_number_of_inner_threads_can_be_set(client: jr.Client) -> None:
    with parallel_config(
        backend="jupyter_remote", client=client, n_jobs=2, inner_max_num_threads=3
    ):
        found = Parallel()(delayed(os.getenv)("OMP_NUM_THREADS") for _ in range(4))
    assert found == ["3"] * 4


def test_a_helper_that_was_changed_in_the_notebook_is_the_new_one_there(client: jr.Client) -> None:
    here = client.namespace
    exec("def helper(): return 1\ndef task(n): return helper()", here)
    with parallel_config(backend="jupyter_remote", client=client, n_jobs=2):
        assert Parallel()(delayed(here["task"])(n) for n in range(4)) == [1] * 4
        exec("def helper(): return 2", here)
        assert Parallel()(delayed(here["task"])(n) for n in range(4)) == [2] * 4


def test_modules_beside_the_notebook_go_along(
    client: jr.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first_mine.py").write_text("class Thing:\n    def f(self): return 'first'\n")
    (tmp_path / "second_mine.py").write_text("class Thing:\n    def f(self): return 'second'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import first_mine  # type: ignore[import-not-found]
    import second_mine  # type: ignore[import-not-found]

    things = [first_mine.Thing() if n < 10 else second_mine.Thing() for n in range(20)]
    with parallel_config(backend="jupyter_remote", client=client, n_jobs=2):
        found = Parallel(batch_size=1)(delayed(_f_of)(thing) for thing in things)
    assert found == ["first"] * 10 + ["second"] * 10


def _f_of(thing: Any) -> str:
    return str(thing.f())


# --- what goes wrong --------------------------------------------------------------------------
def test_an_error_ends_the_call_by_its_type_and_the_workers_stay(remote: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        Parallel()(delayed(divmod)(1, n) for n in (1, 0, 1, 1))
    assert Parallel()(delayed(abs)(n) for n in range(8)) == list(range(8))


def test_an_error_stops_what_runs_beside_it(remote: Any, tmp_path: Path) -> None:
    def fails(folder: str) -> None:
        import pathlib
        import time

        while not pathlib.Path(folder, "held.begun").exists():
            time.sleep(0.005)
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        Parallel()(
            delayed(f)(*args)
            for f, args in [(hold, (str(tmp_path), "held")), (fails, (str(tmp_path),))]
        )
    assert has_begun(tmp_path, "held")
    # nobody lets the held one go: the next calls can only be done because it was interrupted
    assert Parallel()(delayed(abs)(n) for n in range(8)) == list(range(8))


def test_what_cannot_travel_ends_the_call(remote: Any) -> None:
    with pytest.raises(jr.CaptureError, match="lock"):
        Parallel()(delayed(id)(threading.Lock()) for _ in range(50))


def test_a_task_that_takes_too_long_times_out(remote: Any, tmp_path: Path) -> None:
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=0.3)(delayed(hold)(str(tmp_path), f"{n}") for n in range(2))
    assert Parallel()(delayed(abs)(n) for n in range(8)) == list(range(8))


# --- data -------------------------------------------------------------------------------------
def test_the_same_array_is_written_once_for_all_tasks_and_calls(
    remote: Any, written: list[int]
) -> None:
    data = np.random.default_rng(0).normal(size=(500, 1000))
    for _ in range(2):
        found = Parallel(batch_size=1)(delayed(np.sum)(data) for _ in range(10))
        assert found == [data.sum()] * 10
    assert [size for size in written if size > SMALL_BYTES] == [data.nbytes]


def test_a_task_that_changes_its_array_changes_nobody_elses(remote: Any) -> None:
    data = np.zeros(200_000)

    def change(array: Any) -> float:
        array += 1
        return float(array.sum())

    assert Parallel(batch_size=1)(delayed(change)(data) for _ in range(6)) == [200_000.0] * 6
    assert data.sum() == 0


def test_a_grid_search_finds_what_it_finds_here_and_sends_its_data_once(
    client: jr.Client, written: list[int]
) -> None:
    x, y = make_classification(1500, 100, random_state=0)
    search = GridSearchCV(LogisticRegression(max_iter=300), {"C": [0.01, 0.1, 1.0]}, cv=3)
    expected = search.fit(x, y).cv_results_["mean_test_score"]
    for _ in range(2):
        with parallel_config(backend="jupyter_remote", client=client, n_jobs=2):
            found = search.fit(x, y).cv_results_["mean_test_score"]
        np.testing.assert_allclose(found, expected)
    assert [size for size in written if size > SMALL_BYTES] == [x.nbytes]


# --- progress ---------------------------------------------------------------------------------
def test_a_call_that_takes_longer_shows_a_bar_in_a_notebook(
    remote: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from jupyter_remote.client.views import joblib_backend

    monkeypatch.setattr(shown, "in_notebook", lambda: True)
    monkeypatch.setattr(joblib_backend, "SHOWN_AFTER_S", 0.0)
    monkeypatch.setattr(joblib_backend, "REDRAWN_S", 0.0)
    Parallel(batch_size=1)(delayed(abs)(n) for n in range(20))
    lines = capsys.readouterr().err.split("\r")
    assert any("1 done" in line for line in lines)
    assert "20/20" in lines[-1]
    assert lines[-1].endswith("\n")


def test_where_nobody_looks_there_is_no_bar(
    remote: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    Parallel()(delayed(abs)(n) for n in range(20))
    assert capsys.readouterr().err == ""
