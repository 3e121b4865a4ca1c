from __future__ import annotations

import contextlib
import io

import pytest

from jupyter_remote.notebook.collected import CollectedSink
from jupyter_remote.notebook.pace import SERVER, Pace
from jupyter_remote.notebook.relay import MAX_TEXT, Relay
from jupyter_remote.notebook.sinks import ENVELOPE_BYTES, KernelSink, LocalSink
from jupyter_remote.wire import WIDGET_TYPE, Event, raw

JOB = "0123abcd-0000-4000-8000-000000000000"


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Cell:
    """A sink that remembers what it was given, and when."""

    def __init__(self, time: Time) -> None:
        self.pace = Pace(SERVER, time)
        self.time = time
        self.shown: list[tuple] = []
        self.sent: list[tuple[float, int]] = []

    def _show(self, *shown) -> None:
        size = len(shown[1]) + ENVELOPE_BYTES if shown[0] in ("stdout", "stderr") else 0
        self.pace.spend(size)
        self.sent.append((self.time.now, size))
        self.shown.append(shown)

    def stream(self, name, text):
        self._show(name, text)

    def display(self, data, metadata, *, transient=None, update=False):
        self._show("update" if update else "display", data, transient)

    def result(self, data, metadata):
        self._show("result", data)

    def clear(self, wait):
        self._show("clear", wait)

    def error(self, ename, evalue, traceback):
        self._show("error", ename)

    def finish(self):
        pass

    def text(self, name: str) -> str:
        return "".join(text for kind, text, *_ in self.shown if kind == name)

    def busiest(self) -> tuple[int, int]:
        """The most messages and bytes that a Jupyter server saw within its three seconds."""
        windows = [[size for at, size in self.sent if 0 <= at - t < 3] for t, _ in self.sent]
        return max(map(len, windows)), max(map(sum, windows))


def event(type: str, **data: object) -> Event:
    return Event(job=JOB, type=type, data=raw(data))


def out(text: str, name: str = "stdout") -> Event:
    return event("stream", name=name, text=text)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def cell(time) -> Cell:
    return Cell(time)


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
    relay.settle()
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
    relay.settle()
    assert sum(len(text) for _, text in cell.shown) == 20_000
    assert len(cell.shown) <= 52


def display(text: str) -> Event:
    return event("display_data", data={"text/plain": text}, metadata={})


def test_messages_stay_below_what_a_server_passes_on(relay, cell, time):
    begin = time.now
    for i in range(6000):
        relay.event(display(str(i)))
    relay.settle()
    assert [data["text/plain"] for _, data, _ in cell.shown] == [str(i) for i in range(6000)]
    assert cell.busiest()[0] <= 3000
    assert time.now - begin < 6000 / 800


def test_bytes_stay_below_what_a_server_passes_on(relay, cell, time):
    begin = time.now
    relay.event(out("x" * 5_000_000))
    relay.settle()
    assert cell.text("stdout") == "x" * 5_000_000
    assert max(len(text) for _, text in cell.shown) <= MAX_TEXT
    assert cell.busiest()[1] <= 3_000_000
    assert time.now - begin < 7


def test_a_large_figure_does_not_hold_up_the_text_after_it(relay, cell, time):
    relay.event(display("x" * 20_000_000))
    relay.event(out("a\n"))
    relay.settle()
    assert time.now - 100 < 0.1


def test_streams_that_alternate_without_end_cost_no_time(relay, cell, time):
    """The order of single lines is kept while there is room, then that of short windows."""
    begin = time.now
    for i in range(1500):
        relay.event(out(f"{i}\n", "stderr" if i % 2 else "stdout"))
    relay.settle()
    assert time.now - begin < 0.5
    assert cell.text("stdout") == "".join(f"{i}\n" for i in range(0, 1500, 2))
    assert cell.text("stderr") == "".join(f"{i}\n" for i in range(1, 1500, 2))
    assert [text for _, text in cell.shown][:100] == [f"{i}\n" for i in range(100)]


def test_displays_stay_where_they_were_among_text_that_waits(relay, cell):
    for i in range(1000):
        relay.event(out(f"{i}\n"))
        relay.event(display(str(i)))
    relay.settle()
    kinds = [kind for kind, *_ in cell.shown]
    assert kinds == ["stdout", "display"] * 1000


def test_nothing_is_held_up_where_nothing_limits(time):
    sink = Cell(time)
    sink.pace, spend = None, sink.pace
    sink._show = lambda *shown: sink.shown.append(shown)
    relay = Relay(sink, clock=time, sleep=time.sleep)
    for i in range(5000):
        relay.event(display(str(i)))
    assert len(sink.shown) == 5000
    assert spend.wait_s() == 0


def test_what_waits_can_be_forgotten(relay, cell):
    for i in range(1000):
        relay.event(display(str(i)))
    relay.end()
    assert relay.is_waiting
    relay.drop("[the rest is not shown]")
    assert not relay.is_waiting
    assert len(cell.shown) < 600
    assert cell.shown[-1] == ("stderr", "[the rest is not shown]\n")


def test_of_what_waits_only_the_last_update_of_a_display_is_shown(relay, cell):
    for i in range(1000):
        update = {"text/plain": str(i)}
        relay.event(
            event("update_display_data", data=update, metadata={}, transient={"display_id": "d"})
        )
    relay.settle()
    assert len(cell.shown) < 600
    assert cell.shown[-1][1] == {"text/plain": "999"}


def test_what_waits_is_not_shown_only_to_be_cleared(relay, cell, time):
    for i in range(2000):
        relay.event(event("clear_output", wait=True))
        relay.event(display(str(i)))
    relay.settle()
    assert time.now - 100 < 1
    assert cell.shown[-2:] == [("clear", True), ("display", {"text/plain": "1999"}, {})]


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
    relay.settle()
    assert cell.shown[1:] == [("clear", True), ("card",), ("stdout", "new\n")]
    relay.event(event("clear_output", wait=False))
    assert cell.shown[-2:] == [("clear", True), ("card",)]


def test_without_a_card_clearing_is_as_the_code_says(relay, cell):
    relay.event(out("old\n"))
    relay.event(event("clear_output", wait=False))
    assert cell.shown[-1] == ("clear", False)


def test_a_line_of_ours_does_not_clear_the_output(relay, cell):
    relay.event(out("kept\n"))
    relay.event(event("clear_output", wait=True))
    relay.end()
    relay.note("x stayed over there")
    assert [kind for kind, *_ in cell.shown] == ["stdout", "stderr"]


def test_an_error_in_the_middle_of_a_cell_is_an_output(relay, cell):
    relay.event(event("error", ename="E", evalue="", traceback=[]))
    relay.event(out("goes on\n"))
    assert [kind for kind, *_ in cell.shown] == ["error", "stdout"]


def test_folded_output_says_how_much_and_where_it_is(relay, cell):
    for name, lines in (("stdout", 600), ("stdout", 1200), ("stderr", 30)):  # counts in all
        relay.event(event("folded", name=name, bytes=lines * 1024, lines=lines))
    assert cell.shown == [("stderr", "[too much to show all of it here: %remote logs 0123abcd]\n")]
    relay.end()
    assert cell.shown[1:] == [("stderr", "[1.2 MB, 1,230 lines left out here]\n")]


def test_displays_that_were_left_out_are_called_so_and_no_log_is_promised(relay, cell):
    relay.event(event("folded", name="display_data", bytes=9000, lines=0, displays=106))
    relay.end()
    (said,) = [text for _, text in cell.shown]
    assert said.startswith("[106 displays were left out")
    assert "lines" not in said
    assert "logs" not in said


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


def test_a_widget_is_shown_as_text_and_told_of_once(relay, cell):
    view = {"model_id": "m"}
    for number in range(2):
        data = {"text/plain": f"IntSlider({number})", WIDGET_TYPE: view}
        relay.event(event("display_data", data=data, metadata={}))
    relay.event(event("execute_result", data={"text/plain": "x", WIDGET_TYPE: view}))
    assert [shown[1] for shown in cell.shown if shown[0] in ("display", "result")] == [
        {"text/plain": "IntSlider(0)"},
        {"text/plain": "IntSlider(1)"},
        {"text/plain": "x"},
    ]
    assert cell.text("stderr").count("are not live here") == 1


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


def test_what_is_cleared_at_the_end_of_a_background_job_is_not_kept():
    shown: list[str] = []

    class Place:
        pace = None

        def display(self, data, metadata, *, transient=None, update=False) -> None:
            shown.append(data["text/plain"])

    sink = CollectedSink(Place())
    sink.stream("stdout", "epoch 1\n")
    sink.clear(wait=True)
    sink.finish()
    assert shown[-1] == ""
