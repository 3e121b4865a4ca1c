"""What a session holds when its machine is taken away, and what is there again on another one."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jupyter_remote import remotely
from jupyter_remote.wire import JobSpec
from jupyter_remote.worker import channel, snapshot
from jupyter_remote.worker.launch import KernelLauncher
from tests.worker.playing_agent import started
from tests.worker.sessions import Playing, playing
from tests.worker.test_session_calls import namespace_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOLDS = """
import threading, numpy as np
from jupyter_remote import on_checkpoint
class Model:
    weights = [1.0, 2.0]
    def __init__(self): self.parameters = [np.arange(3.0)]
model = Model()
optimizer = {"of": model.parameters, "model": model}
lock = threading.Lock()
_private = 7
def double(x): return 2 * x + _private
big = np.ones(300_000)
"""
LOOKS = """
def looks():
    g = globals()
    return {
        "shared": optimizer["of"] is model.parameters and optimizer["model"] is model,
        "kinds": type(model) is Model, "double": double(4), "big": float(big.sum()),
        "np": np.__name__, "lock": "lock" in g, "private": _private,
    }
"""


async def saved_of(session: Playing) -> list[channel.Saved]:
    """All answers to one question."""
    session.handle.checkpoint("preempted")
    answers: list[channel.Saved] = []

    def is_last(message: channel.FromKernel) -> bool:
        if isinstance(message, channel.Saved):
            answers.append(message)
            return not message.more
        return False

    await session.until(is_last)
    return answers


def contents_of(session: Playing, saved: channel.Saved) -> dict[str, Any]:
    spool = session.now.folder / "spool"
    return {s.segment.digest: (spool / s.file).read_bytes() for s in saved.spooled}


async def test_variables_come_again_as_they_were_to_each_other(
    session: Playing, launcher: KernelLauncher, tmp_path: Path
) -> None:
    ada = await session.caller()
    assert (await ada.run(HOLDS)).error is None
    (saved,) = await saved_of(session)
    assert saved.problem.startswith("lost: lock (lock): ")
    assert (await ada.run("model.parameters")).error is None  # it goes on
    contents = contents_of(session, saved)
    folder = tmp_path / "other"
    folder.mkdir()
    async with playing(launcher, folder, checkpoint=saved.value, contents=contents) as other:
        bob = await other.caller("bob")
        looks = namespace_of(other, LOOKS)["looks"]
        assert await bob.value(looks) == {
            "shared": True, "kinds": True, "double": 15, "big": 300_000.0, "np": "numpy",
            "lock": False, "private": 7,
        }  # fmt: skip
        told = await bob.value(remotely.restored)
        assert "model (Model)" in told
        assert "lost: lock (lock): " in told


async def test_modules_of_callers_are_there_before_what_needs_them(
    session: Playing, launcher: KernelLauncher, tmp_path: Path
) -> None:
    ada = await session.caller()
    module = b"class Point:\n    def __init__(self, x): self.x = x\n"
    call = msgspec.structs.replace(ada.call(abs, -1), files=[("points.py", module)])
    await ada.send(call)
    await ada.reply(call.id)
    assert (await ada.run("import points\np = points.Point(3)")).error is None
    (saved,) = await saved_of(session)
    assert saved.problem == ""
    contents, folder = contents_of(session, saved), tmp_path / "other"
    folder.mkdir()
    async with playing(launcher, folder, checkpoint=saved.value, contents=contents) as other:
        bob = await other.caller("bob")
        x = namespace_of(other, "def x():\n    return p.x, points.Point(4).x")["x"]
        assert await bob.value(x) == (3, 4)


async def test_it_is_saved_in_the_midst_of_a_call_which_goes_on(session: Playing) -> None:
    ada = await session.caller()
    await ada.run("import os, time\nstep = 1")
    gate = session.folder / "gate"
    id = await ada.begin(
        namespace_of(session, GATED.format(gate=str(gate)))["gated"],
    )
    await ada.until(lambda _: "begun" in ada.text)
    (saved,) = await saved_of(session)
    assert [n.name for n in saved.value.names if n.name == "step"] == ["step"]
    gate.touch()
    assert (await ada.reply(id)).error is None


GATED = """
def gated():
    print("begun", flush=True)
    while not os.path.exists({gate!r}): time.sleep(0.01)
"""


def keeper(namespace: dict[str, Any], folder: Path) -> snapshot.Keeper:
    return snapshot.Keeper(namespace, {"hidden": namespace.get("hidden")}, {}.__contains__, folder)


async def test_the_small_ones_are_saved_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "FIRST_BYTES", 1000)
    monkeypatch.setattr(snapshot, "MOST_BYTES", 100_000)
    names = {"large": b"l" * 20_000, "huge": b"h" * 200_000, "small": 1, "_": 2, "_i3": "x"}
    first, whole = keeper({**names, "hidden": 3}, tmp_path).packings()
    assert [n.name for n in first[0].parcel.names] == ["small"]
    assert [n.name for n in whole[0].parcel.names] == ["small", "large"]
    assert (first[2], whole[2]) == (True, False)
    (lost,) = whole[1]
    assert str(lost) == "huge (bytes): 195.3 kB are too much: 97.7 kB are kept in all"


async def test_an_empty_session_is_kept_as_that(tmp_path: Path) -> None:
    ((packed, lost, more),) = keeper({}, tmp_path).packings()
    assert (packed.parcel.names, lost, more) == ([], [], False)


async def test_a_snapshot_that_cannot_be_opened_ends_the_session(
    launcher: KernelLauncher, tmp_path: Path, session: Playing
) -> None:
    ada = await session.caller()
    await ada.run("kept = 1")
    (saved,) = await saved_of(session)
    contents = dict.fromkeys(contents_of(session, saved), b"not a pickle")
    (tmp_path / "other").mkdir()
    other = await started(launcher, tmp_path / "other")
    spec = JobSpec(kind="session", session="lab", checkpoint=saved.value)
    await other.send(spec, contents, address="@none")
    done = await other.finish()
    assert not done.done.ok
    assert "saved when its machine was taken away, cannot be opened" in done.error.evalue
    other.handle.kill()
    with contextlib.suppress(asyncio.CancelledError):
        await other.handle.wait()
    other.handle.close()
