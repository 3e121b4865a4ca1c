"""The page of jobs in a real browser: on a desk and on a phone, in light and in dark."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from jupyter_remote import wire
from jupyter_remote.client.page import open_here
from jupyter_remote.server.page import BUILT, files
from tests.browser import lab
from tests.browser.test_views import MANY, many
from tests.server.conftest import Running, Worker, submit
from tests.server.payloads import TEXTS

DESK, PHONE = (1280, 800), (360, 640)
FINGER_PX = 40
SMALL = """least => [...document.querySelectorAll("button, a, select, input, summary")]
  .filter(node => node.offsetParent && node.getBoundingClientRect().height < least)
  .map(node => node.outerHTML)"""
SIDEWAYS = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
BEHIND = "() => document.activeElement.closest('header, .jr-panel-filter, .jr-panel-list')"

Tab = Callable[..., Page]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    assert files(BUILT), "the page was not built: npm --prefix labextension run build"
    running = Running(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def worker(server: Running) -> Iterator[Worker]:
    played = Worker(server)
    played.hello()
    yield played
    played.close()


@pytest.fixture
def errors() -> list[str]:
    return []


@pytest.fixture
def tab(chromium: Browser, errors: list[str]) -> Iterator[Tab]:
    """``tab(size, theme)``: a browser that nobody is signed in with."""
    opened = []

    def new(size: tuple[int, int] = DESK, theme: Any = "light") -> Page:
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=theme,
            has_touch=size == PHONE,
        )
        opened.append(context)
        context.set_default_timeout(lab.LIMIT_S * 1000)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        return page

    yield new
    for context in opened:
        context.close()


def link_of(server: Running) -> str:
    return server.http.call("POST", "/v1/page/links", reply=wire.PageLink).url


def sign_in(server: Running, page: Page) -> None:
    page.goto(link_of(server))
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{server.url}/jobs")
    expect(page.get_by_text(server.backend.facts.owner, exact=True)).to_be_visible()


def row(page: Page, text: str) -> Locator:
    return page.locator(".jr-panel-row", has_text=text)


def choose(page: Page, text: str) -> Locator:
    row(page, text).locator(".jr-panel-title").click()
    detail = page.get_by_role("region", name="Chosen job")
    expect(detail.locator("> .jr-panel-title")).to_contain_text(text)
    return detail


def started(server: Running, worker: Worker, description: str, **changes: Any) -> wire.Assign:
    submit(server, description=description, **changes)
    assign: wire.Assign = worker.pull(wire.Assign)
    assert worker.start(assign).ok
    return assign


def failed(server: Running, worker: Worker, description: str) -> None:
    assign = started(server, worker, description)
    error = wire.RemoteFailure(ename="ValueError", evalue="no such column: price", traceback=[])
    detail = f"{error.ename}: {error.evalue}"
    worker.complete(assign, outcome="failed", reason="user_error", error=error, detail=detail)


def completed(server: Running, worker: Worker, description: str) -> None:
    assign = started(server, worker, description)
    worker.print(assign, 1, "".join(f"step {n}\n" for n in range(200)))
    worker.complete(assign, result=wire.Result(text="a value"))


def goes_on(server: Running, worker: Worker, description: str) -> wire.Assign:
    assign = started(server, worker, description)
    bar = wire.Bar(id="b", n=3, total=10, description="epochs")
    told = wire.WorkerEvent("progress", wire.encode(bar))
    worker.ask(wire.Beat, job=assign.job, epoch=assign.epoch, events=[told])
    return assign


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_link_leads_to_jobs_their_history_their_results_and_cancel(
    server: Running, worker: Worker, tab: Tab, errors: list[str], size: tuple[int, int], theme: str
) -> None:
    page, name = tab(size, theme), f"page-{'phone' if size == PHONE else 'desk'}-{theme}"
    page.goto(link_of(server))
    page.wait_for_url(f"{server.url}/login")  # the code has left the address
    lab.shot(page, f"{name}-sign-in")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{server.url}/jobs")
    expect(page.get_by_text("No jobs yet.")).to_be_visible()
    lab.shot(page, f"{name}-nothing")

    failed(server, worker, "join two tables on a column that is not there any more")
    completed(server, worker, "count the words")
    running = goes_on(server, worker, "train the model")
    expect(row(page, "train the model").get_by_role("progressbar")).to_have_attribute(
        "aria-valuenow", "30"
    )
    expect(row(page, "join two tables")).to_contain_text("failed")
    lab.shot(page, name)
    fits(page, size)

    detail = choose(page, "join two tables")
    expect(detail).to_contain_text("ValueError: no such column: price")
    lab.shot(page, f"{name}-failure")
    fits(page, size)
    closed(page, size)

    detail = choose(page, "count the words")
    expect(detail.get_by_role("list", name="Receipt")).to_contain_text("waited")
    expect(detail.locator(".jr-panel-history")).to_contain_text("completed")
    lab.shot(page, f"{name}-completed")
    detail.get_by_role("button", name="Logs").click()
    expect(page.get_by_role("dialog")).to_contain_text("step 199")
    lab.shot(page, f"{name}-logs")
    fits(page, size)
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    with page.expect_popup() as opened:
        detail.get_by_role("link", name="View results").click()
    expect(opened.value.get_by_text("a value")).to_be_visible()
    lab.shot(opened.value, f"{name}-results")
    opened.value.close()
    closed(page, size)

    detail = choose(page, "train the model")
    detail.get_by_role("button", name="Cancel").click()
    asked = worker.pull(wire.Cancel)
    assert (asked.job, asked.how) == (running.job, "interrupt")
    expect(detail.get_by_role("button", name="Kill")).to_be_visible()
    lab.shot(page, f"{name}-cancelling")
    worker.complete(running, outcome="cancelled", reason="cancelled")
    expect(detail.locator(".jr-panel-now")).to_contain_text("cancelled")
    expect(detail.get_by_role("button", name="Kill")).to_be_hidden()
    assert errors == []


def fits(page: Page, size: tuple[int, int]) -> None:
    assert page.evaluate(SIDEWAYS) == 0
    if size == PHONE:
        assert page.evaluate(SMALL, FINGER_PX) == []


def closed(page: Page, size: tuple[int, int]) -> None:
    """As one leaves a job: by the way back on a phone, by a click on a desk."""
    if size == PHONE:
        page.go_back()
    else:
        page.locator(".jr-panel-row[aria-selected=true] .jr-panel-title").click()
    expect(page.get_by_role("region", name="Chosen job")).to_be_hidden()
    assert page.url.endswith("/jobs")


def test_five_thousand_jobs_are_searched_on_a_phone(
    server: Running, tab: Tab, errors: list[str]
) -> None:
    page = tab(PHONE)
    page.route("**/v1/jobs?*", many)
    sign_in(server, page)
    expect(page.locator(".jr-panel-list")).to_contain_text("number 0")
    lab.shot(page, "page-phone-many")
    page.locator(".jr-panel-list").evaluate("node => { node.scrollTop = node.scrollHeight; }")
    expect(page.locator(".jr-panel-list")).to_contain_text(f"number {MANY - 1}")
    assert page.locator(".jr-panel-row").count() < 60
    page.get_by_role("searchbox", name="Search jobs").fill("number 4711")
    expect(page.locator(".jr-panel-row")).to_have_count(1)
    fits(page, PHONE)
    assert errors == []


def test_the_list_is_used_by_keys_alone(server: Running, tab: Tab, errors: list[str]) -> None:
    for n in range(3):
        submit(server, description=f"number {n}")
    page = tab()
    sign_in(server, page)
    expect(page.locator(".jr-panel-row")).to_have_count(3)
    page.get_by_role("listbox", name="Jobs").focus()
    page.keyboard.press("End")
    detail = page.get_by_role("region", name="Chosen job")
    expect(detail.locator("> .jr-panel-title")).to_have_text("number 0")
    page.reload()
    expect(detail.locator("> .jr-panel-title")).to_have_text("number 0")  # by its address
    detail.get_by_role("button", name="Cancel").focus()
    page.keyboard.press("Enter")
    expect(detail.locator(".jr-panel-now")).to_contain_text("cancelled")
    page.get_by_role("listbox", name="Jobs").focus()
    page.keyboard.press("Escape")
    expect(detail).to_be_hidden()
    assert errors == []


def test_texts_of_users_and_jobs_are_texts(
    server: Running, worker: Worker, tab: Tab, errors: list[str]
) -> None:
    for text in TEXTS.values():
        assign = started(server, worker, f"job {text}")
        worker.print(assign, 1, text)
        error = wire.RemoteFailure(ename=text, evalue=text, traceback=[text])
        worker.complete(assign, outcome="failed", reason="user_error", error=error)
    page = tab()
    sign_in(server, page)
    expect(page.locator(".jr-panel-row")).to_have_count(len(TEXTS))
    for one in page.locator(".jr-panel-row .jr-panel-title").all():
        one.click()
        detail = page.get_by_role("region", name="Chosen job")
        expect(detail.locator(".jr-panel-history li")).not_to_have_count(0)
        detail.get_by_role("button", name="Logs").click()
        page.get_by_role("dialog").get_by_role("button", name="Close").click()
    assert page.evaluate("() => window.hacked ?? null") is None
    assert page.locator("main :is(img, script, iframe, svg[onload], style, form, b)").count() == 0
    assert errors == []


def test_a_backend_that_is_away_is_told_and_the_page_goes_on(server: Running, tab: Tab) -> None:
    submit(server, description="the one")
    page = tab(PHONE)
    sign_in(server, page)
    expect(row(page, "the one")).to_be_visible()
    page.context.set_offline(True)
    trouble = page.locator(".jr-panel-trouble")
    expect(trouble).to_contain_text(
        "The backend does not answer. This page goes on when it is back"
    )
    expect(row(page, "the one")).to_be_visible()
    lab.shot(page, "page-phone-away")
    submit(server, description="the other")
    page.context.set_offline(False)
    expect(trouble).to_be_hidden()
    expect(row(page, "the other")).to_be_visible()


def test_on_a_phone_what_went_wrong_stands_before_the_job_and_nothing_behind_it_has_focus(
    server: Running, worker: Worker, tab: Tab
) -> None:
    running = goes_on(server, worker, "the one")
    worker.print(running, 1, "a line\n")
    page = tab(PHONE)
    sign_in(server, page)
    detail = choose(page, "the one")
    for _ in range(12):
        page.keyboard.press("Tab")
        assert page.evaluate(BEHIND) is None
    detail.get_by_role("button", name="Logs").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("a line")
    page.context.set_offline(True)
    expect(dialog).to_contain_text("The backend does not answer")
    page.context.set_offline(False)
    expect(dialog).to_contain_text("a line")
    dialog.get_by_role("button", name="Close").click()
    page.route("**/cancel", lambda route: route.abort())
    detail.get_by_role("button", name="Cancel").click()
    trouble = page.locator(".jr-panel-trouble")
    expect(trouble).to_contain_text("The backend does not answer")
    lab.shot(page, "page-phone-not-cancelled")
    seen = trouble.evaluate(
        "node => { const { x, y } = node.getBoundingClientRect();"
        " return node.contains(document.elementFromPoint(x + 5, y + 5)); }"
    )
    assert seen


def test_a_session_that_ended_shows_nothing_and_says_how_to_sign_in(
    server: Running, tab: Tab
) -> None:
    submit(server, description="a secret")
    page = tab(PHONE)
    sign_in(server, page)
    expect(row(page, "a secret")).to_be_visible()
    tokens = server.http.call("GET", "/v1/tokens", reply=wire.TokenList).tokens
    [session] = [token for token in tokens if token.label == "page of jobs"]
    server.http.call("DELETE", f"/v1/tokens/{session.id}", reply=wire.TokenList)
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    expect(page.get_by_text("jupyter remote page")).to_be_visible()
    expect(page.get_by_text("a secret")).to_have_count(0)
    lab.shot(page, "page-phone-signed-out")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sign_in(server, page)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    assert page.context.cookies() == []
    page.go_back()
    expect(page.get_by_text("a secret")).to_have_count(0)


def test_the_command_opens_the_page_by_way_of_a_file(
    server: Running, tab: Tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: list[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    link = server.http.call("POST", "/v1/page/links", reply=wire.PageLink)
    assert open_here(link, tmp_path)
    page = tab()
    page.goto(opened[0])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("No jobs yet.")).to_be_visible()
    assert errors == []


def test_a_link_that_was_used_says_so(server: Running, tab: Tab) -> None:
    url = link_of(server)
    first, second = tab(), tab(PHONE)
    for page in (first, second):
        page.goto(url)
    first.get_by_role("button", name="Sign in").click()
    first.wait_for_url(f"{server.url}/jobs")
    second.get_by_role("button", name="Sign in").click()
    expect(second.get_by_role("status")).to_contain_text("This link was used already")
    expect(second.get_by_role("button", name="Sign in")).to_be_hidden()
    second.goto(link_of(server))  # put into the address of the page that says so
    second.get_by_role("button", name="Sign in").click()
    second.wait_for_url(f"{server.url}/jobs")


def test_who_may_only_look_has_no_cancel(server: Running, tab: Tab, errors: list[str]) -> None:
    submit(server, description="the one")
    headers = {"Authorization": f"Bearer {server.make_token('read')}"}
    url = json.loads(server.raw("POST", "/v1/page/links", headers)[1])["url"]
    page = tab()
    page.goto(url)
    page.get_by_role("button", name="Sign in").click()
    detail = choose(page, "the one")
    expect(detail.get_by_role("button", name="Logs")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    assert errors == []
