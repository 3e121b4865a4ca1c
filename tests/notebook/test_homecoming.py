"""What the relay shows in a cell, and what the backend tells of the same job, are the same."""

from __future__ import annotations

import time

import nbformat
import pytest

import jupyter_remote as jr
from jupyter_remote.client.homecoming import cards_of, home_of, is_beginning, still
from jupyter_remote.wire import CARD_TYPE
from tests.notebook.test_cells import run

SHOW = "import sys, time\nfrom IPython.display import clear_output, display, update_display, HTML\n"
PROGRAMS = {
    "text": "print('a')\nprint('b', end='')\nprint('ü漢')",
    "both streams": "print('a'); print('b', file=sys.stderr); print('c')",
    "carriage returns": "for n in range(3):\n    print(n, end='\\r', flush=True)\nprint('end')",
    "control sequences": "print('\\x1b[31mred\\x1b[0m \\b \\x07')",
    "displays": "display(1, 2); print('x'); display(HTML('<b>b</b>'))",
    "last value": "print('x')\n{'a': 1}",
    "an update": "h = display('one', display_id=True); print('x'); h.update('two')",
    "an update of none": "update_display('nowhere', display_id='unknown'); print('x')",
    "twice one id": "display('a', display_id='d'); display('b', display_id='d')\n"
    "update_display('c', display_id='d')",
    "cleared": "print('gone'); clear_output(); print('there')",
    "cleared with what comes": "print('gone'); clear_output(wait=True); print('there')",
    "cleared at the end": "print('gone'); clear_output()",
    "cleared with what never comes": "print('stays'); clear_output(wait=True)",
    "cleared and updated": "h = display('one', display_id=True)\n"
    "clear_output(wait=True); display('two'); h.update('three')",
    "an error": "print('x')\ndef f(n):\n    return 1 / n\nf(0)",
    "an error that is shown": "try:\n    1 / 0\nexcept ZeroDivisionError:\n"
    "    get_ipython().showtraceback()\nprint('goes on')",
    "a figure": "class F:\n    def _repr_png_(self):\n        return b'png'\n"
    "    def __repr__(self):\n        return 'F'\nF()",
    "metadata": "display({'text/plain': 'x'}, raw=True, metadata={'text/plain': {'k': 1}})",
    "its process dies": "import os\nprint('x', flush=True)\nos._exit(3)",
    "too much": "for n in range(60_000):\n    print(n)",
    "too large": "display({'text/plain': 'x' * 21_000_000}, raw=True); print('there')",
    "too late to clear": "clear_output(wait=True)\n"
    "display({'text/plain': 'x' * 21_000_000}, raw=True); print('there')",
}
AGAIN = "import jupyter_remote as jr\nprint(jr.job.attempt)\nif jr.job.attempt < 2:\n    1 / 0"
WITH_OPTIONS = {
    "tried again": f"%%remote_run --retries 1\n{AGAIN}",
    "in a session": "%%remote_run -s homecoming\nprint(1)\n2",
    "out of time": "%%remote_run --timeout 5s\nimport time\nprint(1)\ntime.sleep(30)",
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The cells that ran these programs, by their names."""
    cells = {name: f"%%remote_run\n{SHOW}{code}" for name, code in PROGRAMS.items()}
    cells |= WITH_OPTIONS
    done = run(tmp_path_factory.mktemp("shown"), *cells.values())
    return dict(zip(cells, done, strict=True))


@pytest.fixture(scope="module")
def client():
    with jr.Client() as client:
        yield client


def plain(outputs):
    """Cards without their time; nbclient leaves apart what came in several messages."""
    found = []
    for output in map(dict, outputs):
        if CARD_TYPE in output.get("data", {}):
            output = {"card": output["data"][CARD_TYPE]["status"], "metadata": output["metadata"]}
        is_text = output.get("output_type") == "stream"
        if is_text and found and found[-1].get("name") == output["name"]:
            found[-1]["text"] += output["text"]
        else:
            found.append(output)
    return found


@pytest.mark.parametrize("name", [*PROGRAMS, *WITH_OPTIONS])
def test_the_backend_tells_what_the_relay_showed(client, shown, name):
    cell = shown[name]
    [job] = {card.job for card in cards_of(cell)}
    home = home_of(client.outputs_of(job), time.time())
    expected = [home.card, *still(home.outputs, cell.execution_count)]
    assert len(home.outputs) >= (name != "cleared at the end")
    begin = cards_of(cell)[0].at  # what stands above is of the kernel: a session that it began
    assert plain(cell.outputs[begin:]) == plain(expected)
    assert is_beginning(cell.outputs[begin + 1 :], expected[1:], updated=home.updated)
    made = nbformat.v4.new_code_cell(outputs=nbformat.from_dict(expected))
    nbformat.validate(nbformat.v4.new_notebook(cells=[made]))


CALLS = """import jupyter_remote as jr
@jr.remote
def f():
    print("shown")
client = jr.Client()
submitted = [f.submit(), client.submit(print), client.repeat(f.submit().id)]
f()
print([bool(job.view.cell_code) for job in (*submitted, jr.Client().job(client.jobs()[0].id))])"""


def test_a_job_that_is_only_submitted_says_no_cell_since_none_shows_its_output(tmp_path):
    [cell] = run(tmp_path, CALLS)
    text = "".join(output.get("text", "") for output in cell.outputs)
    assert text == "shown\n[False, False, False, True]\n"
