"""Cells in a real kernel process: what goes in, what comes home, what errors look like."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pytest

from jupyter_remote import values
from jupyter_remote.wire import JobSpec
from tests.worker.playing_agent import PlayingAgent, cell_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


async def test_assigned_names_come_home(agent: PlayingAgent) -> None:
    seen = await agent.cell("y = x * 2\nz = [y]", {"x": 21}, assigned=["y", "z"])
    assert seen.done.ok
    assert seen.value() == {"y": 42, "z": [42]}


async def test_changed_inputs_come_home_and_unchanged_do_not(agent: PlayingAgent) -> None:
    inputs = {"a": [1], "b": [2], "c": {"k": 1}, "n": 1}
    seen = await agent.cell("a.append(4)\nlen(b)\nc['k'] = 2", inputs)
    assert seen.value() == {"a": [1, 4], "c": {"k": 2}}


async def test_a_large_array_comes_home_only_when_it_was_written_to(agent: PlayingAgent) -> None:
    inputs = {"big": np.zeros(500_000), "other": np.ones(500_000)}
    seen = await agent.cell("s = big.sum()\nother[0] = 7", inputs, assigned=["s"])
    home = seen.value()
    assert sorted(home) == ["other", "s"]
    assert home["other"][0] == 7
    assert all(s.file for s in seen.done.spooled)


async def test_an_unchanged_input_inside_a_new_object_goes_as_its_number(
    agent: PlayingAgent,
) -> None:
    array = np.arange(500_000)
    seen = await agent.cell("wrapped = {'it': big}", {"big": array}, assigned=["wrapped"])
    assert seen.done.spooled == []
    assert (seen.value()["wrapped"]["it"] == array).all()


async def test_an_unchanged_blob_is_named_not_sent(agent: PlayingAgent) -> None:
    array = np.arange(500_000)
    code = "import numpy\nagain = numpy.frombuffer(big, big.dtype)"
    seen = await agent.cell(code, {"big": array}, assigned=["again"])
    unchanged = [s.segment.size_bytes for s in seen.done.spooled if not s.file]
    assert unchanged == [array.nbytes]
    assert (seen.value()["again"] == array).all()


async def test_two_names_of_one_object_stay_one(agent: PlayingAgent) -> None:
    shared: list[int] = []
    seen = await agent.cell("a.append(1)\nsame = a is b", {"a": shared, "b": shared})
    home = seen.value()
    assert home["same"] is True
    assert home["a"] is home["b"]


async def test_names_that_the_source_does_not_show_come_home(agent: PlayingAgent) -> None:
    code = """
def f():
    global made
    made = 1
f()
exec("hidden = 2")
from math import *
"""
    seen = await agent.cell(code, {}, assigned=["f"])
    home = seen.value({})
    assert home["made"] == 1
    assert home["hidden"] == 2
    assert "sqrt" in home


async def test_capture_magic_binds_its_name(agent: PlayingAgent) -> None:
    seen = await agent.cell("%%capture out\nprint('quiet')", {})
    assert seen.text() == ""
    assert seen.value()["out"].stdout == "quiet\n"


async def test_deleted_names_are_told(agent: PlayingAgent) -> None:
    seen = await agent.cell("del x", {"x": 1, "y": 2}, deleted=["x"])
    assert seen.result.deleted == ["x"]


async def test_only_asked_outputs_come_home(agent: PlayingAgent) -> None:
    seen = await agent.cell("a = 1\nb = 2", {}, outputs=["b", "nowhere"])
    assert seen.value() == {"b": 2}
    assert [entry.name for entry in seen.result.left_behind] == ["nowhere"]


async def test_outputs_none_brings_nothing(agent: PlayingAgent) -> None:
    seen = await agent.cell("a = 1", {"b": []}, outputs=[])
    assert seen.value() == {}


async def test_what_cannot_be_pickled_stays_with_a_reason_and_the_rest_comes(
    agent: PlayingAgent,
) -> None:
    seen = await agent.cell("import threading\nlock = threading.Lock()\nfine = 1", {})
    assert seen.done.ok
    assert seen.value()["fine"] == 1
    (left,) = seen.result.left_behind
    assert left.name == "lock"
    assert left.type == "lock"
    assert left.why


async def test_names_assigned_before_an_error_come_home(agent: PlayingAgent) -> None:
    seen = await agent.cell("a = 1\nb = 1 / 0\nc = 3", {}, assigned=["a", "b", "c"])
    assert not seen.done.ok
    assert seen.value() == {"a": 1}
    assert seen.error.ename == "ZeroDivisionError"


async def test_a_traceback_shows_the_cell_and_nothing_of_ours(agent: PlayingAgent) -> None:
    seen = await agent.cell("def f(x):\n    return 1 / x\n\nf(0)", {})
    shown = plain(seen.traceback)
    assert "Cell In [3], line 4" in shown
    assert "return 1 / x" in shown
    assert "jupyter_remote" not in shown
    assert "interactiveshell" not in shown
    assert "error" not in seen.order


async def test_a_syntax_error_looks_as_ipython_shows_it(agent: PlayingAgent) -> None:
    seen = await agent.cell("x = = 1", {})
    assert seen.error.ename == "SyntaxError"
    assert "x = = 1" in plain(seen.traceback)
    assert "jupyter_remote" not in seen.traceback


async def test_a_function_of_a_cell_comes_home_under_its_own_filename(agent: PlayingAgent) -> None:
    seen = await agent.cell("def f():\n    return k\nk = 5", {}, assigned=["f", "k"])
    here: dict[str, object] = {}
    home = seen.value(here)
    assert home["f"].__code__.co_filename == "/tmp/ipykernel_1/cell.py"
    assert home["f"].__globals__ is here


async def test_sys_exit_arrives_as_system_exit(agent: PlayingAgent) -> None:
    seen = await agent.cell("import sys\na = 1\nsys.exit(3)", {})
    assert seen.error.ename == "SystemExit"
    assert seen.error.args == [3]
    assert seen.text("stderr") == ""
    assert seen.value()["a"] == 1


async def test_exit_ends_the_cell(agent: PlayingAgent) -> None:
    seen = await agent.cell("exit()", {})
    assert seen.error.ename == "SystemExit"


async def test_an_exception_group_is_shown_once_and_without_our_frames(
    agent: PlayingAgent,
) -> None:
    seen = await agent.cell("raise ExceptionGroup('both', [ValueError(1), KeyError(2)])", {})
    assert seen.text("stderr") == ""
    assert [m.ename for m in seen.error.group] == ["ValueError", "KeyError"]
    assert "interactiveshell" not in seen.traceback
    assert "KeyError: 2" in seen.traceback


async def test_an_error_in_a_cell_that_a_cell_runs_is_output(agent: PlayingAgent) -> None:
    seen = await agent.cell("get_ipython().run_cell('1/0')\nprint('after')", {}, outputs=[])
    assert seen.done.ok
    assert seen.order == ["error", "stdout after\n"]


async def test_help_is_an_output(agent: PlayingAgent) -> None:
    seen = await agent.cell("print?", {})
    assert "Prints the values" in seen.outs("display_data")[0]["data"]["text/plain"]


async def test_processes_of_a_pool_run_functions_of_the_cell(agent: PlayingAgent) -> None:
    code = """
from multiprocessing import Pool
def square(x): return x * x
with Pool(2) as pool: squares = pool.map(square, range(4))
"""
    seen = await agent.cell(code, {}, outputs=["squares"])
    assert seen.value() == {"squares": [0, 1, 4, 9]}


async def test_top_level_await_works(agent: PlayingAgent) -> None:
    code = (
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 5\nx = await f()\nx"
    )
    seen = await agent.cell(code, {})
    assert seen.outs("execute_result")[0]["data"]["text/plain"] == "5"
    assert seen.value({})["x"] == 5


async def test_magics_and_shell_lines_work(agent: PlayingAgent) -> None:
    code = (
        "files = !echo one; echo two\n!echo shown\n%env MADE=1\nimport os\nv = os.environ['MADE']"
    )
    seen = await agent.cell(code, {})
    home = seen.value()
    assert home["files"] == ["one", "two"]
    assert home["v"] == "1"
    assert "shown" in seen.text()


async def test_bash_magic_works(agent: PlayingAgent) -> None:
    seen = await agent.cell("%%bash\necho from bash", {})
    assert seen.text() == "from bash\n"


async def test_an_error_that_a_magic_shows_is_output_and_the_cell_goes_on(
    agent: PlayingAgent,
) -> None:
    code = "%%writefile bad.py\n1/0"
    assert (await agent.cell(code, {})).done.ok
    seen = await agent.cell(
        f"get_ipython().run_line_magic('run', '{agent.now.folder / 'cwd' / 'bad.py'}')\n"
        "print('after')",
        {},
    )
    assert seen.order == ["error", "stdout after\n"]


async def test_inputs_of_another_python_are_refused_before_unpickling(agent: PlayingAgent) -> None:
    spec, _ = cell_of("x", {"x": 1})
    other = msgspec.structs.replace(spec.inputs, magic="00000000", python="2.7")
    seen = await agent.run(msgspec.structs.replace(spec, inputs=other))
    assert seen.done.reason == "environment"
    assert "2.7" in seen.done.detail


async def test_functions_see_the_namespace_of_the_job(agent: PlayingAgent) -> None:
    here = {"k": 1}
    exec("def bump():\n    global k\n    k += 1", here)
    bump = here["bump"]
    packed = values.pack({"bump": bump, "k": 1}, namespace=here)
    spec = JobSpec(kind="cell", code="bump()\nbump()", inputs=packed.parcel)
    seen = await agent.run(spec)
    assert seen.value({})["k"] == 3


SHOWN = {
    "one before the cell's own": (
        "try: 1/0\nexcept Exception: get_ipython().showtraceback()\nraise ValueError('own')",
        ["error ZeroDivisionError"],
        "ValueError",
    ),
    "one that was caught": (
        "try: 1/0\nexcept Exception: get_ipython().showtraceback()\nprint('on')",
        ["error ZeroDivisionError", "stdout on\n"],
        "",
    ),
    "the cell's own alone": ("1/0", [], "ZeroDivisionError"),
    "a syntax error of the cell": ("def f(:", [], "SyntaxError"),
    "a syntax error of an inner cell": (
        "get_ipython().run_cell('def f(:')\nraise KeyError(1)",
        ["error SyntaxError"],
        "KeyError",
    ),
    "a repr": (
        "class B:\n    def __repr__(self): raise KeyError('no')\nB()",
        ["error KeyError"],
        "",
    ),
    "a rich repr": (
        "class B:\n    def _repr_html_(self): raise KeyError('no')\nB()",
        ["error KeyError", "execute_result"],
        "",
    ),
    "%%capture": ("%%capture\n1/0", ["error ZeroDivisionError"], ""),
    "%run": (
        "with open('s.py', 'w') as f: print('1/0', file=f)\n%run s.py\nprint('on')",
        ["error ZeroDivisionError", "stdout on\n"],
        "",
    ),
}


@pytest.mark.parametrize("what", SHOWN)
async def test_errors_are_output_as_in_a_plain_kernel_and_the_cells_own_is_its_end(
    agent: PlayingAgent, what: str
) -> None:
    code, shown, own = SHOWN[what]
    seen = await agent.cell(code, {}, outputs=[])
    errors = iter(seen.outs("error"))
    said = [f"error {next(errors)['ename']}" if o == "error" else o for o in seen.order]
    assert said == shown
    assert (seen.done.error.ename if seen.done.error else "") == own


async def test_a_syntax_error_while_code_runs_shows_where_and_what(agent: PlayingAgent) -> None:
    code = "def outer():\n    exec('x = 1\\ndef f(:')\nouter()"
    shown = plain((await agent.cell(code, {}, outputs=[])).traceback)
    where = re.findall(r"(?:Cell In|File) .*?\d(?=\D*$)", shown, re.MULTILINE)
    assert where == ["Cell In [3], line 3", "Cell In [3], line 2", "File <string>:2"]
    assert "def f(:\n          ^" in shown


@pytest.mark.parametrize(
    ("body", "shown"), [("return ['mine', 'alone']", "mine\nalone"), ("1 / 0", "E: what")]
)
async def test_an_exception_may_say_how_it_is_shown(
    agent: PlayingAgent, body: str, shown: str
) -> None:
    code = f"class E(Exception):\n    def _render_traceback_(self): {body}\nraise E('what')"
    assert plain((await agent.cell(code, {}, outputs=[])).traceback).endswith(shown)


INTERRUPTED_EARLY = """
shell = get_ipython()
cls, begins = type(shell), type(shell).run_cell_async
async def interrupted(*args, **kwargs):
    raise KeyboardInterrupt
cls.run_cell_async = interrupted
shell.run_cell('1 + 1')
cls.run_cell_async = begins
said = type(shell.last_execution_result.error_in_exec).__name__
"""


async def test_an_interrupt_before_the_code_begins_is_its_end_and_no_success(
    agent: PlayingAgent,
) -> None:
    seen = await agent.cell(INTERRUPTED_EARLY, assigned=["said"])
    assert seen.value()["said"] == "KeyboardInterrupt"
