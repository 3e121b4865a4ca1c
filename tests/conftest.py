"""No test sees the user's own backend, configuration or history; what a test starts, it ends."""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("suite", deadline=None)  # how long an example takes is no test
settings.load_profile("suite")

# a shell that starts the tests in the background has them ignore it
signal.signal(signal.SIGINT, signal.default_int_handler)

# `make test-gpu` installs PyTorch; without it there is nothing to be tested there
collect_ignore = [] if importlib.util.find_spec("torch") else ["gpu"]

# one JupyterLab and one Chromium; machines of all simulated clouds are looked for
WHOLE = ("tests/browser/", "tests/cloud/")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests that share a kernel, a backend or a browser are run by one process, in their order."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return next((folder for folder in WHOLE if file.startswith(folder)), file)

    return Scheduling(config, log)


FOLDERS = ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")


def isolate(folder: Path) -> dict[str, str]:
    """Environment variables that keep Jupyter, IPython and our backend inside ``folder``."""
    profile = folder / "ipythondir" / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    # kernels that a test starts over TCP warn of it in their first output
    (profile / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40\n")
    # the paths of a kernel's sockets, which are here, may have 107 characters
    runtime = tempfile.mkdtemp(prefix="jr-")
    atexit.register(shutil.rmtree, runtime, ignore_errors=True)
    return {name: str(folder / name.lower()) for name in FOLDERS} | {"JUPYTER_RUNTIME_DIR": runtime}


def stop_backend(env: dict[str, str]) -> None:
    """End the embedded backend of an isolated environment, if one runs."""
    subprocess.run(
        [sys.executable, "-m", "jupyter_remote", "stop"],
        env={**os.environ, **env},
        capture_output=True,
        timeout=120,  # after 30 s it kills the backend
        check=False,
    )


def pytest_report_header() -> str:
    """Which kind of simulated machines this computer can have."""
    from tests.cloud.namespaces import why_not

    lacking = why_not()
    kind = f"processes (no namespaces: {lacking})" if lacking else "namespaces"
    return f"simulated machines: {kind}"


@pytest.fixture(scope="session", autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    env = isolate(tmp_path_factory.mktemp("home"))
    for name in [n for n in os.environ if n.startswith("JUPYTER_REMOTE_")]:
        del os.environ[name]
    os.environ.update(env)
    yield
    stop_backend(env)


@pytest.fixture
def fresh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folders of its own for one test, so that it gets a backend of its own."""
    env = isolate(tmp_path / "home")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    yield tmp_path / "home"
    stop_backend(env)
