"""Tiny packages as wheels in a folder: an index that needs no network."""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from jupyter_remote.wire import EnvironmentSpec, FileRef, environment_digest

PYTHON = "{}.{}".format(*sys.version_info[:2])


def wheel(
    folder: Path,
    name: str,
    version: str,
    code: str = "",
    *,
    requires: Iterable[str] = (),
    extra_bytes: int = 0,
) -> Path:
    """A package of one module, which says its version."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {r}\n" for r in requires)
    files: dict[str, bytes] = {
        f"{module}.py": f"version = {version!r}\n{code}".encode(),
        f"{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}".encode()
        ),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if extra_bytes:
        files[f"{module}_data.bin"] = bytes(extra_bytes)
    rows = [f"{path},{_hash(data)},{len(data)}\n" for path, data in files.items()]
    files[f"{info}/RECORD"] = "".join([*rows, f"{info}/RECORD,,\n"]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return target


def _hash(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"


def index_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let uv find these packages and no others, with a cache of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(folder.parent / "uv-cache"))


def lock_of(*wheels: Path) -> str:
    lines = []
    for path in wheels:
        name, version = path.name.split("-")[:2]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"{name.replace('_', '-')}=={version} --hash=sha256:{digest}\n")
    return "".join(lines)


def environment(
    lock: str, *, python: str = PYTHON, wheels: Iterable[FileRef] = ()
) -> EnvironmentSpec:
    wheels = list(wheels)
    return EnvironmentSpec(
        digest=environment_digest(lock, python, wheels),
        lock=lock,
        python=python,
        packages=packages_of(lock),
        wheels=wheels,
    )


def packages_of(lock: str) -> dict[str, str]:
    pairs = (line.split(" ")[0].partition("==") for line in lock.splitlines())
    return {name: version for name, _, version in pairs}


def install(path: Path, folder: Path, *, url: str = "") -> None:
    """A wheel into a folder of packages, as pip does; ``url``: where it came from, if no index."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
        [info] = {n.partition("/")[0] for n in archive.namelist() if ".dist-info/" in n}
    if url:
        (folder / info / "direct_url.json").write_text(f'{{"url": "{url}", "dir_info": {{}}}}')
