"""Checkpoints of a real kernel: asked for with a signal while code runs, wherever it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest

from jupyter_remote import calls, mapping, values
from jupyter_remote.wire import JobSpec, Parcel, Segment
from jupyter_remote.worker import channel
from jupyter_remote.worker.launch import KernelLauncher
from tests.worker.playing_agent import PlayingAgent, Transcript, cell_of
from tests.worker.sessions import Playing, playing
from tests.worker.test_kernel_calls import run_notebook

pytestmark = pytest.mark.asyncio(loop_scope="module")

GATE = """
import asyncio, os, threading, time
import jupyter_remote as jr
step = 0
def gate():
    global step
    step = 1
    print("begun")
    while not os.path.exists("go"):
        time.sleep(0.01)
    step = 2
"""
SAVES = "@jr.on_checkpoint\ndef save(): return {'step': step, 'why': jr.job.stop_reason}\n"


async def asked(agent: PlayingAgent, code: str, why: str = "budget") -> channel.Saved:
    """The answer of a cell that has said that it began."""
    await agent.send(cell_of(GATE + code)[0])
    await agent.until_text("begun\n")
    agent.handle.checkpoint(why)
    return await answer(agent)


async def answer(agent: PlayingAgent) -> channel.Saved:
    saved = await agent.until(lambda m: isinstance(m, channel.Saved))
    return cast(channel.Saved, saved)


def go(agent: PlayingAgent) -> None:
    (agent.now.folder / "cwd" / "go").touch()


async def ended(agent: PlayingAgent) -> Transcript:
    go(agent)
    return await agent.finish()


def value_of(saved: channel.Saved, folder: Path, paths: dict[str, str] | None = None) -> Any:
    """What was saved, and where the agent would have found it."""
    assert saved.value is not None, saved.problem
    return values.unpack(saved.value, fetch_from(saved, folder, paths or {}))


def fetch_from(saved: channel.Saved, folder: Path, paths: dict[str, str]) -> Any:
    files = {s.segment.digest: s.file for s in saved.spooled}

    def fetch(segment: Segment) -> memoryview:
        file = files[segment.digest]
        path = folder / "spool" / file if file else Path(paths[segment.digest])
        return mapping.map_blob(path, segment.digest, segment.size_bytes)

    return fetch


@pytest.mark.parametrize(
    "runs",
    [
        "gate()",
        "await asyncio.sleep(0)\ngate()",
        "print('begun')\nwhile not os.path.exists('go'): await asyncio.sleep(0.01)\nstep = 2",
        "t = threading.Thread(target=gate)\nt.start()\nt.join()",
        "__import__('subprocess').run('echo begun; while ! test -e go; do sleep 0.01; done',"
        " shell=True)\nstep = 2",
    ],
)
async def test_it_is_saved_in_the_midst_of_a_cell_which_goes_on(
    agent: PlayingAgent, runs: str
) -> None:
    saved = await asked(agent, f"{SAVES}{runs}\nprint('step', step)")
    found = value_of(saved, agent.now.folder)
    assert (found["why"], saved.why, saved.problem) == ("budget", "budget", "")
    done = await ended(agent)
    assert done.done.ok, done.done.error
    assert done.text().endswith("step 2\n")


async def test_code_says_how_often_it_is_to_be_asked_and_is_not_told_to_stop(
    agent: PlayingAgent,
) -> None:
    saves = SAVES.replace("@jr.on_checkpoint", "@jr.on_checkpoint(every=7)")
    saved = await asked(agent, f"{saves}gate()", "periodic")
    assert [m.every_s for m in agent.now.messages if isinstance(m, channel.Every)] == [7.0]
    assert value_of(saved, agent.now.folder) == {"step": 1, "why": ""}
    await ended(agent)


async def test_a_beat_that_makes_no_sense_is_refused(agent: PlayingAgent) -> None:
    code = """
import jupyter_remote as jr
for every in (0, -1, float("nan"), float("inf")):
    try:
        jr.on_checkpoint(every=every)
    except ValueError as error:
        print(error)
"""
    await agent.send(cell_of(code)[0])
    done = await agent.finish()
    assert done.text().count("every is a number of seconds, 1 or more; not") == 4


async def test_a_call_is_asked_as_a_cell_is(agent: PlayingAgent) -> None:
    def work() -> int:
        import os
        import time

        import jupyter_remote as jr

        done = []
        jr.on_checkpoint(lambda: list(done))
        for n in range(3):
            done.append(n)
        print("begun")
        while not os.path.exists("go"):
            time.sleep(0.01)
        return len(done)

    f, a = values.pack(work), values.pack(((), {}))
    spec = JobSpec(kind="call", function=f.parcel, inputs=a.parcel, name="work")
    await agent.send(spec, {**f.contents, **a.contents})
    await agent.until_text("begun\n")
    agent.handle.checkpoint("cancel")
    assert value_of(await answer(agent), agent.now.folder) == [0, 1, 2]
    assert (await ended(agent)).value() == 3


async def test_what_it_prints_is_seen_before_the_answer(agent: PlayingAgent) -> None:
    await asked(agent, "@jr.on_checkpoint\ndef save(): print('saving')\ngate()")
    assert "saving\n" in agent.now.text()
    await ended(agent)


async def test_large_arrays_travel_beside_and_unchanged_inputs_are_not_written_again(
    agent: PlayingAgent,
) -> None:
    import numpy as np

    code = GATE + "@jr.on_checkpoint\ndef save(): return given, made\nmade = given + 1\ngate()"
    given = np.arange(200_000.0)
    spec, packed = cell_of(code, {"given": given})
    assert packed is not None
    await agent.send(spec, dict(packed.contents))
    await agent.until_text("begun\n")
    agent.handle.checkpoint("budget")
    saved = await answer(agent)
    assert agent.now.run is not None
    one, two = value_of(saved, agent.now.folder, agent.now.run.paths)
    assert (one == given).all()
    assert (two == given + 1).all()
    assert [s.segment.size_bytes for s in saved.spooled if not s.file] == [given.nbytes]
    assert saved.value is not None
    assert all(s.data is None for s in saved.value.segments)
    await ended(agent)


async def test_without_a_function_the_answer_says_that_nothing_is_saved(
    agent: PlayingAgent,
) -> None:
    saved = await asked(agent, "gate()")
    assert saved.value is None
    assert saved.problem == "no function is registered with @jr.on_checkpoint"
    assert (await ended(agent)).done.ok


@pytest.mark.parametrize(
    ("body", "said", "shown"),
    [
        ("1 / 0", "save raised ZeroDivisionError: division by zero", " 1 / 0\n"),
        ("raise KeyboardInterrupt", "save raised KeyboardInterrupt", " raise KeyboardInterrupt\n"),
        ("raise SystemExit(3)", "save raised SystemExit: 3", "SystemExit: 3\n"),
        ("return __import__('threading').Lock()", "it cannot travel: ", ""),
    ],
)
async def test_a_function_that_fails_ends_no_job(
    agent: PlayingAgent, body: str, said: str, shown: str
) -> None:
    saved = await asked(agent, f"@jr.on_checkpoint\ndef save():\n    {body}\ngate()")
    assert saved.value is None
    assert saved.problem.startswith(said), saved.problem
    done = await ended(agent)
    assert done.done.ok, done.done.error
    told = re.sub(r"\x1b\[[0-9;]*m", "", done.text("stderr"))
    assert told.startswith("The checkpoint function save failed:\n" if shown else "")
    assert shown in told
    assert bool(told) == bool(shown)


async def test_of_several_functions_a_dict_is_saved_of_those_that_do_not_fail(
    agent: PlayingAgent,
) -> None:
    functions = "jr.on_checkpoint(lambda: 0)\n" + "".join(
        f"@jr.on_checkpoint\ndef {name}(): return {value}\n"
        for name, value in (("one", "1"), ("two", "1 / 0"), ("one", "11"))
    )
    saved = await asked(agent, f"{functions}gate()")
    assert value_of(saved, agent.now.folder) == {"<lambda>": 0, "one": 11}
    assert saved.problem == "two raised ZeroDivisionError: division by zero"
    await ended(agent)


@pytest.mark.parametrize(
    "runs", ["gate()", "print('begun')\nwhile True: await asyncio.sleep(0.01)"]
)
async def test_an_interrupt_leaves_a_function_that_never_returns_and_then_the_cell(
    agent: PlayingAgent, runs: str
) -> None:
    code = (
        "jr.on_checkpoint(lambda: 'kept')\n"
        "@jr.on_checkpoint\ndef hangs():\n    print('hanging')\n    while True: pass\n"
        f"try:\n    {runs.replace(chr(10), chr(10) + '    ')}\nfinally:\n    print('cleaned up')\n"
    )
    await agent.send(cell_of(GATE + code)[0])
    await agent.until_text("begun\n")
    agent.handle.checkpoint("budget")
    await agent.until_text("hanging\n")
    agent.handle.interrupt()
    saved = await answer(agent)
    assert value_of(saved, agent.now.folder) == {"<lambda>": "kept"}
    assert saved.problem == "hangs was interrupted"
    done = await agent.finish()
    assert done.done.interrupted
    assert done.error.ename == "KeyboardInterrupt"
    assert "cleaned up\n" in done.text()


async def test_an_interrupt_that_user_code_handles_itself_ends_the_cell_too(
    agent: PlayingAgent,
) -> None:
    code = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "@jr.on_checkpoint\ndef hangs():\n    print('hanging')\n    while True: pass\ngate()"
    )
    await agent.send(cell_of(GATE + code)[0])
    await agent.until_text("begun\n")
    agent.handle.checkpoint("budget")
    await agent.until_text("hanging\n")
    agent.handle.interrupt()
    done = await agent.finish()
    assert done.done.interrupted


async def test_an_interrupt_while_it_is_packed_waits_until_it_is_saved(
    agent: PlayingAgent,
) -> None:
    slow = (
        "class Slow:\n    def __reduce__(self):\n        print('packing')\n"
        "        while not os.path.exists('go'): time.sleep(0.01)\n        return str, ('saved',)\n"
    )
    await agent.send(cell_of(GATE + slow + "jr.on_checkpoint(Slow)\ngate()")[0])
    await agent.until_text("begun\n")
    agent.handle.checkpoint("budget")
    await agent.until_text("packing\n")
    agent.handle.interrupt()
    go(agent)
    assert value_of(await answer(agent), agent.now.folder) == "saved"
    done = await agent.finish()
    assert done.done.interrupted


async def test_asked_twice_there_are_two_answers_and_meanwhile_one(agent: PlayingAgent) -> None:
    code = "n = 0\n@jr.on_checkpoint\ndef save():\n    global n\n    n += 1\n    return n\ngate()"
    assert value_of(await asked(agent, code), agent.now.folder) == 1
    agent.handle.checkpoint("cancel")
    saved = await answer(agent)
    assert (saved.why, value_of(saved, agent.now.folder)) == ("cancel", 2)
    await ended(agent)


async def test_between_jobs_a_request_is_for_nobody(agent: PlayingAgent) -> None:
    await agent.call(abs, -1)
    agent.handle.checkpoint("budget")
    done = await agent.call(abs, -2)
    assert done.value() == 2
    assert not any(isinstance(m, channel.Saved) for m in done.messages)


async def test_functions_and_reasons_of_one_job_are_not_those_of_the_next(
    agent: PlayingAgent,
) -> None:
    await asked(agent, f"{SAVES}gate()")
    await ended(agent)

    def look() -> Any:
        import jupyter_remote as jr
        from jupyter_remote.worker import inside

        return jr.job.stop_reason, inside.checkpoints

    assert (await agent.call(look)).value() == ("", {})


def checkpoint_of(value: object) -> tuple[Parcel, dict[str, Any]]:
    packed = values.pack(value, chunked=False, inline_bytes=0)
    return packed.parcel, dict(packed.contents)


LOOKS = (
    "import jupyter_remote as jr\nprint(jr.job.checkpoint, jr.job.checkpoint is jr.job.checkpoint)"
)


async def test_a_job_that_goes_on_finds_what_was_saved(agent: PlayingAgent) -> None:
    parcel, contents = checkpoint_of({"step": 7})
    spec, _ = cell_of(LOOKS, checkpoint=parcel)
    done = await agent.run(spec, contents)
    assert done.text() == "{'step': 7} True\n"
    assert (await agent.cell(LOOKS)).text() == "None True\n"


async def test_a_damaged_checkpoint_is_told_where_it_is_opened(agent: PlayingAgent) -> None:
    parcel, contents = checkpoint_of({"step": 7})
    broken = {digest: bytes(data)[:-1] + b"?" for digest, data in contents.items()}
    spec, _ = cell_of(f"print('before')\n{LOOKS}", checkpoint=parcel)
    done = await agent.run(spec, broken)
    assert done.text() == "before\n"
    assert done.error.ename == "DigestMismatch"
    assert done.error.evalue.startswith("The checkpoint cannot be opened. ")


# --- sessions --------------------------------------------------------------------------------
async def test_functions_of_a_session_stay_and_are_asked_between_cells(session: Playing) -> None:
    code = GATE + SAVES + "jr.on_checkpoint(lambda: 'again')\nprint('begun')"
    assert (await session.session_cell(code)).done.ok
    assert (await session.session_cell("step = 5")).done.ok
    session.handle.checkpoint("budget")
    saved = await answer(session)
    found = value_of(saved, session.now.folder)
    assert found == {"save": {"step": 5, "why": "budget"}, "<lambda>": "again"}


async def test_a_call_of_a_session_is_asked_and_its_client_sees_what_is_printed(
    session: Playing,
) -> None:
    code = GATE + "@jr.on_checkpoint\ndef save():\n    print('saving')\n    return step"
    assert (await session.session_cell(code)).done.ok
    ada = await session.caller()
    await ada.send(calls.Execute(900, "gate()", "In [1]", "/tmp/c.py"))
    await ada.until(lambda m: "begun" in ada.text)
    session.handle.checkpoint("preempted")
    saved = await answer(session)
    kept = value_of(saved, session.now.folder)  # what the session holds, too
    assert (saved.why, kept.checkpoint) == ("preempted", 1)
    go(session)
    assert (await ada.reply(900)).error is None
    assert ada.text == "begun\nsaving\n"
    assert session.now.text() == ""


async def test_what_a_session_started_from_is_there_between_its_cells(
    launcher: KernelLauncher, tmp_path: Path
) -> None:
    parcel, contents = checkpoint_of("saved before")
    async with playing(launcher, tmp_path, contents=contents, checkpoint=parcel) as session:
        assert (await session.session_cell(LOOKS)).text() == "None True\n"  # of the cell itself
        ada = await session.caller()
        await ada.run(LOOKS)
        assert ada.text == "saved before True\n"


# --- whole notebooks -------------------------------------------------------------------------
async def test_a_notebook_that_runs_as_a_whole_saves_and_goes_on(agent: PlayingAgent) -> None:
    await run_notebook(agent, GATE + SAVES, "gate()", "print('step', step)", send=True)
    await agent.until_text("begun\n")
    agent.handle.checkpoint("budget")
    saved = await answer(agent)
    assert value_of(saved, agent.now.folder) == {"step": 1, "why": "budget"}
    done = await ended(agent)
    assert done.done.ok, done.done.error
    assert done.text() == "begun\nstep 2\n"


async def test_a_notebook_says_why_it_saves_nothing(agent: PlayingAgent) -> None:
    fails = "@jr.on_checkpoint\ndef save(): return 1 / 0\n"
    await run_notebook(agent, GATE + fails + "gate()", send=True)
    await agent.until_text("begun\n")
    agent.handle.checkpoint("preempted")
    saved = await answer(agent)
    assert saved.value is None
    assert saved.problem == "save raised ZeroDivisionError: division by zero"
    done = await ended(agent)
    assert done.done.ok, done.done.error
    assert "The checkpoint function save failed:" in done.text("stderr")


async def test_a_notebook_goes_on_from_a_checkpoint(agent: PlayingAgent) -> None:
    kept = values.pack({"step": 7}).parcel
    cells = ("import jupyter_remote as jr", "print(jr.job.checkpoint)")
    seen = await run_notebook(agent, *cells, checkpoint=kept)
    assert seen.done.ok, seen.error
    assert seen.text() == "{'step': 7}\n"
