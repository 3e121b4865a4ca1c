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


def test_of_checkpoint_functions_the_latest_of_each_name_counts() -> None:
    @on_checkpoint
    def save() -> int:
        return 1

    first = save

    @on_checkpoint
    def save() -> int:
        return 2

    assert (first(), inside.checkpoints) == (1, {"save": save})
    inside.checkpoints.clear()


def test_only_a_plain_function_can_be_a_checkpoint_function() -> None:
    async def save() -> int:
        return 1

    for wrong in (3, save):
        with pytest.raises(TypeError, match="a plain function"):
            on_checkpoint(wrong)  # type: ignore[type-var]
    assert inside.checkpoints == {}


def test_outside_a_job_there_is_no_checkpoint_and_no_reason_to_stop() -> None:
    assert (job.checkpoint, job.stop_reason) == (None, "")


def test_a_checkpoint_is_opened_when_it_is_asked_for_and_once() -> None:
    opened: list[int] = []
    running = inside.RunningJob()
    running.begin("id", 1, None, checkpoint=lambda: opened.append(1) or "saved")
    assert not opened
    assert (running.checkpoint, running.checkpoint, opened) == ("saved", "saved", [1])
    running.end()
    assert running.checkpoint is None


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
