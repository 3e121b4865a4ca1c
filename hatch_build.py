"""Builds the JupyterLab extension into the package, if its sources are newer than what is built.

Without npm everything but the panel is installed, and that is said. The environment variable
``JUPYTER_REMOTE_LABEXTENSION`` is ``required`` to make a missing npm an error (for releases), or
``skip`` to leave the extension out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHARE = "share/jupyter/labextensions/jupyter-remote"
CONFIG = "etc/jupyter/jupyter_server_config.d/jupyter_remote.json"
SOURCES = ("src", "style", "schema")


class LabExtensionHook(BuildHookInterface):
    """Runs for wheels, editable installs and sdists."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        source, built = root / "labextension", root / "jupyter_remote" / "labextension"
        how = os.environ.get("JUPYTER_REMOTE_LABEXTENSION", "")
        if how != "skip" and _is_stale(source, built / "package.json"):
            self._build(source, is_required=how == "required")
        if self.target_name != "wheel":
            return
        shared = build_data.setdefault("shared_data", {})
        shared[str(root / "jupyter_remote" / "server_extension" / "enabled.json")] = CONFIG
        if (built / "package.json").exists():
            shared[str(built)] = SHARE
            shared[str(source / "install.json")] = f"{SHARE}/install.json"

    def _build(self, source: Path, *, is_required: bool) -> None:
        npm = shutil.which("npm")
        if npm is None:
            if is_required:
                raise RuntimeError("npm is needed to build the JupyterLab extension")
            self.app.display_warning("no npm: installed without the panel of JupyterLab")
            return
        for command in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
            subprocess.run([npm, *command], cwd=source, check=True)


def _is_stale(source: Path, built: Path) -> bool:
    """An sdist brings what was built, and sources without npm's lock file beside it are none."""
    if not (source / "package-lock.json").exists():
        return False
    if not built.exists():
        return True
    newest = max(path.stat().st_mtime for path in _sources(source))
    return newest > built.stat().st_mtime


def _sources(source: Path) -> Iterator[Path]:
    yield from (path for path in source.iterdir() if path.is_file())
    for folder in SOURCES:
        yield from (path for path in (source / folder).rglob("*") if path.is_file())
