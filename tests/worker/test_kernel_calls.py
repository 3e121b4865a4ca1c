"""Calls, scripts and notebooks in a real kernel process."""

from __future__ import annotations

import json
import re
from typing import Any

import nbformat
import numpy as np
import pytest
from nbformat import v4

from jupyter_remote import values
from jupyter_remote.wire import FileRef, JobSpec, Parcel, Segment
from jupyter_remote.worker import hygiene
from tests.worker.playing_agent import PlayingAgent

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_call_gives_its_value(agent: PlayingAgent) -> None:
    def add(a: int, *, b: int) -> int:
        print("adding")
        return a + b

    seen = await agent.call(add, 1, b=2)
    assert seen.value() == 3
    assert seen.text() == "adding\n"


async def test_a_coroutine_function_is_awaited(agent: PlayingAgent) -> None:
    async def later(x: int) -> int:
        import asyncio

        await asyncio.sleep(0)
        return x

    assert (await agent.call(later, 5)).value() == 5


async def test_a_call_may_run_its_own_event_loop(agent: PlayingAgent) -> None:
    def run() -> int:
        import asyncio

        async def one() -> int:
            return 1

        return asyncio.run(one())

    assert (await agent.call(run)).value() == 1


async def test_tasks_of_a_call_do_not_go_on_in_the_next(agent: PlayingAgent) -> None:
    async def leave() -> None:
        import asyncio

        async def nag() -> None:
            while True:
                print("nag")
                await asyncio.sleep(0)

        asyncio.get_running_loop().nag = asyncio.create_task(nag())  # type: ignore[attr-defined]

    async def look() -> None:
        import asyncio

        await asyncio.sleep(0.01)

    await agent.call(leave)
    assert (await agent.call(look)).text() == ""


async def test_a_large_array_goes_there_and_back(agent: PlayingAgent) -> None:
    def double(a: Any) -> Any:
        a *= 2
        return a

    def same(a: Any) -> Any:
        return a

    array = np.arange(1_000_000)
    assert ((await agent.call(double, array)).value() == array * 2).all()
    seen = await agent.call(same, array)
    assert [s.file for s in seen.done.spooled if s.segment.size_bytes == array.nbytes] == [""]


async def test_a_value_that_cannot_travel_is_an_error_that_says_so(agent: PlayingAgent) -> None:
    def lock() -> Any:
        import threading

        return threading.Lock()

    seen = await agent.call(lock)
    assert seen.error.ename == "CaptureError"
    assert "lock" in seen.error.evalue


async def test_each_call_has_a_namespace_and_surroundings_of_its_own(agent: PlayingAgent) -> None:
    def stain() -> Any:
        import os
        import sys
        import warnings

        import __main__

        __main__.stain = 1
        os.environ["STAIN"] = "1"
        sys.path.insert(0, "/stain")
        sys.argv.append("stain")
        warnings.simplefilter("error")
        os.chdir("/tmp")

    def look() -> Any:
        import os
        import sys
        import warnings

        import __main__

        strict = any(f[0] == "error" and f[2] is Warning for f in warnings.filters)
        return (
            hasattr(__main__, "stain"),
            "STAIN" in os.environ,
            "/stain" in sys.path,
            "stain" in sys.argv,
            strict,
            os.getcwd() == "/tmp",
        )

    await agent.call(stain)
    assert (await agent.call(look)).value() == (False,) * 6


async def test_a_traceback_of_a_call_shows_source_that_came_with_it(agent: PlayingAgent) -> None:
    source = (
        "def outer(x):\n    return inner(x)\n\ndef inner(x):\n    raise ValueError('no ' + x)\n"
    )
    here: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "/tmp/ipykernel_9/77.py", "exec"), here)
    function = values.pack(here["outer"], namespace=here)
    inputs = values.pack((("way",), {}))
    spec = JobSpec(
        kind="call",
        function=function.parcel,
        inputs=inputs.parcel,
        name="outer",
        sources={"/tmp/ipykernel_9/77.py": source},
        source_names={"/tmp/ipykernel_9/77.py": "In [7]"},
    )
    seen = await agent.run(spec)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", seen.traceback)
    assert "raise ValueError('no ' + x)" in shown
    assert "Cell In [7], line 5" in shown
    assert "jupyter_remote" not in shown
    assert seen.error.evalue == "no way"


async def test_local_modules_are_imported_and_renewed_when_they_change(agent: PlayingAgent) -> None:
    async def version(text: str) -> Any:
        def read() -> int:
            from package import helpers

            return helpers.VERSION

        files = {"src/package/__init__.py": "", "src/package/helpers.py": f"VERSION = {text}\n"}
        refs = [
            FileRef(p, Segment(values.digest_of(t.encode()), len(t)), module=True)
            for p, t in files.items()
        ]
        function, inputs = values.pack(read), values.pack(((), {}))
        spec = JobSpec(
            kind="call", function=function.parcel, inputs=inputs.parcel, files=refs, name="read"
        )
        agent.place(files)
        return (await agent.run(spec)).value()

    assert await version("1") == 1
    assert await version("1") == 1
    assert await version("2") == 2


async def test_a_script_runs_as_main(agent: PlayingAgent) -> None:
    code = (
        "import sys\nif __name__ == '__main__':\n    print(sys.argv, __file__)\n    sys.exit(0)\n"
    )
    seen = await agent.run(JobSpec(kind="script", code=code, name="train.py"))
    assert seen.done.ok
    assert seen.text() == "['train.py'] train.py\n"


async def test_a_failing_script_shows_its_lines(agent: PlayingAgent) -> None:
    seen = await agent.run(JobSpec(kind="script", code="x = 1\nx / 0\n", name="train.py"))
    assert seen.error.ename == "ZeroDivisionError"
    assert "train.py" in seen.traceback
    assert "jupyter_remote" not in seen.traceback


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def notebook_of(*sources: str) -> Any:
    notebook = v4.new_notebook()
    notebook.cells = [v4.new_markdown_cell("# title"), *map(v4.new_code_cell, sources)]
    return notebook


async def run_notebook(
    agent: PlayingAgent, *sources: str, send: bool = False, checkpoint: Parcel | None = None
) -> Any:
    packed = values.pack_raw(nbformat.writes(notebook_of(*sources)).encode())
    inputs = packed.parcel
    spec = JobSpec(kind="notebook", inputs=inputs, name="n.ipynb", checkpoint=checkpoint)
    if send:
        await agent.send(spec)
        return None
    return await agent.run(spec)


async def test_a_notebook_runs_cell_by_cell_and_comes_back(agent: PlayingAgent) -> None:
    seen = await run_notebook(agent, "# first\nx = 1\nprint('live')", "x + 1")
    assert seen.done.ok, seen.error
    executed = nbformat.reads(seen.value().decode(), as_version=4)
    assert executed.cells[2].outputs[0].data["text/plain"] == "2"
    assert seen.text() == "live\n"
    assert [(b.n, b.total, b.state) for b in seen.bars] == [
        (0, 2, "open"),
        (0, 2, "update"),
        (1, 2, "update"),
        (2, 2, "close"),
    ]
    assert seen.bars[1].description == "# first"


async def test_a_notebook_comes_back_also_when_a_cell_fails(agent: PlayingAgent) -> None:
    seen = await run_notebook(agent, "x = 1", "x / 0", "never = 1")
    assert "ZeroDivisionError" in seen.error.evalue
    assert "ZeroDivisionError" in seen.traceback
    executed = nbformat.reads(seen.value().decode(), as_version=4)
    assert executed.cells[2].outputs[0].ename == "ZeroDivisionError"
    assert executed.cells[3].execution_count is None


async def test_an_interrupt_stops_a_notebook_and_keeps_what_was_done(agent: PlayingAgent) -> None:
    await run_notebook(agent, "import time\nprint('go')\ntime.sleep(60)", send=True)
    await agent.until_text("go\n")
    agent.handle.interrupt()
    seen = await agent.finish()
    assert seen.done.interrupted
    assert "KeyboardInterrupt" in json.dumps(seen.value().decode())


POOL = """
import time
from concurrent.futures import ProcessPoolExecutor
with ProcessPoolExecutor(1) as pool:
    pool.submit(abs, 1).result()
    print("go")
    pool.submit(time.sleep, 600).result()
"""


async def test_an_interrupt_ends_processes_that_a_notebook_waits_for(agent: PlayingAgent) -> None:
    await run_notebook(agent, POOL, send=True)
    await agent.until_text("go\n")
    agent.handle.interrupt()
    assert (await agent.finish()).done.interrupted


async def test_bars_of_a_notebooks_cells_are_data(agent: PlayingAgent) -> None:
    seen = await run_notebook(
        agent,
        "from tqdm.auto import tqdm\nfor _ in tqdm(range(3), desc='steps'): pass",
        "import jupyter_remote as jr\nbar = jr.progress(total=2, desc='left open'); bar.update()\n"
        "print(jr.job.id)",
    )
    assert seen.done.ok, seen.error
    assert seen.text() == f"{seen.done.job}\n"
    assert seen.text("stderr") == ""
    ends = {b.description: (b.n, b.parent) for b in seen.bars if b.state == "close"}
    assert ends == {"steps": (3, "notebook"), "left open": (1, "notebook"), "n.ipynb": (2, "")}
    executed = nbformat.reads(seen.value().decode(), as_version=4)
    assert [len(c.outputs) for c in executed.cells if c.cell_type == "code"] == [0, 1]


async def test_a_notebook_sees_its_folder_but_starts_without_it(agent: PlayingAgent) -> None:
    agent.place({"helper.py": "x = 5", "random.py": "1 / 0", "tqdm.py": "1 / 0"})
    seen = await run_notebook(agent, "import helper\nhelper.x")
    assert seen.done.ok, seen.error
    executed = nbformat.reads(seen.value().decode(), as_version=4)
    assert executed.cells[1].outputs[0].data["text/plain"] == "5"


CODE = '{"cell_type": "code", "source": "1", "outputs": [], "metadata": {}}'
REFUSED = {
    "{}": "is not a notebook: ",
    "": "is not a notebook: ",
    "[3]": "is not a notebook: it has no list of cells",
    '{"cells": 3, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}': (
        "is not a notebook: it has no list of cells"
    ),
    '{"cells": [3], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}': (
        "is not a notebook: one of its cells is none"
    ),
    '{"cells": [], "metadata": {"kernelspec": {"name": "ir", "language": "R"}}, "nbformat": 4, '
    '"nbformat_minor": 5}': "is in R; jobs run notebooks in Python",
    '{"cells": [], "metadata": {"language_info": {"name": "julia"}}, "nbformat": 4, '
    '"nbformat_minor": 5}': "is in julia; jobs run notebooks in Python",
}


@pytest.mark.parametrize("text", REFUSED)
async def test_what_is_no_notebook_of_python_is_refused(agent: PlayingAgent, text: str) -> None:
    packed = values.pack_raw(text.encode())
    seen = await agent.run(JobSpec(kind="notebook", inputs=packed.parcel, name="n.ipynb"))
    assert (seen.error.ename, seen.error.module) == ("UsageError", "jupyter_remote.errors")
    assert seen.error.evalue.startswith("n.ipynb " + REFUSED[text])


async def test_an_old_notebook_runs_without_a_word(agent: PlayingAgent) -> None:
    text = f'{{"cells": [{CODE}], "metadata": {{}}, "nbformat": 4, "nbformat_minor": 5}}'
    packed = values.pack_raw(text.encode())
    seen = await agent.run(JobSpec(kind="notebook", inputs=packed.parcel, name="n.ipynb"))
    assert seen.done.ok, seen.error
    assert seen.text("stderr") == ""


async def test_an_executed_notebook_is_as_jupyter_saves_it(agent: PlayingAgent) -> None:
    seen = await run_notebook(agent, "import ipywidgets\nipywidgets.IntSlider(value=7)")
    metadata = nbformat.reads(seen.value().decode(), as_version=4).metadata
    assert metadata.language_info.name == "python"
    state = metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    assert 7 in [model["state"].get("value") for model in state.values()]


async def test_nothing_of_ours_is_in_the_folder_of_a_notebook(agent: PlayingAgent) -> None:
    seen = await run_notebook(agent, "import os\nprint(os.listdir())")
    assert seen.text() == "[]\n"


async def test_the_error_of_a_notebook_shows_its_cell(agent: PlayingAgent) -> None:
    seen = await run_notebook(agent, "def f(x):\n    return 1 / x", "f(0)")
    assert seen.error.evalue == "Cell 3: ZeroDivisionError: division by zero"
    shown = plain(seen.traceback)
    assert "----> 1 f(0)" in shown
    assert "return 1 / x" in shown


async def test_a_repr_that_fails_in_a_notebook_is_named(agent: PlayingAgent) -> None:
    seen = await run_notebook(
        agent, "class B:\n    def __repr__(self): raise KeyError('no')\nB()", "1"
    )
    executed = nbformat.reads(seen.value().decode(), as_version=4)
    assert executed.cells[1].outputs[0].ename == "KeyError"
    if not seen.done.ok:  # as newer versions of ipykernel see it
        assert seen.error.evalue == "Cell 2: KeyError: 'no'"


async def test_a_module_that_was_not_sent_along_is_told_with_the_way(agent: PlayingAgent) -> None:
    seen = await run_notebook(agent, "import helper_mod.parts")
    assert seen.error.evalue.startswith("Cell 2: ModuleNotFoundError")
    assert seen.error.traceback[-1].endswith("send it along: --files helper_mod.py")


async def test_what_an_output_widget_of_a_notebook_clears_is_not_the_cell(
    agent: PlayingAgent,
) -> None:
    code = "import ipywidgets\no = ipywidgets.Output()\nprint('on')\nwith o: o.clear_output()"
    seen = await run_notebook(agent, code)
    assert seen.done.ok
    assert "clear_output" not in seen.order


async def test_module_roots_are_above_packages() -> None:
    here = Segment("", 0)
    paths = ["helpers.py", "src/pkg/__init__.py", "src/pkg/sub/__init__.py", "src/pkg/sub/m.py"]
    files = [FileRef(p, here, module=True) for p in paths] + [FileRef("data/x.csv", here)]
    assert hygiene.module_roots(files) == [".", "src"]


async def test_a_notebook_whose_kernel_dies_ends_and_comes_back(agent: PlayingAgent) -> None:
    seen = await run_notebook(agent, "print('pre')", "import os; os._exit(3)", "print('never')")
    assert seen.error.evalue == "Cell 3: DeadKernelError: the kernel died (exit 3)"
    executed = nbformat.reads(seen.value().decode(), as_version=4)
    assert executed.cells[1].outputs[0].text == "pre\n"
    assert executed.cells[2].outputs[0].ename == "DeadKernelError"
    assert executed.cells[3].outputs == []
