"""From requirements to a lock: exact versions with hashes, for the Python and platform of a worker.

uv decides, and asks its index; what it decided is kept in a file, so that the same question costs
nothing the next time.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from jupyter_remote.amounts import duration
from jupyter_remote.client.files import CapturedFile
from jupyter_remote.distributions import canonical
from jupyter_remote.errors import EnvironmentUnavailable
from jupyter_remote.wire import WorkerEnvironment

FORM = "1"  # of what is kept
LONGEST_S = 120.0
LAST_LINES = 6
NEXT = (
    "Name other versions with --env FILE, or use --env none: then the job has the packages that "
    "the worker has."
)
_ABSENT = re.compile(
    r"([\w.-]+) was not found in the package registry"
    r"|there (?:is|are) no versions? of ([\w.-]+)"
    r"|([\w.-]+) was not found in the provided package locations"
)
_UNREACHABLE = re.compile(r"sending request|Failed to fetch|dns error|network was disabled", re.I)


class Target(msgspec.Struct, frozen=True):
    """Whose wheels are wanted."""

    python: str  # "3.11"
    platform: str  # as uv calls it


class Lock(msgspec.Struct, frozen=True):
    """Exact versions, with the hashes of their files."""

    text: str
    packages: dict[str, str]
    size_bytes: int = 0  # of what is fetched, as far as the index says it


class Absent(EnvironmentUnavailable):
    """No index that was asked has these packages, or not in these versions."""

    def __init__(self, message: str, names: Sequence[str]) -> None:
        super().__init__(message, hint=NEXT)
        self.names = list(names)


def target_of(there: WorkerEnvironment | None) -> Target:
    """Of a worker; of one that is not known yet, Linux and the Python here."""
    if there is None:
        return Target(_minor(platform.python_version()), _platform("Linux", platform.machine()))
    return Target(_minor(there.python), _platform(there.platform, there.machine))


def target_here() -> Target:
    """This computer."""
    python, system, machine = platform.python_version(), platform.system(), platform.machine()
    return Target(_minor(python), _platform(system, machine))


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _platform(system: str, machine: str) -> str:
    arch = {"arm64": "aarch64", "AMD64": "x86_64", "": "x86_64"}.get(machine, machine)
    kind = {"Darwin": "apple-darwin", "Windows": "pc-windows-msvc"}.get(system, "manylinux_2_28")
    return f"{arch}-{kind}"


def lock(
    requirements: Sequence[str],
    constraints: Mapping[str, str],
    target: Target,
    folder: Path,
    wheels: Sequence[CapturedFile] = (),
) -> Lock:
    """The lock of these requirements.

    Parameters
    ----------
    constraints: versions of what they ask for in turn, where that comes in.
    folder: where locks are kept.
    wheels: what travels beside the lock, and is not in it; what these ask for is.

    Raises EnvironmentUnavailable; Absent with the names that no index has.
    """
    bound = [f"{name}=={version}" for name, version in sorted(constraints.items())]
    beside = [f"{wheel.ref.path} {wheel.ref.content.digest}" for wheel in wheels]
    parts = [FORM, *sorted(requirements), "", *bound, "", *beside, target.python, target.platform]
    question = "\n".join(parts)
    file = folder / f"{hashlib.sha256(question.encode()).hexdigest()}.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=Lock)
    except (OSError, msgspec.DecodeError):
        pass
    made = _lock_of(_compiled(requirements, bound, target, wheels), {name_of(w) for w in wheels})
    folder.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(f".{os.getpid()}")
    draft.write_bytes(msgspec.json.encode(made))
    draft.replace(file)
    return made


def name_of(wheel: CapturedFile) -> str:
    """Canonical, of its distribution."""
    return canonical(wheel.ref.path.partition("-")[0])


def _compiled(
    requirements: Sequence[str],
    bound: Sequence[str],
    target: Target,
    wheels: Sequence[CapturedFile],
) -> str:
    """uv's answer, in the form of PEP 751: it names the files that fit the target alone."""
    with tempfile.TemporaryDirectory(prefix="jupyter-remote-") as folder:
        Path(folder, "requirements.in").write_text("\n".join(requirements))
        Path(folder, "constraints.txt").write_text("\n".join(bound))
        for wheel in wheels:
            Path(folder, wheel.ref.path).write_bytes(wheel.content)
        command = [
            *(_uv(), "pip", "compile", "--quiet", "--no-header", "--format", "pylock.toml"),
            *("--color", "never"),
            *("--python", sys.executable, "--python-version", target.python),
            *("--python-platform", target.platform, "--generate-hashes"),
            *(("--find-links", folder) if wheels else ()),
            *("--constraints", "constraints.txt", "requirements.in"),
        ]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LONGEST_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _unreachable(f"its answer took more than {duration(LONGEST_S)}") from None
    if done.returncode:
        raise _failure(done.stderr)
    return done.stdout


def _uv() -> str:
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found:
        return found
    raise EnvironmentUnavailable(
        "There is no uv here, which locks the packages of a job.",
        hint="pip install uv, or use --env none.",
    )


def _lock_of(pylock: str, beside: Container[str]) -> Lock:
    lines, packages, size = [], {}, 0
    for package in tomllib.loads(pylock).get("packages", []):
        name, version = canonical(package["name"]), package.get("version", "")
        if name in beside:
            continue
        files = package.get("wheels") or [package["sdist"]] * ("sdist" in package)
        hashes = sorted({f["hashes"]["sha256"] for f in files if "sha256" in f.get("hashes", {})})
        if not version or not hashes:
            raise EnvironmentUnavailable(
                f"The index gives no SHA-256 of {name}, so it cannot be locked.", hint=NEXT
            )
        lines.append(f"{name}=={version} {' '.join(f'--hash=sha256:{h}' for h in hashes)}\n")
        packages[name] = version
        size += _size_of(files)
    return Lock("".join(lines), packages, size)


def _size_of(files: Sequence[Mapping[str, Any]]) -> int:
    return int(files[0].get("size", 0))


def _failure(said: str) -> EnvironmentUnavailable:
    text = " ".join(said.split())
    if _UNREACHABLE.search(text):
        return _unreachable(_last_of(said))
    names = [canonical(next(filter(None, found))) for found in _ABSENT.findall(text)]
    if names:
        return Absent(f"No index has {', '.join(dict.fromkeys(names))}:\n{_last_of(said)}", names)
    return EnvironmentUnavailable(f"The packages cannot be locked:\n{_last_of(said)}", hint=NEXT)


def _last_of(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-LAST_LINES:])


def _unreachable(why: str) -> EnvironmentUnavailable:
    return EnvironmentUnavailable(
        f"The package index cannot be reached, so the packages of the job are not locked:\n{why}",
        hint="Set UV_DEFAULT_INDEX or UV_FIND_LINKS (uv does not read pip's configuration), try "
        "again when there is a network, or use --env none.",
    )
