"""What our extension gives to notebooks: a button on cells, a machine of their own, marks."""

from __future__ import annotations

import re

import nbformat
import pytest
from playwright.sync_api import Locator, Page, Route, expect

import jupyter_remote as jr
from tests.browser import lab
from tests.browser.extended_fixtures import book, page

__all__ = ["book", "page"]

CELLS = f"{lab.WIDGET}.content.widgets"
LOAD = "%load_ext jupyter_remote"
BUTTON = "[data-command='jupyter-remote:run-cell']"
ELSEWHERE = "g5.xlarge.od"
MACHINE = "import jupyter_remote.notebook.context as c; print('on', c.current().defaults)"


@pytest.fixture(autouse=True, scope="module")
def _backend() -> None:
    """Prices are the backend's, and a look starts none."""
    jr.Client().info()


def select(opened: lab.Book, index: int) -> Locator:
    """Makes a cell the active one; its button."""
    opened.page.evaluate(lab.SELECT, index)
    return opened.page.locator(f".jp-NotebookPanel:not(.lm-mod-hidden) {BUTTON}")


def chooser(page: Page) -> Locator:
    return page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jr-chooser-select")


def source(opened: lab.Book, index: int) -> str:
    text = opened.page.evaluate(f"i => {CELLS}[i].model.sharedModel.getSource()", index)
    return str(text)


def mark(opened: lab.Book, index: int) -> Locator:
    cells = opened.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell")
    return cells.nth(index).locator(".jr-mark")


def test_the_button_runs_a_cell_remotely_and_the_file_says_so(book):
    with book("button.ipynb", "import os\nprint('in', os.getpid())", "1 + 1") as opened:
        button = select(opened, 0)
        expect(button).to_have_attribute("title", "Run this cell remotely on local · free")
        button.click()
        expect(opened.output(0).locator(".jr-card")).to_contain_text("completed")
        expect(mark(opened, 0)).to_have_attribute("title", "Ran remotely on local: free")
        expect(mark(opened, 1)).to_have_count(0)
        saved = opened.saved()
        assert saved.cells[0].source == "%%remote_run\nimport os\nprint('in', os.getpid())"
        assert saved.cells[0].outputs[0].metadata["jupyter_remote"]["receipt"]["kind"] == "cell"
        assert "jupyter_remote" not in saved.metadata
        assert opened.ours() == []


def test_one_undo_takes_the_magic_away_again(book):
    with book("undo.ipynb", LOAD, "x = 1\n") as opened:
        opened.run(0)
        select(opened, 1).click()
        expect(opened.output(1).locator(".jr-card")).to_contain_text("completed")
        assert source(opened, 1) == "%%remote_run\nx = 1\n"
        select(opened, 1)
        opened.page.evaluate(f"() => {lab.WIDGET}.content.activeCell.editor.undo()")
        assert source(opened, 1) == "x = 1\n"
        opened.page.evaluate(f"() => {lab.WIDGET}.content.activeCell.editor.redo()")
        assert source(opened, 1) == "%%remote_run\nx = 1\n"


def test_a_remote_cell_is_run_as_it_is_and_a_text_or_a_locked_cell_is_left_alone(book):
    with book("asis.ipynb", LOAD, "%%remote_run -d 'as it is'\nprint('here')", "2") as opened:
        opened.run(0)
        button = select(opened, 1)
        button.click()
        expect(opened.output(1)).to_contain_text("here")
        assert source(opened, 1).count("%%remote_run") == 1
        opened.page.evaluate(
            f"() => {lab.WIDGET}.content.widgets[2].model.setMetadata('editable', false)"
        )
        select(opened, 0)
        expect(select(opened, 2)).to_have_attribute("aria-disabled", "true")
        select(opened, 0)
        opened.command("notebook:change-cell-to-markdown")
        opened.page.wait_for_function(f"() => {CELLS}[0].model.type === 'markdown'")
        opened.command("jupyter-remote:run-cell")
        assert source(opened, 0) == LOAD


def test_a_machine_is_chosen_for_a_notebook_and_its_kernels_learn_it(book):
    with book("choice.ipynb", LOAD, MACHINE, "3 + 4", MACHINE) as opened:
        opened.run(0)
        chooser(opened.page).focus()
        machine = chooser(opened.page).locator(f"option[value='{ELSEWHERE}']")
        expect(machine).to_have_text(f"{ELSEWHERE} (simulated) · $1.006/h")
        chooser(opened.page).select_option(ELSEWHERE)
        expect(opened.run(1)).to_contain_text(f"'machine': '{ELSEWHERE}'")
        assert opened.saved().metadata["jupyter_remote"] == {"machine": ELSEWHERE}
        select(opened, 2).click()
        expect(opened.output(2).locator(".jr-card")).to_contain_text(ELSEWHERE)
        expect(opened.output(2).locator(".jr-card")).to_contain_text("completed")
        expect(mark(opened, 2)).to_have_attribute(
            "title", f"Ran remotely on {ELSEWHERE} (simulated): <$0.0001"
        )
        opened.restart_kernel()
        opened.wait_idle()
        expect(opened.run(3)).to_contain_text(f"'machine': '{ELSEWHERE}'")
        chooser(opened.page).select_option("local")
        expect(opened.run(3)).to_contain_text("'machine': 'local'")
        assert "jupyter_remote" not in opened.saved().metadata
        assert opened.ours() == []


def test_the_tooltip_says_what_a_cell_is_expected_to_cost(book):
    slow = f"%%remote_run -m {ELSEWHERE}\nimport time\ntime.sleep(0.3)"
    with book("price.ipynb", LOAD, slow, "%%remote_run --gpu A10G\n1") as opened:
        opened.run(0)
        opened.run(1)
        expect(opened.output(1).locator(".jr-card")).to_contain_text("completed")
        button = select(opened, 1)
        expect(button).to_have_attribute(
            "title", re.compile(rf"on {ELSEWHERE} \(simulated\) · \$1\.006/h\n≈ .*expected, by")
        )
        expect(select(opened, 2)).to_have_attribute(
            "title", "Run this cell remotely, as its first line or %remote use says"
        )


def test_the_chooser_follows_what_a_cell_says(book):
    cells = f"%remote use -m {ELSEWHERE}", "%remote use --reset --gpu A10G", "%remote use local"
    with book("follows.ipynb", LOAD, *cells) as opened:
        opened.run(0)
        opened.run(1)
        expect(chooser(opened.page)).to_have_value(ELSEWHERE)
        assert opened.saved().metadata["jupyter_remote"] == {"machine": ELSEWHERE}
        opened.run(2)
        expect(chooser(opened.page)).to_have_value("local")
        expect(select(opened, 0)).to_have_attribute("title", re.compile(r"or %remote use says$"))
        opened.run(3)
        expect(select(opened, 0)).to_have_attribute("title", re.compile(r"on local"))
        assert "jupyter_remote" not in opened.saved().metadata


def test_what_another_page_chose_for_the_same_kernel_is_seen_with_the_next_cell(
    book, chromium, extended
):
    with book("two.ipynb", LOAD, "%%remote_run\n1", "2") as first:
        first.run(0)
        first.saved()
        page = lab.new_page(chromium)
        page.goto(f"{extended.url}/lab/tree/two.ipynb?reset&token={extended.token}")
        page.wait_for_function(lab.KERNEL_IDLE)
        chooser(page).focus()
        expect(chooser(page).locator(f"option[value='{ELSEWHERE}']")).to_have_count(1)
        chooser(page).select_option(ELSEWHERE)
        second = lab.Book(page, first.path)
        expect(second.run(2)).to_contain_text("2")  # the kernel has heard it
        expect(chooser(first.page)).to_have_value("local")
        first.run(1)
        expect(first.output(1).locator(".jr-card")).to_contain_text(ELSEWHERE)
        expect(chooser(first.page)).to_have_value(ELSEWHERE)
        assert first.ours() + second.ours() == []
        page.close()


def test_a_notebook_that_cannot_be_written_runs_cells_remotely_all_the_same(book):
    def locked(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, json=response.json() | {"writable": False})

    with book("other.ipynb", LOAD) as opened:
        opened.page.route("**/api/contents/locked.ipynb?*", locked)
        with book("locked.ipynb", LOAD, "print('all the same')") as opened:
            opened.run(0)
            select(opened, 1).click()
            expect(opened.output(1)).to_contain_text("all the same")
            expect(opened.output(1).locator(".jr-card")).to_contain_text("completed")
            expect(mark(opened, 1)).to_have_count(1)
            assert opened.ours() == []


def test_the_machine_in_a_file_of_somebody_else_is_a_name_and_no_code(page, extended):
    told = {"machine": "local\nprint('hurt')\n%remote use -m local"}
    cell = nbformat.v4.new_code_cell(MACHINE)
    kernel = {"name": "python3", "display_name": "Python 3"}
    metadata = {"jupyter_remote": told, "kernelspec": kernel}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata=metadata)
    nbformat.write(notebook, extended.folder / "foreign.ipynb")
    page.goto(f"{extended.url}/lab/tree/foreign.ipynb?reset&token={extended.token}")
    page.wait_for_function(lab.KERNEL_IDLE)
    opened = lab.Book(page, extended.folder / "foreign.ipynb")
    expect(chooser(page)).to_have_value("local")
    expect(opened.run(0)).to_have_text("on {}")
    opened.close()


def test_a_kernel_without_us_is_told_when_a_machine_is_chosen(book):
    hide = "import sys; sys.modules['jupyter_remote'] = None"
    with book("without.ipynb", hide) as opened:
        opened.run(0)
        chooser(opened.page).focus()
        expect(chooser(opened.page).locator(f"option[value='{ELSEWHERE}']")).to_have_count(1)
        chooser(opened.page).select_option(ELSEWHERE)
        told = opened.page.locator(".Toastify__toast", has_text="The kernel does not take")
        expect(told).to_contain_text("jupyter_remote")
