"""What people get who install: by the files for Binder, and the wheel where there is no Node."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin
from websockets.sync.client import connect

from tests.browser.lab import free_port
from tests.conftest import isolate

ROOT = Path(__file__).parent.parent
BINDER = ROOT / "binder"
LIMIT_S = 60.0
FIRST_CELLS = 4  # load, set up, the first remote cell, what came home


@pytest.fixture
def home() -> Iterator[dict[str, str]]:
    """Variables of a user who has nothing but an empty home; sockets need a short path."""
    with tempfile.TemporaryDirectory(prefix="jr-") as folder:
        env = {n: v for n, v in os.environ.items() if not n.startswith(("PYTHON", "JUPYTER"))}
        yield env | isolate(Path(folder))


def environment(folder: Path, home: Mapping[str, str], *packages: str) -> dict[str, str]:
    """A new environment as repo2docker makes one; the variables of whoever uses it."""
    python = (BINDER / "runtime.txt").read_text().strip().removeprefix("python-")
    uv, env = find_uv_bin(), dict(home)
    subprocess.run([uv, "venv", "-q", "--python", python, folder], env=env, check=True)
    env |= {"VIRTUAL_ENV": str(folder), "PATH": f"{folder / 'bin'}:/usr/bin:/bin"}
    env["JUPYTER_REMOTE_LABEXTENSION"] = "skip"  # what is built is installed as it is
    subprocess.run([uv, "pip", "install", "-q", *packages], cwd=ROOT, env=env, check=True)
    del env["JUPYTER_REMOTE_LABEXTENSION"]
    return env


def told(env: Mapping[str, str], *command: str) -> str:
    where = Path(env["VIRTUAL_ENV"])
    program = str(where / "bin" / command[0])
    done = subprocess.run(
        [program, *command[1:]], cwd=where, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


def assert_extension_is_whole(env: Mapping[str, str]) -> None:
    assert re.search(
        r"jupyter-remote v[\d.]+ enabled OK", told(env, "jupyter", "labextension", "list")
    )
    extensions = told(env, "jupyter", "server", "extension", "list")
    assert re.search(r"jupyter_remote\.server_extension.* OK", extensions)


@contextlib.contextmanager
def binder(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What the image runs: ``binder/start`` with JupyterLab; its address and token."""
    port, token = free_port(), secrets.token_hex(8)
    command = [str(BINDER / "start"), "jupyter", "lab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", f"--port={port}", f"--IdentityProvider.token={token}"]
    command += ["--KernelManager.transport=ipc"]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}", token
    finally:
        told(env, "python", "-m", "jupyter_remote", "stop")
        process.terminate()
        process.wait(LIMIT_S)


def ask(where: tuple[str, str], method: str, path: str) -> tuple[str, bytes]:
    """Where an answer came from in the end, and the answer; waits for a server that starts."""
    address, token = where
    headers = {"Authorization": f"token {token}"}
    request = urllib.request.Request(f"http://{address}{path}", headers=headers, method=method)
    end = time.monotonic() + LIMIT_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_S) as reply:
                return reply.url, reply.read()
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError:
            assert time.monotonic() < end, "JupyterLab did not start"
            time.sleep(0.05)


def run_cells(where: tuple[str, str], sources: list[str]) -> str:
    """What cells print, one after the other, in a kernel of this server."""
    address, token = where
    kernel = json.loads(ask(where, "POST", "/api/kernels")[1])["id"]
    headers = {"Authorization": f"token {token}"}
    url, text = f"ws://{address}/api/kernels/{kernel}/channels", ""
    with connect(url, additional_headers=headers, max_size=None) as socket:
        for source in sources:
            id = str(uuid.uuid4())
            header = {"msg_id": id, "msg_type": "execute_request", "session": "t", "version": "5.3"}
            content = {"code": source, "stop_on_error": True, "allow_stdin": False}
            message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
            socket.send(json.dumps(message | {"channel": "shell", "buffers": []}))
            text += "".join(_output(socket, id))
    return text


def _output(socket: Any, id: str) -> Iterator[str]:
    waits = {"execute_reply", "idle"}  # the two come over channels of their own
    while waits:
        message = json.loads(socket.recv(LIMIT_S))
        kind, content = message["header"]["msg_type"], message["content"]
        if message["parent_header"].get("msg_id") != id:
            continue
        if kind == "stream":
            yield content["text"]
        if kind == "execute_reply":
            assert content["status"] == "ok", content
            waits.discard(kind)
        if kind == "status":
            waits.discard(content["execution_state"])


@pytest.mark.alone
def test_the_files_for_binder_make_an_environment_in_which_the_quickstart_runs(tmp_path, home):
    env = environment(tmp_path / "binder", home, "-r", "binder/requirements.txt")
    pinned = (BINDER / "requirements.txt").read_text().splitlines()[2:]
    uv = [find_uv_bin(), "pip", "freeze", "--exclude-editable"]
    frozen = subprocess.run(uv, env=env, capture_output=True, text=True, check=True).stdout
    assert frozen.splitlines() == pinned  # nothing comes along that is not pinned
    assert_extension_is_whole(env)
    with binder(env) as where:
        opened, page = ask(where, "GET", f"/?token={where[1]}")
        assert opened.partition("?")[0].endswith("/lab/tree/notebooks/quickstart.ipynb")
        assert b"jupyter-remote" in page
        cells = json.loads((ROOT / "notebooks/quickstart.ipynb").read_text())["cells"]
        sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
        text = run_cells(where, sources[:FIRST_CELLS])
        processes = re.findall(r"process (\d+)", text)
        assert len(set(processes)) == 2
        assert "results came home: 40 values" in text


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [found] = folder.glob("*.whl")
    return str(found)


@pytest.mark.alone
@pytest.mark.parametrize("lab", ["jupyterlab", "jupyterlab==4.2.*"])
def test_the_wheel_brings_the_extension_where_there_is_no_node(tmp_path, home, wheel, lab):
    env = environment(tmp_path / "fresh", home, wheel, lab)
    env["PATH"] = str(tmp_path / "fresh" / "bin")
    assert not (tmp_path / "fresh" / "bin" / "node").exists()
    assert_extension_is_whole(env)


@pytest.mark.alone
def test_a_jupyterlab_that_is_too_old_says_which_it_needs(tmp_path, home, wheel):
    env = environment(tmp_path / "old", home, wheel, "jupyterlab==4.1.*")
    extensions = told(env, "jupyter", "labextension", "list")
    assert re.search(r"jupyter-remote v[\d.]+ enabled +X", extensions)
    needed = r"4\.1\.\d+ <4\.2\.0 +>=4\.2\.0 <5\.0\.0 +@jupyterlab/application"
    assert re.search(needed, extensions)
