"""Stopping calls of a session: just the one that is meant."""

from __future__ import annotations

import asyncio
import os

import msgspec
import pytest

from jupyter_remote import calls
from jupyter_remote.worker.reception import STOP
from tests.worker.sessions import Caller, Playing, value_of
from tests.worker.test_session_calls import namespace_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAITS = """
import asyncio, os, time
def wait(path, gate):
    open(path, "w").close()
    while not os.path.exists(gate):
        time.sleep(0.01)
    return "went on"
async def wait_async(path, gate):
    open(path, "w").close()
    while not os.path.exists(gate):
        await asyncio.sleep(0.01)
    return "went on"
def sleep(path):
    open(path, "w").close()
    time.sleep(60)
"""


async def exists(session: Playing, name: str) -> None:
    async with asyncio.timeout(30):
        while not (session.folder / name).exists():
            await asyncio.sleep(0.005)


def ename(reply: calls.Reply) -> str:
    assert reply.error is not None
    return reply.error.ename


@pytest.mark.parametrize("function", ["wait", "wait_async", "sleep"])
async def test_a_call_that_runs_is_interrupted_and_those_behind_it_run(
    session: Playing, function: str
) -> None:
    ada = await session.caller()
    names = namespace_of(session, WAITS)
    paths = [str(session.folder / name) for name in ("begun", "gate")]
    running = await ada.begin(names[function], *paths[: 1 if function == "sleep" else 2])
    behind = await ada.begin(abs, -4)
    await exists(session, "begun")
    await ada.stop(running)
    assert ename(await ada.reply(running)) == "KeyboardInterrupt"
    assert (await ada.reply(behind)).error is None
    told = await session.session_cell("print('still here')")
    assert told.text() == "still here\n"


async def test_what_a_dropped_call_brought_is_there_for_those_behind_it(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(session, WAITS + "def helped():\n    import helps\n    return helps.N")
    gate = session.folder / "gate"
    running = await ada.begin(names["wait"], str(session.folder / "begun"), str(gate))
    call = ada.call(names["helped"])
    await ada.send(msgspec.structs.replace(call, files=[("helps.py", b"N = 'helped'")]))
    behind = await ada.begin(names["helped"])
    await exists(session, "begun")
    await ada.stop(call.id)
    await asyncio.to_thread(settled, ada)
    gate.touch()
    assert (await ada.reply(call.id)).dropped
    assert (await ada.reply(running)).error is None
    assert value_of(await ada.reply(behind), session.names) == "helped"


async def test_a_call_that_waits_is_dropped_and_its_function_may_be_used_by_those_behind(
    session: Playing,
) -> None:
    ada = await session.caller()
    names = namespace_of(session, WAITS + "def late(n):\n    return n")
    gate = session.folder / "gate"
    running = await ada.begin(names["wait"], str(session.folder / "begun"), str(gate))
    dropped = await ada.begin(names["late"], 1)
    kept = await ada.begin(names["late"], 2)
    await exists(session, "begun")
    await ada.stop(dropped)
    await asyncio.to_thread(settled, ada)
    gate.touch()
    assert (await ada.reply(dropped)).dropped
    assert (await ada.reply(running)).error is None
    assert (await ada.reply(kept)).plain
    assert [m.id for m in ada.heard if isinstance(m, calls.Reply)] == [running, dropped, kept]


def settled(ada: Caller) -> None:
    """What was said on another connection before now was heard: a greeting is answered after it."""
    sock = ada.session.sock()
    sock.sendall(calls.packed(calls.Hi(key="x", client="x")))
    assert sock.recv(1000)
    sock.close()


async def test_a_stop_that_interrupts_nothing_is_answered_while_the_call_runs(
    session: Playing,
) -> None:
    ada = await session.caller()
    names = namespace_of(session, WAITS)
    gate = session.folder / "gate"
    running = await ada.begin(names["wait"], str(session.folder / "begun"), str(gate))
    waits = await ada.begin(abs, -1)
    await exists(session, "begun")
    for id in (running, waits):
        await ada.stop(id, running=False)
    gate.touch()
    assert (await ada.reply(running)).error is None
    assert (await ada.reply(waits)).dropped


async def test_a_stop_of_one_client_concerns_no_other(session: Playing) -> None:
    ada, bob = await session.caller("ada"), await session.caller("bob")
    names = namespace_of(session, WAITS)
    gate = session.folder / "gate"
    running = await ada.begin(names["wait"], str(session.folder / "begun"), str(gate))
    await exists(session, "begun")
    await bob.stop(running)
    await asyncio.to_thread(settled, bob)
    gate.touch()
    assert await ada.reply(running) is not None
    assert (await ada.reply(running)).error is None


async def test_stops_hit_their_own_calls_only_however_quick_these_are(session: Playing) -> None:
    ada, bob = await session.caller("ada"), await session.caller("bob")
    names = namespace_of(session, "def work():\n    return sum(range(3000))")
    control = Caller(session, "ada", control=True)
    await control.connect()
    for _ in range(30):
        mine = [ada.call(names["work"]) for _ in range(60)]
        others = [bob.call(names["work"]) for _ in range(60)]
        meant = {m.id for m in mine[::2]}
        await ada.send(*mine)
        await bob.send(*others)
        for call in mine[::2]:
            await control.send(calls.Stop(call.id))
            await asyncio.sleep(0)
        await ada.reply(mine[-1].id)
        await bob.reply(others[-1].id)
        hit = {m.id for m in ada.heard if isinstance(m, calls.Reply) and (m.error or m.dropped)}
        assert hit <= meant
        assert [m for m in bob.heard if isinstance(m, calls.Reply) and (m.error or m.dropped)] == []
        ada.heard.clear()
        bob.heard.clear()


async def test_a_stop_that_comes_before_its_call_drops_it(session: Playing) -> None:
    ada = await session.caller()
    call = ada.call(abs, -1)
    await ada.stop(call.id)
    await asyncio.to_thread(settled, ada)
    await ada.send(call)
    assert (await ada.reply(call.id)).dropped


async def test_the_interrupt_of_a_cell_is_for_the_cell(session: Playing) -> None:
    ada = await session.caller()
    code = f"import time\nopen({str(session.folder / 'begun')!r}, 'w').close()\ntime.sleep(60)"
    cell = asyncio.create_task(session.session_cell(code))
    await exists(session, "begun")
    behind = await ada.begin(abs, -1)
    session.handle.interrupt()
    assert (await cell).done.interrupted
    assert (await ada.reply(behind)).error is None


async def test_user_code_that_handles_sigint_itself_is_asked_as_it_wishes(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(
        session,
        "import signal, time\ndef patient(path):\n    stops = []\n"
        "    signal.signal(signal.SIGINT, lambda *_: stops.append(1))\n"
        "    open(path, 'w').close()\n"
        "    while not stops: time.sleep(0.01)\n    return 'finished what it did'",
    )
    running = await ada.begin(names["patient"], str(session.folder / "begun"))
    await exists(session, "begun")
    await ada.stop(running)
    assert (await ada.reply(running)).error is None


async def test_a_signal_that_comes_late_stops_nobody(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(session, WAITS)
    paths = [str(session.folder / name) for name in ("begun", "gate")]
    running = await ada.begin(names["wait"], *paths)
    await exists(session, "begun")
    for _ in range(5):
        os.kill(session.handle.pid, STOP)
    await asyncio.to_thread(settled, ada)
    (session.folder / "gate").touch()
    assert (await ada.reply(running)).error is None
