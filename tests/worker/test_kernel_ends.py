"""Interrupts, crashes and what is left behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from jupyter_remote import values
from jupyter_remote.errors import JobLost
from jupyter_remote.wire import JobSpec
from jupyter_remote.worker.launch import KernelLauncher
from jupyter_remote.worker.verdict import ORPHANED
from tests.worker.playing_agent import PlayingAgent, cell_of, started

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def interrupted(agent: PlayingAgent, code: str) -> None:
    """Run a cell, interrupt it once it says ``go``, check that it was a KeyboardInterrupt."""
    spec, _ = cell_of(code, {})
    await agent.send(spec)
    await agent.until_text("go\n")
    agent.handle.interrupt()
    seen = await agent.finish()
    assert seen.done.interrupted
    assert seen.error.ename == "KeyboardInterrupt"


CLEAN_UP = """
import asyncio, time
state = "running"
try:
    print("go")
    {work}
except KeyboardInterrupt:
    state = "interrupted"
    raise
finally:
    print("cleaned up")
"""


@pytest.mark.parametrize(
    "work",
    [
        "time.sleep(60)",
        "while True: pass",
        "await asyncio.sleep(60)",
        "await asyncio.gather(asyncio.sleep(60), asyncio.sleep(50))",
        "await asyncio.sleep(0)\n    while True: pass",
        "__import__('subprocess').run(['sleep', '60'])",
        "__import__('threading').Event().wait()",
        "input('? ')",
        "exec('while True: print(end=\"\")')",
    ],
)
async def test_an_interrupt_is_a_keyboard_interrupt_and_code_cleans_up(
    agent: PlayingAgent, work: str
) -> None:
    await interrupted(agent, CLEAN_UP.format(work=work))
    assert "cleaned up\n" in agent.now.text()
    assert agent.now.value()["state"] == "interrupted"


async def test_an_interrupt_in_a_call_that_awaits(agent: PlayingAgent) -> None:
    async def wait() -> None:
        import asyncio

        print("go")
        try:
            await asyncio.sleep(60)
        except KeyboardInterrupt:
            print("saw it")
            raise

    function, inputs = values.pack(wait).parcel, values.pack(((), {})).parcel
    await agent.send(JobSpec(kind="call", function=function, inputs=inputs))
    await agent.until_text("go\n")
    agent.handle.interrupt()
    seen = await agent.finish()
    assert seen.done.interrupted
    assert "saw it" in seen.text()


async def test_an_interrupt_between_jobs_does_nothing(agent: PlayingAgent) -> None:
    def f(x: int) -> int:
        return x

    assert (await agent.call(f, 1)).value() == 1
    agent.handle.interrupt()
    assert (await agent.call(f, 2)).value() == 2


async def test_an_interrupt_before_the_first_job_is_meant_for_it(agent: PlayingAgent) -> None:
    agent.handle.interrupt()
    assert (await agent.cell("x = 1", {})).done.interrupted


async def test_code_may_catch_an_interrupt_and_go_on(agent: PlayingAgent) -> None:
    code = (
        "import time\nprint('go')\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    x = 1"
    )
    spec, _ = cell_of(code, {})
    await agent.send(spec)
    await agent.until_text("go\n")
    agent.handle.interrupt()
    seen = await agent.finish()
    assert seen.done.ok
    assert seen.value()["x"] == 1


POOL = """
import os, time
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
with ProcessPoolExecutor(2, multiprocessing.get_context({method!r})) as pool:
    there = set()  # one that is still being started does not hear of the interrupt
    while len(there) < 2:
        there |= {{each.result() for each in [pool.submit(os.getpid) for _ in range(8)]}}
    print("go")
    list(pool.map(time.sleep, [600, 600]))
"""


@pytest.mark.parametrize("method", ["fork", "forkserver"])
async def test_an_interrupt_ends_processes_that_the_code_waits_for(
    agent: PlayingAgent, method: str
) -> None:
    await interrupted(agent, POOL.format(method=method))


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("import os\nos._exit(3)", "exit 3"),
        ("import ctypes\nctypes.string_at(0)", "SIGSEGV"),
        ("import os\nos.abort()", "SIGABRT"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    ],
)
async def test_a_death_is_named_and_the_last_output_is_not_lost(
    agent: PlayingAgent, code: str, how: str
) -> None:
    spec, _ = cell_of(f"for i in range(50): print('last', i)\n{code}", {})
    await agent.send(spec)
    assert await agent.handle.wait() == how
    seen = await agent.rest()
    assert seen.text() == "".join(f"last {i}\n" for i in range(50))
    assert seen.finished is None
    if how == "SIGSEGV":
        assert "Segmentation fault" in seen.text("stderr")
        assert "Cell In [3], line 3 in <module>" in seen.text("stderr")
        assert "jupyter_remote" not in seen.text("stderr")


LAST_WORDS = {
    "by C code": ("import os\nprint('1')\nos.write(1, b'2\\n')\nos._exit(3)", "1\n2\n", ""),
    "by a child": ("import os\nos.system('echo out; echo err >&2')\nos.abort()", "out\n", "err\n"),
    "before an abort": (
        "import os\nos.write(2, b'double free\\n')\nos.abort()",
        "",
        "double free\n",
    ),
    "in one large piece": (
        "import os\nprint('é' * 400_000)\nos._exit(3)",
        "é" * 400_000 + "\n",
        "",
    ),
    "while nobody reads": (
        "import os\nfor i in range(300): print(f'{i:04d}' + 'x' * 9_995)\nos._exit(3)",
        "".join(f"{i:04d}" + "x" * 9_995 + "\n" for i in range(300)),
        "",
    ),
}


@pytest.mark.parametrize("how", LAST_WORDS)
async def test_what_was_written_just_before_a_death_arrives_once(
    agent: PlayingAgent, how: str
) -> None:
    code, out, err = LAST_WORDS[how]
    spec, _ = cell_of(code, {})
    await agent.send(spec)
    await agent.handle.wait()
    seen = await agent.rest()
    assert seen.text() == out
    assert seen.text("stderr").startswith(err)


@pytest.mark.parametrize("enabled", ["pass", "import faulthandler; faulthandler.enable()"])
async def test_the_stack_of_a_crash_names_cells_and_has_no_frames_of_ours(
    agent: PlayingAgent, enabled: str
) -> None:
    helper = "def crash():\n    import ctypes\n    ctypes.string_at(0)\n"
    agent.place({"helper.py": helper})
    code = f"{enabled}\nimport helper\nhelper.crash()"
    spec, _ = cell_of(code, {})
    await agent.send(spec)
    await agent.handle.wait()
    said = (await agent.rest()).text("stderr")
    assert said.count("Fatal Python error") == 1
    frames = [line.strip() for line in said.splitlines() if ", line " in line]
    assert frames[1:] == [  # the first is in ctypes
        'File "helper.py", line 3 in crash',
        "Cell In [3], line 3 in <module>",
    ]
    assert said.count("most recent call first") == 1


async def test_a_stack_that_code_dumps_itself_has_no_frames_of_ours(agent: PlayingAgent) -> None:
    code = "import faulthandler, sys\nfaulthandler.dump_traceback()\nprint('on', file=sys.stderr)"
    seen = await agent.cell(code, {}, outputs=[])
    heading, *rest = seen.text("stderr").splitlines()
    assert heading.endswith("(most recent call first):")
    assert rest == ["  Cell In [3], line 2 in <module>", "on"]


async def test_descendants_die_with_the_kernel_also_those_that_left_its_group(
    agent: PlayingAgent,
) -> None:
    code = """
import subprocess, sys, time
a = subprocess.Popen(["sleep", "600"], start_new_session=True)
nested = "setsid sh -c 'setsid sleep 600 & echo $!' & wait"
b = subprocess.Popen(["sh", "-c", nested], stdout=subprocess.PIPE, text=True)
print("pids", a.pid, int(b.stdout.readline()), flush=True)
print("go")
time.sleep(600)
"""
    spec, _ = cell_of(code, {})
    await agent.send(spec)
    await agent.until_text("go\n")
    pids = [int(p) for p in agent.now.text().split("\n")[0].split()[1:]]
    assert all(psutil.pid_exists(p) for p in pids)
    agent.handle.kill()
    assert await agent.handle.wait() == "SIGKILL"
    assert not any(psutil.pid_exists(p) for p in pids)


async def test_children_that_a_call_left_are_gone_before_the_next_one(agent: PlayingAgent) -> None:
    def leave() -> int:
        import subprocess

        return subprocess.Popen(["sleep", "600"], start_new_session=True).pid

    def nothing() -> None:
        return None

    pid = (await agent.call(leave)).value()
    await agent.call(nothing)
    assert not psutil.pid_exists(pid)


async def test_five_kernels_of_one_zygote_are_separate(
    launcher: KernelLauncher, tmp_path: Path
) -> None:
    agents = [await started(launcher, tmp_path / str(i)) for i in range(5)]
    outcomes = await asyncio.gather(*(a.cell(f"x = {i} ** 2", {}) for i, a in enumerate(agents)))
    assert [o.value()["x"] for o in outcomes] == [0, 1, 4, 9, 16]
    assert len({a.handle.pid for a in agents}) == 5
    for a in agents:
        a.handle.kill()
        assert await a.handle.wait() == "SIGKILL"
        a.handle.close()


async def test_a_dead_zygote_is_replaced_and_its_kernels_die(tmp_path: Path) -> None:
    launcher = KernelLauncher()
    first = await started(launcher, tmp_path / "1")
    zygote = psutil.Process(first.handle.pid).parent()
    assert zygote is not None
    code = "import subprocess\nsubprocess.Popen(['sleep', '600'])\nprint('go')\ninput()"
    spec, _ = cell_of(code, {})
    await first.send(spec)
    await first.until_text("go\n")
    (left,) = psutil.Process(first.handle.pid).children()
    zygote.kill()
    assert await first.handle.wait() == ORPHANED
    left.wait(60)
    second = await started(launcher, tmp_path / "2")
    assert (await second.cell("x = 1", {})).value() == {"x": 1}
    await launcher.close()
    assert not psutil.pid_exists(second.handle.pid)
    first.handle.close()
    second.handle.close()


async def test_a_kernel_that_is_started_plainly_does_the_same(tmp_path: Path) -> None:
    launcher = KernelLauncher(fork=False)
    agent = await started(launcher, tmp_path)
    assert (await agent.cell("print('hi')\nx = 1", {})).value() == {"x": 1}
    agent.handle.kill()
    assert await agent.handle.wait() == "SIGKILL"
    agent.handle.close()
    await launcher.close()


async def test_a_kernel_ends_when_the_agent_hangs_up(
    launcher: KernelLauncher, tmp_path: Path
) -> None:
    agent = await started(launcher, tmp_path)
    agent.handle.close()
    assert await agent.handle.wait() == "exit 0"


async def test_an_interpreter_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    launcher = KernelLauncher("/bin/false")
    with pytest.raises(JobLost):
        await launcher.start()
    await launcher.close()


async def test_tokens_and_descriptors_of_the_agent_are_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JUPYTER_REMOTE_TOKEN", "jr_s_canary")
    launcher = KernelLauncher()
    agent = await started(launcher, tmp_path)
    code = """
import os
environ = "canary" in str(dict(os.environ)) or b"canary" in open("/proc/self/environ", "rb").read()
paths = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")]
links = [os.readlink(p) for p in paths if os.path.islink(p)]
sockets = sum(l.startswith("socket:") for l in links)
"""
    seen = (await agent.cell(code, {})).value()
    assert not seen["environ"]
    # Ours, and the pair with which the event loop wakes itself.
    assert seen["sockets"] == 3
    await launcher.close()
    agent.handle.close()
