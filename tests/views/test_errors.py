"""What went wrong over there, told here."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

import jupyter_remote as jr
from jupyter_remote.composite import DRAWN, LISTED
from tests.views.gates import Gate, held


def fails(number: int) -> float:
    return 1 / number


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def failed(count: int, different: bool = False) -> jr.CompositeError:
    errors = [
        jr.RemoteError("ValueError", f"bad {n}", ["File x", f"line {n if different else 0}"])
        for n in range(count)
    ]
    return jr.CompositeError("it failed", errors)


# --- of one worker ----------------------------------------------------------------------------
def test_a_remote_error_has_name_value_traceback_and_worker(client):
    with pytest.raises(jr.RemoteError) as caught:
        client[1].apply_sync(fails, 0)
    error = caught.value
    assert isinstance(error, ZeroDivisionError)
    assert (error.ename, error.evalue) == ("ZeroDivisionError", "division by zero")
    assert "return 1 / number" in plain("\n".join(error.traceback))
    info = error.engine_info
    assert (info["engine_id"], info["method"], info["name"]) == (1, "apply", "fails")
    assert error.engine_id == 1
    assert info["engine_uuid"] == client[1].apply(int).engine_uuid


def test_print_traceback_ends_with_the_worker(one, capsys):
    error = one.apply(fails, 0).exception()
    error.print_traceback()
    said = capsys.readouterr().out
    assert "fails" in said
    assert said.splitlines()[-1].startswith("on worker 0 (session 'view-")


def test_the_same_error_is_raised_when_it_is_asked_for_later(one):
    result = one.apply(fails, 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            result.get()
    with pytest.raises(ZeroDivisionError):
        one.execute("1 / 0", block=True)
    assert one.execute("1 / 0").exception().engine_info["method"] == "execute"


def test_a_syntax_error_of_a_cell_is_that(one):
    with pytest.raises(SyntaxError):
        one.execute("def f(:", block=True)


# --- of several -------------------------------------------------------------------------------
def test_errors_of_workers_are_a_group_whose_parts_are_the_errors(view):
    with pytest.raises(jr.CompositeError) as caught:
        view.apply_sync(fails, 0)
    error = caught.value
    assert isinstance(error, ExceptionGroup)
    assert isinstance(error, jr.RemoteError)
    assert str(error).splitlines() == [
        "one or more exceptions raised in: fails",
        "[0:fails] ZeroDivisionError: division by zero",
        "[1:fails] ZeroDivisionError: division by zero",
    ]
    for number, (ename, evalue, traceback, info) in enumerate(error.elist):
        assert (ename, evalue) == ("ZeroDivisionError", "division by zero")
        assert "return 1 / number" in plain(traceback)
        assert info["engine_id"] == number


def test_except_star_takes_the_parts_of_a_type(view):
    taken = []
    try:
        view.apply_sync(fails, 0)
    except* ZeroDivisionError as group:
        taken.append(group)
    assert isinstance(taken[0], jr.CompositeError)
    assert [e.engine_id for e in taken[0].exceptions] == [0, 1]


def test_results_of_others_are_there_when_one_failed(client, view):
    client[0]["number"], client[1]["number"] = 0, 2
    result = view.apply(fails, jr.Reference("number"))
    with pytest.raises(jr.CompositeError) as caught:
        result.get()
    assert [e[3]["engine_id"] for e in caught.value.elist] == [0]
    error, value = result.get(return_exceptions=True)
    assert value == 0.5
    assert isinstance(error, ZeroDivisionError)


def test_one_part_is_raised_and_printed_by_its_number(view, capsys):
    error = view.apply(fails, 0).exception()
    with pytest.raises(ZeroDivisionError) as caught:
        error.raise_exception(1)
    assert caught.value.engine_id == 1
    with pytest.raises(IndexError, match="index 9"):
        error.raise_exception(9)
    with pytest.raises(IndexError):
        error.print_traceback(9)
    error.print_traceback(0)
    assert "return 1 / number" in plain(capsys.readouterr().out)


def test_many_errors_are_a_short_list_with_a_count():
    lines = str(failed(64)).splitlines()
    assert len(lines) == 1 + LISTED + 1
    assert lines[1] == "[1] ValueError: bad 0"
    assert lines[-1] == f"… and {64 - LISTED} more"
    assert len(str(failed(LISTED)).splitlines()) == 1 + LISTED


def test_a_traceback_that_was_drawn_is_not_drawn_again():
    lines = failed(3).render_traceback()
    assert lines == [
        "",
        "[1 of 3]",
        "File x",
        "line 0",
        "[2 of 3] as [1 of 3]",
        "[3 of 3] as [1 of 3]",
    ]
    lines = failed(64, different=True).render_traceback()
    assert sum(line == "File x" for line in lines) == DRAWN
    assert f"[{DRAWN + 1} of 64] print_traceback({DRAWN}) shows it" in lines
    assert failed(64, different=True).render_traceback(63) == ["File x", "line 63"]


# --- workers that die -------------------------------------------------------------------------
def test_a_killed_worker_is_told_at_once_and_the_results_of_others_are_there(
    client, tmp_path: Path
):
    view = client.view(2)
    gate = Gate(tmp_path)
    pids = view.apply_sync(os.getpid)
    view[0:1].push({"wait": False}, block=True)
    view[1:].push({"wait": True}, block=True)
    result = view.apply(
        lambda wait, path: held(path) if wait else "well", jr.Reference("wait"), gate.path
    )
    next(iter(result))
    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises(jr.CompositeError, match="one or more") as caught:
        result.get(15)
    [error] = caught.value.exceptions
    assert isinstance(error, jr.EngineError)
    assert "[1:<lambda>] EngineError: worker 1" in str(caught.value)
    assert "variables are lost" in error.hint
    assert result.get(return_exceptions=True)[0] == "well"
    assert view.client is client
    with pytest.raises(jr.EngineError, match="is gone"):
        view[1].apply_sync(int)
    assert view[0].apply_sync(int) == 0
    view.shutdown()


def test_a_call_is_tried_again_on_another_worker_when_its_own_died(client, tmp_path: Path):
    marker = tmp_path / "died"

    def dies_once(path: str) -> str:
        import os
        import signal

        if not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return "alive"

    view = client.view(2)
    balanced = type(client.load_balanced_view())(view._group, retries=1)
    assert balanced.apply(dies_once, str(marker)).get(30) == "alive"
    marker.unlink()
    with pytest.raises(jr.EngineError):
        balanced.set_flags(retries=0).apply(dies_once, str(marker)).get(30)
    view.shutdown()
