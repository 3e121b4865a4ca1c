"""What a saved notebook shows where nothing of ours is: as HTML, printed, sanitised, untrusted."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from playwright.sync_api import Page, expect

from jupyter_remote.wire import CARD_TYPE
from tests.browser import lab

CELLS = (
    "%load_ext jupyter_remote\nimport jupyter_remote as jr",
    "%%remote_run -m g5.xlarge.od -d 'train <b>it</b>'\n"
    "for i in jr.progress(range(20), desc='steps'):\n    print('step', i)\nloss = 1 / 4\nloss",
    "%%remote_run -d 'goes wrong'\n1/0",
    "%%remote_run -d 'draws'\n%matplotlib inline\n"
    "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
)
TOLD = ("train <b>it</b>", "completed", "g5.xlarge.od (simulated)", "$1.006/h", "20/20 · 100 %")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook that ran to its end, as it is on disk."""
    cells = [nbformat.v4.new_code_cell(c) for c in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    NotebookClient(notebook, timeout=60, allow_errors=True).execute()
    path = tmp_path_factory.mktemp("saved") / "saved.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def page(chromium) -> Iterator[Page]:
    page = lab.new_page(chromium)
    yield page
    page.close()


def converted(path: Path, to: str) -> Path:
    command = [sys.executable, "-m", "jupyter", "nbconvert", "--to", to, path.name]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return path.with_suffix({"html": ".html", "latex": ".tex"}[to])


def cards(path: Path) -> list[nbformat.NotebookNode]:
    outputs = [o for cell in nbformat.read(path, as_version=4).cells for o in cell.outputs]
    return [o for o in outputs if CARD_TYPE in o.get("data", {})]


def test_nbconvert_to_html_shows_the_card_on_the_screen_and_printed(saved, page):
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(converted(saved, "html").as_uri())
    card = page.get_by_label("Job train <b>it</b>")
    for text in TOLD:
        expect(card).to_contain_text(text)
    expect(page.get_by_label("Job goes wrong")).to_contain_text("failed: ZeroDivisionError")
    expect(page.locator(".jp-OutputArea img")).to_have_count(1)
    lab.shot(page, "saved-html")
    page.emulate_media(media="print")
    expect(card).to_be_visible()
    assert page.pdf().startswith(b"%PDF")  # as `nbconvert --to webpdf` does it
    assert errors == []


def test_nbconvert_to_latex_has_the_card_as_text(saved):
    text = converted(saved, "latex").read_text()
    assert "[completed] train" in text
    assert "[failed" in text
    assert "application/vnd" not in text


class _Text(HTMLParser):
    """What is left when a preview drops styles, classes and scripts; which tags there were."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_what_a_preview_leaves_of_the_card_says_everything(saved):
    for output in cards(saved):
        left = _Text()
        left.feed(output.data["text/html"])
        assert not left.tags & {"script", "style", "link", "iframe", "img", "form", "button"}
        assert not any(name.startswith("on") for name in left.attributes)
        assert "://" not in output.data["text/html"]  # nothing is fetched from anywhere
        card = output.data[CARD_TYPE]
        assert card["texts"]["title"] in left.text
        assert card["texts"]["status"] in left.text
        assert card["machine"] in left.text
        assert output.metadata["jupyter_remote"]["receipt"]["id"] == card["id"]
    notebook = nbformat.read(saved, as_version=4)
    assert "widgets" not in notebook.metadata
    kinds = {kind for cell in notebook.cells for o in cell.outputs for kind in o.get("data", {})}
    assert kinds == {CARD_TYPE, "text/html", "text/plain", "image/png"}


def test_without_the_extension_and_without_trust_the_card_is_the_saved_one(saved, page, jupyterlab):
    shows(page, jupyterlab, saved)
    expect(page.locator(".jr-card")).to_have_count(0)


def test_without_trust_the_extension_draws_the_card_and_marks_the_cell(saved, page, extended):
    shows(page, extended, saved)
    expect(page.locator(".jr-card")).to_have_count(3)
    expect(page.locator(".jr-mark").first).to_have_attribute(
        "title", re.compile(r"Ran remotely on g5\.xlarge\.od \(simulated\)")
    )


def shows(page: Page, server: lab.Server, saved: Path) -> None:
    notebook = nbformat.read(saved, as_version=4)
    nbformat.write(notebook, server.folder / "foreign-saved.ipynb")
    page.goto(f"{server.url}/lab/tree/foreign-saved.ipynb?reset&token={server.token}")
    page.wait_for_function(f"() => {lab.WIDGET}?.context?.isReady")
    assert not page.evaluate(f"() => {lab.WIDGET}.content.widgets[1].model.trusted")
    outputs = page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea")
    for text in TOLD:
        expect(outputs).to_contain_text(text)
