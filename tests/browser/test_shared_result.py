"""What somebody made their result show does nothing in a real browser."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Frame, Page, Request, expect

from jupyter_remote import wire
from tests.browser import lab
from tests.server.conftest import Running, Worker, submit, until
from tests.server.payloads import DISPLAYS, SCRIPT, TEXTS
from tests.server.test_result_page import PIXEL

HACKED = "() => window.hacked ?? null"
BLOCKED = ("", "about:blank", "chrome-error://chromewebdata/")  # a page within a frame
TABLE = "<style>td{color:rgb(1, 2, 3)}</style><table><tr><td>in a frame</td></tr></table>"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Page]:
    page = chromium.new_page()
    page.set_default_timeout(lab.LIMIT_S * 1000)
    yield page
    page.close()


def shared(server: Running, events: list[tuple[str, dict[str, Any]]], **changes: Any) -> str:
    """The address of a result that showed this."""
    worker = Worker(server)
    worker.hello()
    job = submit(server, visibility="unlisted", **changes).job
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    sent = [wire.WorkerEvent(t, wire.encode(d), n) for n, (t, d) in enumerate(events, 1)]
    worker.complete(assign, events=sent, result=wire.Result(text=SCRIPT))
    worker.close()
    until(lambda: server.backend.store.job(assign.job).ended_at)
    return f"{server.url}/results/{job.results_uuid}"


def shown(data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "display_data", {"data": data, "metadata": {}}


def corpus() -> list[tuple[str, dict[str, Any]]]:
    texts = [("stream", {"name": "stdout", "text": text}) for text in TEXTS.values()]
    errors = [("error", {"ename": t, "evalue": t, "traceback": [t]}) for t in TEXTS.values()]
    return [*texts, *errors, *map(shown, DISPLAYS.values())]


def frames(page: Page) -> list[Frame]:
    """Those of the page itself."""
    return [frame for frame in page.frames if frame.parent_frame == page.main_frame]


def test_the_payloads_work_where_nothing_hinders_them(tab: Page) -> None:
    for name in ("a script tag", "a handler", "an SVG", "a way out of a text"):
        tab.set_content(f"<body>{TEXTS[name]}</body>")
        tab.wait_for_function(HACKED)
    tab.set_content(f'<body><iframe srcdoc="{SCRIPT}"></iframe></body>')
    tab.frames[1].wait_for_function(HACKED)
    tab.set_content(f"<body>{TEXTS['an address']}</body>")
    tab.click("#bait")
    tab.wait_for_function(HACKED)
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    for name in ("a style", "an embedded page"):
        tab.set_content(f"<body>{TEXTS[name]}</body>")
    until(lambda: {u for u in asked if "evil.example/css" in u or "evil.example/frame" in u})


def test_nothing_of_a_result_runs_leads_away_or_loads(server: Running, tab: Page) -> None:
    url = shared(server, corpus(), description=" ".join(TEXTS.values()))
    asked: list[Request] = []
    tab.on("request", lambda request: asked.append(request))
    tab.goto(url)
    tab.wait_for_load_state("networkidle")
    assert len(frames(tab)) == len(TEXTS)
    for each in frames(tab):
        for bait in each.query_selector_all("#bait, #send"):
            bait.dispatch_event("click")
    for each in tab.frames:
        assert each.evaluate(HACKED) is None, each.content()
        assert each.url in (url, "about:srcdoc", *BLOCKED), each.url
    elsewhere = [r for r in asked if not r.url.startswith((url, "data:image/", "about:srcdoc"))]
    assert {(r.url, r.failure) for r in elsewhere if r.failure != "csp"} == set()  # never sent
    assert tab.url == url
    assert tab.locator("script, main svg, object, embed, main style, main meta").count() == 0


def test_tables_pictures_and_texts_are_seen(server: Running, tab: Page) -> None:
    events = [
        ("stream", {"name": "stdout", "text": "a line <of> text\n"}),
        shown({"text/html": TABLE, "text/plain": "a table"}),
        shown({"image/png": PIXEL, "text/plain": "a figure"}),
    ]
    tab.goto(shared(server, events, description="seen"))
    expect(tab.get_by_role("heading", name="seen")).to_be_visible()
    expect(tab.get_by_text("a line <of> text")).to_be_visible()
    cell = tab.frame_locator("iframe").get_by_text("in a frame")
    expect(cell).to_be_visible()
    expect(cell).to_have_css("color", "rgb(1, 2, 3)")
    assert tab.get_by_role("img", name="a figure").evaluate("image => image.naturalWidth") == 1


@contextlib.contextmanager
def site(body: str) -> Iterator[str]:
    """A page of another site."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as there:
        thread = threading.Thread(target=there.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{there.server_port}/"
        there.shutdown()
        thread.join()


def test_another_site_may_link_to_a_result_and_may_not_show_it(server: Running, tab: Page) -> None:
    url = shared(server, [("stream", {"name": "stdout", "text": "the result"})])
    with site(f"<a href='{url}'>look</a><iframe src='{url}'></iframe>") as there:
        with tab.expect_response(url) as reply:
            tab.goto(there)
        assert reply.value.status == 403
        tab.get_by_text("look").click()
        expect(tab.get_by_text("the result")).to_be_visible()
        assert tab.url == url


def test_an_executed_notebook_is_saved_by_its_link(server: Running, tab: Page) -> None:
    worker = Worker(server)
    worker.hello()
    content = b'{"cells": [], "nbformat": 4}'
    spec = wire.JobSpec(kind="notebook", name="n.ipynb")
    job = submit(server, visibility="unlisted", spec=spec).job
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    value = wire.Parcel([wire.Segment("0" * 64, len(content), content)], format="raw")
    worker.complete(assign, result=wire.Result(value=value))
    worker.close()
    until(lambda: server.backend.store.job(assign.job).ended_at)
    tab.goto(f"{server.url}/results/{job.results_uuid}")
    with tab.expect_download() as download:
        tab.get_by_text("Download the executed notebook").click()
    assert download.value.path().read_bytes() == content
    assert download.value.suggested_filename == f"result-{job.id[:8]}.ipynb"
