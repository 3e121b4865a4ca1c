"""The agent with sessions, and cells in them; the kernels are real."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from jupyter_remote import calls
from jupyter_remote.clock import FakeClock
from jupyter_remote.wire import Answer, Beat, Complete, Listening, Release, Start, WorkerMessage
from jupyter_remote.worker.agent import Agent
from jupyter_remote.worker.config import Config
from tests.e2e.waiting import gone
from tests.worker.agents_server import LIMIT_S, FakeServer
from tests.worker.sessions import Caller, Playing, idle_after

Begin = Callable[..., Awaitable[Agent]]


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer().listening() as server:
        yield server


@pytest.fixture
async def begin(server: FakeServer, tmp_path: Path) -> AsyncIterator[Begin]:
    tasks: list[asyncio.Task[None]] = []

    async def begin(**options: Any) -> Agent:
        options = {"slots": 2, "interrupt_grace_s": 5.0, **options}
        clock = options.pop("clock", None)
        config = Config(url=server.url, token="t", home=str(tmp_path / "agent"), **options)
        agent = Agent(config, clock)
        tasks.append(asyncio.create_task(agent.run()))
        await server.until(lambda: server.hellos)
        return agent

    yield begin
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Lab(Playing):
    """A session of an agent, for callers to connect to."""

    def __init__(self, listening: Listening) -> None:
        self.job, self.address, self.key = listening.job, listening.address, listening.key
        self.names = {"__name__": "__main__"}
        self.writers = []


@pytest.fixture
async def labs() -> AsyncIterator[list[Lab]]:
    labs: list[Lab] = []
    yield labs
    for lab in labs:
        await lab.hang_up()


@pytest.fixture
async def start(server: FakeServer, labs: list[Lab]) -> Callable[..., Awaitable[Lab]]:
    async def start(**options: Any) -> Lab:
        before = len(server.listening_to)
        await server.assign("", kind="session", session="lab", aside=True, **options)
        await server.until(lambda: len(server.listening_to) > before)
        labs.append(Lab(server.listening_to[-1]))
        return labs[-1]

    return start


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.01)


async def pid_of(lab: Lab) -> int:
    ada = await lab.caller()
    pid: int = await ada.value(os.getpid)
    return pid


async def cell(server: FakeServer, lab: Lab, code: str) -> str:
    return await server.assign(code, session=lab.job, aside=True)


WAIT = "import os, time\nprint('begun')\nwhile not os.path.exists({!r}): time.sleep(0.01)"


async def test_cells_run_in_the_session_one_after_the_other(server, begin, start, tmp_path):
    await begin()
    lab = await start()
    gate = str(tmp_path / "gate")
    first = await cell(server, lab, "x = 1\n" + WAIT.format(gate))
    second = await cell(server, lab, "x += 1; print(x)")
    third = await cell(server, lab, "x += 1; print(x)")
    await server.until(lambda: server.text(first) == "begun\n")
    assert server.text(second) == ""
    Path(gate).touch()
    for job in (first, second, third):
        assert (await server.end_of(job)).outcome == "succeeded"
    assert (server.text(second), server.text(third)) == ("2\n", "3\n")
    assert server.text(lab.job) == ""


async def test_a_cell_that_fails_leaves_the_session(server, begin, start):
    await begin()
    lab = await start()
    job = await cell(server, lab, "kept = 1\n1 / 0")
    done = await server.end_of(job)
    assert (done.outcome, done.reason) == ("failed", "user_error")
    assert (await server.end_of(await cell(server, lab, "kept"))).outcome == "succeeded"


async def test_a_cell_that_waits_is_cancelled_without_having_begun(server, begin, start, tmp_path):
    agent = await begin()
    lab = await start()
    gate = str(tmp_path / "gate")
    first = await cell(server, lab, WAIT.format(gate))
    await server.until(lambda: server.text(first))
    second = await cell(server, lab, "ran = True")
    third = await cell(server, lab, "print('ran' in globals())")
    await server.cancel(second)
    await until(lambda: (second, 1) not in agent._attempts)
    Path(gate).touch()
    await server.end_of(third)
    assert server.text(third) == "False\n"
    assert second not in {m.job for m in server.of(Start)}
    assert second not in server.completes


async def test_a_cell_that_runs_is_interrupted_and_the_session_lives_on(server, begin, start):
    await begin(interrupt_grace_s=0.2)
    lab = await start()
    job = await cell(
        server, lab, "import time\nkept = 1\ntry:\n    print('begun'); time.sleep(60)\n"
        "finally:\n    end = time.monotonic() + 1\n    while time.monotonic() < end: pass"
    )  # fmt: skip
    await server.until(lambda: server.text(job))
    await server.cancel(job)
    assert (await server.end_of(job)).outcome == "cancelled"
    assert (await server.end_of(await cell(server, lab, "kept"))).outcome == "succeeded"


async def test_a_cell_takes_its_session_along_where_it_is_to_be_killed(server, begin, start):
    await begin(interrupt_grace_s=0.1)
    lab = await start()
    stubborn = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nkept = 1\n"
    job = await cell(server, lab, f"{stubborn}print('begun')\ntime.sleep(60)")
    await server.until(lambda: server.text(job))
    await server.cancel(job, kill_in_s=0)
    await server.cancel(job, kill_in_s=0.3)
    done = await server.end_of(job)
    assert done.outcome == "cancelled"
    assert re.fullmatch(r"killed after \d\.\d s, and its session with it", done.detail)
    assert (await server.end_of(lab.job)).reason == "kernel_died"


async def test_killing_a_cell_kills_its_session_and_both_are_told(server, begin, start, tmp_path):
    await begin()
    lab = await start()
    pid = await pid_of(lab)
    job = await cell(server, lab, WAIT.format(str(tmp_path / "never")))
    waits = await cell(server, lab, "1")
    await server.until(lambda: server.text(job))
    await server.cancel(job, "kill")
    assert (await server.end_of(job)).outcome == "cancelled"
    done = await server.end_of(lab.job)
    assert (done.outcome, done.reason) == ("died", "kernel_died")
    assert "its session is over" in (await server.end_of(waits)).detail
    assert gone(pid)


async def test_a_cell_that_comes_while_its_session_starts_waits_for_it(server, begin, start):
    await begin()
    session = await server.assign("", kind="session", session="lab", aside=True)
    job = await server.assign("print('in')", session=session, aside=True)
    assert (await server.end_of(job)).outcome == "succeeded"
    assert server.text(job) == "in\n"


async def test_a_cell_of_a_session_that_is_not_there_says_so(server, begin, start):
    await begin()
    lab = await start()
    await server.cancel(lab.job)
    await server.end_of(lab.job)
    done = await server.end_of(await cell(server, lab, "1"))
    assert (done.outcome, done.reason) == ("failed", "environment")
    assert "session" in done.detail


async def test_a_session_ends_when_it_is_cancelled_and_whoever_runs_is_interrupted(
    server, begin, start
):
    await begin()
    lab = await start()
    pid = await pid_of(lab)
    ada = await lab.caller("ada")
    running = ada.call(exec, "import time; print('begun', flush=True); time.sleep(60)")
    await ada.send(running)
    await ada.until(lambda m: isinstance(m, calls.Text))
    await server.cancel(lab.job)
    done = await server.end_of(lab.job)
    assert (done.outcome, done.reason) == ("cancelled", "cancelled")
    with suppress(EOFError):
        assert (await ada.reply(running.id)).error is not None
    await server.until(lambda: True)
    await until(lambda: gone(pid))


async def test_limits_end_a_session_at_once_and_truly(server, begin, start):
    clock = FakeClock()
    await begin(interrupt_grace_s=1000.0, clock=clock)
    lab = await start(limits_timeout_s=1.0)
    await (await lab.caller()).run("model = [1, 2]")
    clock.advance(1.0)
    done = await server.end_of(lab.job)
    assert (done.outcome, done.reason) == ("expired", "time_limit")
    assert done.detail.startswith("reached its time limit of 1 s")
    paid = await start(rate_ucredits_per_h=1_000_000, max_run_s=0.5, hold_ucredits=100)
    clock.advance(1.0)
    done = await server.end_of(paid.job)
    assert (done.outcome, done.reason) == ("expired", "cost_limit")


async def test_an_idle_session_ends_well_and_says_what_it_held(server, begin, start):
    await begin()
    lab = await start(idle_timeout_s=600.0)
    ada = await lab.caller()
    await ada.run("import numpy as np\nX = np.zeros((3, 3)); model = {'a': 1}")
    await ada.run(idle_after(1.5))
    done = await server.end_of(lab.job)
    assert (done.outcome, done.reason) == ("succeeded", "")
    held = "held: X (ndarray 3×3), model (dict 1)"
    assert done.detail == f"nobody used it for 1.5 s; {held}"


async def test_a_session_that_dies_says_how_and_what_it_held(server, begin, start):
    agent = await begin()
    lab = await start()
    ada = await lab.caller()
    await ada.run("weights = [1, 2, 3]")
    attempt: Any = agent._means.sessions[lab.job]
    await until(lambda: attempt._held)
    with suppress(EOFError):
        await ada.run("import ctypes; ctypes.string_at(0)")
    done = await server.end_of(lab.job)
    assert (done.outcome, done.signal) == ("died", "SIGSEGV")
    assert done.detail.startswith("killed by SIGSEGV; held: weights (list 3)")


async def test_a_session_and_its_callers_outlast_a_cut_connection(server, begin, start, tmp_path):
    await begin()
    lab = await start()
    ada = await lab.caller()
    await ada.run("kept = 1")
    running = await cell(server, lab, WAIT.format(str(tmp_path / "gate")))
    await server.until(lambda: server.text(running))
    server.cut()
    await server.until(lambda: len(server.hellos) == 2)
    await server.until(lambda: len(server.listening_to) == 2)
    assert server.listening_to[0] == server.listening_to[1]
    (tmp_path / "gate").touch()
    assert (await server.end_of(running)).outcome == "succeeded"
    assert (await ada.run("kept")).error is None


async def test_a_stopped_agent_ends_its_sessions_and_hands_back_cells_that_wait(
    server, begin, start, tmp_path
):
    agent = await begin()
    lab = await start()
    pid = await pid_of(lab)
    running = await cell(server, lab, WAIT.format(str(tmp_path / "never")))
    waits = await cell(server, lab, "1")
    await server.until(lambda: server.text(running))
    agent.stop()
    done = await server.end_of(lab.job)
    assert (done.outcome, done.reason) == ("died", "lost")
    assert (await server.end_of(running)).outcome == "died"
    await server.until(lambda: any(m.job == waits for m in server.of(Release)))
    assert gone(pid)


async def test_a_session_goes_on_while_its_agent_takes_nothing_else(server, begin, start, tmp_path):
    agent = await begin()
    lab = await start()
    await server.drain()
    other = await server.assign("1")
    await server.until(lambda: any(m.job == other for m in server.of(Release)))
    inside = await cell(server, lab, "1 + 1")
    assert (await server.end_of(inside)).outcome == "succeeded"
    agent.taken_away(60.0)
    late = await cell(server, lab, "1")
    await server.until(lambda: any(m.job == late for m in server.of(Release)))


async def test_a_session_whose_lease_is_lost_is_killed_and_its_cells_with_it(
    server, begin, start, tmp_path
):
    await begin()
    lab = await start()
    pid = await pid_of(lab)
    running = await cell(server, lab, WAIT.format(str(tmp_path / "never")))
    await server.until(lambda: server.text(running))

    def refuse(message: WorkerMessage) -> Answer:
        stale = isinstance(message, Beat) and message.job == lab.job
        return Answer(req=0, ok=not stale, code="conflict")

    server.answers = refuse
    done = await server.end_of(running)
    assert (done.outcome, done.reason) == ("died", "kernel_died")
    assert lab.job not in server.completes
    assert gone(pid)


async def test_a_cell_whose_lease_is_lost_is_interrupted_and_the_session_lives_on(
    server, begin, start
):
    await begin()
    lab = await start()
    job = await cell(server, lab, "import time\nkept = 1\nprint('begun'); time.sleep(60)")
    await server.until(lambda: server.text(job))

    def refuse(message: WorkerMessage) -> Answer:
        stale = isinstance(message, Beat) and message.job == job
        return Answer(req=0, ok=not stale, code="conflict")

    server.answers = refuse
    assert (await server.end_of(await cell(server, lab, "kept"))).outcome == "succeeded"
    assert job not in server.completes


async def test_an_agent_outlives_the_leases_of_its_cells(server, begin, start):
    clock = FakeClock()
    agent = await begin(clock=clock)
    lab = await start()
    job = await cell(server, lab, WAIT.format("/never"))
    await server.until(lambda: server.text(job))
    server.answers = lambda m: None if isinstance(m, Beat) else Answer(req=0)
    clock.advance(server.dead_man_s + 1)
    await until(lambda: not agent._attempts)
    server.answers = None
    assert (await server.end_of(await server.assign("print('next')"))).outcome == "succeeded"


async def test_sessions_take_no_slot(server, begin, start):
    await begin(slots=1)
    labs = [await start() for _ in range(4)]
    job = await server.assign("print('job')")
    assert (await server.end_of(job)).outcome == "succeeded"
    for lab in labs:
        assert await (await lab.caller()).value(abs, -1) == 1


async def test_a_question_that_fails_in_the_agent_fails_the_call(server, begin, start, monkeypatch):
    from jupyter_remote.worker.transfer import Transfer
    from tests.worker.test_session_values import LARGE, TWICE, packed, with_parcel

    async def broken(self: Transfer, segment: Any) -> str:
        raise RuntimeError("something that nobody thought of")

    await begin()
    lab = await start()
    monkeypatch.setattr(Transfer, "fetch", broken)
    ada: Caller = await lab.caller()
    exec(TWICE, lab.names)
    id = await with_parcel(ada, lab.names["twice"], packed(LARGE))
    reply = await ada.reply(id)
    assert reply.error is not None
    assert "nobody thought of" in reply.error.evalue


async def test_a_refused_end_of_a_session_is_told_once_more_and_then_left(server, begin, start):
    await begin()
    lab = await start(idle_timeout_s=600.0)
    ada = await lab.caller()
    await ada.run("x = 1")
    tries: list[Complete] = []

    def refuse(message: WorkerMessage) -> Answer:
        if isinstance(message, Complete):
            tries.append(message)
        return Answer(req=0, ok=not isinstance(message, Complete), code="invalid")

    server.answers = refuse
    await ada.run(idle_after(1.2))
    await server.until(lambda: len(tries) == 2)
    assert "held: x" in tries[0].detail
    assert "did not take the result" in tries[1].detail
    server.answers = None
    assert (await server.end_of(await server.assign("1"))).outcome == "succeeded"
    assert len(tries) == 2
