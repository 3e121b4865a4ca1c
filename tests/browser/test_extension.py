"""Our extension in JupyterLab: panel, status bar, cards that live without a kernel."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import nbformat
import pytest
from playwright.sync_api import Locator, Page, Route, expect

import jupyter_remote as jr
from jupyter_remote.wire import CARD_TYPE
from tests.browser import lab
from tests.browser.extended_fixtures import book, page

__all__ = ["book", "page"]

LOAD = "%load_ext jupyter_remote\nimport jupyter_remote as jr"
SHOW = "jupyter-remote:show-jobs"
EVIL = "<img src=x onerror=window.hurt=1><script>window.hurt=1</script>"


@pytest.fixture
def gate(tmp_path) -> Path:
    return tmp_path / "gate"


def gated(gate: Path, options: str, steps: int = 40) -> str:
    """A cell that moves its bar half way, and on when the gate is there."""
    return (
        f"%%remote_run {options}\nimport os, time\n"
        f"for i in jr.progress(range({steps}), desc='epoch'):\n"
        f"    while i == {steps // 2} and not os.path.exists({str(gate)!r}):\n"
        "        time.sleep(0.02)\nprint('all done')"
    )


def panel(page: Page) -> Locator:
    page.evaluate("name => { window.jupyterapp.commands.execute(name); }", SHOW)
    return page.locator(".jr-panel")


def row(page: Page, title: str) -> Locator:
    return panel(page).locator(".jr-panel-row", has_text=title)


def test_the_panel_starts_the_backend_and_says_how_to_begin(page, unused):
    with (
        lab.server(unused) as server,
        lab.book(page, server, "empty.ipynb", LOAD) as opened,
    ):
        expect(opened.page.locator(".jr-status-item")).to_have_text("Remote")
        shown = panel(opened.page)
        expect(shown).to_contain_text("%%remote_run above a cell")
        expect(shown).to_contain_text("credits")
        expect(opened.page.locator(".jr-status-item")).to_have_text("0 jobs")
        assert opened.ours() == []


def test_a_job_is_live_in_the_panel_and_in_the_status_bar_and_its_end_is_told(book, gate):
    with book("live.ipynb", LOAD, gated(gate, "--bg -d 'train it' -m g5.xlarge.od")) as opened:
        page = opened.page
        opened.run(0)
        opened.run(1)
        train = row(page, "train it")
        expect(train).to_contain_text("running")
        expect(train).to_contain_text("g5.xlarge.od (simulated)")
        expect(train.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "50")
        expect(page.locator(".jr-status-item")).to_contain_text("1 job · $1.006/h")
        gate.touch()
        expect(page.locator(".Toastify__toast", has_text="train it: completed")).to_be_visible()
        expect(train).to_contain_text("completed")
        expect(train.get_by_role("button")).to_be_hidden()
        train.click()
        expect(page.locator(".jr-panel-history")).to_contain_text("held")
        expect(page.locator(".jr-panel-history")).to_contain_text("charged")
        assert opened.ours() == []


def test_a_job_of_another_process_is_in_the_panel_and_is_cancelled_there(book, gate):
    job = jr.Client().with_options(description="from elsewhere").submit(_wait_for, str(gate))
    with book("cancel.ipynb", LOAD) as opened:
        there = row(opened.page, "from elsewhere")
        expect(there).to_contain_text("running")
        there.get_by_role("button", name="Cancel").click()
        expect(there).to_contain_text("cancelled")
    with pytest.raises(jr.JobCancelled):
        job.result(lab.LIMIT_S)


def test_a_job_is_chosen_and_cancelled_by_keys_alone(book, gate):
    job = jr.Client().with_options(description="by keys").submit(_wait_for, str(gate))
    with book("keys.ipynb", LOAD) as opened:
        expect(row(opened.page, "by keys")).to_contain_text("running")
        keyboard = opened.page.keyboard
        panel(opened.page).get_by_role("listbox").focus()
        keyboard.press("Home")
        detail = opened.page.get_by_role("region", name="Chosen job")
        expect(detail).to_contain_text("by keys")
        keyboard.press("Tab")
        expect(detail.get_by_role("button", name="Cancel by keys")).to_be_focused()
        keyboard.press("Enter")
        expect(row(opened.page, "by keys")).to_contain_text("cancelled")
        opened.page.get_by_role("listbox").focus()
        keyboard.press("Escape")
        expect(detail).to_be_hidden()
    with pytest.raises(jr.JobCancelled):
        job.result(lab.LIMIT_S)


def test_a_cancel_that_fails_is_told_until_something_else_is_asked(book, gate):
    job = jr.Client().with_options(description="stays").submit(_wait_for, str(gate))
    with book("refused.ipynb", LOAD) as opened:
        page = opened.page
        there = row(page, "stays")
        expect(there).to_contain_text("running")
        answer = {"title": "t", "status": 409, "code": "conflict", "detail": "not now, please"}
        refuse = partial(refused, answer)
        page.route("**/jupyter-remote/v1/jobs/*/cancel*", refuse)
        there.get_by_role("button", name="Cancel").click()
        told = panel(page).get_by_role("status")
        expect(told).to_have_text("not now, please")
        for _ in range(2):
            with page.expect_response("**/jupyter-remote/v1/sessions*"):
                pass
        expect(told).to_have_text("not now, please")
        page.unroute("**/jupyter-remote/v1/jobs/*/cancel*", refuse)
        there.get_by_role("button", name="Cancel").click()
        expect(told).to_be_hidden()
        expect(there).to_contain_text("cancelled")
    with pytest.raises(jr.JobCancelled):
        job.result(lab.LIMIT_S)


def refused(answer: dict[str, object], route: Route) -> None:
    status = int(str(answer["status"]))
    route.fulfill(status=status, content_type="application/json", body=json.dumps(answer))


def test_a_double_click_on_cancel_in_the_panel_is_no_order_to_kill(book):
    tidy = (
        "%%remote_run --bg -d 'asked twice'\nimport time\ntry:\n    print('started')\n"
        "    time.sleep(600)\nfinally:\n    time.sleep(3)\n    print('cleaned up')"
    )
    with book("double.ipynb", LOAD, tidy) as opened:
        opened.run(0)
        expect(opened.run(1)).to_contain_text("started")
        opened.command("jupyter-remote:show-jobs")
        cancel = row(opened.page, "asked twice").get_by_role("button", name="Cancel asked twice")
        cancel.evaluate(lab.DOUBLE_CLICK, 1600)
        expect(opened.output(1)).to_contain_text("cleaned up")
        expect(row(opened.page, "asked twice")).to_contain_text("cancelled")


def test_sessions_machines_and_a_receipt_are_in_the_panel(book):
    client = jr.Client()
    session = client.session("mine", machine="g5.xlarge.od")
    assert session.apply_sync(sum, [1, 2]) == 3
    client.with_options(description="receipted", machine="g5.xlarge.od").submit(sum, [1]).result(
        lab.LIMIT_S
    )
    with book("all.ipynb", LOAD) as opened:
        shown = panel(opened.page)
        sessions = shown.get_by_role("list", name="Sessions")
        expect(sessions).to_contain_text(
            re.compile(
                r"session mine · g5\.xlarge\.od \(simulated\) · running · \$1\.006/h"
                r" · idle [\d.]+ s of [\d.]+ s"
            )
        )
        shown.get_by_text("Machines", exact=True).click()
        expect(shown).to_contain_text("g5.xlarge.od (simulated) · $1.006/h · 1 × A10G")
        row(opened.page, "receipted").click()
        expect(shown.get_by_role("list", name="Receipt")).to_contain_text("cost")
        button(opened.page, "Receipt").click()
        expect(dialog(opened.page)).to_contain_text('"description": "receipted"')
        assert dialog(opened.page).locator("pre").evaluate("node => node.scrollTop") == 0
        opened.page.keyboard.press("Escape")
        expect(dialog(opened.page)).to_have_count(0)
        assert opened.ours() == []
    session.stop()


def button(page: Page, name: str) -> Locator:
    """Of the chosen job."""
    return page.get_by_role("region", name="Chosen job").get_by_role("button", name=name)


def dialog(page: Page) -> Locator:
    return page.locator(".jp-Dialog")


def test_rented_machines_are_in_the_panel_with_what_they_cost_now(book):
    def rented(id: str, **more: object) -> dict[str, object]:
        return {"id": id, "provider": "ec2", "machine": "g5.xlarge", "state": "ready", **more}

    instances = [
        rented("1", usd_per_h=0.42, spot=True, zone="us-east-1a", ready_at=1, slots=1, busy=1),
        rented("2", usd_per_h=1.006, state="pending", step="installing"),
        rented("3", state="terminated", ended_at=2),
    ]
    body = json.dumps({"instances": instances})
    with book("rented.ipynb", LOAD) as opened:
        opened.page.route(
            "**/jupyter-remote/v1/machines/instances*",
            lambda route: route.fulfill(status=200, content_type="application/json", body=body),
        )
        shown = panel(opened.page)
        shown.get_by_text("Machines", exact=True).click()
        lines = shown.get_by_role("list", name="Rented machines").get_by_role("listitem")
        expect(lines).to_have_text(
            [
                "2 rented machines, $1.426/h now",
                "g5.xlarge · spot · $0.42/h · us-east-1a · ready · 1 of 1 slots busy",
                "g5.xlarge · on demand · $1.006/h · pending: installing",
            ]
        )


def test_the_output_and_values_of_a_job_are_attached_where_the_user_is(book):
    job = jr.Client().with_options(description="to attach").submit(_hello)
    job.result(lab.LIMIT_S)
    with book("attach.ipynb", "first = 1", "'last'") as opened:
        opened.page.evaluate(lab.SELECT, 0)
        row(opened.page, "to attach").click()
        button(opened.page, "Attach").click()
        expect(opened.output(1)).to_contain_text("hello from there")
        expect(opened.output(1).locator(".jr-card")).to_contain_text("completed")
        assert opened.saved().cells[1].source == f"%remote attach {job.id[:8]}"


def _hello() -> int:
    print("hello from there")
    return 5


def test_logs_are_shown_while_they_grow(book, gate):
    job = jr.Client().with_options(description="talks").submit(_talk, str(gate))
    with book("logs.ipynb", LOAD) as opened:
        row(opened.page, "talks").click()
        expect(button(opened.page, "Receipt")).to_be_hidden()
        expect(button(opened.page, "Run again")).to_be_hidden()
        button(opened.page, "Logs").click()
        expect(dialog(opened.page)).to_contain_text("Logs of “talks”")
        expect(dialog(opened.page).locator("pre")).to_have_text("<b>begun</b>\n")
        gate.touch()
        expect(dialog(opened.page).locator("pre")).to_have_text("<b>begun</b>\nover\n")
        dialog(opened.page).get_by_role("button", name="Close").last.click()
        expect(button(opened.page, "Run again")).to_be_visible()
        assert opened.ours() == []
    job.result(lab.LIMIT_S)


def _talk(gate: str) -> None:
    print("<b>begun</b>", flush=True)
    _wait_for(gate)
    print("over")


def test_a_job_is_run_again_and_what_costs_is_asked_first(book):
    client = jr.Client()
    client.with_options(description="again for nothing").submit(sum, [1]).result(lab.LIMIT_S)
    paid = client.with_options(description="again for money", machine="g5.xlarge.od")
    paid.submit(sum, [1]).result(lab.LIMIT_S)
    with book("again.ipynb", LOAD) as opened:
        page = opened.page
        row(page, "for money").click()
        button(page, "Run again").click()
        expect(dialog(page)).to_contain_text("g5.xlarge.od (simulated) at $1.006/h")
        dialog(page).get_by_role("button", name="Not now").click()
        panel(page).get_by_role("searchbox").fill("again for")
        expect(panel(page).locator(".jr-panel-row")).to_have_count(2)
        button(page, "Run again").click()
        dialog(page).get_by_role("button", name="Run again").click()
        expect(row(page, "for money")).to_have_count(2)
        expect(panel(page).locator("[aria-selected=true]")).to_have_attribute("aria-posinset", "1")
        row(page, "for nothing").click()
        button(page, "Run again").click()
        expect(row(page, "for nothing")).to_have_count(2)
        expect(dialog(page)).to_have_count(0)


def _wait_for(gate: str) -> None:
    import os
    import time

    while not os.path.exists(gate):
        time.sleep(0.02)


def test_a_failure_says_why_and_leads_to_its_cell(book):
    with book("fails.ipynb", LOAD, "%%remote_run -d 'goes wrong'\n1/0", "2") as opened:
        opened.run(0)
        opened.start(1)
        failed = row(opened.page, "goes wrong")
        expect(failed).to_contain_text("failed")
        expect(failed).to_contain_text("division by zero")
        failed.click()
        opened.page.evaluate(lab.SELECT, 2)
        opened.page.get_by_role("button", name="Open notebook").click()
        opened.page.wait_for_function(f"() => {lab.WIDGET}?.content?.activeCellIndex === 1")
        opened.saved()
        opened.page.evaluate("() => window.jupyterapp.commands.execute('application:close')")
        opened.page.wait_for_function(f"() => {lab.WIDGET}?.context?.path !== 'fails.ipynb'")
        opened.page.get_by_role("button", name="Open notebook").click()
        opened.page.wait_for_function(f"() => {lab.WIDGET}?.context?.path === 'fails.ipynb'")
        opened.page.wait_for_function(f"() => {lab.WIDGET}?.content?.activeCellIndex === 1")
        opened.output(1).locator(".jr-card").wait_for()
        opened.page.evaluate(lab.SELECT, 1)
        opened.command("notebook:delete-cell")
        opened.output(1).locator(".jr-card").wait_for(state="detached")
        opened.page.get_by_role("button", name="Open notebook").click()
        told = panel(opened.page).get_by_role("status")
        expect(told).to_have_text("No cell of this notebook shows that job any more")


def test_filter_and_search_find_jobs_and_the_arrows_go_through_them(book):
    client = jr.Client()
    for name in ("alpha one", "alpha two", "beta"):
        client.with_options(description=name).submit(sum, [1]).result(lab.LIMIT_S)
    with book("search.ipynb", LOAD) as opened:
        shown = panel(opened.page)
        shown.get_by_role("searchbox").fill("ALPHA")
        expect(shown.locator(".jr-panel-row")).to_have_count(2)
        shown.get_by_role("listbox").focus()
        opened.page.keyboard.press("ArrowDown")
        expect(shown.locator("[aria-selected=true]")).to_contain_text("alpha two")
        opened.page.keyboard.press("ArrowDown")
        expect(shown.locator("[aria-selected=true]")).to_contain_text("alpha one")
        shown.get_by_role("combobox").select_option("failed")
        expect(shown).to_contain_text("No job fits.")


def test_five_thousand_jobs_draw_few_rows(book):
    jobs = [
        {
            "id": f"{i:08x}-0000-0000-0000-000000000000",
            "kind": "cell",
            "status": "completed",
            "description": f"number {i}",
            "money": {"rate_ucredits_per_h": 0, "hold_ucredits": 0, "cost_ucredits": 0},
            "submitted_at": 5000 - i,
            "started_at": 1,
            "ended_at": 2,
        }
        for i in range(5000)
    ]
    body = json.dumps({"jobs": jobs, "next": ""})
    with book("many.ipynb", LOAD) as opened:
        opened.page.route(
            "**/jupyter-remote/v1/jobs?*",
            lambda route: route.fulfill(status=200, content_type="application/json", body=body),
        )
        shown = panel(opened.page)
        expect(shown).to_contain_text("number 0")
        assert shown.locator(".jr-panel-row").count() < 60
        shown.locator(".jr-panel-list").evaluate("node => { node.scrollTop = node.scrollHeight; }")
        expect(shown).to_contain_text("number 4999")
        assert shown.locator(".jr-panel-row").count() < 60


def test_a_card_goes_on_without_its_kernel_and_after_a_reload(book, extended, gate):
    with book("home.ipynb", LOAD, gated(gate, "--bg -d 'long one'")) as opened:
        page = opened.page
        opened.run(0)
        opened.run(1)
        card = opened.output(1).locator(".jr-card")
        expect(card.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "50")
        opened.saved()
        page.evaluate(f"() => {lab.CONTEXT}.shutdown()")
        page.goto(f"{extended.url}/lab/tree/home.ipynb?reset&token={extended.token}")
        expect(card).to_contain_text("running")
        gate.touch()
        expect(card).to_contain_text("completed")
        expect(card).to_contain_text("40/40")
        expect(card.get_by_role("button")).to_be_hidden()
        page.wait_for_function(f"() => {lab.CONTEXT}?.isReady")


def test_cancel_on_a_card_works_after_its_kernel_ended(book, gate):
    with book("stop.ipynb", LOAD, gated(gate, "--bg -d endless")) as opened:
        opened.run(0)
        opened.run(1)
        card = opened.output(1).locator(".jr-card")
        expect(card).to_contain_text("50 %")
        opened.page.evaluate(f"() => {lab.CONTEXT}.shutdown()")
        expect(card).to_contain_text("running")
        answer = {"title": "t", "status": 503, "code": "backend_unreachable"}
        opened.page.route("**/jupyter-remote/v1/jobs/*/cancel*", partial(refused, answer))
        with opened.page.expect_response("**/jupyter-remote/v1/jobs/*/cancel*"):
            card.get_by_role("button", name="Cancel").click()
        expect(card.get_by_role("button", name="Cancel")).to_be_visible()  # and not Kill
        opened.page.unroute("**/jupyter-remote/v1/jobs/*/cancel*")
        card.get_by_role("button", name="Cancel").click()
        expect(card).to_contain_text("cancelled")


def test_cancel_reaches_a_job_that_only_the_kernel_knows(book, gate):
    with book("other.ipynb", LOAD, gated(gate, "-d elsewhere")) as opened:
        answer = {"title": "t", "status": 404, "code": "not_found", "detail": "no such job"}
        opened.page.route("**/jupyter-remote/v1/jobs/*/cancel*", partial(refused, answer))
        opened.run(0)
        output = opened.start(1)
        expect(output.locator(".jr-card")).to_contain_text("50 %")
        output.get_by_role("button", name="Cancel").click()
        expect(output).to_contain_text("cancelled")
        opened.page.unroute("**/jupyter-remote/v1/jobs/*/cancel*")


def test_a_card_that_nobody_wrote_hinders_no_other(page, extended):
    texts = {"title": "t", "status": "running", "load": "", "left": "", "links": [], "of": ""}
    good = {"id": "0" * 8 + "-0000-0000-0000-" + "0" * 12, "v": 1, "status": "running"}
    good |= {"machine": "local", "bars": [], "texts": texts, "host": "jp-Dialog"}
    wrong = [good | {"id": "../v1/jobs"}, good | {"texts": None}, good | {"bars": 5}]
    outputs = [
        nbformat.v4.new_output("display_data", {CARD_TYPE: card, "text/plain": "[as text]"})
        for card in (*wrong, good)
    ]
    cell = nbformat.v4.new_code_cell("1", outputs=outputs)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), extended.folder / "wrong.ipynb")
    with page.expect_response("**/jupyter-remote/cards?*") as answer:
        page.goto(f"{extended.url}/lab/tree/wrong.ipynb?reset&token={extended.token}")
    assert parse_qs(urlsplit(answer.value.url).query)["ids"] == [good["id"]]
    assert answer.value.status in (200, 204)
    shown = page.locator(".jr-renderer")
    expect(shown).to_have_count(4)
    expect(shown.nth(1)).to_have_text("[as text]")
    expect(shown.nth(2)).to_have_text("[as text]")
    assert page.locator(".jr-renderer .jp-Dialog").count() == 0


def test_a_card_of_a_newer_version_is_shown_as_text_and_scripts_in_it_do_nothing(page, extended):
    card = {"id": "x", "v": 99, "status": "running"}
    evil = {
        "id": "0" * 8,
        "v": 1,
        "status": "completed",
        "machine": EVIL,
        "bars": [],
        "texts": {"title": EVIL, "status": EVIL, "load": EVIL, "left": EVIL, "links": [[EVIL] * 2]},
    }
    outputs = [
        nbformat.v4.new_output("display_data", {CARD_TYPE: data, "text/plain": f"[as text] {EVIL}"})
        for data in (card, evil, {"v": 1})
    ]
    cell = nbformat.v4.new_code_cell("1", outputs=outputs)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), extended.folder / "newer.ipynb")
    page.goto(f"{extended.url}/lab/tree/newer.ipynb?reset&token={extended.token}")
    shown = page.locator(".jr-renderer")
    expect(shown).to_have_count(3)
    expect(shown.nth(0)).to_contain_text("[as text] <img")
    expect(shown.nth(1).locator(".jr-card")).to_contain_text("onerror")
    expect(shown.nth(2)).to_contain_text("[as text]")
    assert page.evaluate("() => window.hurt") is None
    assert page.locator(".jr-renderer img, .jr-renderer script").count() == 0


def test_the_panel_says_that_the_backend_is_away_and_comes_back(book):
    with book("away.ipynb", LOAD) as opened:
        shown = panel(opened.page)
        expect(shown).to_contain_text("credits")
        opened.page.route(
            "**/jupyter-remote/v1/**",
            lambda route: route.fulfill(
                status=503,
                content_type="application/json",
                body='{"title": "t", "status": 503, "code": "backend_unreachable", '
                '"detail": "no backend answers"}',
            ),
        )
        expect(shown.get_by_role("status")).to_contain_text("no backend answers")
        opened.page.unroute("**/jupyter-remote/v1/**")
        expect(shown.get_by_role("status")).to_be_hidden()


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_in_notebook_7_and_in_both_themes_cards_are_drawn(chromium, tmp_path, theme):
    with lab.server(tmp_path, app="notebook", theme=f"JupyterLab {theme}") as server:
        page = lab.new_page(chromium)
        name = f"seven-{theme}"
        with lab.book(page, server, "n.ipynb", LOAD, f"%%remote_run -d {name}\n1") as opened:
            opened.run(0)
            opened.run(1)
            expect(opened.output(1).locator(".jr-renderer .jr-card")).to_contain_text("completed")
            opened.page.evaluate("name => { window.jupyterapp.commands.execute(name); }", SHOW)
            page.locator(".jr-panel-row", has_text=name).click()
            expect(page.get_by_role("button", name="Open notebook")).to_be_visible()
            assert opened.ours() == []
        page.close()
