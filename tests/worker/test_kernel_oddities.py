"""Code that is unusual, careless or hostile to its own process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest

from jupyter_remote.worker import channel
from tests.worker.playing_agent import PlayingAgent, cell_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


async def begin(agent: PlayingAgent, code: str) -> None:
    spec, packed = cell_of(code, {}, outputs=[])
    await agent.send(spec, dict(packed.contents) if packed else None)


BUSY = {
    "a numpy call": "import numpy as np\na = np.ones((400, 400))\nprint('on')\nwhile True: a @ a",
    "subprocess.run": "import subprocess\nprint('on')\nsubprocess.run(['sleep', '60'])",
    "a pool of processes": (
        "import multiprocessing, time\nprint('on')\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool: pool.map(time.sleep, [60, 60])"
    ),
    "a lock": (
        "import threading\nprint('on')\nlock = threading.Lock()\nlock.acquire(); lock.acquire()"
    ),
    "a finalizer": (
        "import time\nclass Slow:\n    def __del__(self): print('on'); time.sleep(60)\n"
        "Slow()\ntime.sleep(60)"
    ),
    "a print loop": "while True: print('on')",
    "a bar": "from tqdm import tqdm\nprint('on')\nfor _ in tqdm(iter(int, 1)): pass",
}


@pytest.mark.parametrize("what", BUSY)
async def test_an_interrupt_ends(agent: PlayingAgent, what: str) -> None:
    await begin(agent, BUSY[what])
    await agent.until_text("on")
    agent.handle.interrupt()
    seen = await agent.finish()
    assert seen.error.ename == "KeyboardInterrupt"
    assert seen.done.interrupted


async def test_an_interrupt_ends_a_shell_line_and_the_cell_goes_on(agent: PlayingAgent) -> None:
    """As it is in IPython, which passes the interrupt on to the command."""
    await begin(agent, "!echo on; sleep 60\nprint('after')")
    await agent.until_text("on")
    agent.handle.interrupt()
    seen = await agent.finish()
    assert seen.done.ok
    assert seen.text().endswith("after\n")


async def test_an_exit_in_a_thread_is_the_death_of_the_process(agent: PlayingAgent) -> None:
    await begin(
        agent,
        "import os, threading\nprint('before')\n"
        "threading.Thread(target=os._exit, args=(7,)).start()\nthreading.Event().wait(60)",
    )
    seen = await agent.rest()
    assert seen.text() == "before\n"
    assert await agent.handle.wait() == "exit 7"


async def test_processes_that_fork_and_fork_end_with_the_job(agent: PlayingAgent) -> None:
    code = """
import os, time
def bomb(depth):
    for _ in range(3):
        if depth and os.fork() == 0:
            os.setsid() if depth % 2 else None
            bomb(depth - 1)
            time.sleep(600)
            os._exit(0)
bomb(3)
print("many")
"""
    seen = await agent.cell(code, {}, outputs=[])
    assert seen.done.ok
    seen = await agent.cell("import psutil\nprint(psutil.Process().children())", {}, outputs=[])
    assert seen.text() == "[]\n"


async def test_a_leak_of_file_descriptors_is_an_error_that_is_told(agent: PlayingAgent) -> None:
    code = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
leaked = []
while True: leaked.append(os.open("/dev/null", os.O_RDONLY))
"""
    seen = await agent.cell(code, {}, outputs=[])
    assert (seen.error.ename, seen.error.evalue) == (
        "OSError",
        "[Errno 24] Too many open files: '/dev/null'",
    )


async def test_a_thread_that_goes_on_printing_does_not_hold_up_the_end(
    agent: PlayingAgent,
) -> None:
    code = """
import threading
def chatter():
    while True: print("still here")
threading.Thread(target=chatter).start()
"""
    seen = await agent.cell(code, {}, outputs=[])
    assert seen.done.ok
    agent.handle.kill()
    assert await agent.handle.wait() == "SIGKILL"


@pytest.mark.parametrize("how", ["input('name? ')", "import getpass; getpass.getpass('name? ')"])
async def test_who_asks_where_nobody_answers_gets_an_error(agent: PlayingAgent, how: str) -> None:
    await begin(agent, how)
    await agent.until(lambda m: isinstance(m, channel.Ask))
    await agent.handle.send(channel.Input("", refused=True))
    seen = await agent.finish()
    assert seen.error.ename == "EOFError"
    assert "It asked 'name? '" in seen.error.evalue


async def test_a_debugger_ends_where_nobody_answers(agent: PlayingAgent) -> None:
    await begin(agent, "x = 1\nbreakpoint()\ny = 2")
    await agent.until(lambda m: isinstance(m, channel.Ask))
    await agent.handle.send(channel.Input("", refused=True))
    assert (await agent.finish()).error.ename == "BdbQuit"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("def g(): yield 1\nx = g()", "a generator (a list of it can travel)"),
        ("async def g(): yield 1\nx = g()", "an async generator"),
    ],
)
async def test_a_generator_stays_there(agent: PlayingAgent, code: str, why: str) -> None:
    seen = await agent.cell(code, {}, assigned=["x", "g"])
    assert seen.done.ok
    assert [(left.name, left.why) for left in seen.result.left_behind] == [("x", why)]


def endless() -> Iterator[int]:
    yield from iter(int, 1)


async def test_a_generator_as_the_value_of_a_call_is_an_error(agent: PlayingAgent) -> None:
    seen = await agent.call(endless)
    assert seen.error.ename == "CaptureError"
    assert "generator" in seen.error.evalue


async def test_a_deep_recursion_is_short_and_quick_to_show(agent: PlayingAgent) -> None:
    process = psutil.Process(agent.handle.pid)
    before = sum(process.cpu_times()[:2])
    seen = await agent.cell("def f(n):\n    return f(n + 1)\nf(0)", {}, outputs=[])
    assert seen.error.ename == "RecursionError"
    assert len(seen.traceback) < 30_000
    assert re.search(r"\(\d+ frames between these are not shown\)$", seen.traceback)
    assert sum(process.cpu_times()[:2]) - before < 10


BROKEN = (
    "class Broken{base}:\n    def __repr__(self): raise KeyError('no')\n    __str__ = __repr__\n"
)


async def test_an_exception_whose_texts_fail_arrives(agent: PlayingAgent) -> None:
    seen = await agent.cell(BROKEN.format(base="(Exception)") + "raise Broken()", {}, outputs=[])
    assert (seen.error.ename, seen.error.evalue) == (
        "Broken",
        "<Broken whose message raised KeyError>",
    )


async def test_a_value_whose_repr_fails_is_an_error_among_the_output(agent: PlayingAgent) -> None:
    seen = await agent.cell(BROKEN.format(base="") + "Broken()", {}, outputs=[])
    assert [e["ename"] for e in seen.outs("error")] == ["KeyError"]


SAID = {
    "warnings": (
        "import warnings\nwarnings.warn('careful')\nwarnings.warn('old', DeprecationWarning)",
        ["UserWarning: careful", "DeprecationWarning: old"],
    ),
    "logging": (
        "import logging\nlogging.warning('first')\n"
        "logging.basicConfig(level='INFO', force=True)\nlogging.getLogger('x').info('second')",
        ["WARNING:root:first", "INFO:x:second"],
    ),
    "children": (
        "import multiprocessing\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool: pool.map(print, ['out'])\n"
        "with multiprocessing.get_context('spawn').Pool(1) as pool: pool.map(print, ['other'])",
        ["out\n", "other\n"],
    ),
}


@pytest.mark.parametrize("how", SAID)
async def test_what_is_said_is_shown(agent: PlayingAgent, how: str) -> None:
    code, parts = SAID[how]
    seen = await agent.cell(code, {}, outputs=[])
    said = seen.text("stdout") + seen.text("stderr")
    assert [part for part in parts if part not in said] == []


async def test_the_kernels_own_log_is_not_the_users(agent: PlayingAgent) -> None:
    code = "import logging\nlogging.basicConfig(level=logging.DEBUG)\n1 / 0"
    seen = await agent.cell(code, {}, outputs=[])
    assert seen.error.ename == "ZeroDivisionError"
    assert "ipykernel" not in seen.text("stderr")


async def test_an_exit_with_a_text_says_it(agent: PlayingAgent) -> None:
    seen = await agent.cell("import sys\nsys.exit('enough of this')", {}, outputs=[])
    assert (seen.error.ename, seen.error.evalue) == ("SystemExit", "enough of this")


async def test_a_streams_replacement_ends_with_the_cell(agent: PlayingAgent) -> None:
    code = "import io, sys\nsys.stdout = io.StringIO()\nprint('kept')\nsys.stderr = None"
    assert (await agent.cell(code, {}, outputs=[])).order == []
    seen = await agent.cell("import sys\nprint('out')\nprint('err', file=sys.stderr)", {})
    assert (seen.text(), seen.text("stderr")) == ("out\n", "err\n")


async def test_what_is_redirected_is_not_shown(agent: PlayingAgent) -> None:
    code = """
import contextlib, io
from IPython.utils.capture import capture_output
with contextlib.redirect_stdout(io.StringIO()) as text: print("in a string")
with capture_output() as captured:
    print("in an object"); display(1)
"""
    seen = await agent.cell(code, {}, outputs=["text"])
    assert seen.order == []


async def test_a_display_is_updated_by_a_thread(agent: PlayingAgent) -> None:
    code = """
import threading
handle = display("old", display_id=True)
thread = threading.Thread(target=handle.update, args=("new",))
thread.start(); thread.join()
"""
    seen = await agent.cell(code, {}, outputs=[])
    (update,) = seen.outs("update_display_data")
    assert update["data"]["text/plain"] == "'new'"
    assert update["transient"] == seen.outs("display_data")[0]["transient"]


async def test_a_folder_that_is_gone_is_no_harm(agent: PlayingAgent) -> None:
    code = "import os, shutil\nos.mkdir('a'); os.chdir('a')\nshutil.rmtree('../../cwd')"
    assert (await agent.cell(code, {}, outputs=[])).done.ok
    assert (await agent.cell("print('next')", {}, outputs=[])).text() == "next\n"


async def test_descriptors_that_are_closed_are_no_harm(agent: PlayingAgent) -> None:
    seen = await agent.cell("import os, sys\nos.close(1)\nsys.stdout.close()\nprint('on')", {})
    assert seen.done.ok
    assert seen.text() == "on\n"


def arrays() -> dict[str, Any]:
    big = np.arange(400_000).reshape(400, 1000)
    return {
        "zero_stride": np.broadcast_to(np.float64(3.5), (300, 300)),
        "fortran": np.asfortranarray(big),
        "gaps": big[::2, ::3],
        "negative": big[::-1, ::-1],
        "objects": np.array([{"a": 1}, [2], None, "x"] * 100, dtype=object),
        "structured": np.array([(1, 2.5, b"x")] * 50_000, dtype="i4,f8,S3"),
        "times": np.arange("2020-01", "2024-01", dtype="datetime64[h]"),
        "texts": np.array(["a", "bcd"] * 50_000),
        "masked": np.ma.masked_greater(big, 100),
        "empty": np.empty((0, 5)),
        "scalar": np.array(7),
        "flags": np.array([True, False] * 100_000),
        "complex": (big + 1j).astype("c8"),
    }


@pytest.mark.parametrize("name", arrays())
async def test_an_array_there_and_back_is_the_same(agent: PlayingAgent, name: str) -> None:
    array = arrays()[name]
    seen = await agent.cell("b = a.copy()\nsame = a", {"a": array}, assigned=["b", "same"])
    assert seen.done.ok, seen.error
    back = seen.value()
    np.testing.assert_array_equal(back["b"], array)
    assert back["b"].dtype == array.dtype
    if name == "masked":
        assert (back["b"].mask == array.mask).all()


FRAMES = {
    "strings": "pd.Series(['a', None, 'c'] * 30_000, dtype='string[python]')",
    "categories": "pd.Series(['a', 'b'] * 50_000, dtype='category')",
    "many levels": (
        "pd.DataFrame({'v': range(50_000)}, index=pd.MultiIndex.from_product("
        "[range(500), range(100)], names=['i', 'j']))"
    ),
    "times with zones": "pd.Series(pd.date_range('2020', periods=20_000, freq='h', tz='UTC'))",
    "missing integers": "pd.Series([1, None, 3] * 30_000, dtype='Int64')",
    "intervals": "pd.Series(pd.interval_range(0, 500))",
}


@pytest.mark.parametrize("name", FRAMES)
async def test_a_frame_there_and_back_is_the_same(agent: PlayingAgent, name: str) -> None:
    import pandas as pd

    value = eval(FRAMES[name], {"pd": pd})
    seen = await agent.cell("b = a.copy()", {"a": value}, assigned=["b"])
    assert seen.done.ok, seen.error
    assert seen.value()["b"].equals(value)


async def test_sparse_and_mapped_arrays_come_home(agent: PlayingAgent) -> None:
    code = """
import numpy as np, scipy.sparse
sparse = scipy.sparse.random(1000, 1000, density=0.1, format="csr", random_state=0)
mapped = np.memmap("numbers", dtype="i8", mode="w+", shape=(50_000,))
mapped[:] = 7
total = sparse.sum()
"""
    seen = await agent.cell(code, {}, assigned=["sparse", "mapped", "total"])
    assert seen.done.ok, seen.error
    back = seen.value()
    assert back["sparse"].sum() == pytest.approx(back["total"])
    assert (np.asarray(back["mapped"]) == 7).all()


NOT_UNICODE = {
    "a question": "try: input('\\udcff')\nexcept EOFError: pass",
    "an attribute": "class E(Exception): pass\ne = E('\\udcff'); setattr(e, '\\udcff', 1)\nraise e",
    "a file": "open(b'\\xff.txt', 'w').close()",
    "a variable": "globals()['\\ud800'] = 1",
    "a variable that stays": "globals()['\\ud800'] = iter(open('/dev/null'))",
    "a deleted variable": "del globals()['\\udcff']",
}


@pytest.mark.parametrize("what", NOT_UNICODE)
async def test_a_text_that_is_not_unicode_is_no_harm(agent: PlayingAgent, what: str) -> None:
    spec, packed = cell_of(NOT_UNICODE[what], {"\udcff": 1})
    await agent.send(spec, dict(packed.contents) if packed else None)
    if what == "a question":
        await agent.until(lambda m: isinstance(m, channel.Ask))
        await agent.handle.send(channel.Input("", refused=True))
    seen = await agent.finish()
    assert seen.done.ok == (what != "an attribute")
    assert seen.result
    if what == "an attribute":
        assert seen.error.attributes == {"\\udcff": 1}
    if what == "a file":
        assert [left.name for left in seen.result.left_behind] == ["\\udcff.txt"]


DESCRIBED = {
    "an attribute that raises": "class E(Exception):\n    @property\n    def name(self): 1 / 0",
    "arguments that raise": "class E(Exception):\n    @property\n    def args(self): 1 / 0",
    "no attributes at all": (
        "class E(Exception):\n    def __getattribute__(self, name): raise KeyError(name)"
    ),
    "a message that exits": "class E(Exception):\n    def __str__(self): raise SystemExit",
    "a frozen class": (
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass E(Exception): pass"
    ),
    "a class with a name of its own": (
        "class M(type):\n    __name__ = property(lambda cls: 1 / 0)\n"
        "class E(Exception, metaclass=M): pass"
    ),
    "notes that are none": "class E(Exception):\n    __notes__ = 5",
}


@pytest.mark.parametrize("what", DESCRIBED)
async def test_an_exception_that_cannot_be_looked_into_arrives(
    agent: PlayingAgent, what: str
) -> None:
    seen = await agent.cell(f"{DESCRIBED[what]}\nraise E()", {}, outputs=[])
    assert seen.error.ename == "E"
    assert (await agent.cell("print('on')", {}, outputs=[])).text() == "on\n"


async def test_a_size_is_only_asked_of_known_types_and_is_never_absurd(agent: PlayingAgent) -> None:
    code = (
        "class X: nbytes = 2**70\nimport numpy as np\nx = X()\n"
        "class Y(np.ndarray): nbytes = 2**70\ny = np.zeros(3).view(Y)"
    )
    seen = await agent.cell(code, {}, assigned=["x", "y"])
    assert seen.result.value is not None
    sizes = {info.name: info.size_bytes for info in seen.result.value.names}
    assert all(size < 10_000 for size in sizes.values()), sizes


async def test_a_traceback_that_code_shows_is_there_while_it_goes_on(agent: PlayingAgent) -> None:
    code = "try: 1 / 0\nexcept Exception: get_ipython().showtraceback()\ninput()"
    spec, _ = cell_of(code, {})
    await agent.send(spec)
    await agent.until(lambda m: isinstance(m, channel.Ask))
    assert len(agent.now.outs("error")) == 1
    await agent.handle.send(channel.Input("go on"))
    seen = await agent.finish()
    assert seen.done.ok
    assert len(seen.outs("error")) == 1


async def test_a_child_gets_none_of_our_descriptors(agent: PlayingAgent) -> None:
    code = "import subprocess\nprint(subprocess.run('ls /proc/self/fd | wc -l', shell=True, "
    code += "close_fds=False, text=True, capture_output=True).stdout)"
    assert int((await agent.cell(code, {})).text()) <= 5


async def test_c_code_that_prints_much_and_holds_the_interpreter_goes_on(
    agent: PlayingAgent,
) -> None:
    code = (
        "import ctypes\ndata = (b'x' * 99 + b'\\n') * 30_000\n"
        "written = ctypes.PyDLL(None).write(1, data, len(data))"
    )
    spec, _ = cell_of(code, {})
    await agent.send(spec)
    relieved, at = "", 0.0
    async with asyncio.timeout(60):
        ended = asyncio.create_task(agent.finish())
        while not ended.done():
            at += 1.0
            relieved += "".join(text.text for text in agent.handle.relieve(at))
            await asyncio.wait([ended], timeout=0.01)
    assert (await ended).value()["written"] == 3_000_000
    assert len(relieved + (await ended).text()) == 3_000_000
