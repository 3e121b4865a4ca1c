"""Environments of jobs: built once for a lock, kept, and forgotten when long unused.

One is a virtual environment on the worker's own Python. What it lacks it finds in the worker's own
packages, which stand behind its own: a kernel needs ``jupyter_remote`` and IPython in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import re
import shutil
import site
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from jupyter_remote.errors import EnvironmentUnavailable
from jupyter_remote.wire import EnvironmentSpec, environment_digest
from jupyter_remote.worker import uv
from jupyter_remote.worker.transfer import BadInput, Transfer
from jupyter_remote.worker.users import User, acting

KEPT = 20
KEPT_BYTES = 40 * 1024**3
RECENT_S = 3600.0  # a process may still run from one that was used so lately
TOUCH_S = RECENT_S / 4  # how often others are shown that one is in use
ABANDONED_S = 86_400.0  # what an agent that was killed left half built
MARK = "environment.json"  # written last
LOCK = "requirements.lock"
BEHIND = "zzz_of_the_worker.pth"  # files of this kind are read by their names: this one last

_LINE = re.compile(r"[A-Za-z0-9][\w.-]*==[\w.!+-]+( --hash=sha256:[0-9a-f]{64})+")
_DIGEST = re.compile(r"[0-9a-f]{64}")

Told = Callable[[int, int, str], None]
"""Hears how many packages are there, of how many, and what is done now."""


class Made(msgspec.Struct, frozen=True):
    """What :data:`MARK` says."""

    size_bytes: int
    packages: dict[str, str] = {}


class _Build:
    """One that is under way, and who waits for it."""

    def __init__(self) -> None:
        self.waiting: list[Told] = []
        self.task: asyncio.Task[None]

    def tell(self, count: int, total: int, what: str) -> None:
        for told in self.waiting:
            told(count, total, what)


class Environments:
    """Those of one folder, in which several agents of one computer may build.

    Parameters
    ----------
    default: interpreter.
    user: who runs user code, and that of packages, if not who runs this. What is built is not
        theirs to change: other jobs use it, too.
    """

    def __init__(
        self, folder: Path, transfer: Transfer, default: str, user: User | None = None
    ) -> None:
        self._folder = folder
        self._transfer = transfer
        self._default = default
        self._user = user
        self._builds: dict[Path, _Build] = {}
        self._used: Counter[Path] = Counter()
        self._touched_at = float("-inf")

    async def interpreter(self, spec: EnvironmentSpec, base: str, told: Told) -> str:
        """The interpreter of this environment, which is built first if it is not there. Whoever got
        it says :meth:`release` when it is not needed any more.

        ``base``: the interpreter whose Python and packages stand behind it.

        Raises EnvironmentUnavailable. May be cancelled; what nobody waits for is not built on.
        """
        _check(spec)
        folder = self._folder / _name_of(spec, base)
        if not _is_ready(folder):
            await self._built(folder, spec, base or self._default, told)
        self._used[folder] += 1
        _touch(folder)
        return str(_interpreter(folder))

    def release(self, interpreter: str) -> None:
        """One attempt less uses it."""
        folder = Path(interpreter).parents[1]
        _touch(folder)
        self._used[folder] -= 1

    def touch(self, now: float) -> None:
        """Those in use count as used now; called often."""
        if now >= self._touched_at + TOUCH_S:
            self._touched_at = now
            for folder in +self._used:
                _touch(folder)

    async def _built(self, folder: Path, spec: EnvironmentSpec, base: str, told: Told) -> None:
        build = self._builds.get(folder)
        if build is None:
            build = self._builds[folder] = _Build()
            build.task = asyncio.create_task(self._build(folder, spec, base, build.tell))
        build.waiting.append(told)
        try:
            await asyncio.shield(build.task)
        finally:
            build.waiting.remove(told)
            if build.task.done() or not build.waiting:
                build.task.cancel()
                if self._builds.get(folder) is build:
                    del self._builds[folder]

    async def _build(self, folder: Path, spec: EnvironmentSpec, base: str, told: Told) -> None:
        """In a folder of its own, which gets its name when it is whole."""
        draft = folder.with_name(f".{uuid.uuid4().hex}")
        try:
            await asyncio.to_thread(self._make_room)
            draft.mkdir(parents=True, mode=0o755)
            if self._user is not None:
                self._user.own(draft)
            await self._fill(draft, spec, base, told)
            if self._user is not None:
                await asyncio.to_thread(_give, draft, os.geteuid(), os.getegid())
            made = Made(await asyncio.to_thread(_size_of, draft), spec.packages)
            (draft / MARK).write_bytes(msgspec.json.encode(made))
            await asyncio.to_thread(_put, draft, folder)
        except OSError as error:
            raise _of_the_disk(error, self._folder) from error
        except BadInput as error:
            raise EnvironmentUnavailable(str(error), hint="Submit the job again.") from error
        finally:
            await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)

    async def _fill(self, draft: Path, spec: EnvironmentSpec, base: str, told: Told) -> None:
        lines = spec.lock.splitlines()
        total = len(lines) + len(spec.wheels)
        told(0, total, "preparing Python")
        user = self._user
        python = await uv.python_of(base, user)
        if spec.python and spec.python != python.version:
            raise EnvironmentUnavailable(
                f"This worker has Python {python.version}; the packages are locked for "
                f"{spec.python}.",
                hint=f"Use a worker with Python {spec.python}, or --env none: then the job has the "
                "worker's own packages.",
            )
        await uv.make(draft, base, user)
        interpreter, wheels = _interpreter(draft), draft / "wheels"
        packages = Path((await uv.python_of(str(interpreter), user)).packages[0])
        with acting(user):
            (packages / BEHIND).write_text(_behind(python.packages))
            (draft / LOCK).write_text(spec.lock)
            wheels.mkdir()
        watch = uv.Counting(packages, lambda n, what: told(n, total, what))
        if lines:
            locked = ["--require-hashes", "-r", LOCK]
            await uv.install(interpreter, locked, draft, watch, user)
        if spec.wheels:
            for wheel in spec.wheels:
                await self._transfer.place(wheel, wheels)
            names = [f"wheels/{wheel.path}" for wheel in spec.wheels]
            await uv.install(interpreter, ["--offline", *names], draft, watch, user)
        shutil.rmtree(wheels)
        told(total, total, "checking")
        await uv.check(interpreter, user)

    # -- room
    def _make_room(self) -> None:
        """Forget those that were not used for longest, where there are too many."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        now = time.time()
        kept_bytes, kept = 0, 0
        for used_at, folder in sorted(self._there(), reverse=True):
            size = _made(folder).size_bytes
            age_s = now - used_at
            if folder.name.startswith("."):
                stale = age_s > ABANDONED_S
            else:
                kept, kept_bytes = kept + 1, kept_bytes + size
                idle = age_s > RECENT_S and self._used[folder] <= 0
                stale = idle and (kept >= KEPT or kept_bytes > KEPT_BYTES)
            if stale:
                _remove(folder)

    def _there(self) -> list[tuple[float, Path]]:
        found = []
        for folder in self._folder.iterdir():
            with contextlib.suppress(OSError):
                found.append((folder.stat().st_mtime, folder))
        return found


def of_user(folder: Path, user: User) -> str:
    """The interpreter of a new environment without packages, of a user who may install some there.
    Behind it stand those of this process."""
    import venv  # on most computers there is no other user

    venv.create(folder, symlinks=True)
    [own] = folder.glob("lib/python*/site-packages")
    ours = dict.fromkeys([*site.getsitepackages(), *sys.path])
    (own / BEHIND).write_text(_behind([path for path in ours if path.endswith("-packages")]))
    _give(folder, user.uid, user.gid)
    return str(_interpreter(folder))


def _check(spec: EnvironmentSpec) -> None:
    """A lock holds packages with their hashes and no option, and its name is that of its content.

    Raises EnvironmentUnavailable.
    """
    digest = environment_digest(spec.lock, spec.python, spec.wheels)
    good = spec.digest == digest and _DIGEST.fullmatch(spec.digest)
    lines = all(_LINE.fullmatch(line) for line in spec.lock.splitlines())
    wheels = all(w.path == Path(w.path).name and w.path.endswith(".whl") for w in spec.wheels)
    if not (good and lines and wheels):
        raise EnvironmentUnavailable(
            "The list of packages of this job is not sound; nothing was installed.",
            hint="Submit the job again, with the newest jupyter-remote-run on both sides.",
        )


def _name_of(spec: EnvironmentSpec, base: str) -> str:
    """What stands behind an environment is part of it."""
    return hashlib.sha256(f"{spec.digest} {base}".encode()).hexdigest() if base else spec.digest


def _is_ready(folder: Path) -> bool:
    """Whole, and its Python is still there."""
    return (folder / MARK).exists() and _interpreter(folder).exists()


def _touch(folder: Path) -> None:
    with contextlib.suppress(OSError):  # somebody removed it
        os.utime(folder)


def _put(draft: Path, folder: Path) -> None:
    """Give it its name, unless another agent was quicker."""
    if folder.exists() and not _is_ready(folder):
        _remove(folder)
    try:
        draft.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _give(folder: Path, uid: int, gid: int) -> None:
    """It is theirs from now on, with all that is in it. Raises OSError."""
    os.chown(folder, uid, gid)
    for _, folders, files, fd in os.fwalk(folder):
        for name in (*folders, *files):
            os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)


def _remove(folder: Path) -> None:
    trash = folder.with_name(f".{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):  # another agent does it
        folder.rename(trash)  # at once: nobody shall find half of it
    shutil.rmtree(trash, ignore_errors=True)


def _interpreter(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _behind(folders: list[str]) -> str:
    """A line that Python runs when it starts: these folders, and what their own such lines say."""
    return f"import site; list(map(site.addsitedir, {folders!r}))\n"


def _made(folder: Path) -> Made:
    try:
        return msgspec.json.decode((folder / MARK).read_bytes(), type=Made)
    except (OSError, msgspec.DecodeError):
        return Made(0)


def _size_of(folder: Path) -> int:
    sizes = []
    for top, _, names in os.walk(folder):
        sizes += [os.lstat(os.path.join(top, name)).st_size for name in names]
    return sum(sizes)


def _of_the_disk(error: OSError, folder: Path) -> EnvironmentUnavailable:
    if error.errno in uv.FULL:
        return uv.full(folder)
    return EnvironmentUnavailable(
        f"The environment could not be built in {folder}: {error.strerror}.",
        hint="Mend that on the worker, or use --env none.",
    )
