"""Small graphs of what a job uses, in the card and for its front ends."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from jupyter_remote.cards import graphs
from jupyter_remote.cards.render import card_json, html_of, text_of
from jupyter_remote.cards.state import CardState, render, state_of
from jupyter_remote.wire import Done, Event, GpuMetrics, JobView, Metrics, Money, raw

MB = 1024 * 1024
PLAIN = Metrics(
    at=1.0,
    cpu_percent=150.0,
    memory_bytes=300 * MB,
    peak_memory_bytes=400 * MB,
    peak_cpu_percent=200.0,
    disk_total_bytes=100,
    read_bytes_per_s=30.0 * MB,
    peak_read_bytes_per_s=40.0 * MB,
    peak_sent_bytes_per_s=2.0 * MB,
)
GPU = GpuMetrics("L4", 80.0, 3 * 1024 * MB, 24 * 1024 * MB, 71.0, 62.0, peak_percent=99.0, index=1)


def heard(*metrics: Metrics) -> CardState:
    money = Money(rate_ucredits_per_h=0, hold_ucredits=0, cost_ucredits=0)
    view = JobView(
        id="0123abcd", kind="cell", status="running", submitted_at=0.0, started_at=0.0, money=money
    )
    state = state_of(view)
    for each in metrics:
        state = render(state, Event(job="0123abcd", type="metrics", data=raw(each), at=each.at))
    return state


def series(count: int, **changes: object) -> list[Metrics]:
    return [replace(PLAIN, at=float(i), **changes) for i in range(count)]


def names(state: CardState) -> list[str]:
    return [line["name"] for line in card_json(state, 5.0)["graphs"]["lines"]]


def test_a_minute_of_samples_is_kept_and_each_once() -> None:
    state = heard(*series(100))
    again = render(state, Event(job="0123abcd", type="metrics", data=raw(PLAIN), at=1.0))
    assert [m.at for m in again.samples] == [float(i) for i in range(40, 100)]


def test_the_last_sample_comes_again_with_the_peaks() -> None:
    last = replace(PLAIN, at=2.0, peak_memory_bytes=900 * MB)
    state = heard(*series(3), last)
    assert [m.at for m in state.samples] == [0.0, 1.0, 2.0]
    assert state.samples[-1].peak_memory_bytes == 900 * MB


def test_without_a_gpu_there_is_nothing_of_one() -> None:
    state = heard(*series(2))
    assert names(state) == ["CPU", "memory", "disk", "network"]
    assert "GPU" not in html_of(state, 5.0)


@pytest.mark.parametrize("final", [False, True])
def test_what_has_never_moved_has_no_line_so_that_none_goes_at_the_end(final: bool) -> None:
    lines = graphs.graphs_of(series(2, peak_sent_bytes_per_s=0.0), final=final)
    assert [graph.name for graph in lines] == ["CPU", "memory", "disk"]


def test_each_gpu_has_its_use_and_its_memory() -> None:
    state = heard(*series(2, gpus=[GPU, replace(GPU, index=3)]))
    assert names(state)[4:] == ["GPU 1", "GPU 1 memory", "GPU 3", "GPU 3 memory"]
    page = html_of(state, 5.0)
    assert "3: L4 80 %, 62 °C, 71 W" in page
    assert "GPU memory 3 GB of 24 GB" in page


def test_a_gpu_that_comes_later_has_a_line_from_nothing() -> None:
    state = heard(*series(1), replace(PLAIN, at=2.0, gpus=[GPU]))
    line = next(g for g in graphs.graphs_of(state.samples, final=False) if g.name == "GPU 1")
    assert line.values == [0.0, 80.0]


def test_a_single_sample_is_a_line_of_text_and_more_are_pictures() -> None:
    assert "<svg" not in html_of(heard(*series(1)), 5.0)
    assert "CPU 150 %" in html_of(heard(*series(1)), 5.0)
    page = html_of(heard(*series(3)), 5.0)
    assert page.count("<svg") == 4
    assert page.count("CPU 150 %") == 3  # as text, for the pointer and for those who see none


def test_pictures_are_named_for_those_who_do_not_see_them() -> None:
    named = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "svg":
                named.append((dict(attrs)["role"], dict(attrs)["aria-label"]))

    Reader().feed(html_of(heard(*series(2)), 5.0))
    assert named[0] == ("img", "CPU 150 %")
    assert named[2] == ("img", "disk 30 MB/s read, 0 B/s written")


def test_lines_stay_inside_their_pictures() -> None:
    values = [0.0, 5.0, 1e12]
    state = heard(
        *(replace(PLAIN, at=float(i), received_bytes_per_s=v) for i, v in enumerate(values))
    )
    for points in re.findall(r'points="([^"]+)"', html_of(state, 5.0)):
        for x, y in (map(float, point.split(",")) for point in points.split()):
            assert 0 <= x <= graphs.WIDTH
            assert 0 <= y <= graphs.HEIGHT


def test_the_saved_card_keeps_the_last_picture_with_the_peaks() -> None:
    state = heard(*series(5, gpus=[GPU]))
    money = Money(rate_ucredits_per_h=0, hold_ucredits=0, cost_ucredits=0)
    last = replace(PLAIN, at=6.0, gpus=[replace(GPU, peak_power_w=75.0, peak_temperature_c=66.0)])
    view = JobView(
        id="0123abcd",
        kind="cell",
        status="completed",
        submitted_at=0.0,
        started_at=0.0,
        money=money,
        metrics=last,
    )
    ended = render(state, Event(job="0123abcd", type="done", data=raw(Done(job=view)), at=6.0))
    page = html_of(ended, 7.0)
    assert len(ended.samples) == 6
    assert "CPU 200 % at most" in page
    assert "peak memory 400 MB" in page
    assert "disk 40 MB/s read, 0 B/s written at most" in page
    assert "L4 99 %, 66 °C, 75 W at most" in page


def test_a_card_that_came_later_begins_with_the_latest() -> None:
    money = Money(rate_ucredits_per_h=0, hold_ucredits=0, cost_ucredits=0)
    view = JobView(
        id="0123abcd", kind="cell", status="running", submitted_at=0.0, money=money, metrics=PLAIN
    )
    told = card_json(state_of(view), 5.0)["graphs"]
    assert told["at"] == [1.0]
    assert told["lines"][0]["values"] == [150.0]


def test_a_terminal_has_one_line() -> None:
    line = text_of(heard(*series(3, gpus=[GPU])), 5.0).splitlines()[-1]
    assert line == (
        "  CPU 150 % · memory 300 MB · disk 30 MB/s read, 0 B/s written"
        " · L4 80 %, 62 °C, 71 W · 3 GB of 24 GB"
    )
