"""What the build does for the JupyterLab extension and the page of jobs.

With an npm that only says it was asked.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

HOOK = Path(__file__).parent.parent / "hatch_build.py"
SHARED = "share/jupyter/labextensions/jupyter-remote"
BUILDS = """#!/bin/sh
echo "$1" >> ../asked
[ "$1" = run ] || exit 0
mkdir -p ../jupyter_remote/labextension ../jupyter_remote/server/page_files
echo {} > ../jupyter_remote/labextension/package.json
"""

Build = Callable[[], dict[str, Any]]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Sources as they are in git, all of the same old time."""
    for name in (
        "labextension/package-lock.json",
        "labextension/src/index.ts",
        "jupyter_remote/notebook/card.js",
        "jupyter_remote/notebook/card.css",
        "jupyter_remote/server_extension/enabled.json",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        os.utime(path, (1e9, 1e9))
    return tmp_path


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """``npm(script)``: the one that is found; of an empty script none is."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("JUPYTER_REMOTE_LABEXTENSION", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: found[0] if found[0] else None)
    found = [""]

    def put(script: str) -> None:
        path = folder / "npm"
        path.write_text(script)
        path.chmod(0o755)
        found[0] = str(path) if script else ""

    return put


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def build(tree: Path, warnings: list[str]) -> Build:
    """Builds a wheel as far as the hook goes; what it adds."""
    spec = importlib.util.spec_from_file_location("hatch_build", HOOK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app = SimpleNamespace(display_warning=warnings.append)
    hook = module.LabExtensionHook(str(tree), {}, None, None, str(tree), "wheel", app)

    def run() -> dict[str, Any]:
        data: dict[str, Any] = {}
        hook.initialize("standard", data)
        return data["shared_data"]

    return run


def asked(tree: Path) -> list[str]:
    path = tree / "asked"
    return path.read_text().split() if path.exists() else []


def test_the_extension_is_built_once_and_again_when_a_source_is_newer(tree, npm, build):
    npm(BUILDS)
    assert SHARED in build().values()
    assert asked(tree) == ["ci", "run"]
    build()
    assert asked(tree) == ["ci", "run"]
    for newer in ("labextension/src/index.ts", "jupyter_remote/notebook/card.css"):
        (tree / "asked").unlink()
        built = (tree / "jupyter_remote/labextension/package.json").stat().st_mtime
        os.utime(tree / newer, (built + 5, built + 5))
        build()
        assert asked(tree) == ["ci", "run"], newer
        os.utime(tree / newer, (1e9, 1e9))


@pytest.mark.parametrize("script", ["", "#!/bin/sh\nexit 1\n", "#!/no/such/program\n"])
def test_without_an_npm_that_builds_all_but_the_panel_is_installed(npm, build, warnings, script):
    npm(script)
    shared = build()
    assert SHARED not in shared.values()
    assert any(target.endswith("jupyter_remote.json") for target in shared.values())
    assert "without the panel" in warnings[0]


def test_a_bundle_of_older_sources_is_not_installed_in_place_of_one_that_failed(tree, npm, build):
    npm(BUILDS)
    build()
    built = (tree / "jupyter_remote/labextension/package.json").stat().st_mtime
    os.utime(tree / "labextension/src/index.ts", (built + 5, built + 5))
    npm("#!/bin/sh\nexit 1\n")
    assert SHARED not in build().values()


def test_a_page_that_is_missing_or_older_is_built_and_no_half_of_one_is_installed(
    tree, npm, build, warnings
):
    npm(BUILDS)
    build()
    page = tree / "jupyter_remote/server/page_files"
    page.rmdir()
    build()
    assert page.is_dir()
    assert asked(tree) == ["ci", "run", "ci", "run"]
    os.utime(tree / "labextension/src/index.ts", (built := page.stat().st_mtime + 5, built))
    npm("#!/bin/sh\nexit 1\n")
    build()
    assert not page.exists()
    assert "the page of jobs" in warnings[0]


def test_a_release_needs_the_panel(npm, build, monkeypatch):
    npm("")
    monkeypatch.setenv("JUPYTER_REMOTE_LABEXTENSION", "required")
    with pytest.raises(RuntimeError, match="not built: there is no npm"):
        build()


def test_what_was_built_is_taken_as_it_is_where_nothing_is_to_be_built(
    tree, npm, build, monkeypatch
):
    npm(BUILDS)
    build()
    (tree / "asked").unlink()
    os.utime(tree / "labextension/src/index.ts")
    monkeypatch.setenv("JUPYTER_REMOTE_LABEXTENSION", "skip")
    assert SHARED in build().values()
    assert asked(tree) == []
