"""``jr.progress``, ``jr.job`` and ``jr.on_checkpoint`` where no job runs, and what a job sees."""

from __future__ import annotations

import pytest

from jupyter_remote.worker import inside
from jupyter_remote.worker.inside import job, on_checkpoint, progress


def test_outside_a_job_there_is_none() -> None:
    assert not job
    assert (job.id, job.attempt, job.budget_left) == ("", 0, None)
    assert "no job" in repr(job)


def test_outside_a_job_progress_is_a_line_of_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(3), desc="read")) == [0, 1, 2]
    said = capsys.readouterr().err
    assert said.endswith("\n")
    assert "read: 3/3 100 %" in said


def test_progress_without_an_iterable_is_moved_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(total=4) as bar:
        bar.update(3)
        assert len(bar) == 4
    assert "3/4" in capsys.readouterr().err
    with pytest.raises(TypeError, match="update"):
        next(iter(progress()))


def test_progress_ends_when_its_loop_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in progress(iter("ab")):
        break
    assert "\n" in capsys.readouterr().err


def test_checkpoints_are_kept_in_order() -> None:
    @on_checkpoint
    def save() -> int:
        return 1

    assert inside.checkpoints[-1] is save
    with pytest.raises(TypeError):
        on_checkpoint(3)  # type: ignore[type-var]
    inside.checkpoints.clear()


def test_what_is_left_of_a_budget_shrinks_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("time.time", lambda: now)
    running = inside.RunningJob()
    running.begin("id", 2, None, inside.Purse(1.0, 3600.0, now))
    assert running.budget_left == 1.0
    now = 1_000.25
    assert running.budget_left == 0.75
    now = 2_000.0
    assert running.budget_left == 0.0
    running.end()
    assert not running
