"""The job card in JupyterLab and Notebook 7, as a person uses it."""

from __future__ import annotations

import contextlib
import re
import time

import nbformat
import pytest
from playwright.sync_api import expect

from jupyter_remote.wire import CARD_TYPE
from tests.browser import lab

LOAD = "%load_ext jupyter_remote\nimport jupyter_remote as jr"
STATIC = {CARD_TYPE, "text/html", "text/plain"}
ENDLESS = (
    "%%remote_run -d endless\nimport time\nprint('started')\nfor i in range(3000):\n"
    "    time.sleep(0.02)"
)
GATED = (
    "%%remote_run -m g5.xlarge -i gate\nimport os, time\nfrom tqdm.auto import tqdm\n"
    "for epoch in tqdm(range(3), desc='epoch'):\n"
    "    for batch in tqdm(range(4), desc='batch', leave=False):\n"
    "        time.sleep(0.06)\n        while epoch == 1 and not os.path.exists(gate):\n"
    "            time.sleep(0.02)\n"
    "print('trained')"
)


@pytest.fixture(autouse=True)
def _limits() -> None:
    expect.set_options(timeout=20_000)


def bundles(cell: nbformat.NotebookNode) -> list[set[str]]:
    return [set(output.data) for output in cell.outputs if "data" in output]


def test_the_card_lives_while_its_cell_runs_and_is_static_after_it(book, jupyterlab, tmp_path):
    gate = tmp_path / "gate"
    with book("live.ipynb", LOAD, f"gate = {str(gate)!r}", GATED) as page:
        page.run(0)
        page.run(1)
        output = page.start(2)
        bars = output.get_by_role("progressbar")
        expect(bars).to_have_count(2)
        expect(bars.first).to_have_attribute("aria-valuenow", "33")
        expect(bars.first).to_have_attribute("aria-label", "epoch")
        expect(output.locator(".jr-card")).to_contain_text("g5.xlarge (simulated)")
        saved = page.saved().cells[2]
        assert bundles(saved) == [STATIC]
        assert "running" in saved.outputs[0].data["text/plain"]
        gate.touch()
        expect(output).to_contain_text("trained")
        expect(output).to_contain_text("completed")
        expect(output.locator(".jr-card")).to_have_count(0)
        expect(output.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
        page.wait_idle()
        saved = page.saved()
        assert bundles(saved.cells[2]) == [STATIC]
        assert "completed" in saved.cells[2].outputs[0].data["text/html"]
        assert "widgets" not in saved.metadata
        assert page.errors == []


def test_cancel_works_from_the_keyboard_while_the_cell_blocks(book):
    with book("cancel.ipynb", LOAD, ENDLESS, "6 * 7") as page:
        page.run(0)
        output = page.start(1)
        expect(output).to_contain_text("started")
        button = output.get_by_role("button", name="Cancel job endless")
        button.focus()
        page.page.keyboard.press("Enter")
        expect(output.get_by_role("group", name="endless")).to_contain_text("cancelled")
        expect(output).to_contain_text("KeyboardInterrupt")
        page.wait_idle()
        expect(page.run(2)).to_contain_text("42")
        assert page.errors == []


def test_the_stop_button_ends_the_cell_with_the_remote_interrupt(book):
    with book("stop.ipynb", LOAD, ENDLESS, "%%remote_run\nx = 6 * 7\nx") as page:
        page.run(0)
        output = page.start(1)
        expect(output).to_contain_text("started")
        page.command("notebook:interrupt-kernel")
        expect(output).to_contain_text("KeyboardInterrupt")
        expect(output).to_contain_text("time.sleep(0.02)")
        page.wait_idle()
        expect(page.run(2)).to_contain_text("42")
        assert page.errors == []


def test_a_card_whose_kernel_ended_says_so_and_the_job_is_found_again(book):
    attach = "%load_ext jupyter_remote\n%remote attach last"
    slow = (
        "%%remote_run -d slow\nimport time\nfor i in range(30):\n    print(i)\n    time.sleep(0.1)"
    )
    with book("restart.ipynb", LOAD, slow, attach) as page:
        page.run(0)
        output = page.start(1)
        expect(output.locator(".jr-card")).to_contain_text("running")
        page.restart_kernel()
        expect(output).to_contain_text(re.compile("kernel ended.*%remote attach"))
        expect(output.get_by_role("button")).to_have_count(0)
        again = page.run(2)
        expect(again.locator(".jp-OutputArea-output pre").first).to_have_text(
            "".join(f"{i}\n" for i in range(30))
        )
        expect(again.get_by_role("group", name="slow")).to_contain_text("completed")


def test_large_inputs_are_told_while_they_are_sent(book):
    big = "import os\nbig = [os.urandom(1 << 20) for _ in range(300)]"
    with book("big.ipynb", LOAD, big, "%%remote_run -d send\nlen(big)") as page:
        page.run(0)
        page.run(1)
        seen = "() => [...document.querySelectorAll('.jr-status')].map(e => e.textContent).join()"
        output = page.start(2)
        end = time.monotonic() + 20
        while "sending inputs" not in page.page.evaluate(seen) and time.monotonic() < end:
            pass
        expect(output).to_contain_text("sending inputs")
        expect(output).to_contain_text("completed")
        expect(output).to_contain_text("300")


def test_in_notebook_7_the_card_is_the_same(chromium, tmp_path):
    with (
        lab.server(tmp_path, app="notebook") as server,
        contextlib.closing(lab.new_page(chromium)) as tab,
        lab.book(tab, server, "seven.ipynb", LOAD, ENDLESS) as page,
    ):
        page.run(0)
        output = page.start(1)
        expect(output).to_contain_text("started")
        output.get_by_role("button", name="Cancel job endless").click()
        expect(output.get_by_role("group", name="endless")).to_contain_text("cancelled")
        expect(output).to_contain_text("KeyboardInterrupt")
        page.wait_idle()
        assert bundles(page.saved().cells[1]) == [STATIC]
        assert page.ours() == []
