"""What workers print and display, in the cell that waits for them."""

from __future__ import annotations

import json
import re
from collections import deque
from pathlib import Path
from typing import Any

import nbformat
import pytest

from jupyter_remote import calls
from jupyter_remote.client.views import shown
from jupyter_remote.client.views.shown import Live, folded
from tests.e2e.test_ordinary_cells import run_cells


def text(worker: int, said: str, name: str = "stdout") -> tuple[int, calls.Text]:
    return worker, calls.Text(name, said)


def display(worker: int, content: dict[str, Any]) -> tuple[int, calls.Shown]:
    return worker, calls.Shown("display_data", json.dumps(content).encode())


# --- lines ------------------------------------------------------------------------------------
def test_lines_that_workers_share_but_for_numbers_are_one_with_a_count():
    lines = [(w, "stdout", f"step 10 loss={w / 7:.2f}") for w in range(64)]
    assert folded([*lines, (5, "stdout", "only me")]) == [
        ("[64 similar] ", "stdout", "step 10 loss=0.00"),
        ("[stdout:5] ", "stdout", "only me"),
    ]


def test_lines_that_one_worker_repeats_are_all_there():
    lines = [(w, "stdout", "again") for w in (0, 1) for _ in range(3)]
    assert folded(lines) == [("[2 similar] ", "stdout", "again")] * 3
    assert (
        folded([(0, "stderr", "once"), (0, "stderr", "once")])
        == [("[stderr:0] ", "stderr", "once")] * 2
    )


def test_the_same_words_on_two_streams_are_two_lines():
    assert len(folded([(0, "stdout", "a"), (1, "stderr", "a")])) == 2


def test_colours_do_not_make_lines_differ_and_a_carriage_return_leaves_the_last_state():
    lines = [
        (0, "stdout", "\x1b[31mred\x1b[0m"),
        (1, "stdout", "red"),
        (0, "stdout", "1%\r50%\r99%"),
    ]
    assert [line[2] for line in folded(lines)] == ["\x1b[31mred\x1b[0m", "99%"]


# --- while somebody waits ---------------------------------------------------------------------
def test_parts_of_a_line_wait_for_its_end(capsys):
    live = Live(many=True)
    live.flush(deque([text(0, "be"), text(1, "begin\n"), text(0, "gin\nrest")]))
    live.flush(deque(), last=True)
    assert capsys.readouterr().out == "[2 similar] begin\n[stdout:0] rest\n"


def test_lines_of_one_worker_stay_in_their_order_and_on_their_streams(capsys):
    live = Live(many=True)
    live.flush(deque([text(0, "one\n"), text(0, "two\n", "stderr"), text(0, "three\n")]), last=True)
    said = capsys.readouterr()
    assert said.out == "[stdout:0] one\n[stdout:0] three\n"
    assert said.err == "[stderr:0] two\n"


def test_what_one_worker_prints_alone_is_printed_as_it_is(capsys):
    live = Live(many=False)
    live.flush(deque([text(0, "a"), text(0, "b\nc")]))
    assert capsys.readouterr().out == "ab\nc"


def test_displays_come_between_the_lines_of_their_worker(capsys, monkeypatch):
    monkeypatch.setattr(
        shown, "_publish", lambda worker, output: print(f"<{worker}:{output.content.decode()}>")
    )
    live = Live(many=True)
    said = [text(w, "before\n") for w in (1, 0)]
    said += [display(w, {}) for w in (1, 0)] + [text(w, "after\n") for w in (1, 0)]
    live.flush(deque([text(0, "half"), *said]), last=True)
    assert capsys.readouterr().out.splitlines() == [
        "[stdout:1] before",
        "[stdout:0] halfbefore",
        "<0:{}>",
        "<1:{}>",
        "[2 similar] after",
    ]


# --- afterwards -------------------------------------------------------------------------------
def test_outputs_are_shown_again_by_type_or_by_worker(view, capsys):
    result = view.execute("import sys\nprint('out')\nprint('err', file=sys.stderr)")
    result.display_outputs()
    said = capsys.readouterr()
    assert said.out == "[stdout:0] out\n[stdout:1] out\n"
    assert said.err == "[stderr:0] err\n[stderr:1] err\n"
    result.display_outputs(groupby="engine")
    assert capsys.readouterr().out == "[stdout:0] out\n[stdout:1] out\n"
    with pytest.raises(ValueError, match="groupby is one of"):
        result.display_outputs(groupby="colour")


def test_outputs_of_one_worker_have_no_head(one, capsys):
    one.apply(print, "hello\nthere").display_outputs()
    assert capsys.readouterr().out == "hello\nthere\n"


def test_outputs_are_in_the_metadata_and_a_silent_value_is_not(one):
    code = "from IPython.display import display\ndisplay(1)\n2"
    loud, silent = (one.execute(code, silent=s) for s in (False, True))
    assert loud.wait()
    assert silent.wait()
    assert loud.outputs == silent.outputs == [{"data": {"text/plain": "1"}, "metadata": {}}]
    assert loud.execute_result["data"] == {"text/plain": "2"}
    assert silent.execute_result is None
    assert loud.execute_input == code


def test_waiting_shows_a_bar(view, capsys):
    view.map(abs, range(4)).wait_interactive(interval=0.01)
    assert re.search(r"abs: █+ 4/4 \[", capsys.readouterr().err)


# --- in a notebook ----------------------------------------------------------------------------
CELLS = [
    "import jupyter_remote as jr\nclient = jr.Client(); client.wait_for_engines(2)\n"
    "view = client[:]; view.block = True",
    "def noisy():\n    import sys\n    print('hello')\n    sys.stderr.write('careful\\n')\n"
    "    print('rest', end='')\n    return 1\nview.apply(noisy)",
    "view.apply_async(noisy).get()",
    "view.execute('from IPython.display import HTML, display; display(HTML(\"<b>x</b>\")); 5',"
    " silent=False);",
    "def steps():\n    return sum(jr.progress(range(3), desc='epoch'))\nview.apply(steps)",
    "view.apply(lambda: 1 / 0)",
    "client[0].apply_sync(lambda: print('alone'))",
    "view.activate()\n%px x = 3; print('there'); x * 2",
    "%pxresult",
    "view.apply_async(noisy).wait_interactive()",
    "client.close()",
]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[nbformat.NotebookNode]:
    folder: Path = tmp_path_factory.mktemp("cells")
    return run_cells(CELLS, folder)


def streams(cell: nbformat.NotebookNode, name: str = "stdout") -> str:
    return "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == name)


def plain(cell: nbformat.NotebookNode) -> list[str]:
    return [o.data["text/plain"] for o in cell.outputs if "data" in o]


def test_a_blocking_call_shows_what_its_workers_print(cells):
    assert streams(cells[1]).count("hello") in (1, 2)
    assert streams(cells[1]).splitlines()[-1] in (
        "[2 similar] rest",
        "[stdout:1] rest",
        "[stdout:0] rest",
    )
    assert "careful\n" in streams(cells[1], "stderr")
    assert plain(cells[1]) == ["[1, 1]"]


def test_a_call_that_does_not_block_shows_nothing_unasked(cells):
    assert streams(cells[2]) == ""


def test_displays_say_whose_they_are(cells):
    assert [o.data.get("text/html") for o in cells[3].outputs if "data" in o][:1] == ["<b>x</b>"]
    assert sorted(streams(cells[3]).splitlines()) == ["[output:0]"] * 2 + ["[output:1]"] * 2


def test_bars_of_workers_stay_in_their_places(cells):
    bars = [line for line in plain(cells[4]) if "epoch" in line]
    assert sorted(bar[:11] for bar in bars) == ["[0] epoch: ", "[1] epoch: "]
    assert all("3/3" in bar for bar in bars)


def test_an_error_of_several_workers_is_a_short_list_and_one_traceback(cells):
    [error] = cells[5].outputs
    assert error.ename == "CompositeError"
    said = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    assert said.count("view.apply(lambda: 1 / 0)") == 1
    assert "[1:<lambda>] ZeroDivisionError: division by zero" in said
    assert "[2 of 2] as [1 of 2]" in said
    assert "/jupyter_remote/" not in said


def test_one_worker_needs_no_head(cells):
    assert streams(cells[6]) == "alone\n"


def test_px_runs_a_cell_on_all_workers_and_pxresult_shows_it_again(cells):
    assert streams(cells[7]).count("there") in (1, 2)
    assert plain(cells[7]) == ["6", "6"]
    assert streams(cells[8]).splitlines()[:2] == ["[stdout:0] there", "[stdout:1] there"]
    assert plain(cells[8]) == ["6", "6"]


def test_waiting_in_a_notebook_has_one_bar_in_its_place(cells):
    [bar] = plain(cells[9])
    assert "2/2" in bar
