"""An agent on a machine of its own: it says that it lives, and it ends in time."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import uvloop
from blake3 import blake3

from jupyter_remote.clock import FakeClock
from jupyter_remote.wire import Enrolled, FileRef, Notice, Release, Saved, Segment
from jupyter_remote.worker import enrolled
from jupyter_remote.worker.agent import SHUTDOWN_S
from jupyter_remote.worker.alive import CHARS, Beat
from jupyter_remote.worker.channel import Spooled
from jupyter_remote.worker.config import Config, read_config
from jupyter_remote.worker.transfer import BadInput, Transfer
from jupyter_remote.worker.users import User, acting, as_user, user_called
from tests.worker.agents_server import FakeServer
from tests.worker.conftest import Begin
from tests.worker.test_agent import WAIT
from tests.worker.test_agent_checkpoints import SAVES

LIMIT_S = 60.0
ROOT = os.geteuid() == 0
SOMEBODY = User("somebody", 54321, 54321, [], "/")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.01)


async def until_ended(begin: Begin) -> None:
    await asyncio.wait_for(begin.task, LIMIT_S)  # type: ignore[attr-defined]


@pytest.fixture
def alive(tmp_path: Path) -> Path:
    path = tmp_path / "alive"
    path.write_text("boot")
    return path


# -- it lives
async def test_the_file_changes_while_the_server_is_heard(
    server: FakeServer, begin: Begin, alive: Path
) -> None:
    await begin(alive_file=str(alive))
    seen = set()

    def changes() -> bool:
        seen.add(alive.read_text())
        return len(seen) >= 3

    await server.until(changes)


async def test_the_file_stays_as_it_is_without_the_server(
    server: FakeServer, begin: Begin, alive: Path
) -> None:
    clock = FakeClock()
    agent = await begin(alive_file=str(alive), clock=clock, alone_s=100.0)
    await until(lambda: alive.read_text() != "boot")
    await server.close()
    await until(lambda: not agent._link.up)
    before = alive.read_text()
    clock.advance(101.0)
    await until_ended(begin)
    assert alive.read_text() == before


def test_a_beat_needs_no_room_on_the_disk(alive: Path) -> None:
    beat = Beat(alive)
    beat.heard(1.0)
    size, first = alive.stat().st_size, alive.read_text()
    beat.heard(1.5)
    assert alive.read_text() == first  # often enough
    beat.heard(123456.789)
    assert alive.read_text() != first
    assert alive.stat().st_size == size == CHARS


def test_a_beat_that_cannot_be_written_ends_no_agent(tmp_path: Path) -> None:
    Beat(tmp_path / "absent" / "alive").heard(1.0)


# -- it ends
async def test_an_agent_ends_when_its_server_is_away_for_too_long(
    server: FakeServer, begin: Begin, alive: Path
) -> None:
    clock = FakeClock()
    agent = await begin(alive_file=str(alive), alone_s=100.0, clock=clock)
    await server.close()
    await until(lambda: not agent._link.up)
    clock.advance(101.0)
    await until_ended(begin)


async def test_at_the_end_of_its_life_a_machine_hands_its_jobs_back(
    server: FakeServer, begin: Begin, alive: Path
) -> None:
    clock = FakeClock()
    server.heartbeat_s = server.dead_man_s = 1e9
    await begin(alive_file=str(alive), life_s=1000.0, clock=clock)
    job = await server.assign(f"kernel.print('begun')\n{WAIT}")
    await server.until(lambda: "begun" in server.text(job))
    clock.advance(1001.0)
    await server.until(lambda: list(server.of(Notice)))
    clock.advance(SHUTDOWN_S)
    done = await server.end_of(job)
    assert done.outcome == "preempted"
    await until_ended(begin)
    assert not list(server.of(Release))


async def test_what_saves_is_handed_back_with_its_checkpoint_at_the_end_of_a_machines_life(
    server: FakeServer, begin: Begin, alive: Path
) -> None:
    clock = FakeClock()
    server.heartbeat_s = server.dead_man_s = 1e9
    await begin(alive_file=str(alive), life_s=1000.0, clock=clock)
    job = await server.assign(SAVES)
    await server.until(lambda: server.text(job))
    clock.advance(1001.0)
    done = await server.end_of(job)
    assert (done.outcome, [m.why for m in server.of(Saved)]) == ("preempted", ["preempted"])
    await until_ended(begin)


# -- its configuration
def test_the_configuration_is_what_the_server_said_and_what_the_machine_knows(
    tmp_path: Path,
) -> None:
    reply, config = tmp_path / "reply", tmp_path / "config"
    told = Enrolled(token="jr_w_secret", config={"slots": 4, "alone_s": 60.0, "spot": True})
    reply.write_bytes(msgspec.json.encode(told))
    arguments = {
        "reply": reply,
        "config": config,
        "url": "https://x",
        "instance": "i-1",
        "home": "/m",
        "user": "jr",
        "longest": 360_000,
        "began": enrolled.uptime_s(),
    }
    enrolled.main([word for k, v in arguments.items() for word in (f"--{k}", str(v))])
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert not reply.exists()
    known = json.loads(config.read_bytes())
    assert 3500.0 < known.pop("life_s") <= 3540.0  # an hour, less a minute to hand jobs back
    found = read_config(config)
    assert found == Config(
        url="https://x",
        token="jr_w_secret",
        home="/m/work",
        instance="i-1",
        slots=4,
        spot=True,
        alone_s=60.0,
        alive_file="/m/alive",
        user="jr",
        once=True,
        life_s=found.life_s,
    )
    assert not config.exists()  # it holds the token


# -- its user
def test_without_root_user_code_is_run_by_who_runs_the_agent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert user_called("nobody") is None


def test_root_runs_user_code_as_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    user = user_called("nobody")
    assert user is not None
    assert user.uid != 0
    environ = user.environ({"HOME": "/root", "USER": "root", "SUDO_USER": "x", "LANG": "C"})
    assert environ == {"HOME": user.home, "USER": "nobody", "LOGNAME": "nobody", "LANG": "C"}
    with pytest.raises(KeyError):
        user_called("no such user")


def test_files_are_made_and_read_as_their_user(tmp_path: Path) -> None:
    """As root as another user; else it cannot be done, which is said."""
    if not ROOT:
        with pytest.raises(PermissionError), acting(SOMEBODY):
            raise AssertionError
        return
    (tmp_path / "theirs").mkdir()
    SOMEBODY.own(tmp_path / "theirs")
    secret = tmp_path / "secret"
    secret.write_text("s")
    secret.chmod(0o600)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o711)
    with acting(SOMEBODY):
        (tmp_path / "theirs" / "file").write_text("x")
        with pytest.raises(PermissionError):
            secret.read_text()
    assert (tmp_path / "theirs" / "file").stat().st_uid == SOMEBODY.uid
    assert secret.read_text() == "s"


def test_a_process_of_theirs_has_nothing_of_ours() -> None:
    """As root; else it cannot be started, and does not run as anybody else."""
    groups = User("somebody", 54321, 54322, [54323], "/")
    command = as_user(groups, ["/bin/sh", "-c", "id -u; id -g; id -G"])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        said = runner.run(said_by(command))
    assert said.split() == (["54321", "54322", "54322", "54323"] if ROOT else [])


async def said_by(command: list[str]) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    return (await process.communicate())[0].decode()


@pytest.fixture
async def transfer(tmp_path: Path) -> AsyncIterator[Transfer]:
    """As it is where another user runs user code; without root that is this user."""
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o711)
    user = SOMEBODY if ROOT else None
    made = Transfer(tmp_path, "token", user)
    yield made
    made.close()


async def test_a_link_to_what_its_user_cannot_read_is_not_sent(
    transfer: Transfer, tmp_path: Path
) -> None:
    """What a kernel calls its result may be a link to anything."""
    target = tmp_path / "secret"
    target.write_bytes(b"s")
    target.chmod(0o600 if ROOT else 0o000)
    (transfer.spool / "result").symlink_to(target)
    segment = Segment(blake3(b"s").hexdigest(), 1)
    with pytest.raises(BadInput, match="Permission denied"):
        await transfer.give(Spooled(segment, "result"))


async def test_a_file_is_not_placed_where_its_user_may_not_write(
    transfer: Transfer, tmp_path: Path
) -> None:
    """A session's folder is its user's, who may have put a link there meanwhile."""
    folder, elsewhere = tmp_path / "job", tmp_path / "elsewhere"
    for each in (folder, elsewhere):
        each.mkdir()
    elsewhere.chmod(0o755 if ROOT else 0o555)
    if ROOT:
        SOMEBODY.own(folder)
    (folder / "link").symlink_to(elsewhere)
    data = b"x"
    content = Segment(blake3(data).hexdigest(), 1, data)
    with pytest.raises(BadInput, match="Permission denied"):
        await transfer.place(FileRef(path="link/file", content=content), folder)
    await transfer.place(FileRef(path="sub/file", content=content), folder)
    assert (folder / "sub" / "file").read_bytes() == data
