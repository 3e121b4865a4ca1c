"""Clients of a session that do what clients should not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import select
import struct

import pytest

from jupyter_remote import calls
from jupyter_remote.worker import channel
from tests.worker.sessions import Caller, Playing
from tests.worker.test_session_calls import namespace_of
from tests.worker.test_session_stops import WAITS, exists

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def patient(session: Playing, ada: Caller) -> None:
    """Give clients that say or read nothing more time than any test takes."""
    code = (
        "def wait_long():\n    from jupyter_remote.worker import callers, reception\n"
        "    callers.SEND_S = reception.HELLO_S = 600.0"
    )
    await ada.value(namespace_of(session, code)["wait_long"])


async def works(session: Playing) -> bool:
    ada = await session.caller()
    return bool(await ada.value(abs, -1) == 1)


@pytest.mark.parametrize(
    ("hi", "why"), [({"key": "0" * 64}, "the key is wrong"), ({"protocol": 99}, "protocol 99")]
)
async def test_whoever_may_not_call_is_told_why_and_hung_up_on(
    session: Playing, hi: dict[str, object], why: str
) -> None:
    stranger = Caller(session, "eve", **hi)
    welcome = await stranger.connect()
    assert why in welcome.refused
    await stranger.ended()
    assert await works(session)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("!I", 1 << 31) + b"x" * 1000,
        struct.pack("!I", 5) + b"\xff" * 5,
        calls.packed(calls.Execute(1, "x = 1")),
    ],
    ids=["http", "huge", "garbage", "no greeting"],
)
async def test_a_first_message_that_is_no_greeting_ends_the_connection(
    session: Playing, data: bytes
) -> None:
    reader, writer = await session.connection()
    writer.write(data)
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):  # there was more than was read
            assert await reader.read() == b""
    assert await works(session)


async def test_clients_that_say_nothing_hold_nobody_up(session: Playing) -> None:
    ada = await session.caller()
    await patient(session, ada)
    names = namespace_of(session, WAITS)
    silent = [await session.connection() for _ in range(20)]
    for _, writer in silent[:10]:
        writer.write(b"\x00")
    async with asyncio.timeout(60):  # less than a silent one is given
        running = await ada.begin(names["sleep"], str(session.folder / "begun"))
        await exists(session, "begun")
        await ada.stop(running)
        assert (await ada.reply(running)).error is not None
        assert await works(session)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!I", 5) + b"\xff" * 5,
        struct.pack("!I", 0xFFFFFFFF) + b"x",
        calls.packed(calls.Hi(key="k", client="c")),
        calls.packed(calls.Stop(1)),
    ],
    ids=["garbage", "length", "greeting", "stop"],
)
async def test_a_later_message_that_is_no_call_ends_the_connection(
    session: Playing, data: bytes
) -> None:
    ada = await session.caller()
    ada.writer.write(data)
    await ada.ended()
    assert await works(session)


async def test_a_client_that_hangs_up_in_the_middle_leaves_the_others_alone(
    session: Playing,
) -> None:
    ada, bob = await session.caller("ada"), await session.caller("bob")
    names = namespace_of(session, WAITS + "def talk():\n    print('x' * 1000)\n    return 1")
    gate = session.folder / "gate"
    await ada.begin(names["wait"], str(session.folder / "begun"), str(gate))
    await ada.begin(names["talk"])
    await exists(session, "begun")
    ada.writer.transport.abort()
    asked = await bob.begin(abs, -1)
    gate.touch()
    await bob.reply(asked)
    assert bob.words == ["Reply"]
    assert await works(session)


async def test_a_client_that_never_reads_is_hung_up_on(
    session: Playing, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = namespace_of(
        session,
        "from jupyter_remote.worker import callers\n"
        "def hurry():\n    callers.SEND_S = 0.5\n"
        "def much():\n    return bytes(300_000)",
    )
    ada = await session.caller("ada")
    await ada.value(names["hurry"])
    sock = session.sock()
    sock.sendall(calls.packed(calls.Hi(key=session.key, client="mute")))
    mute = Caller(session, "mute")
    many = [mute.call(names["much"]) for _ in range(5)]
    sock.sendall(b"".join(map(calls.packed, many)))

    def is_hung_up_on() -> bool:
        poll = select.poll()
        poll.register(sock, 0)
        return bool(poll.poll(60_000))

    assert await asyncio.to_thread(is_hung_up_on)
    sock.close()
    assert await ada.value(abs, -1) == 1
    assert await works(session)


async def test_a_client_that_reads_late_holds_nobody_up_and_gets_everything(
    session: Playing,
) -> None:
    names = namespace_of(session, "def much(n):\n    return bytes(300_000 + n)")
    ada, late = await session.caller("ada"), await session.caller("late")
    await patient(session, ada)
    many = [late.call(names["much"], n) for n in range(20)]
    late.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await late.send(*many)
    async with asyncio.timeout(60):
        for n in range(100):
            assert await ada.value(abs, -n) == n
    late.writer.transport.resume_reading()  # type: ignore[attr-defined]
    await late.reply(many[-1].id)
    replies = [m for m in late.heard if isinstance(m, calls.Reply)]
    assert [m.id for m in replies] == [m.id for m in many]
    assert [len(pickle.loads(m.plain)) for m in replies] == [300_000 + n for n in range(20)]


async def test_user_code_without_descriptors_left_costs_a_session_nothing(
    session: Playing,
) -> None:
    names = namespace_of(
        session,
        "import os, resource, time\n"
        "def hog():\n    global held\n    held = []\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (80, 100))\n"
        "    try:\n        while True: held.append(os.open('/dev/null', os.O_RDONLY))\n"
        "    except OSError: return len(held)\n"
        "def free():\n    for fd in held: os.close(fd)\n    return time.process_time()",
    )
    ada = await session.caller()
    assert await ada.value(names["hog"]) > 0
    reader, writer = await session.connection()
    writer.write(calls.packed(calls.Hi(key=session.key, client="late")))
    used_s = await ada.value(names["free"])
    async with asyncio.timeout(60):
        assert await reader.read(1000)  # it is let in now
    assert used_s < 30
    assert await works(session)


async def test_the_kernel_ends_when_its_agent_does(session: Playing) -> None:
    ada = await session.caller()
    assert await ada.value(abs, -1) == 1
    session.handle.close()
    await ada.ended()
    async with asyncio.timeout(60):
        while os.path.exists(f"/proc/{session.handle.pid}/exe"):
            await asyncio.sleep(0.01)


async def test_told_to_stop_a_session_finishes_and_its_clients_see_the_end(
    session: Playing,
) -> None:
    ada = await session.caller()
    assert await ada.value(abs, -1) == 1
    finished = await session.end()
    assert finished.ok
    assert finished.detail == ""
    assert isinstance(finished, channel.Finished)
    session.handle.kill()
    await ada.ended()
