"""A stop as a person sees it: asked for, counted down, hard; and the kernel is as it was."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, expect

from tests.browser import lab

LOAD = "%load_ext jupyter_remote\nimport time\nkept = 41"
TIDY = (
    "%%remote_run -d tidy\nimport time\ntry:\n    print('started')\n    time.sleep(600)\n"
    "finally:\n    print('cleaned up')"
)
STUBBORN = (
    "%%remote_run -m g5.xlarge.od -d {0} {1}\nimport time\nprint('started')\nwhile True:\n"
    "    try:\n        time.sleep(600)\n    except BaseException:\n        print('no')"
)
OF_BEFORE = re.compile("Comm not found")  # JupyterLab's, of a widget of before the reload
COST = re.compile(r"\$0\.\d+ at \$1\.006/h")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_stop_is_soft_then_hard_and_the_kernel_is_as_it_was(chromium, unused, theme):
    page = lab.new_page(chromium, size=(1500, 950))
    ours = {"panel": {"forceAfter": 8}}
    look = f"JupyterLab {theme.capitalize()}"
    deaf, aside = STUBBORN.format("deaf", ""), STUBBORN.format("aside", "--bg")
    own = STUBBORN.format("own", "")
    with (
        lab.server(unused, theme=look, ours=ours) as server,
        lab.book(page, server, "stop.ipynb", LOAD, TIDY, deaf, aside, "kept + 1", own) as opened,
    ):
        opened.run(0)
        by_the_card(opened, theme)
        with_a_reload(opened, server, theme)
        by_the_panel(opened, theme)
        by_the_button(opened, theme)
        expect(opened.run(4)).to_contain_text("42")
        opened.wait_idle()
        assert [e for e in opened.errors if not OF_BEFORE.match(e)] == []
    page.close()


def by_the_card(opened: lab.Book, theme: str) -> None:
    output = opened.start(1)
    expect(output).to_contain_text("started")
    output.get_by_role("button", name="Cancel job tidy").click()
    expect(output).to_contain_text("cleaned up")
    expect(output).to_contain_text("cancelled: stopped by KeyboardInterrupt")
    opened.wait_idle()
    lab.shot(opened.page, f"{theme}-stop-soft")


def with_a_reload(opened: lab.Book, server: lab.Server, theme: str) -> None:
    """The cell blocks, the page is loaded again: when it is killed stands in the job's state."""
    page, output = opened.page, opened.start(2)
    expect(output).to_contain_text("started")
    output.get_by_role("button", name="Cancel job deaf").click()
    card = output.locator(".jr-card")
    counts_down(card)
    lab.shot(page, f"{theme}-stop-counts")
    opened.saved()
    page.goto(f"{server.url}/lab/tree/stop.ipynb?reset&token={server.token}")
    counts_down(card)
    expect(card.get_by_role("button", name="Kill job deaf")).to_be_visible()
    expect(card).to_contain_text(re.compile(r"cancelled: killed after [89]"))
    expect(card).to_contain_text(COST)
    expect(card.get_by_role("button")).to_be_hidden()
    opened.wait_idle()
    lab.shot(page, f"{theme}-stop-hard")


def by_the_panel(opened: lab.Book, theme: str) -> None:
    page = opened.page
    expect(opened.run(3)).to_contain_text("started")
    opened.command("jupyter-remote:show-jobs")
    row = page.locator(".jr-panel-row", has_text="aside")
    row.get_by_role("button", name="Cancel aside").click()
    expect(row).to_contain_text(re.compile(r"killed in \d s · \$0\."))
    row.click()
    expect(page.locator(".jr-panel-history")).to_contain_text("killed after 8.0 s")
    lab.shot(page, f"{theme}-stop-panel")
    kill = page.get_by_role("region", name="Chosen job").get_by_role("button", name="Kill aside")
    expect(kill).to_have_attribute("aria-disabled", "true")  # a double click is no order to kill
    expect(kill).to_have_attribute("aria-disabled", "false")
    kill.click()
    expect(row).to_contain_text("killed after")
    expect(row).to_contain_text("cancelled")
    expect(page.locator(".jr-panel-history")).to_contain_text("after start, killed after")


def by_the_button(opened: lab.Book, theme: str) -> None:
    """JupyterLab's own: its kernel knows the setting, too."""
    output = opened.start(5)
    expect(output).to_contain_text("started")
    card = output.locator(".jr-card")
    expect(card.get_by_role("button", name="Cancel job own")).to_be_visible()
    opened.command("notebook:interrupt-kernel")
    counts_down(card)
    lab.shot(opened.page, f"{theme}-stop-button")
    expect(card).to_contain_text(re.compile(r"cancelled: killed after [89]"))
    opened.wait_idle()


def counts_down(card: Locator) -> None:
    until = card.locator(".jr-deadline")
    expect(until).to_have_text(re.compile(r"^killed in \d s$"))
    before = until.text_content() or ""
    expect(until).not_to_have_text(before)
    expect(card).to_contain_text(COST)


def test_without_the_extension_the_control_channel_stops_what_blocks(chromium, unused, monkeypatch):
    monkeypatch.setenv("JUPYTER_REMOTE_FORCE_AFTER_S", "3")
    page = lab.new_page(chromium)
    cells = (LOAD, TIDY, STUBBORN.format("deaf", ""), "kept + 1")
    with (
        lab.server(unused, extended=False) as server,
        lab.book(page, server, "stop.ipynb", *cells) as opened,
    ):
        opened.run(0)
        output = opened.start(1)
        expect(output).to_contain_text("started")
        output.get_by_role("button", name="Cancel job tidy").click()
        expect(output).to_contain_text("cancelled: stopped by KeyboardInterrupt")
        output = opened.start(2)
        expect(output).to_contain_text("started")
        output.get_by_role("button", name="Cancel job deaf").click()
        counts_down(output.locator(".jr-card"))
        expect(output).to_contain_text("cancelled: killed after 3.")
        opened.wait_idle()
        expect(opened.run(3)).to_contain_text("42")
        assert opened.errors == []
    page.close()


def test_a_cancel_that_reaches_nobody_says_so_and_can_be_asked_again(chromium, unused):
    page = lab.new_page(chromium)
    deaf = "from jupyter_remote.client.job import Job\nreal, Job.cancel = Job.cancel, print"
    with (
        lab.server(unused, extended=False) as server,
        lab.book(page, server, "deaf.ipynb", f"{LOAD}\n{deaf}", TIDY) as opened,
    ):
        opened.run(0)
        output = opened.start(1)
        expect(output).to_contain_text("started")
        button = output.get_by_role("button", name="Cancel job tidy")
        button.click()
        expect(output).to_contain_text("not cancelled: nobody answers")
        expect(button).to_be_visible()
        opened.command("notebook:interrupt-kernel")
        expect(output.get_by_role("status")).to_contain_text("interrupting")
        assert opened.errors == []
    page.close()


@pytest.mark.parametrize("extended", [True, False])
def test_a_question_is_asked_no_more_when_its_job_is_stopped(chromium, unused, extended):
    page = lab.new_page(chromium)
    asks = "%%remote_run -s lab -d asks\nkept = 41\ninput('who? ')"
    after = "%%remote_run -s lab\nprint(kept + 1)"
    with (
        lab.server(unused, extended=extended) as server,
        lab.book(page, server, "asks.ipynb", LOAD, asks, after) as opened,
    ):
        opened.run(0)
        output = opened.start(1)
        expect(output).to_contain_text("who?")
        output.get_by_role("button", name="Cancel job asks").click()
        expect(output).to_contain_text("cancelled: stopped by KeyboardInterrupt")
        opened.wait_idle()
        lab.shot(page, "light-stop-question")
        expect(output.locator(".jp-Stdin-input:visible")).to_have_count(0)
        expect(opened.run(2)).to_contain_text("42")
        assert opened.errors == []
    page.close()
