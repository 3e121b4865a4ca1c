"""Values of calls in both directions, and globals that functions bring along."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jupyter_remote import calls, mapping, shared, values
from jupyter_remote.calls import INLINE_BYTES
from jupyter_remote.wire import JobSpec, Segment
from jupyter_remote.worker import channel
from tests.worker.sessions import Caller, Playing
from tests.worker.test_session_calls import namespace_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

TWICE = "def twice(a):\n    return a * 2"
LARGE = np.arange(INLINE_BYTES, dtype=np.int64)  # eight times what goes inside of a message
_ids = itertools.count(10**6)


@pytest.fixture
def folder() -> Iterator[shared.Folder]:
    folder = shared.Folder()
    yield folder
    folder.close()


async def with_parcel(ada: Caller, function: Any, packed: values.Packed) -> int:
    """Call with arguments that are a parcel."""
    call = ada.call(function)
    call = calls.Call(call.id, call.function, call.code, b"", packed.parcel)
    await ada.send(call)
    return call.id


def packed(*args: Any) -> values.Packed:
    return values.pack((args, {}), namespace={}, chunked=False, inline_bytes=INLINE_BYTES)


async def test_small_buffers_go_inside_of_messages(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(session, TWICE)
    small = np.arange(20_000)
    reply = await ada.reply(await with_parcel(ada, names["twice"], packed(small)))
    assert reply.value is not None
    assert all(s.data is not None for s in reply.value.segments)
    value = values.unpack(reply.value, lambda s: b"", namespace=session.names, at_home=True)
    assert (value == small * 2).all()
    value[0] = 7  # writable, as it would be here


async def test_large_values_go_through_the_folder_of_the_client(
    session: Playing, folder: shared.Folder
) -> None:
    ada = await session.caller(shared=folder.path)
    names = namespace_of(session, TWICE)
    there = packed(LARGE)
    folder.put(there.contents, there.parcel)
    reply = await ada.reply(await with_parcel(ada, names["twice"], there))
    assert reply.value is not None

    def fetch(segment: Segment) -> memoryview:
        path = shared.find(folder.path, segment.digest)
        assert path is not None
        return mapping.map_blob(path, segment.digest, segment.size_bytes)

    value = values.unpack(reply.value, fetch, namespace=session.names, at_home=True)
    assert (value == LARGE * 2).all()
    assert [m for m in session.now.messages if isinstance(m, channel.Fetch | channel.Give)] == []


async def test_without_a_folder_the_agent_fetches_and_gives(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(session, "def twice(a):\n    print('there')\n    return a * 2")
    there = packed(LARGE)
    id = await with_parcel(ada, names["twice"], there)
    for _ in there.contents:
        asked = await session.until(lambda m: isinstance(m, channel.Fetch))
        assert isinstance(asked, channel.Fetch)
        path = session.folder / asked.segment.digest
        path.write_bytes(there.contents[asked.segment.digest])
        await session.handle.send(channel.Placed(str(path)))
    given = await session.until(lambda m: isinstance(m, channel.Give))
    assert isinstance(given, channel.Give)
    await session.handle.send(channel.Placed())
    reply = await ada.reply(id)
    assert reply.value is not None
    files = {s.segment.digest: session.now.folder / "spool" / s.file for s in given.spooled}

    def fetch(segment: Segment) -> memoryview:
        return mapping.map_blob(files[segment.digest], segment.digest, segment.size_bytes)

    value = values.unpack(reply.value, fetch, namespace=session.names, at_home=True)
    assert (value == LARGE * 2).all()
    assert ada.text == "there\n"
    assert [type(m).__name__ for m in ada.heard if not isinstance(m, calls.Text)] == [
        "Began",
        "Reply",
    ]


async def test_bytes_that_cannot_be_had_fail_the_call_alone(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(session, TWICE)
    id = await with_parcel(ada, names["twice"], packed(LARGE))
    await session.until(lambda m: isinstance(m, channel.Fetch))
    await session.handle.send(channel.Placed(problem="it is gone"))
    reply = await ada.reply(id)
    assert reply.error is not None
    assert (reply.error.ename, "it is gone" in reply.error.evalue) == ("JobLost", True)
    assert await ada.value(names["twice"], 4) == 8


async def test_output_goes_to_the_caller_also_when_its_call_was_stopped_while_fetching(
    session: Playing,
) -> None:
    ada = await session.caller()
    names = namespace_of(session, TWICE)
    id = await with_parcel(ada, names["twice"], packed(LARGE))
    await session.until(lambda m: isinstance(m, channel.Fetch))
    await ada.stop(id)
    await session.handle.send(channel.Placed(problem="late"))
    await ada.reply(id)
    await ada.run("print('mine')")
    assert ada.text == "mine\n"


async def test_a_cell_that_came_with_the_answer_of_the_agent_runs(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(session, TWICE)
    id = await with_parcel(ada, names["twice"], packed(LARGE))
    await session.until(lambda m: isinstance(m, channel.Fetch))
    run = channel.Run(job="c", epoch=1, spec=JobSpec(kind="cell", code="print('in')"), folder="/")
    both = channel.pack(channel.Placed(problem="gone")) + channel.pack(run)
    assert session.handle._writer is not None
    session.handle._writer.write(both)
    await ada.reply(id)
    await session.until(lambda m: isinstance(m, channel.Finished))
    assert session.now.text() == "in\n"


async def test_a_cell_that_came_while_bytes_were_fetched_runs_after_the_call(
    session: Playing,
) -> None:
    ada = await session.caller()
    names = namespace_of(session, TWICE)
    id = await with_parcel(ada, names["twice"], packed(LARGE))
    await session.until(lambda m: isinstance(m, channel.Fetch))
    cell = asyncio.create_task(session.session_cell("print('after')"))
    await asyncio.sleep(0)
    await session.handle.send(channel.Placed(problem="it is gone"))
    await ada.reply(id)
    assert (await cell).text() == "after\n"


# --- globals ---------------------------------------------------------------------------------
async def test_globals_are_set_where_there_are_none(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(session, "a = 5\nhelp = lambda x: x + a\ndef f(x):\n    return help(x)")
    assert await ada.value(names["f"], 1) == 6
    assert (await ada.run("assert a == 5 and help(2) == 7")).error is None


async def test_globals_that_changed_in_the_notebook_are_renewed(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(
        session, "a = 5\ndef help(x):\n    return x + a\ndef f(x):\n    return help(x)"
    )
    assert await ada.value(names["f"], 1) == 6
    namespace_of(session, "a = 50\ndef help(x):\n    return -x - a\ndef f(x):\n    return help(x)")
    assert await ada.value(names["f"], 1) == -51


async def test_helpers_among_the_arguments_are_renewed_too(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(session, "def help(x):\n    return x\ndef g(x):\n    return help(x)\n"
                         "def apply(f, x):\n    return f(x)")  # fmt: skip
    apply = names["apply"]
    first = values.dumps(((names["g"], 1), {}), names, INLINE_BYTES)
    namespace_of(session, "def help(x):\n    return x * 100")
    second = values.dumps(((names["g"], 1), {}), names, INLINE_BYTES)
    found = []
    for plain in (first, second):
        assert isinstance(plain, bytes)
        call = ada.call(apply)
        await ada.send(calls.Call(call.id, call.function, call.code, plain))
        reply = await ada.reply(call.id)
        found.append(values.loads(reply.plain, names))
    assert found == [1, 100]


async def test_what_the_session_has_of_its_own_stays(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(session, "a = 5\ndef f():\n    return a\ndef g():\n    return a")
    await ada.run("a = 'mine'")
    assert await ada.value(names["f"]) == "mine"
    names["a"] = 6
    assert await ada.value(names["g"]) == "mine"
    names["b"] = 1
    namespace_of(
        session, "def count():\n    global b\n    b += 1\n    return b\ndef more():\n    return b"
    )
    assert await ada.value(names["count"]) == 2
    assert await ada.value(names["count"]) == 3
    assert await ada.value(names["more"]) == 3


async def test_what_the_session_made_of_a_value_that_the_notebook_left_alone_stays(
    session: Playing,
) -> None:
    ada = await session.caller()
    names = namespace_of(
        session, "cache = {}\ndef put(k):\n    cache[k] = 1\n    return len(cache)\n"
        "def size():\n    return len(cache)"
    )  # fmt: skip
    assert await ada.value(names["put"], "a") == 1
    assert await ada.value(names["size"]) == 1
    names["cache"] = {"new": 1, "two": 2}
    namespace_of(session, "def fresh():\n    return sorted(cache)")
    assert await ada.value(names["fresh"]) == ["new", "two"]


async def test_threads_never_miss_a_name_while_functions_arrive(session: Playing) -> None:
    ada = await session.caller()
    names = namespace_of(session, "def help():\n    return 1\ndef f():\n    return help()")
    await ada.value(names["f"])
    await ada.run(
        "import threading\nmissed = []; stop = False\ndef look():\n    while not stop:\n"
        "        if 'help' not in globals(): missed.append(1)\n"
        "thread = threading.Thread(target=look); thread.start()"
    )
    for n in range(50):
        namespace_of(session, f"def f():\n    return help() + {n}")
        assert await ada.value(names["f"]) == 1 + n
    await ada.run("stop = True; thread.join()\nassert not missed")
    assert [m for m in ada.heard if isinstance(m, calls.Reply) and m.error] == []


async def test_local_modules_come_along_and_stay_importable(session: Playing) -> None:
    ada = await session.caller()
    call = ada.call(abs, -1)
    files = [("pack/__init__.py", b""), ("pack/mod.py", b"def f():\n    return 'from a file'\n")]
    await ada.send(calls.Call(call.id, call.function, call.code, call.plain, files=files))
    assert (await ada.reply(call.id)).error is None
    await ada.run("import os; os.chdir('/')\nfrom pack.mod import f\nprint(f())")
    assert ada.text == "from a file\n"


async def test_a_function_that_failed_to_arrive_is_opened_again(
    session: Playing, tmp_path: Path
) -> None:
    ada = await session.caller()
    names = namespace_of(session, "import json\ndef f():\n    return 3")
    call = ada.call(names["f"])
    broken = [("x" * 300, b"")]  # no file is called that
    await ada.send(calls.Call(call.id, call.function, call.code, call.plain, files=broken))
    assert (await ada.reply(call.id)).error is not None
    assert await ada.value(names["f"]) == 3
