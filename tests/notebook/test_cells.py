"""Cells of real notebooks, run by nbclient against the embedded backend."""

from __future__ import annotations

import ast
import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import nbformat
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from jupyter_remote.wire import CARD_TYPE
from tests.notebook.kernels import LIMIT_S, by_files

WIDGET = "application/vnd.jupyter.widget-view+json"
LOAD = "%load_ext jupyter_remote\nimport jupyter_remote as jr"


def run(
    folder: Path,
    *cells: str,
    before: Callable[[AsyncKernelManager, int], Awaitable[None]] | None = None,
) -> list[nbformat.NotebookNode]:
    """The executed cells after the one that loads the extension.

    ``before`` is called with the number of each cell, that one is 0, before it is run.
    """
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(c) for c in (LOAD, *cells)]
    )
    manager = AsyncKernelManager(**by_files())
    manager.kernel_spec.argv[0] = sys.executable
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, km=manager, timeout=60, resources=resources, allow_errors=True
    )
    if before is not None:
        client.on_cell_start = lambda cell, cell_index: before(manager, cell_index)
    asyncio.run(client.async_execute(cleanup_kc=True))
    return notebook.cells[1:]


def cards(cell: nbformat.NotebookNode) -> list[dict]:
    return [o.data for o in cell.outputs if CARD_TYPE in o.get("data", {})]


def stream(cell: nbformat.NotebookNode, name: str = "stdout") -> str:
    return "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == name)


def value(cell: nbformat.NotebookNode) -> str | None:
    found = [o.data["text/plain"] for o in cell.outputs if o.output_type == "execute_result"]
    return found[-1] if found else None


def error(cell: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    return next((o for o in cell.outputs if o.output_type == "error"), None)


def test_a_cell_runs_elsewhere_and_comes_home(tmp_path):
    cells = run(
        tmp_path,
        "items = [1]; alias = items",
        "%%remote_run -d 'a <b>cell</b>'\nimport os\nitems.append(2)\nthere = os.getpid()\nitems",
        "import os\n(there != os.getpid(), items, alias is items)",
        "%%remote_run -q\nprint('quiet')",
    )
    assert value(cells[1]) == "[1, 2]"
    assert value(cells[2]) == "(True, [1, 2], True)"
    (card,) = cards(cells[1])
    assert "completed" in card["text/plain"]
    assert "a &lt;b&gt;cell&lt;/b&gt;" in card["text/html"]
    assert WIDGET not in card
    assert cells[1].outputs[-1].execution_count == cells[1].execution_count
    assert cards(cells[3]) == []
    assert stream(cells[3]) == "quiet\n"


def test_rich_output_arrives_as_it_is(tmp_path):
    (cell,) = run(
        tmp_path,
        "%%remote_run -q\n"
        "import sys\n"
        "from IPython.display import display, HTML, update_display\n"
        "print('a'); print('b', file=sys.stderr); print('c')\n"
        "display(HTML('<b>x</b>'))\n"
        "display('first', display_id='d'); update_display('second', display_id='d')\n",
    )
    kinds = [o.get("name") or o.data["text/plain"] for o in cell.outputs]
    assert kinds[:3] == ["stdout", "stderr", "stdout"]
    assert cell.outputs[3].data["text/html"] == "<b>x</b>"
    assert kinds[-1] == "'second'"


def test_clearing_the_output_keeps_the_card(tmp_path):
    (cell,) = run(
        tmp_path,
        "%%remote_run\n"
        "from IPython.display import clear_output\n"
        "for i in range(3):\n"
        "    clear_output(wait=True); print('round', i)",
    )
    assert stream(cell) == "round 2\n"
    (card,) = cards(cell)
    assert "completed" in card["text/plain"]


def test_errors_end_the_cell_with_the_users_code_and_none_of_ours(tmp_path):
    cells = run(
        tmp_path,
        "%%remote_run\nkept = 1\ndef f(x):\n    return 1 / x\nf(0)",
        "%%remote_run\nx = = 1",
        "%%remote_run --machin a\n1",
        "%%remote_run -i nothing\n1",
    )
    failed = error(cells[0])
    assert failed.ename == "ZeroDivisionError"
    text = "\n".join(failed.traceback)
    assert "1" in text
    assert "jupyter_remote" not in text
    assert "failed" in cards(cells[0])[0]["text/plain"]
    assert error(cells[1]).ename == "SyntaxError"
    assert len("\n".join(error(cells[1]).traceback).splitlines()) < 8
    assert "did you mean --machine" in error(cells[2]).evalue
    assert "jupyter_remote" not in "\n".join(error(cells[2]).traceback)
    assert error(cells[3]).ename == "UsageError"
    assert all(cards(cell) == [] for cell in cells[1:])


def test_a_cell_without_code_says_so(tmp_path):
    cells = run(tmp_path, "%%remote_run\n# nothing\n", "%%remote_run -h", "%remote_run -h")
    assert "nothing to do" in stream(cells[0])
    assert "--max-cost" in stream(cells[1])


def test_a_job_in_the_background_comes_home_between_cells(tmp_path):
    cells = run(
        tmp_path,
        f"gate = {str(tmp_path / 'gate')!r}",
        "%%remote_run --bg -n job\nimport os, time\n"
        "while not os.path.exists(gate): time.sleep(0.01)\nanswer = 42",
        "before = 'answer' in globals()",
        "open(gate, 'w').close()\njob.result(timeout=60)['answer']",
        "(before, answer)",
    )
    assert value(cells[3]) == "42"
    assert value(cells[4]) == "(False, 42)"
    (card,) = cards(cells[1])
    assert "completed" in card["text/plain"]
    assert WIDGET not in card


def test_what_a_job_shows_between_two_cells_is_in_the_saved_notebook(tmp_path):
    gate, listeners = tmp_path / "gate", []

    async def before(manager: AsyncKernelManager, cell: int) -> None:
        if cell == 1:
            listeners.append(listener := AsyncKernelClient())
            listener.load_connection_info(manager.get_connection_info())
            listener.start_channels()
            await listener.wait_for_ready()
        elif cell == 2:  # the last cell is over, this one has not begun
            gate.touch()
            shown = ""
            while "said" not in shown or "completed" not in shown:
                message = await listeners[0].get_iopub_msg(timeout=LIMIT_S)
                shown += str(message["content"].get("data"))
            listeners[0].stop_channels()

    cells = run(
        tmp_path,
        "%%remote_run --bg\nimport os, time\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)\nprint('said')",
        "print('next')",
        before=before,
    )
    assert "said" in [o.data["text/plain"] for o in cells[0].outputs]
    (card,) = cards(cells[0])
    assert "completed" in card["text/plain"]


def test_what_a_job_in_the_background_shows_is_in_the_saved_notebook(tmp_path):
    cells = run(
        tmp_path,
        "%%remote_run --bg -n job -q\nimport sys\nfrom IPython.display import display, HTML\n"
        "print('<said>')\nprint('warned', file=sys.stderr)\ndisplay(HTML('<b>bold</b>'))\n"
        "display(1, display_id='d').update(2)\n'last'",
        "job.result(30)",
        "%%remote_run --bg -n failing -q\nimport time\ntime.sleep(0.2)\n1 / 0",
        "failing.exception(30)",
        "print('between')",
    )
    (output,) = cells[0].outputs
    assert (
        output.data["text/plain"] == "<said>\nwarned\n<IPython.core.display.HTML object>\n2\n'last'"
    )
    assert "<pre>&lt;said&gt;</pre>" in output.data["text/html"]
    assert "<b>bold</b>" in output.data["text/html"]
    assert "ZeroDivisionError: division by zero" in cells[2].outputs[0].data["text/plain"]
    assert "\x1b" not in cells[2].outputs[0].data["text/plain"]


def test_a_call_of_a_remote_function_blocks_and_gives_its_value(tmp_path):
    cells = run(
        tmp_path,
        "@jr.remote\ndef f(x, y=2):\n    '''Doc.'''\n    print('x is', x)\n    return x * y",
        "f(3)",
        "(f.__name__, f.__doc__, f.local(4), f.submit(5).result(30))",
        "f.map([1, 2, 3]).results(timeout=60)",
        "@jr.remote\ndef outer(x):\n    return f(x) + 1\nouter(1)",
        "try:\n    f('a', 'b')\nexcept TypeError as e:\n    caught = e\ntype(caught).__name__",
        "class Thing:\n    k = 5\n    @jr.remote\n    def scaled(self, x):\n"
        "        return self.k * x\nThing().scaled(2)",
    )
    assert value(cells[1]) == "6"
    assert "x is 3\n" in stream(cells[1])
    assert value(cells[2]) == "('f', 'Doc.', 8, 10)"
    assert value(cells[3]) == "[2, 4, 6]"
    assert value(cells[4]) == "3"
    assert value(cells[5]) == "'TypeError'"
    assert value(cells[6]) == "10"


def test_with_the_toggle_off_everything_runs_here(tmp_path):
    cells = run(
        tmp_path,
        "import os\nhere = os.getpid()\n@jr.remote\ndef pid():\n    return os.getpid()",
        "%remote off",
        "%%remote_run\nassert os.getpid() == here\nx = 1\nx",
        "pid() == here",
        "%%remote_run\nimport asyncio\nawait asyncio.sleep(0)\nx + 1",
        "%%remote_run\n1 / 0",
        "y = %remote run x + 5\ny",
        "%remote on",
        "pid() == here",
    )
    assert value(cells[2]) == "1"
    assert value(cells[3]) == "True"
    assert value(cells[4]) == "2"
    failed = error(cells[5])
    assert failed.ename == "ZeroDivisionError"
    assert "jupyter_remote" not in "\n".join(failed.traceback)
    assert value(cells[6]) == "6"
    assert value(cells[8]) == "False"


def test_with_the_toggle_off_a_cell_leaves_what_its_options_say(tmp_path):
    cells = run(
        tmp_path,
        "kept, gone = 1, 2\n@jr.remote\ndef f(x):\n    print('f of', x)\n    return 10 / x\n"
        "@jr.remote\nasync def g(x):\n    return x",
        "%remote off",
        "%%remote_run --plan\nkept = 'ran'",
        "%%remote_run -o c -n job\nc, d, kept = 3, 4, 5\ndel gone",
        "(kept, gone, c, 'd' in globals(), job.result(), job.status, job.machine)",
        "%%remote_run -n failed\n1 / 0",
        "failed.status, failed.exception()",
        "one, two = f.submit(5), f.submit(0)\n(one.done(), one.result(), two.status)",
        "two.result()",
        "f.map([1, 2]).results(), g.submit(7).result()",
        "@jr.remote\ndef leaves(x):\n    raise SystemExit(x)\n"
        "[type(j.exception()).__name__ for j in leaves.map([1, 2])]",
        "job",
        "%remote off -h",
        "%remote jobs",
        "[j.id[:8] for j in (job, failed, one, two)]",
    )
    assert "machine" in cells[2].outputs[0].data["text/plain"]
    assert value(cells[4]) == "(1, 2, 3, False, {'c': 3}, 'completed', 'here')"
    assert error(cells[5]).ename == "ZeroDivisionError"
    assert value(cells[6]) == "('failed', ZeroDivisionError('division by zero'))"
    assert value(cells[7]) == "(True, 2.0, 'failed')"
    assert "f of 5" in stream(cells[7])
    assert "return 10 / x" in re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error(cells[8]).traceback))
    assert value(cells[9]) == "([10.0, 5.0], 7)"
    assert value(cells[10]) == "['SystemExit', 'SystemExit']"
    assert "%remote" not in cards(cells[11])[0]["text/plain"]
    assert "--out" in stream(cells[12])
    assert not any(id in value(cells[13]) for id in ast.literal_eval(value(cells[14])))


def test_last_is_the_newest_job_of_the_kernel_however_it_was_submitted(tmp_path):
    inner = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    nbformat.write(inner, tmp_path / "whole.ipynb")
    cells = run(
        tmp_path,
        "def f(x):\n    return x\nclient = jr.Client()\n_ = client.submit(f, 1)",
        "%remote show last",
        "%%remote_run -d cell\nx = 1",
        "%remote show last",
        "_ = client.run_notebook('whole.ipynb')",
        "%remote show last",
        "batch = client.map(f, [1, 2])",
        "client.job('last').id == batch[-1].id",
    )
    shown = [value(cells[i]) for i in (1, 3, 5)]
    for text, what in zip(shown, ("f", "cell", "whole.ipynb"), strict=True):
        assert re.search(rf"^what +{what}$", text, re.MULTILINE)
    assert value(cells[7]) == "True"


def test_captured_cells_keep_their_output(tmp_path):
    cells = run(
        tmp_path,
        "%%capture cap\n%%remote_run\nprint('caught'); 5",
        "(cap.stdout, cap.outputs[0].data['text/plain'], len(cap.outputs))",
        "import io, contextlib\nbuffer = io.StringIO()\nwith contextlib.redirect_stdout(buffer):\n"
        "    get_ipython().run_cell_magic('remote_run', '', 'print(6)')\nbuffer.getvalue()",
    )
    assert cells[0].outputs == []
    assert value(cells[1]) == "('caught\\n', '5', 1)"
    assert value(cells[2]) == "'6\\n'"


def test_expressions_have_plans_prices_and_values(tmp_path):
    cells = run(
        tmp_path,
        "def f(x):\n    return {'x': x}",
        "%remote plan --gpu A10G f(3)",
        "%remote cost -m g5.xlarge.od --timeout 1h f(3)",
        "v = %remote run f({1: 2})\nv",
        "%remote result last",
        "%remote run w = 7",
        "w",
        "%remote run -m nowhere f(1)",
        "%%remote_run --gpu T4 --plan\nf(1)",
    )
    assert "A10G" in value(cells[1])
    assert "100.6 credits ($1.006)" in stream(cells[2])
    assert value(cells[3]) == "{'x': {1: 2}}"
    assert value(cells[4]) == "{'x': {1: 2}}"
    assert value(cells[6]) == "7"
    assert error(cells[7]).ename == "UnknownMachine"
    assert "T4" in cells[8].outputs[0].data["text/plain"]


def test_magic_lines_expand_variables(tmp_path):
    cells = run(
        tmp_path,
        "machine, name = 'g5.xlarge', 'my job'",
        '%%remote_run -m {machine} -d "$name"\n1',
        "%remote jobs --status completed",
    )
    assert "my job · g5.xlarge (simulated)" in cards(cells[1])[0]["text/plain"]
    assert "my job" in value(cells[2])


def test_defaults_hold_until_they_are_reset(tmp_path):
    cells = run(
        tmp_path,
        "%remote use -m g4dn.xlarge --timeout 5m",
        "%%remote_run\na = 1",
        "%%remote_run -m local\na = 2",
        "%remote use --reset",
        "%%remote_run\na = 3",
    )
    shown = [cards(cells[i])[0]["text/plain"] for i in (1, 2, 4)]
    assert ["g4dn" in text for text in shown] == [True, False, False]


def test_defaults_are_typed_as_they_are_listed_and_checked_at_once(tmp_path):
    cells = run(
        tmp_path,
        "%remote use g4dn.xlarge --timeout 90m --memory 2GB",
        "%remote use g4dn.xlrge",
        "%remote use --gpu A10G:64",
        "%remote use --env requirments.txt",
        "%remote use",
    )
    listed = "--machine g4dn.xlarge\n--memory 2GB\n--timeout 90m\n"
    assert stream(cells[0]) == listed
    assert "Did you mean g4dn.xlarge" in "\n".join(error(cells[1]).traceback)
    assert "64 × A10G" in error(cells[2]).evalue
    assert "requirments.txt: there is no such file" in error(cells[3]).evalue
    assert stream(cells[4]) == listed


def test_every_default_is_listed_as_it_can_be_typed_again(tmp_path):
    typed = (
        "--no-cache --compare g5.xlarge,g6.xlarge --files a.txt b.txt --gpu-idle 10m --in a,b "
        "--max-cost 2 --out none --visibility unlisted --yes"
    )
    cells = run(
        tmp_path,
        f"%remote use {typed}",
        "%remote use -m g5.xlarge",
        "%remote use --compare g5.xlarge,g5.xlrge",
        "%remote use --resume last",
    )
    lines = stream(cells[0]).splitlines()
    assert sorted(" ".join(lines).split(" --")) == sorted(typed.split(" --"))
    assert "--compare" not in stream(cells[1])  # the later word on where to run wins
    assert "Did you mean g5.xlarge" in "\n".join(error(cells[2]).traceback)
    assert "there is no option '--resume'" in error(cells[3]).evalue


def test_jobs_are_listed_shown_and_attached_to(tmp_path):
    cells = run(
        tmp_path,
        "%%remote_run -d 'the one'\nprint('said')\nz = 9",
        "del z",
        "%remote attach last",
        "z",
        "%remote show last",
        "%remote history last",
        "%remote logs last",
        "%remote cancel last",
        "%remote attach ffffffff",
        "%remote jobs --status lost",
        "%remote jobs --all",
    )
    assert "said\n" in stream(cells[2])
    assert value(cells[3]) == "9"
    assert "the one" in value(cells[4])
    assert "started on local" in value(cells[5])
    assert stream(cells[6]) == "said\n"
    assert "had ended before" in stream(cells[7])
    assert error(cells[8]).ename == "NotFound"
    assert "no status" in error(cells[9]).evalue
    assert "the one" in value(cells[10])


def test_a_kernel_that_starts_later_attaches_from_the_beginning(tmp_path):
    run(
        tmp_path,
        "%%remote_run --bg\nimport time\nfor i in range(12):\n    print('tick', i)\n"
        "    time.sleep(0.1)\nticks = i",
    )
    attached, after = run(tmp_path, "%remote attach last", "ticks")
    assert stream(attached) == "".join(f"tick {i}\n" for i in range(12))
    assert value(after) == "11"


def test_a_whole_notebook_runs_and_comes_back(tmp_path):
    inner = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(c) for c in ("print('inside')", "1 / 0", "2")]
    )
    nbformat.write(inner, tmp_path / "train.ipynb")
    (cell,) = run(tmp_path, "%remote notebook train.ipynb")
    executed = nbformat.read(tmp_path / "train.executed.ipynb", as_version=4)
    assert executed.cells[0].outputs[0].text == "inside\n"
    assert executed.cells[1].outputs[0].ename == "ZeroDivisionError"
    assert error(cell) is not None


def test_doctor_and_status_say_what_is_there(tmp_path):
    status, doctor, machines = run(tmp_path, "%remote status", "%remote doctor", "%remote machines")
    assert "embedded backend" in stream(status)
    assert "✗" not in stream(doctor)
    assert "local" in value(machines)
