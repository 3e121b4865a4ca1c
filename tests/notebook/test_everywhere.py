"""The same notebook in the other programs that run notebooks, and in a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest

from jupyter_remote.wire import CARD_TYPE
from tests.e2e.waiting import until

CELLS = (
    "%load_ext jupyter_remote",
    "lr = 0.1",
    "%%remote_run -d training\nfrom tqdm.auto import tqdm\nimport time\n"
    "for i in tqdm(range(20), desc='steps'):\n    time.sleep(0.02)\nresult = lr * 30\nresult",
    "%%remote_run --bg -n job -d aside\nimport time\ntime.sleep(0.3)\nlater = 3",
    "_ = job.result(60)",
    "later",
)


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    made.cells[1].metadata["tags"] = ["parameters"]
    made.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    path = tmp_path / "train.ipynb"
    nbformat.write(made, path)
    return path


def command(folder: Path, *words: str) -> None:
    """A Python module as a command, in ``folder``."""
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, timeout=90, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-2000:]


def check(path: Path, result: str) -> nbformat.NotebookNode:
    """The executed notebook holds its results, true cards and no widgets."""
    executed = nbformat.read(path, as_version=4)
    outputs = [o for cell in executed.cells if cell.cell_type == "code" for o in cell.outputs]
    cards = [o.data for o in outputs if CARD_TYPE in o.get("data", {})]
    texts = [o.data["text/plain"] for o in outputs if o.output_type == "execute_result"]
    assert [set(card) for card in cards] == [{CARD_TYPE, "text/html", "text/plain"}] * 2
    assert [card["text/plain"].split(" · ")[0] for card in cards] == [
        "[completed] training",
        "[completed] aside",
    ]
    assert "20/20 · 100 %" in cards[0]["text/plain"]
    assert texts == [result, "3"]
    assert "widgets" not in executed.metadata
    return executed


def test_jupyter_execute_and_its_notebook_as_html(notebook):
    command(notebook.parent, "jupyter", "execute", "--output=done", notebook.name)
    check(notebook.parent / "done.ipynb", "3.0")
    command(notebook.parent, "jupyter", "nbconvert", "--to", "html", "done.ipynb")
    page = (notebook.parent / "done.html").read_text()
    assert page.count('aria-label="Job training"') == 1
    assert "completed" in page
    assert "widget-view+json" not in page
    assert "Loading widget" not in page


def test_papermill(notebook):
    command(notebook.parent, "papermill", "-p", "lr", "0.5", notebook.name, "out.ipynb")
    check(notebook.parent / "out.ipynb", "15.0")


class Terminal:
    """IPython as in a terminal, without its colours and its line editor."""

    def __init__(self, folder: Path) -> None:
        self.text = ""
        options = ("--simple-prompt", "--colors=NoColor", "--no-banner", "--no-confirm-exit")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "IPython", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while part := os.read(self.process.stdout.fileno(), 65536):
            self.text += part.decode(errors="replace")

    def cell(self, text: str) -> None:
        """Types a cell; a magic's body ends with two empty lines."""
        assert self.process.stdin is not None
        self.process.stdin.write((text + "\n\n\n").encode())
        self.process.stdin.flush()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self._reader.join()
        self.process.stdout.close()


def test_in_a_terminal_there_is_a_line_a_state_and_ctrl_c_ends_the_cell(tmp_path):
    terminal = Terminal(tmp_path)
    try:
        terminal.cell("%load_ext jupyter_remote")
        terminal.cell(
            "%%remote_run -d endless\nimport os, time\nfrom tqdm import trange\n"
            "for i in trange(500, desc='steps'):\n    time.sleep(0.005)\n"
            f"    gate = {str(tmp_path / 'gate')!r} + str(i // 55)\n"
            "    while i % 55 == 54 and not os.path.exists(gate): time.sleep(0.01)\n"
            "print('over')\ntime.sleep(99)"
        )
        for part in range(9):  # each is a line before the next one comes
            until(lambda n=part: terminal.text.count("steps: |") > n, 60)
            (tmp_path / f"gate{part}").touch()
        until(lambda: "over" in terminal.text, 60)
        terminal.process.send_signal(signal.SIGINT)
        until(lambda: "KeyboardInterrupt" in terminal.text, 60)
        terminal.cell("6 * 7")
        until(lambda: "42" in terminal.text, 60)
    finally:
        terminal.close()
    assert terminal.text.count("[running: executing] endless") == 1
    assert "[cancelled: stopped by KeyboardInterrupt] endless" in terminal.text
    assert 10 <= terminal.text.count("steps: |") <= 14
    assert "application/" not in terminal.text


def test_a_terminal_without_colours_gets_none(tmp_path):
    terminal = Terminal(tmp_path)
    try:
        terminal.cell("%load_ext jupyter_remote")
        terminal.cell("%%remote_run\ndef half(x): return x / 0\nhalf(1)")
        until(lambda: "ZeroDivisionError: division by zero\n" in terminal.text, 60)
        terminal.cell("%%remote_run --bg\n{}['missing']")
        until(lambda: "KeyError: 'missing'\n" in terminal.text, 60)
        terminal.cell("%remote show zzzz")
        until(lambda: "is not the id of a job" in terminal.text, 60)
    finally:
        terminal.close()
    assert "\x1b" not in terminal.text
