"""Every view of our extension with nothing, one, many and a failure, in light and in dark.

What is asserted is that it is there and that no script complained; what it looks like is kept as
pictures for people, in ``build/screenshots`` (or the folder that ``SCREENSHOTS`` names).
"""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser import lab

LOAD = "%load_ext jupyter_remote\nimport jupyter_remote as jr"
GOOD = "for step in jr.progress(range(20), desc='epoch'):\n    print('step', step)"
BAD = "%%remote_run -m g5.xlarge.od -d 'goes wrong'\nloss = 1/0"
MANY = 5000


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_views_are_whole_with_nothing_one_many_and_a_failure(chromium, unused, theme):
    expect.set_options(timeout=lab.LIMIT_S * 1000)
    page = lab.new_page(chromium, size=(1500, 950))
    cells = (LOAD, GOOD, BAD)
    with (
        lab.server(unused, theme=f"JupyterLab {theme.capitalize()}") as server,
        lab.book(page, server, "views.ipynb", *cells) as opened,
    ):
        looks(opened, page, theme)
    page.close()


def looks(opened: lab.Book, page: Page, theme: str) -> None:
    opened.command("jupyter-remote:show-jobs")
    panel = page.locator(".jr-panel")
    expect(panel).to_contain_text("No jobs yet")
    expect(page.locator(".jr-status-item")).to_have_text("0 jobs")
    lab.shot(page, f"{theme}-nothing")

    opened.run(0)
    choose(page, "g5.xlarge.od")
    page.evaluate(lab.SELECT, 1)
    page.locator("[data-command='jupyter-remote:run-cell']").click()
    expect(opened.output(1).locator(".jr-card")).to_contain_text("completed")
    expect(panel.locator(".jr-panel-row")).to_have_count(1)
    expect(page.locator(".jr-mark")).to_have_count(1)
    lab.shot(page, f"{theme}-one")

    opened.start(2)
    expect(opened.output(2).locator(".jr-card")).to_contain_text("failed")
    failed = panel.locator(".jr-panel-row", has_text="goes wrong")
    expect(failed).to_contain_text("division by zero")
    failed.click()
    expect(panel.get_by_role("list", name="Receipt")).to_contain_text("cost")
    panel.get_by_text("Machines", exact=True).click()
    expect(panel.get_by_role("list", name="Machine types")).to_contain_text("g5.xlarge.od")
    lab.shot(page, f"{theme}-failure-and-machines")
    panel.get_by_text("Machines", exact=True).click()

    panel.locator(".jr-panel-row", has_text="completed").click()
    for name in ("Logs", "Receipt", "Run again"):
        shows(panel, name, page)
        lab.shot(page, f"{theme}-{name.lower().replace(' ', '-')}")
        page.keyboard.press("Escape")
        expect(page.locator(".jp-Dialog")).to_have_count(0)

    page.route("**/jupyter-remote/v1/jobs?*", many)
    expect(panel).to_contain_text("number 0")
    lab.shot(page, f"{theme}-many")
    assert opened.errors == []
    page.route("**/jupyter-remote/v1/**", away)  # the browser itself complains of these answers
    expect(panel.get_by_role("status")).to_contain_text("no backend answers")
    lab.shot(page, f"{theme}-away")
    page.unroute_all()
    expect(panel.get_by_role("status")).to_be_hidden()


def choose(page: Page, machine: str) -> None:
    chooser = page.locator(".jr-chooser-select")
    chooser.focus()
    expect(chooser.locator(f"option[value='{machine}']")).to_have_count(1)
    chooser.select_option(machine)
    told = re.compile(rf"on {machine} \(simulated\) · \$1\.006/h")
    page.evaluate(lab.SELECT, 1)
    expect(page.locator("[data-command='jupyter-remote:run-cell']")).to_have_attribute(
        "title", told
    )


def shows(panel: Locator, name: str, page: Page) -> None:
    panel.get_by_role("button", name=name).click()
    text = {"Logs": "step 19", "Receipt": '"status": "completed"', "Run again": "at $1.006/h"}[name]
    expect(page.locator(".jp-Dialog")).to_contain_text(text)


def many(route: Route) -> None:
    statuses = ("completed", "running", "failed", "queued", "cancelled")
    jobs = [
        {
            "id": f"{i:08x}-0000-0000-0000-000000000000",
            "kind": "cell",
            "status": statuses[i % len(statuses)],
            "description": f"number {i}",
            "machine": "g5.xlarge",
            "money": {"rate_ucredits_per_h": 1e8, "hold_ucredits": 0, "cost_ucredits": 1e6 * i},
            "submitted_at": MANY - i,
            "started_at": 1,
            "ended_at": 100,
        }
        for i in range(MANY)
    ]
    body = json.dumps({"jobs": jobs, "next": ""})
    route.fulfill(status=200, content_type="application/json", body=body)


def away(route: Route) -> None:
    problem = {"title": "t", "status": 503, "code": "backend_unreachable"}
    body = json.dumps(problem | {"detail": "no backend answers"})
    route.fulfill(status=503, content_type="application/json", body=body)
