"""Builds the JupyterLab extension and the page of jobs into the package, if their sources are newer
than what is built.

Without npm, or where it cannot build (offline, an old Node), everything but these is installed, and
that is said. The environment variable ``JUPYTER_REMOTE_LABEXTENSION`` is ``required`` to make
this an error (for releases), or ``skip`` to build nothing: what is built already is installed.
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
CARD = ("card.js", "card.css")  # of the package, and bundled, too
LONGEST_S = 600.0


class LabExtensionHook(BuildHookInterface):
    """Runs for wheels, editable installs and sdists."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        source, built = root / "labextension", root / "jupyter_remote" / "labextension"
        page = root / "jupyter_remote" / "server" / "page_files"
        how = os.environ.get("JUPYTER_REMOTE_LABEXTENSION", "")
        if how != "skip" and any(_is_stale(root, one) for one in (built / "package.json", page)):
            try:
                _build(source)
            except (OSError, subprocess.SubprocessError) as error:
                if how == "required":
                    raise RuntimeError(
                        f"the JupyterLab extension was not built: {error}"
                    ) from error
                for folder in (built, page):  # of older sources, or half of these
                    shutil.rmtree(folder, ignore_errors=True)
                self.app.display_warning(
                    f"installed without the panel of JupyterLab and the page of jobs: {error}"
                )
        if self.target_name != "wheel":
            return
        shared = build_data.setdefault("shared_data", {})
        shared[str(root / "jupyter_remote" / "server_extension" / "enabled.json")] = CONFIG
        if (built / "package.json").exists():
            shared[str(built)] = SHARE
            shared[str(source / "install.json")] = f"{SHARE}/install.json"


def _build(source: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("there is no npm")
    for command in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
        subprocess.run([npm, *command], cwd=source, check=True, timeout=LONGEST_S)


def _is_stale(root: Path, built: Path) -> bool:
    """An sdist brings what was built, and all its files have one time."""
    if not (root / "labextension" / "package-lock.json").exists():
        return False
    if not built.exists():
        return True
    newest = max(path.stat().st_mtime for path in _sources(root))
    return newest > built.stat().st_mtime


def _sources(root: Path) -> Iterator[Path]:
    source = root / "labextension"
    yield from (path for path in source.iterdir() if path.is_file())
    for folder in SOURCES:
        yield from (path for path in (source / folder).rglob("*") if path.is_file())
    yield from (root / "jupyter_remote" / "notebook" / name for name in CARD)
