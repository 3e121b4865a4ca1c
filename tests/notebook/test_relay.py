from __future__ import annotations

import contextlib
import io

import pytest

from jupyter_remote.notebook.relay import BYTES_PER_S, MAX_TEXT, MESSAGES_PER_S, Relay
from jupyter_remote.notebook.sinks import KernelSink, LocalSink
from jupyter_remote.wire import Event, raw

JOB = "0123abcd-0000-4000-8000-000000000000"


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Cell:
    """A sink that remembers."""

    paced = True

    def __init__(self) -> None:
        self.shown: list[tuple] = []

    def stream(self, name, text):
        self.shown.append((name, text))

    def display(self, data, metadata, *, transient=None, update=False):
        self.shown.append(("update" if update else "display", data, transient))

    def result(self, data, metadata):
        self.shown.append(("result", data))

    def clear(self, wait):
        self.shown.append(("clear", wait))

    def error(self, ename, evalue, traceback):
        self.shown.append(("error", ename))


def event(type: str, **data: object) -> Event:
    return Event(job=JOB, type=type, data=raw(data))


def out(text: str, name: str = "stdout") -> Event:
    return event("stream", name=name, text=text)


@pytest.fixture
def cell() -> Cell:
    return Cell()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def relay(cell, time) -> Relay:
    return Relay(cell, clock=time, sleep=time.sleep)


def test_outputs_keep_their_order(relay, cell):
    relay.event(out("a\n"))
    relay.event(out("b\n"))
    relay.event(out("oops\n", "stderr"))
    relay.event(event("display_data", data={"text/plain": "1"}, metadata={}))
    relay.event(out("c\n"))
    relay.event(event("execute_result", data={"text/plain": "2"}, metadata={}))
    relay.flush()
    kinds = [shown[0] for shown in cell.shown]
    assert kinds == ["stdout", "stdout", "stderr", "display", "stdout", "result"]


def test_a_whole_line_is_shown_at_once(relay, cell):
    relay.event(out("a\n"))
    assert cell.shown == [("stdout", "a\n")]


def test_half_a_line_waits_a_moment_for_its_other_half(relay, cell, time):
    relay.event(out("a"))
    assert cell.shown == []
    assert relay.due() == pytest.approx(0.02)
    relay.event(out("\n"))
    assert cell.shown == [("stdout", "a\n")]


def test_a_flood_of_lines_becomes_few_messages(relay, cell, time):
    for _ in range(10_000):
        relay.event(out("x\n"))
        time.now += 0.0001
    relay.flush()
    assert sum(len(text) for _, text in cell.shown) == 20_000
    assert len(cell.shown) <= 52


def test_messages_stay_below_what_a_server_passes_on(relay, cell, time):
    begin = time.now
    for i in range(500):
        relay.event(event("display_data", data={"text/plain": str(i)}, metadata={}))
    assert len(cell.shown) == 500
    assert time.now - begin >= (500 - MESSAGES_PER_S) / MESSAGES_PER_S - 0.1


def test_bytes_stay_below_what_a_server_passes_on(relay, cell, time):
    begin = time.now
    relay.event(out("x" * 5_000_000))
    relay.flush()
    assert "".join(text for _, text in cell.shown) == "x" * 5_000_000
    assert max(len(text) for _, text in cell.shown) <= MAX_TEXT
    assert time.now - begin >= 5_000_000 / BYTES_PER_S - 1.5


def test_clearing_shows_the_card_again_before_what_comes_next(cell, time):
    relay = Relay(
        cell,
        cleared=lambda: cell.shown.append(("card",)),
        clock=time,
        sleep=time.sleep,
    )
    relay.event(out("old\n"))
    relay.event(event("clear_output", wait=True))
    assert cell.shown == [("stdout", "old\n")]
    relay.event(out("new\n"))
    relay.flush()
    assert cell.shown[1:] == [("clear", True), ("card",), ("stdout", "new\n")]
    relay.event(event("clear_output", wait=False))
    assert cell.shown[-2:] == [("clear", True), ("card",)]


def test_an_error_is_shown_only_where_it_is_not_raised(cell, time):
    failure = event("error", ename="E", evalue="", traceback=[])
    Relay(cell, clock=time, sleep=time.sleep).event(failure)
    assert cell.shown == []
    Relay(cell, show_errors=True, clock=time, sleep=time.sleep).event(failure)
    assert cell.shown == [("error", "E")]


def test_folded_output_says_how_much_and_where_it_is(relay, cell):
    for name, lines in (("stdout", 600), ("stdout", 1200), ("stderr", 30)):  # counts in all
        relay.event(event("folded", name=name, bytes=lines * 1024, lines=lines))
    assert cell.shown == [("stderr", "[too much to show all of it here: %remote logs 0123abcd]\n")]
    relay.end()
    assert cell.shown[1:] == [("stderr", "[1.2 MB, 1,230 lines left out here]\n")]


def test_updates_keep_their_display_id(relay, cell):
    relay.event(
        event(
            "update_display_data",
            data={"text/plain": "2"},
            metadata={},
            transient={"display_id": "d"},
        )
    )
    assert cell.shown == [("update", {"text/plain": "2"}, {"display_id": "d"})]


def test_unknown_events_are_left_alone(relay, cell):
    relay.event(event("comm", msg_type="comm_open"))
    relay.event(event("something new", x=1))
    assert cell.shown == []


def test_without_ipython_displays_are_text():
    sink = LocalSink(None)
    with contextlib.redirect_stdout(io.StringIO()) as text:
        sink.stream("stdout", "a\n")
        sink.display({"text/plain": "<Figure>", "image/png": "…"}, {})
        sink.result({"text/plain": "3"}, {})
    assert text.getvalue() == "a\n<Figure>\n3\n"


def test_a_kernel_gets_outputs_as_if_the_cell_had_sent_them():
    sent = []

    class Session:
        def send(self, socket, kind, content, parent, ident):
            sent.append((kind, content, parent, ident))

    class Kernel:
        session = Session()
        iopub_socket = object()

        def _topic(self, kind):
            return kind.encode()

        def get_parent(self, channel):
            return {"header": {"msg_id": "later"}}

    sink = KernelSink(Kernel(), {"header": {"msg_id": "first"}}, 7)
    sink.stream("stdout", "a")
    sink.result({"text/plain": "1"}, {})
    sink.display({"text/plain": "2"}, {}, transient={"display_id": "d"}, update=True)
    assert [(k, p["header"]["msg_id"]) for k, _, p, _ in sent] == [
        ("stream", "first"),
        ("execute_result", "first"),
        ("update_display_data", "later"),
    ]
    assert sent[1][1]["execution_count"] == 7
