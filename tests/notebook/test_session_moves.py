"""What a notebook says of a session whose machine was taken away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_remote.notebook.context import Context
from jupyter_remote.notebook.in_session import open_session, tell_of_move
from jupyter_remote.notebook.options import RunOptions


def session(attempt: int, there: str) -> Any:
    return SimpleNamespace(
        name="lab", job=SimpleNamespace(id="j"), restored=lambda: (attempt, there)
    )


def test_it_says_once_after_each_move_what_is_there_and_what_is_lost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    context, there = Context(), "saved: x (int); lost: lock (lock): cannot pickle it"
    for _ in range(2):
        tell_of_move(context, session(2, there))
    assert capsys.readouterr().out == (
        f"session lab is on another machine: its last was taken away; {there}\n"
    )
    tell_of_move(context, session(3, there))
    assert capsys.readouterr().out.count("lost: lock") == 1


def test_the_notebook_that_started_a_session_hears_of_its_move_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, context = session(1, ""), Context()
    one.is_new, one.job.status = True, "running"
    client: Any = SimpleNamespace(session=lambda *_, **__: one)
    options = RunOptions(session="lab", quiet=True)
    open_session(context, client, options)
    assert capsys.readouterr().out == ""
    one.restored = lambda: (2, "saved: x (int)")
    open_session(context, client, options)
    assert "its last was taken away; saved: x (int)" in capsys.readouterr().out


def test_it_says_nothing_where_nothing_had_to_come_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell_of_move(Context(), session(1, ""))
    tell_of_move(Context(), session(2, ""))  # its first attempt was given back
    assert capsys.readouterr().out == ""
