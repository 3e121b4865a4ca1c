"""A worker whose own packages are those that it needs itself, and no others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import msgspec
import uv
from packaging.requirements import Requirement

import jupyter_remote
from jupyter_remote.distributions import canonical
from jupyter_remote.model import MachineType
from tests.server.conftest import Running, until

OURS = "jupyter-remote-run"
MACHINE = MachineType(id="bare", cpus=2, memory_bytes=8 << 30)


def needed(name: str, found: dict[str, metadata.Distribution] | None = None) -> set[str]:
    """A distribution and all that it asks for, without extras."""
    found = {} if found is None else found
    name = canonical(name)
    if name not in found:
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another platform
            return set(found)
        for text in found[name].requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                needed(requirement.name, found)
    return set(found)


def bare_python(folder: Path) -> Path:
    """The interpreter of a new environment that has what a worker needs, and nothing else."""
    command = [uv.find_uv_bin(), "venv", "--quiet", "--no-project", "--no-python-downloads"]
    subprocess.run([*command, "--python", sys.executable, str(folder)], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    for name in sorted((needed(OURS) | needed("uv")) - {OURS}):
        for file in metadata.distribution(name).files or []:
            top = file.parts[0]
            link, target = packages / top, Path(str(file.locate())).parents[len(file.parts) - 2]
            target = target if len(file.parts) > 1 else Path(str(file.locate()))
            if top not in ("..", "__pycache__") and not link.exists() and target.exists():
                link.symlink_to(target)
    (folder / "bin" / "uv").symlink_to(uv.find_uv_bin())
    root = Path(jupyter_remote.__file__).parents[1]
    (packages / "jupyter_remote.pth").write_text(f"{root}\n")
    return folder / "bin" / "python"


class Elsewhere:
    """A backend with a machine type that one bare worker serves."""

    def __init__(self, server: Running, folder: Path, python: Path) -> None:
        self.server = server
        self.folder = folder
        self.python = python
        self.url, self.token = server.url, server.make_token("read", "submit")
        server.backend.machines.append(MACHINE)
        self._agent: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """An agent, with the environment that this process has now."""
        config = {
            "url": self.url,
            "token": self.server.make_token("worker"),
            "home": str(self.folder / "agent"),
            "instance": "bare",
            "machine": MACHINE.id,
            "slots": 2,
        }
        file = self.folder / "agent.json"
        file.write_bytes(msgspec.json.encode(config))
        environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        with (self.folder / "agent.log").open("ab") as log:
            self._agent = subprocess.Popen(
                [str(self.python), "-m", "jupyter_remote.worker.agent", "--config", str(file)],
                env=environ, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        fleet, backend = self.server.backend.fleet, self.server.backend
        until(lambda: fleet.environment_of(backend, MACHINE.id), 60)

    def stop(self) -> None:
        if self._agent is not None:
            self._agent.terminate()
            self._agent.wait(60)
            fleet, backend = self.server.backend.fleet, self.server.backend
            until(lambda: not fleet.environment_of(backend, MACHINE.id), 60)
            self._agent = None

    def built(self) -> list[str]:
        """Digests of the environments that it has."""
        folder = self.folder / "agent" / "environments"
        return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


@contextmanager
def elsewhere(folder: Path) -> Iterator[Elsewhere]:
    server = Running(folder / "server")
    place = Elsewhere(server, folder, bare_python(folder / "base"))
    try:
        yield place
    finally:
        place.stop()
        server.stop()


def pip_settings() -> dict[str, str]:
    """Where pip finds packages, as uv is told it: uv does not read pip's configuration."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told: dict[str, str] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition("=")
        told[key.rpartition(".")[2]] = value.strip("'")
    found = {
        "UV_DEFAULT_INDEX": told.get("index-url", ""),
        "UV_INDEX": told.get("extra-index-url", ""),
        "UV_FIND_LINKS": ",".join(told.get("find-links", "").split()),
        "UV_INDEX_STRATEGY": "unsafe-best-match" if "extra-index-url" in told else "",
    }
    return {name: value for name, value in found.items() if value and name not in os.environ}
