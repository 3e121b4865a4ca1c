"""Calls and cells of a session: one namespace, turns, values in both directions."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from jupyter_remote import calls
from jupyter_remote.worker import channel
from tests.worker.sessions import Playing, value_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


def namespace_of(session: Playing, code: str) -> dict[str, Any]:
    """Functions as a notebook has them: their globals are its namespace."""
    exec(code, session.names)
    return session.names


async def test_calls_and_cells_share_one_namespace(session: Playing) -> None:
    ada = await session.caller("ada")
    names = namespace_of(
        session, "def there():\n    return x\ndef put():\n    global y\n    y = x + 1"
    )
    assert (await ada.run("x = 41")).error is None
    assert await ada.value(names["there"]) == 41
    assert await ada.value(names["put"]) is None
    told = await session.session_cell("print(x, y)\nx = 0")
    assert told.text() == "41 42\n"
    bob = await session.caller("bob")
    assert await bob.value(names["there"]) == 0


async def test_output_comes_before_the_reply_to_whoever_called(session: Playing) -> None:
    ada, bob = await session.caller("ada"), await session.caller("bob")
    await ada.run("import subprocess, sys\nprint('one'); print('two', file=sys.stderr)\n"
                  "_ = subprocess.run(['echo', 'three'])\nprint('four')\n1 + 1")  # fmt: skip
    said = " ".join(m for m in ada.words if m != "Shown").split()
    assert said == ["Began", "one", "two", "three", "four", "Reply"]
    shown = [m for m in ada.heard if isinstance(m, calls.Shown)]
    assert [m.msg_type for m in shown] == ["execute_result"]
    assert msgspec.json.decode(shown[0].content)["data"]["text/plain"] == "2"
    assert bob.heard == []
    assert session.now.text() == ""


async def test_a_silent_call_says_nothing_but_its_reply(session: Playing) -> None:
    ada = await session.caller()
    await ada.value(abs, -1)
    assert ada.words == ["Reply"]


async def test_much_output_arrives_whole_and_before_the_reply(session: Playing) -> None:
    ada = await session.caller()
    await ada.run("for n in range(20_000): print('line', n)")
    assert ada.text == "".join(f"line {n}\n" for n in range(20_000))
    assert ada.words[-1] == "Reply"
    await ada.run("import os\nfor n in range(200): _ = os.write(1, b'x' * 10_000)")
    assert ada.text.count("x") == 2_000_000


async def test_an_exception_comes_with_its_traceback(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(
        session, "def inner():\n    return 1 / 0\ndef outer():\n    return inner()"
    )
    error = (await ada.ask(names["outer"])).error
    assert error is not None
    assert error.ename == "ZeroDivisionError"
    assert "inner" in "\n".join(error.traceback)
    assert "/jupyter_remote/" not in "\n".join(error.traceback)
    failed = (await ada.run("boom")).error
    assert failed is not None
    assert failed.ename == "NameError"
    assert "In [1]" in "\n".join(failed.traceback)
    assert [m for m in ada.heard if isinstance(m, calls.Shown)] == []  # it is in the reply


async def test_what_cannot_come_home_is_told_and_the_session_goes_on(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(session, "def bad():\n    return (i for i in 'ab')")
    error = (await ada.ask(names["bad"])).error
    assert error is not None
    assert "cannot come home" in error.evalue
    assert await ada.value(abs, -2) == 2


@pytest.mark.parametrize("code", ["import sys; sys.exit(3)", "exit()", "raise KeyboardInterrupt"])
async def test_code_that_would_end_a_process_ends_its_call_alone(
    session: Playing, code: str
) -> None:
    ada = await session.caller()
    await ada.run("kept = 1")
    error = (await ada.run(code)).error
    assert error is not None
    assert error.ename in ("SystemExit", "KeyboardInterrupt")
    assert (await ada.run("kept")).error is None


async def test_a_child_that_was_forked_in_a_call_serves_nobody(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(
        session,
        "import os\ndef fork(how):\n    pid = os.fork()\n"
        "    if pid: return pid\n    if how == 'raise': raise ValueError\n"
        "    if how == 'exit': os._exit(7)\n    return 'child'\n"
        "def reap(pid):\n    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])",
    )
    for how, status in (("return", 0), ("raise", 0), ("exit", 7)):
        pid = await ada.value(names["fork"], how)
        assert isinstance(pid, int)
        assert await ada.value(names["reap"], pid) == status
    told = await session.session_cell("import os\npid = os.fork()\nif pid: print('parent')")
    assert told.text() == "parent\n"
    assert await ada.value(names["reap"], await ada.value(names["fork"], "return")) == 0
    assert [m for m in ada.heard if isinstance(m, calls.Reply) and m.error] == []


async def test_two_callers_take_turns_however_much_one_of_them_wants(session: Playing) -> None:
    ada, bob = await session.caller("ada"), await session.caller("bob")
    names = namespace_of(
        session, "import os, time\nlog = []\ndef note(who, gate=''):\n    log.append(who)\n"
        "    while gate and not os.path.exists(gate): time.sleep(0.01)\n"
        "def seen():\n    return log"
    )  # fmt: skip
    gate = session.folder / "gate"
    many = [ada.call(names["note"], "ada", str(gate))]
    many += [ada.call(names["note"], "ada") for _ in range(10_000)]
    await ada.send(*many)
    few = [bob.call(names["note"], "bob") for _ in range(5)]
    await bob.send(*few)
    await bob.until(lambda m: isinstance(m, calls.Busy))
    gate.touch()
    await bob.reply(few[-1].id)
    await ada.reply(many[-1].id)
    log = await bob.value(names["seen"])
    assert [n for n, who in enumerate(log) if who == "bob"][4] < 5_000
    assert log.count("ada") == 10_001
    replies = [m.id for m in ada.heard if isinstance(m, calls.Reply)]
    assert replies == [m.id for m in many]


async def test_whoever_waits_is_told_for_whom(session: Playing) -> None:
    ada, bob = await session.caller("ada.ipynb"), await session.caller("bob.ipynb")
    names = namespace_of(
        session, "import os, time\ndef wait(path):\n"
        "    while not os.path.exists(path): time.sleep(0.01)"
    )  # fmt: skip
    gate = session.folder / "gate"
    first = await ada.begin(names["wait"], str(gate))
    second = await bob.begin(abs, -1)
    busy = await bob.until(lambda m: isinstance(m, calls.Busy))
    assert isinstance(busy, calls.Busy)
    assert (busy.who, busy.what) == ("ada.ipynb", "a call")
    gate.touch()
    await ada.reply(first)
    await bob.reply(second)
    assert "Busy" not in ada.words
    gate.unlink()
    cell = asyncio.create_task(
        session.session_cell(f"import os, time\nwhile not os.path.exists({str(gate)!r}): "
                             "time.sleep(0.01)")
    )  # fmt: skip
    bob.heard.clear()
    await session_runs(session, cell)
    third = await bob.begin(abs, -1)
    busy = await bob.until(lambda m: isinstance(m, calls.Busy))
    assert isinstance(busy, calls.Busy)
    assert (busy.who, busy.what) == ("a notebook", "In [9]")
    gate.touch()
    await cell
    await bob.reply(third)


async def session_runs(session: Playing, cell: asyncio.Task[Any]) -> None:
    outer = session.now  # the cell's own begins when its task does
    while session.now is outer or not any(
        isinstance(m, channel.Stage) for m in session.now.messages
    ):
        await asyncio.sleep(0.01)
        assert not cell.done()


async def test_a_cell_with_top_level_await_keeps_the_turn(session: Playing) -> None:
    ada = await session.caller()
    gate = session.folder / "gate"
    code = (
        "import asyncio, os\ndone = False\n"
        f"while not os.path.exists({str(gate)!r}): await asyncio.sleep(0.01)\ndone = True"
    )
    cell = asyncio.create_task(session.session_cell(code))
    await session_runs(session, cell)
    names = namespace_of(session, "def is_done():\n    return done")
    id = await ada.begin(names["is_done"])
    gate.touch()
    assert (await cell).done.ok
    assert value_of(await ada.reply(id), session.names) is True


async def test_input_in_a_call_says_that_nobody_answers(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(session, "def ask():\n    return input('age? ')")
    for reply in (await ada.run("input('age? ')"), await ada.ask(names["ask"])):
        assert reply.error is not None
        assert reply.error.ename == "EOFError"
        assert "input() cannot ask anybody in a call. It asked 'age? '." in reply.error.evalue
    assert await ada.value(abs, -1) == 1


async def test_an_async_function_is_awaited(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(
        session, "import asyncio\nasync def later(n):\n    await asyncio.sleep(0)\n    return n"
    )
    assert await ada.value(names["later"], 3) == 3


async def test_a_function_that_the_client_forgets_is_forgotten(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(
        session,
        "import gc, weakref\nclass Held: pass\n"
        "def made(held=Held()):\n    global ref\n    ref = weakref.ref(held)\n"
        "def alive():\n    gc.collect()\n    return ref() is not None",
    )
    call = ada.call(names["made"])
    await ada.send(call)
    assert (await ada.reply(call.id)).error is None
    assert await ada.value(names["alive"]) is True
    last = msgspec.structs.replace(ada.call(names["alive"]), forget=[call.function])
    await ada.send(last)
    assert value_of(await ada.reply(last.id), session.names) is False
