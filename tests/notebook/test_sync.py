"""``%remote sync``: what jobs of a kernel that has gone showed, in the next one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

import jupyter_remote as jr
from jupyter_remote.client.homecoming import cards_of
from jupyter_remote.wire import CARD_TYPE
from tests.e2e.waiting import until
from tests.notebook.kernels import Kernel, printed, raised
from tests.notebook.kernels import started as new_kernel

CODE = """%%remote_run -d {name}
import os, time
from IPython.display import display
print("one", flush=True)
display({{"text/plain": "figure"}}, raw=True)
while not os.path.exists({gate!r}):
    time.sleep(0.01)
print("two")
3
"""


@contextmanager
def started(notebook: Path | None, setup: str = "") -> Iterator[Kernel]:
    """A kernel of that notebook, as Jupyter Server starts it."""
    env = {**os.environ, **({"JPY_SESSION_NAME": str(notebook)} if notebook else {})}
    manager, client = new_kernel(env=env)
    try:
        kernel = Kernel(manager, client)
        kernel.run(f"%load_ext jupyter_remote\n{setup}")
        yield kernel
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    path = tmp_path / "train.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), path)
    return path


@pytest.fixture
def client() -> Iterator[jr.Client]:
    with jr.Client() as client:
        yield client


def begin(kernel: Kernel, notebook: Path, gate: Path) -> str:
    """A job that goes on until there is a gate, saved with what it showed so far; its id."""
    code = CODE.format(name=gate.name, gate=str(gate))
    cell = nbformat.v4.new_code_cell(code)

    def shown(message) -> bool:
        if message["msg_type"] in ("display_data", "stream"):
            cell.outputs.append(nbformat.v4.output_from_msg(message))
        return message["content"].get("data", {}).get("text/plain") == "figure"

    kernel.later(code, shown)
    made = nbformat.read(notebook, as_version=4)
    made.cells.append(cell)
    nbformat.write(made, notebook)
    [card] = cards_of(cell)
    return card.job


def finish(client: jr.Client, id: str, gate: Path) -> None:
    gate.touch()
    assert client.job(id).wait(60)


def kinds(messages) -> list[str]:
    """Texts of what a cell shows; cards by their status."""
    found = []
    for message in messages:
        content = message["content"]
        if message["msg_type"] == "stream":
            found += content["text"].splitlines()
        elif message["msg_type"] == "display_data":
            card = content["data"].get(CARD_TYPE)
            found.append(card["status"] if card else content["data"]["text/plain"])
    return found


def test_the_next_kernel_shows_what_came_meanwhile_and_then_only_what_is_new(
    client, notebook, tmp_path
):
    with started(notebook) as first:
        id = begin(first, notebook, tmp_path / "gate")
    with started(notebook) as second:
        assert kinds(second.run("%remote sync")) == ["gate", "running", "one", "figure"]
        assert kinds(second.run("%remote sync")) == ["nothing to bring home"]
        finish(client, id, tmp_path / "gate")
        assert kinds(second.run("%remote sync")) == ["gate", "completed", "two", "3"]
        assert kinds(second.run("%remote sync")) == ["nothing to bring home"]


def test_jobs_of_this_kernel_and_those_that_the_file_shows_to_their_end_are_at_home(
    client, notebook, tmp_path
):
    with started(notebook) as first:
        id = begin(first, notebook, tmp_path / "gate")
        finish(client, id, tmp_path / "gate")
        assert kinds(first.run("%remote sync")) == ["nothing to bring home"]
    with started(notebook) as second:
        told = printed(second.run(f"%remote sync {notebook}"))
        assert told.splitlines()[-1] == "train.ipynb is up to date"
        assert "completed" in told
        assert printed(second.run(f"%remote sync {notebook}")) == "train.ipynb: nothing new\n"
        assert kinds(second.run("%remote sync")) == ["nothing to bring home"]
    [cell] = nbformat.read(notebook, as_version=4).cells
    assert [o.get("text") or o.data["text/plain"] for o in cell.outputs[1:]] == [
        "one\n",
        "figure",
        "two\n",
        "3",
    ]


def test_where_the_file_cannot_be_read_what_went_on_when_the_kernel_began_is_shown(
    client, notebook, tmp_path
):
    with started(notebook) as first:
        finish(client, begin(first, notebook, tmp_path / "early"), tmp_path / "early")
    with started(notebook) as second:
        begin(second, notebook, tmp_path / "late")
    notebook.unlink()
    with started(notebook) as third:
        shown = kinds(third.run("%remote sync"))
    (tmp_path / "late").touch()
    assert shown == ["late", "running", "one", "figure"]


def test_vs_code_finds_the_card_of_a_job_whose_kernel_has_gone(client, notebook, tmp_path):
    setup = f"__vsc_ipynb_file__ = {str(notebook)!r}"
    with started(None, setup) as first:
        id = begin(first, notebook, tmp_path / "gate")
    finish(client, id, tmp_path / "gate")
    with started(None, setup) as second:
        messages = second.run("%remote sync")
    [update] = [m["content"] for m in messages if m["msg_type"] == "update_display_data"]
    assert update["transient"]["display_id"] == f"jupyter-remote-{id}"
    assert update["data"][CARD_TYPE]["status"] == "completed"
    assert kinds(messages) == ["gate", "completed", "one", "figure", "two", "3"]


def test_in_jupyterlab_with_the_extension_it_comes_by_itself(notebook, tmp_path, monkeypatch):
    (tmp_path / "labextensions" / "jupyter-remote").mkdir(parents=True)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    with started(notebook) as kernel:
        assert "comes home to its cells by itself" in said(kernel, "%remote sync")
        assert said(kernel, "%remote sync --here") == "nothing to bring home\n"


def said(kernel: Kernel, code: str) -> str:
    """As JupyterLab sends a cell: with its id."""
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
    content |= {"allow_stdin": True, "stop_on_error": True}
    message = kernel.client.session.msg("execute_request", content, metadata={"cellId": "c1"})
    kernel.client.shell_channel.send(message)
    found: list[str] = []

    def look() -> bool:
        got = kernel.client.get_iopub_msg(timeout=30)
        if got["parent_header"].get("msg_id") != message["header"]["msg_id"]:
            return False
        found.append(got["content"].get("text", ""))
        return got["content"].get("execution_state") == "idle"

    until(look)
    return "".join(found)


def test_a_front_end_that_names_no_notebook_is_told_what_to_do(tmp_path):
    with started(None, "import os; os.environ.pop('JPY_SESSION_NAME', None)") as kernel:
        assert "does not say which notebook" in raised(kernel.run("%remote sync"))["evalue"]
        missing = raised(kernel.run("%remote sync missing.ipynb"))
        assert "'missing.ipynb' cannot be read: No such file" in missing["evalue"]
        assert (
            "say only one notebook" in raised(kernel.run("%remote sync a.ipynb b.ipynb"))["evalue"]
        )


def test_the_command_line_brings_a_closed_notebook_up_to_date(client, notebook, tmp_path):
    with started(notebook) as first:
        id = begin(first, notebook, tmp_path / "gate")
    finish(client, id, tmp_path / "gate")
    told = json.loads(command("sync", str(notebook), "--json"))
    assert (told["is_changed"], told["jobs"][0]["what"]) == (True, "output")
    assert command("sync", str(notebook)) == "train.ipynb: nothing new\n"


def command(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "jupyter_remote", *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
