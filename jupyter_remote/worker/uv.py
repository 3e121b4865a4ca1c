"""How the worker calls uv: always with a list of arguments, and killed when nobody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from jupyter_remote.amounts import duration
from jupyter_remote.distributions import MARK
from jupyter_remote.errors import EnvironmentUnavailable
from jupyter_remote.wire import INSTALL_S
from jupyter_remote.worker.hygiene import clean_environment
from jupyter_remote.worker.users import User, as_user

LOOK_S = 0.2  # how often what is installed is counted
LAST_LINES = 12  # of what uv said, in an error
FULL = (errno.ENOSPC, errno.EDQUOT)

_FULL = re.compile(r"os error (28|122)|No space left|quota exceeded", re.IGNORECASE)
_ERROR = re.compile(r"\s*error: (.+)")
_UNREACHABLE = re.compile(r"error sending request|Failed to fetch|dns error", re.IGNORECASE)
_LOOK = (
    "import json, site, sys; "
    "print(json.dumps({'version': '%d.%d' % sys.version_info[:2], 'packages': "
    "[p for p in dict.fromkeys(site.getsitepackages() + sys.path) if p.endswith('-packages')]}))"
)
_CHECK = "import jupyter_remote.worker.channel, ipykernel, IPython"

OnLine = Callable[[str], None]


class Python(msgspec.Struct, frozen=True):
    """What an interpreter says of itself."""

    version: str  # "3.11"
    packages: list[str]  # folders of its packages, its own first


class Counting:
    """How many packages are there while uv installs, and what it does: for a bar."""

    def __init__(self, folder: Path, told: Callable[[int, str], None]) -> None:
        self._folder = folder
        self._told = told
        self._loaded = 0
        self._what = "fetching packages"

    def heard(self, line: str) -> None:
        """A line of uv: of large packages it says when it begins and ends to fetch them."""
        word, _, name = line.strip().partition(" ")
        if word == "Downloaded":
            self._loaded += 1
        if word in ("Downloading", "Building", "Built", "Downloaded"):
            self._what = f"{word.lower()} {name}"
            self.look()

    def look(self) -> None:
        names = os.listdir(self._folder)
        there = sum(name.endswith(MARK) for name in names)
        self._told(max(there, self._loaded), "installing packages" if there else self._what)


async def python_of(interpreter: str, user: User | None) -> Python:
    """Raises EnvironmentUnavailable where it does not run."""
    failed = f"{interpreter} does not run"
    said = await _run([interpreter, "-c", _LOOK], Path("/"), failed, user)
    return msgspec.json.decode(said[-1], type=Python)


async def make(folder: Path, base: str, user: User | None) -> None:
    """A virtual environment that may be moved. Raises EnvironmentUnavailable."""
    await _run(
        [_uv(), "venv", "--quiet", "--allow-existing", "--relocatable", "--no-project",
         "--no-python-downloads", "--python", base, str(folder)],
        folder,
        "The environment could not be made",
        user,
    )  # fmt: skip


async def install(
    python: Path, what: Sequence[str], folder: Path, counting: Counting, user: User | None
) -> None:
    """Exactly these, without what they ask for. Raises EnvironmentUnavailable."""
    ready = ["--compile-bytecode"] if user is not None else []  # no kernel may write it there
    await _run(
        [_uv(), "pip", "install", "--no-deps", *ready, "--python", str(python), *what],
        folder,
        "The packages could not be installed",
        user,
        counting,
    )
    counting.look()


async def check(python: Path, user: User | None) -> None:
    """Can a kernel start in it? Raises EnvironmentUnavailable."""
    what = "The packages do not go together with those that the worker needs"
    await _run([str(python), "-c", _CHECK], Path("/"), what, user)


def full(folder: Path) -> EnvironmentUnavailable:
    """The disk of ``folder`` is."""
    return EnvironmentUnavailable(
        f"The disk is full: the environment could not be built in {folder}. What was installed of "
        "it is removed.",
        hint="Make room on the worker's disk, take a machine with a larger one, or name fewer "
        "packages with --env FILE.",
    )


def _uv() -> str:
    with contextlib.suppress(ImportError, FileNotFoundError):
        from uv import find_uv_bin

        return find_uv_bin()
    if found := shutil.which("uv"):
        return found
    raise EnvironmentUnavailable(
        "There is no uv on this worker, which installs packages.",
        hint="pip install uv there, or use --env none.",
    )


async def _run(
    command: list[str],
    folder: Path,
    failed: str,
    user: User | None,
    counting: Counting | None = None,
) -> list[str]:
    """What it printed. Raises EnvironmentUnavailable; ``failed``: what that says first."""
    environ = dict(os.environ)
    process = await asyncio.create_subprocess_exec(
        *as_user(user, command),
        cwd=folder,
        env=clean_environment(user.environ(environ) if user else environ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    lines: list[str] = []
    try:
        async with asyncio.timeout(INSTALL_S):
            await _listen(process, lines, counting)
    except TimeoutError:
        raise EnvironmentUnavailable(
            f"{failed} within {duration(INSTALL_S)}.",
            hint="See on the worker what keeps it from its package index.",
        ) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        raise _failure(failed, lines, folder)
    return lines


async def _listen(
    process: asyncio.subprocess.Process, lines: list[str], counting: Counting | None
) -> None:
    assert process.stdout is not None
    looks = None if counting is None else asyncio.create_task(_look_often(counting))
    try:
        async for line in process.stdout:
            lines.append(line.decode(errors="replace").rstrip())
            if counting is not None:
                counting.heard(lines[-1])
        await process.wait()
    finally:
        if looks is not None:
            looks.cancel()


async def _look_often(counting: Counting) -> None:
    while True:
        await asyncio.sleep(LOOK_S)
        counting.look()


def _failure(failed: str, lines: list[str], folder: Path) -> EnvironmentUnavailable:
    said = "\n".join(line for line in lines if line.strip())
    if _FULL.search(said):
        return full(folder.parent)
    last = "\n".join(f"  {line}" for line in said.splitlines()[-LAST_LINES:])
    if _UNREACHABLE.search(said):
        hint = (
            "The worker does not reach its package index: set UV_DEFAULT_INDEX (uv does not read "
            "pip's configuration) in the environment in which it is started, or use --env none."
        )
    elif "Hash mismatch" in said:
        hint = "Its index has other files under these versions than yours: let both use the same."
    else:
        hint = "Name other versions with --env FILE, or use --env none: the worker's own packages."
    why = next((found[1] for line in lines if (found := _ERROR.match(line))), "uv says why")
    return EnvironmentUnavailable(f"{failed}: {why}\n{last}", hint=hint)
