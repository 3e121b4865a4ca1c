"""What could be wrong between this computer and a backend, and how to mend it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from jupyter_remote import __version__, connection, errors
from jupyter_remote.amounts import size
from jupyter_remote.client import embedded
from jupyter_remote.connection import HOME_FILE_NAME
from jupyter_remote.http import Http
from jupyter_remote.settings import Settings
from jupyter_remote.wire import PROTOCOL, MachineList, ServerInfo

LEAST_FREE_BYTES = 512 * 1024 * 1024
LEAST_PYTHON = (3, 11)
NEEDED = ("ipykernel", "IPython", "cloudpickle")
USEFUL = ("anywidget", "ipywidgets")


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    level: Literal["ok", "warn", "error"]
    text: str
    step: str = ""  # the next step, where something is wrong


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; starts nothing and changes nothing."""
    found = [_python(), *_packages()]
    if settings.url:
        return [*found, *_given(settings)]
    home = connection.home_of(settings)
    runtime = connection.path_of(settings).parent
    found += [_writable("state", home), _writable("runtime", runtime), _space(home)]
    return [*found, *_embedded(settings)]


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < LEAST_PYTHON:
        return Finding("error", f"Python {version} is too old.", "Use Python 3.11 or newer.")
    return Finding("ok", f"Python {version} at {sys.executable}")


def _packages() -> Iterator[Finding]:
    for level, names in (("error", NEEDED), ("warn", USEFUL)):
        missing = [n for n in names if importlib.util.find_spec(n) is None]
        if missing:
            step = f"pip install {' '.join(n.lower() for n in missing)}"
            yield Finding(
                "error" if level == "error" else "warn",
                f"{', '.join(missing)} cannot be imported by this interpreter.",
                step,
            )
    yield Finding("ok", f"jupyter_remote {__version__}, protocol {PROTOCOL}")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(p for p in (folder, *folder.parents) if p.exists())


def _writable(what: str, folder: Path) -> Finding:
    try:  # rights alone do not tell: the file system may be mounted for reading only
        with tempfile.TemporaryFile(dir=_existing(folder)) as probe:
            probe.write(b"x")
    except OSError as error:
        name = "HOME" if what == "state" else "RUNTIME"
        step = f"Make it writable, or set JUPYTER_REMOTE_{name} to another folder."
        text = f"The {what} folder {folder} cannot be written: {error.strerror}."
        return Finding("error", text, step)
    return Finding("ok", f"The {what} folder {folder} can be written.")


def _space(home: Path) -> Finding:
    free = shutil.disk_usage(_existing(home)).free
    text = f"{size(free)} are free where the backend keeps its state."
    if free < LEAST_FREE_BYTES:
        return Finding("error", text, "Free some space, or set JUPYTER_REMOTE_HOME elsewhere.")
    return Finding("ok", text)


def _given(settings: Settings) -> Iterator[Finding]:
    if not settings.token:
        step = "Set JUPYTER_REMOTE_TOKEN in the environment or in .env beside the notebook."
        yield Finding("error", f"There is no token for {settings.url}.", step)
        return
    step = "Install the same version of jupyter-remote-run on both sides."
    with contextlib.closing(Http(settings.url, settings.token)) as http:
        yield from _server(http, step)


def _embedded(settings: Settings) -> Iterator[Finding]:
    told = embedded.told_of(settings)
    for file in (connection.path_of(settings), connection.home_of(settings) / HOME_FILE_NAME):
        yield from _file(file)
    if not told:
        rents = f", which rents from {settings.providers}" if settings.providers else ""
        yield Finding("ok", f"No embedded backend runs; the first job starts one{rents}.")
    elif (found := embedded.running(settings)) is not None:
        step = "Let its jobs end, then run `jupyter remote stop`: the next job starts a new one."
        with contextlib.closing(embedded.to(found)) as http:
            yield from _server(http, step, settings.providers)
    elif (hung := next(filter(embedded.is_backend, told), None)) is not None:
        step = "Run `jupyter remote stop`; queued jobs are kept."
        yield Finding("error", f"The backend (process {hung.pid}) does not answer.", step)
    else:
        yield Finding("warn", "The backend has died.", "The next job starts another one.")


def _file(file: Path) -> Iterator[Finding]:
    if not file.exists():
        return
    if connection.read(file) is None:
        step = "Remove it: the next job writes a new one."
        yield Finding("error", f"The connection file {file} cannot be read.", step)
    elif os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
        step = f"chmod 600 {file}, then `jupyter remote stop`: its token may be known."
        yield Finding("error", f"Others may read the connection file {file}.", step)


def _server(http: Http, other_version: str, providers: str = "") -> Iterator[Finding]:
    """``other_version``: the next step where it speaks another protocol. ``providers``: those of
    the setting, here."""
    url = http.url
    try:
        info = http.call("GET", "/v1/server", reply=ServerInfo)
    except errors.JupyterRemoteError as error:
        yield Finding("error", f"{url}: {error.message}", error.hint)
        return
    if info.protocol != PROTOCOL:
        text = f"{url} speaks protocol {info.protocol} (version {info.version}), we {PROTOCOL}."
        yield Finding("error", text, other_version)
        return
    yield Finding("ok", f"{url} answers: version {info.version}, {info.jobs_running} jobs running.")
    if not any(worker.connected for worker in info.workers):
        step = "Jobs wait until one connects; its log is in the state folder under workers."
        yield Finding("warn", "No worker is connected.", step)
    for worker in info.workers:
        yield _worker_python(worker.id, worker.python)
    with contextlib.suppress(errors.NotAuthorized):  # a worker's token
        listed = http.call("GET", "/v1/machines", reply=MachineList)
        yield from _elsewhere(listed, providers)


def _elsewhere(listed: MachineList, wanted: str) -> Iterator[Finding]:
    """What providers of machines have, or why they say nothing."""
    had = Counter(m.provider for m in listed.machines if m.provider and m.id != "local")
    for name, count in sorted(had.items()):
        yield Finding("ok", f"{name} has {count} types of machines to rent.")
    for problem in listed.problems:
        text, _, step = problem.partition("\n")
        yield Finding("error", text, step.replace("\n", " "))
    names = {name.strip() for name in wanted.split(",")} - {"", *had}
    if names and not listed.problems:
        text = f"The backend was started without the provider {', '.join(sorted(names))}."
        step = "Let its jobs end, then run `jupyter remote stop`: the next job starts one with it."
        yield Finding("warn", text, step)


def _worker_python(worker: str, python: str) -> Finding:
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if python and python.rpartition(".")[0] != here:
        step = "Cells run there, but values do not travel between different Pythons."
        return Finding("warn", f"Worker {worker} has Python {python}, this is {here}.", step)
    return Finding("ok", f"Worker {worker} is connected (Python {python or 'unknown'}).")
