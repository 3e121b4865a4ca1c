"""Environments as a worker builds, keeps and forgets them, from packages that the test makes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from jupyter_remote.errors import EnvironmentUnavailable
from jupyter_remote.model import Stage
from jupyter_remote.wire import Beat, Cancel, EnvironmentSpec, FileRef, Segment, Start
from jupyter_remote.worker import environments as module
from jupyter_remote.worker.environments import Environments
from jupyter_remote.worker.launch import KernelLauncher
from jupyter_remote.worker.transfer import Transfer
from jupyter_remote.worker.users import User
from tests.packages import environment, index_of, lock_of, wheel
from tests.worker.agents_kernel import Begin
from tests.worker.agents_server import FakeServer


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    index_of(folder, monkeypatch)
    return folder


@pytest.fixture
def built(tmp_path: Path) -> Iterator[Environments]:
    transfer = Transfer(tmp_path / "agent", "secret")
    yield Environments(tmp_path / "built", transfer, sys.executable)
    transfer.close()


def silent(count: int, total: int, what: str) -> None:
    pass


def said_by(python: str, code: str) -> str:
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def left_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


async def refused(built: Environments, spec: EnvironmentSpec) -> EnvironmentUnavailable:
    with pytest.raises(EnvironmentUnavailable) as caught:
        await built.interpreter(spec, "", silent)
    assert caught.value.hint
    return caught.value


async def test_an_environment_has_its_packages_and_behind_them_the_workers(
    index: Path, built: Environments
):
    one, old_numpy = wheel(index, "jrt-one", "1.2"), wheel(index, "numpy", "0.1")
    told: list[tuple[int, int, str]] = []
    spec = environment(lock_of(one, old_numpy))
    python = await built.interpreter(spec, "", lambda *args: told.append(args))
    code = "import jrt_one, numpy, jupyter_remote, ipykernel; print(jrt_one.version, numpy.version)"
    assert said_by(python, code) == "1.2 0.1"
    assert told[0][:2] == (0, 2)
    assert told[-1] == (2, 2, "checking")
    counts = [count for count, _, _ in told]
    assert counts == sorted(counts)


async def test_a_lock_is_built_once_and_is_then_there_at_once(
    index: Path, built: Environments, monkeypatch: pytest.MonkeyPatch
):
    spec = environment(lock_of(wheel(index, "jrt-one", "1.0")))
    first, second = await asyncio.gather(
        *(built.interpreter(spec, "", silent) for _ in range(2)),
    )
    assert first == second
    assert left_in(Path(first).parents[2]) == [spec.digest]
    monkeypatch.setenv("PATH", "")  # nothing could be started now
    monkeypatch.setattr(module.uv, "make", None)
    began = time.process_time()
    assert await built.interpreter(spec, "", silent) == first
    assert time.process_time() - began < 0.3


async def test_code_of_packages_is_run_by_who_runs_user_code(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    me = User("somebody", os.geteuid(), os.getegid(), [], str(tmp_path))
    started = []

    def spied(user: User | None, command: list[str]) -> list[str]:
        started.append(user)
        return command  # only root may start one of another user

    monkeypatch.setattr(module.uv, "as_user", spied)
    transfer = Transfer(tmp_path / "agent", "secret", me)
    built = Environments(tmp_path / "built", transfer, sys.executable, me)
    spec = environment(lock_of(wheel(index, "jrt-one", "1.0")))
    python = Path(await built.interpreter(spec, "", silent))
    transfer.close()
    assert started == [me] * 5
    assert len(list(python.parents[1].rglob("__pycache__/jrt_one.*.pyc"))) == 1


def test_what_was_built_is_not_its_users_to_change(tmp_path: Path):
    """As root; else all is of one user."""
    folder, outside = tmp_path / "built", tmp_path / "outside"
    (folder / "lib").mkdir(parents=True)
    for path in (folder / "module.py", folder / "lib" / "module.py", outside):
        path.touch()
    (folder / "lib" / "link").symlink_to(outside)
    theirs = 54321 if os.geteuid() == 0 else os.geteuid()
    every = [folder, *folder.rglob("*")]
    for path in (*every, outside):
        os.chown(path, theirs, -1, follow_symlinks=False)
    module._give(folder, os.geteuid(), os.getegid())
    assert {path.lstat().st_uid for path in every} == {os.geteuid()}
    assert outside.stat().st_uid == theirs


def test_whoever_runs_user_code_may_install_packages_which_come_before_the_workers(
    index: Path, tmp_path: Path
):
    me = User("somebody", os.geteuid(), os.getegid(), [], str(tmp_path))
    python = module.of_user(tmp_path / "python", me)
    wheels = [wheel(index, "jrt-one", "1.0"), wheel(index, "numpy", "0.1")]
    install = [python, "-m", "pip", "install", "--no-index", "--no-deps", *map(str, wheels)]
    subprocess.run(install, check=True, capture_output=True)
    code = "import jrt_one, numpy, jupyter_remote, ipykernel; print(jrt_one.version, numpy.version)"
    assert said_by(python, code) == "1.0 0.1"
    assert str(tmp_path) in said_by(python, "import jrt_one; print(jrt_one.__file__)")


async def test_what_stands_behind_an_environment_is_part_of_it(
    index: Path, built: Environments, tmp_path: Path
):
    spec = environment(lock_of(wheel(index, "jrt-one", "1.0")))
    first = await built.interpreter(spec, "", silent)
    second = await built.interpreter(spec, sys.executable, silent)
    assert first != second
    assert second == await built.interpreter(spec, sys.executable, silent)


async def test_an_environment_whose_python_is_gone_is_built_anew(
    index: Path, built: Environments, tmp_path: Path
):
    spec = environment(lock_of(wheel(index, "jrt-one", "1.0")))
    python = Path(await built.interpreter(spec, "", silent))
    python.unlink()
    python.symlink_to("/no/python")
    assert await built.interpreter(spec, "", silent) == str(python)
    assert said_by(str(python), "import jrt_one; print(jrt_one.version)") == "1.0"
    assert left_in(tmp_path / "built") == [spec.digest]


async def test_packages_that_no_index_has_come_as_wheels(
    index: Path, built: Environments, tmp_path: Path
):
    own = wheel(tmp_path / "own", "jrt-mine", "0.3")
    data = own.read_bytes()
    ref = FileRef(own.name, Segment(blake3(data).hexdigest(), len(data), data), module=False)
    spec = environment(lock_of(wheel(index, "jrt-one", "1.0")), wheels=[ref])
    python = await built.interpreter(spec, "", silent)
    assert said_by(python, "import jrt_mine, jrt_one; print(jrt_mine.version)") == "0.3"


async def test_a_package_that_is_not_there_is_named_and_nothing_is_left(
    index: Path, built: Environments, tmp_path: Path
):
    gone = wheel(tmp_path / "elsewhere", "jrt-gone", "1.0")
    error = await refused(built, environment(lock_of(gone)))
    assert "jrt-gone" in error.message
    assert left_in(tmp_path / "built") == []


async def test_a_package_with_another_hash_is_not_installed(
    index: Path, built: Environments, tmp_path: Path
):
    lock = lock_of(wheel(index, "jrt-one", "1.0"))
    wheel(index, "jrt-one", "1.0", "evil = True")
    error = await refused(built, environment(lock))
    assert "Hash mismatch" in error.message
    assert "same" in error.hint
    assert left_in(tmp_path / "built") == []


@pytest.mark.parametrize(
    "line",
    [
        "--index-url http://127.0.0.1:9/",
        "-r /etc/passwd",
        "-e .",
        "jrt-one==1.0",
        "jrt-one @ file:///tmp/x.whl",
        f"jrt-one==1.0 --hash=sha256:{'0' * 64} --no-deps",
    ],
)
async def test_a_lock_that_is_more_than_packages_with_hashes_is_refused(
    built: Environments, tmp_path: Path, line: str
):
    assert "not sound" in (await refused(built, environment(line))).message
    assert not (tmp_path / "built").exists()


async def test_a_lock_under_the_name_of_another_is_refused(built: Environments, index: Path):
    spec = environment(lock_of(wheel(index, "jrt-one", "1.0")))
    other = EnvironmentSpec(digest=spec.digest, lock="", python=spec.python)
    assert "not sound" in (await refused(built, other)).message


async def test_packages_for_another_python_are_refused(built: Environments, index: Path):
    error = await refused(built, environment(lock_of(wheel(index, "a", "1.0")), python="3.99"))
    assert "Python" in error.message
    assert "3.99" in error.hint


async def test_packages_that_break_the_kernel_are_not_used(
    built: Environments, index: Path, tmp_path: Path
):
    broken = wheel(index, "ipykernel", "99.0", "raise ImportError('broken')")
    error = await refused(built, environment(lock_of(broken)))
    assert "ImportError: broken" in error.message
    assert left_in(tmp_path / "built") == []


class Silent(BaseHTTPRequestHandler):
    """An index that takes a request and never answers."""

    asked = threading.Event()
    over = threading.Event()

    def do_GET(self) -> None:
        self.asked.set()
        self.over.wait(600)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Silent]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    Silent.asked, Silent.over = threading.Event(), threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.delenv("UV_NO_INDEX", raising=False)
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    yield Silent
    Silent.over.set()
    server.shutdown()
    server.server_close()


async def test_a_build_that_nobody_waits_for_any_more_ends_with_all_that_it_started(
    built: Environments, tmp_path: Path, hanging: type[Silent]
):
    lock = lock_of(wheel(tmp_path / "elsewhere", "jrt-one", "1.0"))
    spec = environment(lock)
    waiting = [asyncio.create_task(built.interpreter(spec, "", silent)) for _ in range(2)]
    await asyncio.to_thread(hanging.asked.wait, 60)
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    assert left_in(tmp_path / "built") != []  # the other one waits
    waiting[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]
    async with asyncio.timeout(60):
        while left_in(tmp_path / "built") or _uvs(tmp_path):
            await asyncio.sleep(0.01)


def _uvs(folder: Path) -> list[bytes]:
    """Processes that work below this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes()
        except OSError:
            continue
        if str(folder / "built").encode() in command:
            found.append(command)
    return found


async def test_what_was_not_used_for_longest_is_forgotten(
    built: Environments, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "KEPT", 2)
    specs = [environment(lock_of(wheel(index, "jrt-one", f"{n}.0"))) for n in range(1, 5)]
    for age, spec in enumerate(specs[:3]):
        python = await built.interpreter(spec, "", silent)
        if age:  # the oldest is still in use
            built.release(python)
        os.utime(tmp_path / "built" / spec.digest, (time.time() - 9000 + age,) * 2)
    await built.interpreter(specs[3], "", silent)
    kept = left_in(tmp_path / "built")
    assert kept == sorted(spec.digest for spec in specs if spec is not specs[1])


async def test_a_large_environment_makes_room_for_the_next(
    built: Environments, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "KEPT_BYTES", 3_000_000)
    large = environment(lock_of(wheel(index, "jrt-large", "1.0", extra_bytes=4_000_000)))
    built.release(await built.interpreter(large, "", silent))
    os.utime(tmp_path / "built" / large.digest, (time.time() - 9000,) * 2)
    small = environment(lock_of(wheel(index, "jrt-one", "1.0")))
    await built.interpreter(small, "", silent)
    assert left_in(tmp_path / "built") == [small.digest]


async def test_one_that_another_agent_uses_for_long_is_kept(
    built: Environments, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "KEPT", 0)
    used = environment(lock_of(wheel(index, "jrt-one", "1.0")))
    await built.interpreter(used, "", silent)
    os.utime(tmp_path / "built" / used.digest, (time.time() - 9000,) * 2)
    built.touch(0.0)
    other = Environments(tmp_path / "built", built._transfer, sys.executable)
    await other.interpreter(environment(lock_of(wheel(index, "jrt-two", "1.0"))), "", silent)
    assert used.digest in left_in(tmp_path / "built")


# --- in an agent -----------------------------------------------------------------------------
async def test_a_job_runs_in_its_environment_and_shows_how_it_is_made(
    index: Path, server: FakeServer, begin: Begin
):
    await begin(launchers=KernelLauncher)
    spec = environment(lock_of(wheel(index, "jrt-one", "1.5")))
    code = "import jrt_one; print(jrt_one.version)"
    job = await server.assign(code, environment=spec)
    done = await server.end_of(job)
    assert (done.outcome, server.text(job)) == ("succeeded", "1.5\n")
    stages = [beat.stage for beat in server.of(Beat) if beat.stage]
    assert stages[0] == Stage.PREPARING_ENVIRONMENT
    [bar, *_] = [event for event in server.latest[job] if event.type == "progress"]
    assert b'"unit":"packages"' in bar.data


async def test_why_no_environment_was_made_is_told_with_the_next_step(
    index: Path, server: FakeServer, begin: Begin, tmp_path: Path
):
    await begin()
    gone = environment(lock_of(wheel(tmp_path / "elsewhere", "jrt-gone", "1.0")))
    done = await server.end_of(await server.assign("pass", environment=gone))
    assert (done.outcome, done.reason) == ("failed", "environment")
    assert done.detail.startswith("The packages could not be installed: ")
    assert len(done.detail) > 50, "and why"
    assert done.error is not None
    assert done.error.ename == "EnvironmentUnavailable"
    assert "jrt-gone" in str(done.error.attributes["message"])
    assert "--env none" in str(done.error.attributes["hint"])
    assert not list(server.of(Start))


async def test_a_cancel_ends_a_job_whose_environment_is_being_built(
    server: FakeServer, begin: Begin, tmp_path: Path, hanging: type[Silent]
):
    agent = await begin(environments=str(tmp_path / "built"))
    spec = environment(lock_of(wheel(tmp_path / "elsewhere", "jrt-one", "1.0")))
    job = await server.assign("pass", environment=spec)
    await asyncio.to_thread(hanging.asked.wait, 60)
    await server.send(Cancel(job=job, epoch=1, how="interrupt"))
    async with asyncio.timeout(60):
        while agent._attempts or left_in(tmp_path / "built"):
            await asyncio.sleep(0.01)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can make a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_disk_that_fills_up_is_told_and_nothing_is_left_on_it(
    index: Path, small_disk: Path, tmp_path: Path
):
    transfer = Transfer(tmp_path / "agent", "secret")
    built = Environments(small_disk / "built", transfer, sys.executable)
    large = environment(lock_of(wheel(index, "jrt-large", "1.0", extra_bytes=4_000_000)))
    error = await refused(built, large)
    assert error.message.startswith("The disk is full")
    assert "room" in error.hint
    assert left_in(small_disk / "built") == []
    small = environment(lock_of(wheel(index, "jrt-one", "1.0")))
    python = await built.interpreter(small, "", silent)  # and there is room for what fits
    assert said_by(python, "import jrt_one; print(jrt_one.version)") == "1.0"
    transfer.close()
