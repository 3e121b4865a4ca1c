"""Errors of extrapolations, of jobs that were shown to their end."""

from __future__ import annotations

from collections import deque

import pytest
from msgspec.structs import replace

from jupyter_remote.cards.render import card_json
from jupyter_remote.cards.state import at_completion
from jupyter_remote.notebook import halfway
from jupyter_remote.notebook.halfway import Halfway
from jupyter_remote.wire import Bar

from .test_card import after, running


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halfway, "_errors", deque(maxlen=halfway.KEPT))


def bar(n: float, elapsed_s: float) -> Bar:
    return Bar(id="o", n=n, total=100, elapsed_s=elapsed_s)


def test_what_progress_said_is_compared_with_the_end() -> None:
    one = Halfway()
    for n, elapsed_s in ((1, 3.0), (10, 12.0), (11, 20.0), (30, 32.0)):
        one.look(running(bar(n, elapsed_s)), 1000.0 + elapsed_s)
    one.ended(after(status="completed", attempt=1, started_at=1000.0, ended_at=1100.0))
    assert halfway.errors() == ((0.1, pytest.approx(1.2)), (0.3, pytest.approx(32 / 30)))


@pytest.mark.parametrize(
    "end",
    [
        {"status": "failed", "attempt": 1, "ended_at": 1100.0},
        {"status": "completed", "attempt": 2, "ended_at": 1100.0},
        {"status": "completed", "attempt": 1, "ended_at": 1002.0},
    ],
)
def test_only_a_run_in_one_go_to_its_end_tells(end: dict[str, object]) -> None:
    one = Halfway()
    one.look(running(bar(10, 10.0)), 1010.0)
    one.ended(after(started_at=1000.0, **end))
    assert halfway.errors() == ()


def test_the_next_job_is_corrected_by_what_was_wrong_before() -> None:
    errors = ((0.1, 1.2),) * 20  # always too long by a fifth
    naive = at_completion(running(bar(10, 12.0)), 1012.0)
    told = at_completion(replace(running(bar(10, 12.0)), errors=errors), 1012.0)
    assert naive is not None
    assert told is not None
    assert naive.total_s[1] == pytest.approx(120.0)
    assert told.total_s[1] == pytest.approx(100.0)
    assert told.total_s[2] - told.total_s[0] < naive.total_s[2] - naive.total_s[0]


def test_the_errors_of_others_are_not_part_of_a_saved_card() -> None:
    state = replace(running(bar(10, 12.0)), errors=((0.1, 1.2),) * 20)
    assert card_json(state, 1012.0)["errors"] == ()
