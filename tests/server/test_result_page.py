"""Whatever a job printed, displayed or called itself, its page shows it and does nothing else."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from jupyter_remote import wire
from jupyter_remote.server.result_page import MOST_CHARS, absent_page, page_of, plain

from .payloads import DISPLAYS, SCRIPT, TEXTS

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
OURS = {
    *("html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "dl", "dt", "dd"),
    *("pre", "p", "img", "iframe", "details", "summary", "a"),
}


class Markup(HTMLParser):
    """Elements with their attributes, and all text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def result(*outputs: dict[str, Any], **changes: Any) -> wire.Results:
    values: dict[str, Any] = {
        "jobs_uuid": "j",
        "results_uuid": "r",
        "results_url": "http://127.0.0.1:1/results/r",
        "visibility": "unlisted",
        "status": "completed",
        "reason": "",
        "detail": "",
        "price": 0.0123,
        "simulated": True,
        "version": "1",
        "kind": "cell",
        "description": "training",
        "machine": "g5.xlarge",
        "submitted_at": 0.0,
        "started_at": 1.0,
        "ended_at": 3.5,
        "text": "",
        "names": [],
        "outputs": list(outputs),
        "cut": False,
        "error": None,
    }
    return wire.Results(**(values | changes))


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def display(data: dict[str, Any]) -> dict[str, Any]:
    return {"output_type": "display_data", "data": data, "metadata": {}}


def error(text: str) -> dict[str, Any]:
    return {"output_type": "error", "ename": text, "evalue": text, "traceback": [text]}


def assert_inert(markup: Markup) -> None:
    """Only elements of ours, no handlers, no address that leads elsewhere."""
    for tag, attributes in markup.elements:
        assert tag in OURS, tag
        assert not [name for name in attributes if name.startswith("on")], attributes
        assert (attributes.get("href") or "r/notebook") == "r/notebook"
        assert (attributes.get("src") or "data:image/").startswith("data:image/")
        assert "http-equiv" not in attributes
    for frame in markup.of("iframe"):
        assert frame["sandbox"] == ""
        assert "src" not in frame


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_shown_as_a_text_wherever_it_stands(name: str) -> None:
    text = TEXTS[name]
    failure = wire.RemoteFailure(ename=text, evalue=text, traceback=[text])
    page = page_of(
        result(
            stream(text),
            stream(text, text),
            **dict.fromkeys(("description", "status", "detail", "machine", "text", "kind"), text),
            names=[wire.NameInfo(text, text, 3)],
            error=failure,
        )
    )
    markup = Markup(page)
    assert_inert(markup)
    assert "iframe" not in dict(markup.elements)
    shown = " ".join(plain(text).split())
    assert " ".join(markup.text.split()).count(shown) >= 8
    assert_inert(Markup(page_of(result(error(text)))))


@pytest.mark.parametrize("name", DISPLAYS)
def test_a_display_is_a_picture_a_closed_frame_or_a_text(name: str) -> None:
    markup = Markup(page_of(result(display(DISPLAYS[name]))))
    assert_inert(markup)
    assert len(markup.of("iframe")) == name.startswith("HTML: ")
    assert len(markup.of("img")) == (name == "an SVG called PNG")


def test_html_stands_in_a_frame_with_its_text_below() -> None:
    data = {"text/html": "<table><tr><td>1 & 2</td></tr></table>", "text/plain": "1 < 2"}
    markup = Markup(page_of(result(display(data))))
    [frame] = markup.of("iframe")
    assert frame["srcdoc"] == data["text/html"]
    assert frame["style"] == "height:5rem"
    assert "1 < 2" in markup.text
    assert "scripts do not run" not in markup.text
    assert "scripts do not run" in Markup(page_of(result(display({"text/html": SCRIPT})))).text


def test_a_picture_is_inside_the_page() -> None:
    figure = display({"image/png": PIXEL + "\n", "text/plain": '<Figure "a">', "text/html": "x"})
    markup = Markup(page_of(result(figure)))
    assert markup.of("img") == [{"src": f"data:image/png;base64,{PIXEL}", "alt": '<Figure "a">'}]
    assert markup.of("iframe") == []


def test_the_page_tells_status_times_machine_and_price() -> None:
    text = Markup(page_of(result())).text
    for fact in ("training", "completed", "1970-01-01 00:00:03 UTC", "2.5 s", "$0.0123"):
        assert fact in text
    assert "g5.xlarge (simulated)" in text
    free = result(price=0.0, status="failed", reason="time_limit", started_at=None)
    assert "failed: time limit" in Markup(page_of(free)).text
    assert "free" in Markup(page_of(free)).text


def test_an_error_is_told_once() -> None:
    failure = wire.RemoteFailure(ename="ValueError", evalue="bad", traceback=["Traceback: bad"])
    assert Markup(page_of(result(error=failure))).text.count("Traceback: bad") == 1
    both = result(error("Traceback: bad"), error=failure)
    assert Markup(page_of(both)).text.count("Traceback: bad") == 1
    bare = wire.RemoteFailure(ename="ValueError", evalue="bad")
    assert "ValueError: bad" in Markup(page_of(result(error=bare))).text


def test_a_flood_is_cut_and_says_so() -> None:
    page = page_of(result(stream("x" * 10 * MOST_CHARS), cut=True))
    assert len(page) < 2 * MOST_CHARS
    text = Markup(page).text
    assert "The rest of this text is left out." in text
    assert "There was more output than is shown here." in text
    huge = display({"text/html": "<b>" * 10**6, "text/plain": "instead"})
    assert Markup(page_of(result(huge))).of("iframe") == []
    assert "instead" in Markup(page_of(result(huge))).text


def test_escapes_of_terminals_are_left_out() -> None:
    assert plain(TEXTS["escapes of a terminal"]) == "red link"
    assert plain("a\x1b[1;31mb\x1b[0m\x07\tc\r\nd\re\u202ef\x1b") == "ab\tc\nd\nef"


def test_a_notebook_can_be_downloaded() -> None:
    markup = Markup(page_of(result(kind="notebook")))
    assert markup.of("a") == [{"href": "r/notebook", "download": None}]
    assert Markup(page_of(result())).of("a") == []


def test_nothing_is_told_of_what_is_not_there() -> None:
    assert_inert(Markup(absent_page()))
    assert "no such result" in Markup(absent_page()).text
