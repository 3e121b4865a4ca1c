"""How errors look in a notebook: the user's code on both sides, nothing of ours, what goes on."""

from __future__ import annotations

import re

import nbformat
import pytest

from jupyter_remote.client.tracebacks import lines_of
from jupyter_remote.errors import LaunchRefused
from tests.notebook.test_cells import cards, error, run, stream, value

SOON = """
import os, signal, sys, threading, time, traceback
def interrupt():
    while True:
        stack = sys._current_frames()[threading.main_thread().ident]
        codes = [frame.f_code for frame, _ in traceback.walk_stack(stack)]
        if codes[0].co_name == "wait" and any("/client/" in code.co_filename for code in codes):
            return os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
def soon():
    threading.Thread(target=interrupt).start()
"""


def shown(cell: nbformat.NotebookNode) -> str:
    """The traceback as text; nothing of our own code is in it."""
    text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error(cell).traceback))
    assert "jupyter_remote" not in text
    assert "run_line_magic" not in text
    return text


def test_the_frames_that_called_a_remote_function_stand_above_the_remote_ones(tmp_path):
    cells = run(
        tmp_path,
        "@jr.remote\ndef inner(x):\n    return 1 / x\ndef outer(x):\n    return inner(x)",
        "outer(0)",
        "job = inner.submit(0)\ndef wait():\n    return job.result()\nwait()",
        "@jr.remote\ndef chained():\n    try:\n        {}['k']\n    except KeyError as e:\n"
        "        raise ValueError('v') from e\nchained()",
        "%%remote_run\n1 / 0",
    )
    text = shown(cells[1])
    order = ["----> 1 outer(0)", "return inner(x)", "return 1 / x", "ZeroDivisionError: division"]
    assert sorted(order, key=text.index) == order
    assert text.count("Traceback (most recent call last)") == 1
    text = shown(cells[2])
    assert text.index("return job.result()") < text.index("return 1 / x")
    text = shown(cells[3])
    assert text.index("KeyError: 'k'") < text.index("> 7 chained()") < text.rindex("ValueError: v")
    assert shown(cells[4]).count("----> ") == 1


def test_an_expression_is_shown_as_it_was_typed(tmp_path):
    cells = run(
        tmp_path,
        "%remote run 1/0",
        "%remote run 1 +",
        "%remote run 6 * 7",
        "value = %remote run [1,\nvalue",
        "value = %remote run 43;\nvalue",
        "%remote run None",
        "%remote attach last",
        "%remote run 5",
        "%remote attach last",
        "%%remote_run\n8",
        "%remote attach last",
        "%remote off",
        "%remote run 1/0",
        "%remote run 2 + 2",
    )
    assert "line 1\n----> 1 1/0\n" in shown(cells[0])
    assert "1 +" in shown(cells[1])
    assert "<unknown>" not in shown(cells[1])
    assert cards(cells[1]) == []
    results = [[o for o in c.outputs if o.output_type == "execute_result"] for c in cells]
    values = [value(cells[i]) for i in (2, 4, 5, 6, 7, 8, 10, 13)]
    assert values == ["42", "43", None, None, "5", "5", "8", "4"]
    assert max(map(len, results)) == 1
    assert "----> 1 1/0\n" in shown(cells[12])


def test_who_waits_no_longer_reads_that_the_job_goes_on(tmp_path):
    cells = run(
        tmp_path,
        f"{SOON}client = jr.Client()\nsleepers = client.map(time.sleep, [120, 120])",
        "sleepers[0].result(0.2)",
        "soon()\nsleepers[0].result()",
        "soon()\nsleepers.results()",
        "soon()\nfor job in sleepers.as_completed():\n    pass",
        "sleepers.results(timeout=0.1)",
        "sleepers.cancel()",
    )
    assert error(cells[1]).ename == "StillRunning"
    assert "it goes on" in shown(cells[1])
    assert re.search(r"KeyboardInterrupt: ?\njob [0-9a-f]{8} goes on", shown(cells[2]))
    for cell in cells[3:5]:
        assert "the jobs go on" in shown(cell)
        assert "job " not in shown(cell).partition("KeyboardInterrupt:")[2]
    assert "2 of 2 jobs have not ended" in shown(cells[5])
    assert value(cells[6]) == "2"


def test_a_notebook_that_cannot_run_is_refused_before_it_is_sent(tmp_path):
    (tmp_path / "empty.ipynb").touch()
    (tmp_path / "code.py").write_text("x = 1")
    whole = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    nbformat.write(whole, tmp_path / "whole.ipynb")
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "none.ipynb")
    cells = run(
        tmp_path,
        "%remote notebook empty.ipynb",
        "%remote notebook code.py",
        "%remote notebook .",
        "%remote notebook whole.ipynb --to nowhere/out.ipynb",
        "%remote notebook none.ipynb",
        "jr.Client().run_notebook('code.py')",
    )
    said = [error(cell).evalue for cell in (*cells[:4], cells[5])]
    assert ["not a notebook" in text for text in said] == [True, True, False, False, True]
    assert "there is no file" in said[2]
    assert "there is no folder nowhere" in said[3]
    assert "no code cells" in stream(cells[4])
    assert [cards(cell) for cell in cells] == [[]] * 6


def test_a_failed_cell_of_a_notebook_is_shown_with_its_source_whoever_asks(tmp_path):
    code = ("def half(x):\n    return x / 0", "half(3)")
    whole = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in code])
    nbformat.write(whole, tmp_path / "bad.ipynb")
    lines = ("notebook bad.ipynb", "attach last", "result last")
    cells = run(tmp_path, *(f"%remote {line}\n" for line in lines), "!rm *.executed.ipynb")
    for cell in cells[:2]:
        assert "return x / 0" in shown(cell)
        assert "NotebookError: Cell 2: ZeroDivisionError: division by zero" in shown(cell)
    for cell in cells[:3]:
        assert "executed notebook: bad.executed.ipynb" in stream(cell)
        assert value(cell) is None
    assert error(cells[3]) is None


@pytest.mark.parametrize("mode", ["Plain", "Minimal", "Verbose", "Docs"])
def test_a_remote_error_is_shown_whatever_the_mode_of_tracebacks(tmp_path, mode):
    cells = run(
        tmp_path,
        "@jr.remote\ndef part(x):\n    return 1 / x",
        f"%xmode {mode}",
        "part(0)",
        "%%remote_run\n1 / 0",
    )
    for cell in cells[2:]:
        assert "division by zero" in shown(cell)
        assert "Unexpected exception" not in shown(cell)


def test_a_command_in_a_hint_stands_in_a_line_of_its_own():
    command = "  aws service-quotas request-service-quota-increase " + "--option value " * 8
    hint = f"{'Ask for more. ' * 8}\n{command}\nQuotas are separate."
    told = lines_of(LaunchRefused("no machine", hint=hint))
    assert command in told
    assert told[-1] == "Quotas are separate."
    assert max(len(line) for line in told if line != command) <= 88
