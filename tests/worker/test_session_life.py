"""What goes on in a session between calls, how it ends, and what it held then."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jupyter_remote import calls
from jupyter_remote.worker import channel
from jupyter_remote.worker.belongings import Brought, Held
from jupyter_remote.worker.idle import Idle
from jupyter_remote.worker.launch import KernelLauncher
from tests.worker.sessions import Playing, idle_after, playing
from tests.worker.test_session_calls import namespace_of
from tests.worker.test_session_stops import exists

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_task_of_one_call_goes_on_between_calls_and_finishes(session: Playing) -> None:
    ada = await session.caller()
    gate, done = session.folder / "gate", session.folder / "done"
    await ada.run(
        "import asyncio, os\nasync def work():\n"
        f"    while not os.path.exists({str(gate)!r}): await asyncio.sleep(0.01)\n"
        f"    open({str(done)!r}, 'w').close()\n    return 'result'\n"
        "task = asyncio.create_task(work())"
    )
    names = namespace_of(session, "def result():\n    return task.result()")
    assert await ada.value(abs, -1) == 1
    gate.touch()
    await exists(session, "done")
    assert await ada.value(names["result"]) == "result"


async def test_a_callback_of_the_loop_runs_between_calls(session: Playing) -> None:
    ada = await session.caller()
    done = session.folder / "done"
    await ada.run(
        "import asyncio\nasyncio.get_running_loop().call_later("
        f"0.05, lambda: open({str(done)!r}, 'w').close());"
    )
    await exists(session, "done")


async def test_a_task_that_exits_between_calls_ends_nothing_else(session: Playing) -> None:
    ada = await session.caller()
    await ada.run(
        "import asyncio, sys\nkept = 1\nasync def leave():\n    await asyncio.sleep(0.01)\n"
        "    sys.exit('left')\nasyncio.create_task(leave());"
    )
    await session.until_text("left")
    assert (await ada.run("kept")).error is None


async def test_a_signal_handler_of_the_users_may_raise_between_calls(session: Playing) -> None:
    ada = await session.caller()
    await ada.run(
        "import signal\nkept = raised = 0\ndef handle(*_):\n    global raised\n    raised += 1\n"
        "    raise TimeoutError(f'too late: {raised}.')  # for sockets, too, an OSError\n"
        "signal.signal(signal.SIGUSR1, handle);"
    )
    for n in range(1, 51):  # whatever the session is doing just after a reply
        assert await ada.value(abs, -1) == 1
        os.kill(session.handle.pid, signal.SIGUSR1)
        await session.until_text(f"too late: {n}.")
        assert (await ada.run("kept")).error is None


async def test_an_alarm_interrupts_its_own_call_and_no_later_one(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(
        session,
        "import signal, time\ndef handle(*_):\n    raise TimeoutError('too late')\n"
        "def slow(s, rings_in_s):\n    signal.signal(signal.SIGALRM, handle)\n"
        "    signal.setitimer(signal.ITIMER_REAL, rings_in_s)\n    time.sleep(s)\n"
        "def left():\n    return signal.getitimer(signal.ITIMER_REAL)[0]",
    )
    reply = await ada.ask(names["slow"], 60, 0.1)
    assert reply.error is not None
    assert reply.error.ename == "TimeoutError"
    assert (await ada.ask(names["slow"], 0, 600)).error is None
    assert await ada.value(names["left"]) == 0


PRINTERS = """
import asyncio, os, threading, time
def later(gate, text):
    def work():
        while not os.path.exists(gate): time.sleep(0.005)
        print(text, flush=True)
        open(gate + '.said', 'w').close()
    threading.Thread(target=work).start()
def watch(gate):
    open(gate + '.watched', 'w').close()
    while not os.path.exists(gate + '.said'): time.sleep(0.005)
    print('mine')
async def later_task(gate, text):
    async def work():
        while not os.path.exists(gate): await asyncio.sleep(0.005)
        print(text, flush=True)
        open(gate + '.said', 'w').close()
    globals()['task'] = asyncio.create_task(work())
async def watch_task(gate):
    open(gate + '.watched', 'w').close()
    while not os.path.exists(gate + '.said'): await asyncio.sleep(0.005)
    print('mine')
"""


@pytest.mark.parametrize("kind", ["", "_task"])
async def test_what_is_said_later_goes_to_no_other_client(session: Playing, kind: str) -> None:
    ada, bob = await session.caller("ada"), await session.caller("bob")
    names = namespace_of(session, PRINTERS)
    later, watch = names[f"later{kind}"], names[f"watch{kind}"]
    for caller, gate in ((bob, "one"), (ada, "two")):
        path = session.folder / gate
        await ada.value(later, str(path), f"said {gate}")
        watching = await caller.begin(watch, str(path))
        await exists(session, f"{gate}.watched")  # what is said before is of nobody's call
        path.touch()
        await caller.reply(watching)
    assert bob.text == "mine\n"  # what ada's thread said meanwhile is for the agent
    assert "said two" in ada.text
    await session.until_text("said one")


async def test_a_thread_that_never_stops_talking_holds_no_reply_up(session: Playing) -> None:
    ada = await session.caller()
    await ada.run(
        "import threading, time\ndef talk():\n    while True:\n        print('.', end='')\n"
        "        time.sleep(0.0001)\nthreading.Thread(target=talk, daemon=True).start()"
    )
    async with asyncio.timeout(60):
        for n in range(20):
            assert await ada.value(abs, -n) == n


# --- the end ---------------------------------------------------------------------------------
async def test_nobody_uses_it_so_it_ends_and_says_so(
    launcher: KernelLauncher, tmp_path: Path
) -> None:
    async with playing(launcher, tmp_path, idle_timeout_s=600) as session:
        ada = await session.caller()
        assert (await ada.run(idle_after(0.3))).error is None
        finished = (await session.finish()).done
        assert finished.ok
        assert finished.detail == "nobody used it for 0.3 s"


async def test_a_call_that_came_while_it_stood_still_is_no_idle_time(
    launcher: KernelLauncher, tmp_path: Path
) -> None:
    async with playing(launcher, tmp_path, idle_timeout_s=600) as session:
        ada = await session.caller()
        gate, stands = session.folder / "gate", session.folder / "stands"
        stall = (
            "import gc, os, time\nfrom jupyter_remote.worker.idle import Idle\n"
            "[its] = [one for one in gc.get_objects() if type(one) is Idle]\n"
            "def over():\n    del its.over\n"
            f"    open({str(stands)!r}, 'w').close()\n"
            f"    while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
            "    return its.over()\n"
            "its.over, its.limit_s = over, 0.3"
        )
        assert (await ada.run(f"exec({stall!r}, locals())")).error is None
        await exists(session, "stands")
        call = asyncio.create_task(ada.run("'served'"))
        done, _ = await asyncio.wait([call], timeout=1)
        assert not done
        gate.touch()
        assert (await call).error is None
        assert "nobody used it" in (await session.finish()).done.detail


@pytest.mark.parametrize(
    ("code", "limit_s"),
    [
        ("while not os.path.exists(gate): time.sleep(0.01)", 0.4),
        ("while not os.path.exists(gate): await asyncio.sleep(0.01)", 0.4),
        (
            "async def work():\n    while not os.path.exists(gate): await asyncio.sleep(0.01)\n"
            "task = asyncio.create_task(work())",
            0.4,
        ),
        (
            "def work():\n    while not os.path.exists(gate): pass\n"
            "threading.Thread(target=work).start()",
            3.0,  # what it uses is measured: it may stand still for much longer than another
        ),
    ],
    ids=["a call", "a call that awaits", "a task", "a thread"],
)
async def test_what_goes_on_is_not_idle(
    launcher: KernelLauncher, tmp_path: Path, code: str, limit_s: float
) -> None:
    async with playing(launcher, tmp_path, idle_timeout_s=600) as session:
        ada = await session.caller()
        gate = session.folder / "gate"
        imports = (
            f"import asyncio, os, threading, time\ngate = {str(gate)!r}\n{idle_after(limit_s)}\n"
        )
        running = asyncio.create_task(ada.run(imports + code))
        over = asyncio.create_task(session.finish())
        done, _ = await asyncio.wait([over], timeout=limit_s + 1)
        assert not done
        gate.touch()
        assert (await running).error is None
        assert "nobody used it" in (await over).done.detail


class Moment:
    def __init__(self) -> None:
        self.now, self.cpu_s, self.tasks = 1000.0, 5.0, False

    def idle(self, limit_s: float | None = 100.0) -> Idle:
        return Idle(limit_s, lambda: self.tasks, lambda: self.cpu_s, lambda: self.now)


async def test_an_idle_time_counts_from_the_last_use() -> None:
    moment = Moment()
    idle = moment.idle()
    assert idle.wait_s() == 25
    moment.now += 90
    assert not idle.over()
    idle.touch()
    moment.now += 99
    assert not idle.over()
    assert idle.wait_s() == 1
    moment.now += 1
    assert idle.over()


async def test_work_in_the_background_is_use_and_what_calls_used_before_is_not() -> None:
    moment = Moment()
    idle = moment.idle()
    moment.cpu_s += 1000  # of a call
    idle.touch()
    for _ in range(10):
        moment.now, moment.cpu_s = moment.now + 25, moment.cpu_s + 20
        assert not idle.over()
    for _ in range(3):
        moment.now, moment.cpu_s = moment.now + 25, moment.cpu_s + 0.1
        assert not idle.over()
    moment.now += 25
    assert idle.over()


async def test_without_a_limit_it_is_never_over() -> None:
    moment = Moment()
    idle = moment.idle(None)
    moment.now += 1e9
    assert not idle.over()
    assert idle.wait_s() > 0


# --- what it held ----------------------------------------------------------------------------
async def test_the_agent_hears_what_the_namespace_holds(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(
        session,
        "table = [1, 2]\ndef helper():\n    return table\ndef bring():\n    return helper()",
    )
    await ada.value(names["bring"])
    await ada.run(
        "import numpy as np\nX = np.zeros((3, 4)); text = 'abc'; _private = 1\n"
        "def mine(): pass\nclass Model: pass\nmodel = Model()"
    )
    held = await session.until(lambda m: isinstance(m, channel.Held))
    assert isinstance(held, channel.Held)
    while "X (ndarray 3×4)" not in held.names:
        held = await session.until(lambda m: isinstance(m, channel.Held))  # type: ignore[assignment]
    assert held.names == ["X (ndarray 3×4)", "text (str 3)", "model (Model)"]


async def test_of_many_names_the_latest_are_told(session: Playing) -> None:
    ada = await session.caller()
    await ada.run("for n in range(100): globals()[f'v{n}'] = n")
    held: Any = await session.until(lambda m: isinstance(m, channel.Held))
    while "v99 (int)" not in held.names:
        held = await session.until(lambda m: isinstance(m, channel.Held))
    assert held.names[-2:] == ["v99 (int)", "95 more"]
    assert len(held.names) == 7


async def test_what_is_held_is_looked_at_after_something_ran_and_told_when_it_changed() -> None:
    namespace: dict[str, Any] = {"x": 1}
    held = Held(namespace, {}, Brought(namespace))
    assert held.wait_s() == float("inf")
    held.dirty = True
    assert held.wait_s() == 0
    assert held.news() == ["x (int)"]
    assert held.wait_s() == float("inf")
    held.dirty = True
    assert 0 < held.wait_s() <= 1.0
    assert held.news() is None
    del namespace["x"]
    assert held.news() == []


class Costly:
    @property
    def shape(self) -> tuple[int, ...]:
        raise AssertionError("looking at it runs code of the user's")

    def __len__(self) -> int:
        raise AssertionError("looking at it runs code of the user's")


async def test_looking_at_what_is_held_runs_no_code_of_the_users() -> None:
    namespace: dict[str, Any] = {"thing": Costly()}
    assert Held(namespace, {}, Brought(namespace)).news() == ["thing (Costly)"]


# --- deaths ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; print('before'); os._exit(3)", "exit 3"),
        ("import ctypes; print('before'); ctypes.string_at(0)", "SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
    ],
)
async def test_a_process_that_dies_in_a_call_is_heard_of_at_once(
    session: Playing, code: str, words: str
) -> None:
    ada = await session.caller()
    with pytest.raises(EOFError):
        async with asyncio.timeout(60):
            await ada.run(code)
    async with asyncio.timeout(60):
        assert words in await session.handle.wait()


# --- comms -----------------------------------------------------------------------------------
COMM = """
import comm
heard = []
made = comm.create_comm(target_name="x")
def hear(message):
    heard.append(message["content"]["data"])
    if message["content"]["data"] == "bad": raise ValueError("a handler that fails")
made.on_msg(hear);
"""


async def test_a_comm_that_a_call_opened_is_heard_between_calls(session: Playing) -> None:
    ada = await session.caller()
    await ada.run(COMM)
    [opened] = [m for m in ada.heard if isinstance(m, calls.Shown)]
    assert opened.msg_type == "comm_open"
    id = msgspec.json.decode(opened.content)["comm_id"]
    for data in ("good", "bad", "again"):
        content = {"comm_id": id, "data": data}
        await session.handle.send(channel.Comm(msg_type="comm_msg", content=content))
    names = namespace_of(session, "def seen():\n    return heard")
    async with asyncio.timeout(60):
        while await ada.value(names["seen"]) != ["good", "bad", "again"]:
            continue


async def test_the_agent_hears_how_long_calls_and_cells_ran(session: Playing) -> None:
    ada = await session.caller()
    began = time.monotonic()
    await ada.run("import time; time.sleep(0.4)")
    await session.session_cell("time.sleep(0.3)")
    said = await session.until(
        lambda m: isinstance(m, channel.Used) and not m.running and m.busy_s > 0.7
    )
    assert isinstance(said, channel.Used)
    assert 0.7 <= said.busy_s <= time.monotonic() - began


async def test_a_cell_of_a_session_may_spend_what_the_session_may(
    launcher: KernelLauncher, tmp_path: Path
) -> None:
    ask = "import jupyter_remote as jr\nprint('left', jr.job.budget_left)"
    async with playing(launcher, tmp_path, left=250_000_000) as session:
        ada = await session.caller()
        await ada.run(ask)
        assert "left 2.5" in ada.text
        assert "left 2.5" in (await session.session_cell(ask)).text("stdout")
        await ada.run("print('after', jr.job.budget_left)")
        assert "after 2.5" in ada.text
