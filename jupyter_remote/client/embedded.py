"""Finds the embedded backend, or starts it. Light: called before the first cell runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from jupyter_remote import __version__, connection, errors, processes
from jupyter_remote.connection import Connection
from jupyter_remote.http import Http
from jupyter_remote.wire import PROTOCOL, Health

if TYPE_CHECKING:
    from jupyter_remote.settings import Settings

END_S = 15.0  # one that is asked to end drains first
START_S = 120.0  # a backend must answer within this time; that of a slow disk may need much
ANSWER_S = 3.0  # one that runs must answer /health within this time
LOOK_S = 0.005  # how often to look for what another process writes
LOCK_LOOK_S = 0.05
TAIL_LINES = 15
LOG_NAME = "backend.log"
LOCK_NAME = "start.lock"
SERVER_LOCK_NAME = "server.lock"  # held by a backend from its start to its end


def ensure(settings: Settings) -> Connection:
    """The embedded backend of this user, started if there is none.

    One of an older version that has nothing to do is replaced by one of this version.

    Raises
    ------
    BackendUnreachable
        It cannot be started, or hangs: says why, with the end of its log.
    ProtocolMismatch
        One of another version runs, and has to be stopped first.
    StorageFull
        A folder that it needs cannot be written.
    """
    found = running(settings)
    if found is not None and not _is_replaceable(found):
        return _compatible(found)
    home = connection.home_of(settings)
    with _one_starter(home):
        found = running(settings)  # another process may have been quicker
        if found is not None:
            if not _is_replaceable(found):
                return _compatible(found)
            _end(found)
        for told in told_of(settings):
            if _answers_late(told):
                return _compatible(told)
        return _compatible(_when_free(settings, home) or _start(settings, home))


def told_of(settings: Settings) -> list[Connection]:
    """What connection files say: in the runtime folder, and beside the state for whoever has
    another runtime folder."""
    home = connection.home_of(settings)
    files = (connection.path_of(settings), home / connection.HOME_FILE_NAME)
    return [found for found in map(connection.read, files) if found is not None]


def running(settings: Settings) -> Connection | None:
    """The embedded backend, if it runs and answers."""
    told = {found.server_id: found for found in told_of(settings)}
    return next(filter(is_alive, told.values()), None)


def is_alive(found: Connection) -> bool:
    """Does this very server answer, and take the token? Quick when nothing listens there."""
    try:
        with _talking(found) as http:
            health = http.call("GET", "/health", reply=Health)
            http.call("GET", "/v1/workers")
            return health.server_id == found.server_id
    except errors.JupyterRemoteError:
        return False


def to(found: Connection, timeout_s: float = 30.0) -> Http:
    """The way to an embedded backend."""
    return Http(found.url, found.token, key=found.key, timeout_s=timeout_s)


@contextmanager
def _talking(found: Connection) -> Iterator[Http]:
    http = to(found, ANSWER_S)
    try:
        yield http
    finally:
        http.close()


class _Load(msgspec.Struct, frozen=True):
    """The part of wire.ServerInfo that every version has."""

    jobs_queued: int = 0
    jobs_running: int = 0
    listeners: int = 0


def _is_replaceable(found: Connection) -> bool:
    """Is it of an older version, with no job and nobody who listens?"""
    if found.version == __version__ and found.protocol == PROTOCOL:
        return False
    from packaging.version import InvalidVersion, Version

    try:
        if Version(found.version) >= Version(__version__):
            return False
        with _talking(found) as http:
            return http.call("GET", "/v1/server", reply=_Load) == _Load()
    except (InvalidVersion, errors.JupyterRemoteError):
        return False


def _end(found: Connection) -> None:
    """End it in order. A job that was submitted meanwhile stays queued for its successor."""
    try:
        with _talking(found) as http:
            http.call("POST", "/v1/server/shutdown")
    except errors.JupyterRemoteError:
        return  # it is ending already, or hangs, which is looked at next
    _ends_within(found, END_S)


def _compatible(found: Connection) -> Connection:
    if found.protocol != PROTOCOL:
        older = found.protocol < PROTOCOL
        raise errors.ProtocolMismatch(
            f"A backend of version {found.version} runs (protocol {found.protocol}; "
            f"this notebook has version {__version__}, protocol {PROTOCOL}).",
            hint="Let its jobs end, then run `jupyter remote stop` and try again."
            if older
            else "Update jupyter-remote-run here, restart the kernel and try again; or let its "
            "jobs end and run `jupyter remote stop`.",
        )
    return found


def _answers_late(found: Connection) -> bool:
    """On a computer that stood still, say; False: it has ended. A process that lives, is a backend
    and does not answer must not be doubled."""
    if is_backend(found) and is_alive(found):
        return True
    if _ends_within(found, ANSWER_S):
        return False
    raise errors.BackendUnreachable(
        f"The backend (process {found.pid}) runs but does not answer at {found.url}.",
        hint="Run `jupyter remote stop`, which ends it; its queued jobs are kept.",
    )


def _ends_within(found: Connection, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_backend(found):
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S)
    return True


def is_backend(found: Connection) -> bool:
    """Does its process live? Another one may have its number by now."""
    return bool(found.mark) and processes.mark_of(found.pid) == found.mark


def _when_free(settings: Settings, home: Path, within_s: float = END_S) -> Connection | None:
    """Wait for a backend that is ending; None: nobody works on the state any more.

    Another one, of another process, may start meanwhile.
    """
    from filelock import FileLock, Timeout

    deadline = time.monotonic() + within_s
    while True:
        try:
            with FileLock(home / SERVER_LOCK_NAME, timeout=0):
                return None
        except Timeout:
            if (found := running(settings)) is not None:
                return found
        if time.monotonic() > deadline:
            raise errors.BackendUnreachable(
                f"Another backend works on {home}, and does not answer.",
                hint="`jupyter remote doctor` looks for it; JUPYTER_REMOTE_HOME names another "
                "folder.",
            )
        time.sleep(LOCK_LOOK_S)


@contextmanager
def _one_starter(home: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(home / LOCK_NAME, timeout=START_S + ANSWER_S):
            yield
    except Timeout:
        raise errors.BackendUnreachable(
            "Another process has been starting the backend for too long.",
            hint=f"Look into {home / LOG_NAME}, then try again.",
        ) from None
    except OSError as error:
        raise errors.StorageFull(
            f"The backend's folder {home} cannot be written: {error.strerror or error}.",
            hint="Make it writable or free space, or set JUPYTER_REMOTE_HOME to another folder.",
        ) from error


def _start(settings: Settings, home: Path) -> Connection:
    path, log_file = connection.path_of(settings), home / LOG_NAME
    before = connection.read(path)
    with open(log_file, "ab") as log:
        begin = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_remote", "serve", "--embedded"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home,  # not the notebook's folder: that may be unmounted, and shadow modules
            env=_environment(settings),
            start_new_session=True,
        )
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        found = connection.read(path)
        if found is not None and (before is None or found.server_id != before.server_id):
            _leave(process)
            return found
        if process.poll() is not None:
            # one that somebody else started, who was killed since, may have been quicker
            if (found := _when_free(settings, home, START_S)) is not None:
                return found
            break
        time.sleep(LOOK_S)
    raise _not_started(process, log_file, begin)


def _leave(process: subprocess.Popen[bytes]) -> None:
    """It outlives us on purpose; without this Python warns of a child that still runs."""
    process.returncode = 0


def _environment(settings: Settings) -> dict[str, str]:
    """Settings that did not come from the environment are handed down by it."""
    environment = dict(os.environ)
    for name, value in msgspec.structs.asdict(settings).items():
        if name not in ("url", "token") and value not in ("", None):
            environment[f"JUPYTER_REMOTE_{name.upper()}"] = str(value)
    for name in ("URL", "TOKEN"):
        environment.pop(f"JUPYTER_REMOTE_{name}", None)
    return environment


def _not_started(
    process: subprocess.Popen[bytes], log_file: Path, begin: int
) -> errors.BackendUnreachable:
    status = process.poll()
    if status is None:
        process.kill()
        process.wait()
    what = f"did not answer within {START_S:.0f} s" if status is None else f"ended ({status})"
    with open(log_file, "rb") as log:
        log.seek(begin)
        lines = log.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    told = "\n".join(("The backend was started and " + what + ". Its log ends with:", *lines))
    return errors.BackendUnreachable(
        told, hint=f"The whole log is {log_file}. `jupyter remote doctor` looks for the cause."
    )
