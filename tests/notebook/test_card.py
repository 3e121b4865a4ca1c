from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import msgspec
import pytest

from jupyter_remote.cards import words
from jupyter_remote.cards.render import bundle, card_json, html_of, plain, text_of
from jupyter_remote.cards.state import (
    MAX_BARS,
    CardState,
    at_completion,
    cost_now,
    depth,
    render,
    state_of,
)
from jupyter_remote.notebook.card import LIVE_AFTER_S, Card
from jupyter_remote.notebook.textcard import TextCard
from jupyter_remote.wire import (
    CARD_TYPE,
    Bar,
    Done,
    Event,
    GpuMetrics,
    JobView,
    Metrics,
    Money,
    raw,
)

JOB = "0123abcd-0000-4000-8000-000000000000"
USD_PER_H = 100_000_000
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</div></div><iframe src=javascript:alert(1)>",
    "&lt;b&gt; &amp; \x1b[31mred\x1b[0m",
    "\u202egnp.exe\u2066",
    "line\r\nline\x00\x07",
    "${7*7} {{7*7}} `x`",
    "x" * 10_000,
]


def view(**fields: object) -> JobView:
    base = {
        "id": JOB,
        "kind": "cell",
        "status": "queued",
        "stage": "waiting",
        "description": "train",
        "money": Money(rate_ucredits_per_h=USD_PER_H, hold_ucredits=USD_PER_H, cost_ucredits=0),
        "submitted_at": 1000.0,
    }
    return JobView(**{**base, **fields})


def event(type: str, data: object, at: float = 0.0) -> Event:
    return Event(job=JOB, type=type, data=raw(data), at=at)


def after(*events: Event, **fields: object) -> CardState:
    state = state_of(view(**fields))
    for one in events:
        state = render(state, one)
    return state


def running(*bars: Bar, **fields: object) -> CardState:
    fields = {"status": "running", "stage": "executing", "started_at": 1000.0} | fields
    return after(*(event("progress", bar) for bar in bars), **fields)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.depth = 0

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.depth += 1

    def handle_endtag(self, tag):
        self.depth -= 1


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_users_stays_text(text):
    state = running(
        Bar(id="a", n=1, total=2, description=text, unit=text, postfix=text),
        description=text,
        machine=text,
        detail=text,
    )
    for drawn in (state, msgspec.structs.replace(state, status="failed")):
        page = Tags()
        page.feed(html_of(drawn, 1010.0))
        assert set(page.tags) <= {"div", "span", "b", "code", "details", "summary"}
        assert page.attributes <= {
            "class",
            "style",
            "role",
            "aria-label",
            "aria-valuemin",
            "aria-valuemax",
            "aria-valuenow",
            "aria-valuetext",
        }
        assert page.depth == 0
        shown = text_of(drawn, 1010.0)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", shown)
        assert len(shown) < 5000


def test_a_card_is_one_bundle_that_needs_no_kernel():
    made = bundle(running(Bar(id="a", n=1, total=2)), 1010.0)
    assert set(made) == {CARD_TYPE, "text/html", "text/plain"}
    assert json.loads(json.dumps(made[CARD_TYPE]))["bars"][0]["fraction"] == 0.5
    assert "<script" not in made["text/html"]


def test_the_end_of_a_job_replaces_what_was_live():
    done = view(status="completed", stage="", started_at=1000.0, ended_at=1030.0)
    state = after(
        event("status", {"status": "running", "stage": "executing", "started_at": 1000.0}),
        event("done", Done(job=done)),
    )
    assert state.final
    assert "[completed] train" in text_of(state, 9999.0)
    assert "30 s" in text_of(state, 9999.0)


def test_a_status_without_a_stage_ends_the_stage_before():
    state = after(event("status", {"status": "running"}), stage="connecting")
    assert state.stage == ""


def test_why_a_job_failed_is_on_its_card():
    state = after(status="failed", reason="out_of_memory", stage="")
    assert "failed: it ran out of memory" in html_of(state, 0.0)
    assert "killed by SIGSEGV" in text_of(after(status="failed", detail="killed by SIGSEGV"), 0.0)


def test_a_simulated_machine_is_marked():
    money = Money(rate_ucredits_per_h=1, hold_ucredits=1, cost_ucredits=0, simulated=True)
    assert "g5.xlarge (simulated)" in text_of(after(machine="g5.xlarge", money=money), 0.0)


def test_that_most_of_the_cost_limit_is_spent_is_said_while_it_runs():
    state = msgspec.structs.replace(running(), warned_at=1010.0)
    for page in (text_of(state, 1036.0), html_of(state, 1036.0)):
        assert "80 % of what it may cost is spent" in page
    assert "80 % of what it may cost is spent" in card_json(state, 1036.0)["texts"]["left"]
    ended = msgspec.structs.replace(state, status="completed", ended_at=1040.0)
    assert "80 %" not in text_of(ended, 1040.0)


def test_a_new_attempt_has_spent_nothing_yet():
    state = msgspec.structs.replace(running(), warned_at=1010.0)
    view = {"submitted_at": 1.0, "kind": "cell", "status": "queued", "attempt": 1}
    money = {"rate_ucredits_per_h": 1, "hold_ucredits": 1, "cost_ucredits": 0}
    state = render(state, event("status", {**view, "money": money}))
    assert state.warned_at is None


@pytest.mark.parametrize(
    ("status", "saved", "resumes"),
    [("running", True, False), ("failed", True, True), ("cancelled", True, True)],
)
def test_what_is_saved_is_on_the_card_and_how_to_go_on_from_it(status, saved, resumes):
    state = msgspec.structs.replace(running(), checkpoint_at=1e9, checkpoint_bytes=2**20)
    text = text_of(msgspec.structs.replace(state, status=status), 1036.0)
    assert (", 1 MB" in text, "starts a new job from its checkpoint" in text) == (saved, resumes)
    assert ("%remote run --resume " in text) == resumes


def test_of_a_session_that_was_stopped_cells_and_calls_go_on():
    fields = {"checkpoint_at": 1e9, "kind": "session", "status": "failed"}
    state = msgspec.structs.replace(running(), **fields)
    assert "  --resume 0123abcd starts a cell or a call from its" in text_of(state, 1036.0)


def test_a_completed_job_says_nothing_of_a_checkpoint():
    state = msgspec.structs.replace(running(), checkpoint_at=1e9, status="completed")
    assert "checkpoint" not in text_of(state, 1036.0)


def test_the_cost_grows_with_time_and_stops_at_the_hold():
    state = running()
    assert cost_now(state, 1036.0) == pytest.approx(USD_PER_H / 100)
    assert cost_now(state, 1000.0 + 7200) == USD_PER_H
    assert cost_now(state, 900.0) == 0


def test_cost_at_completion_follows_the_outermost_open_bar():
    outer = Bar(id="o", n=25, total=100, elapsed_s=36.0, rate=0.7)
    inner = Bar(id="i", n=9, total=10, elapsed_s=1.0, parent="o")
    estimate = at_completion(running(outer, inner), 1036.0)
    assert estimate is not None
    low, expected, high = estimate.cost_ucredits
    assert expected == pytest.approx(USD_PER_H * 144 / 3600, rel=0.01)
    assert low < expected < high
    assert "at completion" in text_of(running(outer, inner), 1036.0)


def test_nothing_is_said_about_completion_without_a_total():
    assert at_completion(running(Bar(id="o", n=25, elapsed_s=36.0)), 1036.0) is None
    assert at_completion(running(), 1036.0) is None


def test_nested_bars_stand_below_their_parents():
    a, b = Bar(id="a", n=0, total=2), Bar(id="b", n=0, total=2)
    state = running(a, b, Bar(id="a1", n=0, parent="a"), Bar(id="a11", n=0, parent="a1"))
    assert [bar.id for bar in state.bars] == ["a", "a1", "a11", "b"]
    assert [depth(state.bars, bar) for bar in state.bars] == [0, 1, 2, 0]


def test_bars_that_are_each_others_parents_do_no_harm():
    state = running(Bar(id="a", n=0, parent="b"), Bar(id="b", n=0, parent="a"))
    assert [depth(state.bars, bar) for bar in state.bars] == [1, 1]


def test_a_bar_that_is_not_left_goes_when_it_closes():
    state = running(Bar(id="a", n=0), Bar(id="a", n=9, state="close", leave=False))
    assert state.bars == ()


def test_many_bars_stay_bounded_and_open_ones_stay():
    closed = [Bar(id=f"c{i}", n=1, total=1, state="close") for i in range(50)]
    state = running(Bar(id="open", n=1, total=9), *closed)
    assert len(state.bars) == MAX_BARS
    assert state.bars[0].id == "open"


@pytest.mark.parametrize(
    "bar",
    [
        Bar(id="a", n=5, total=0),
        Bar(id="a", n=-1, total=10),
        Bar(id="a", n=50, total=10),
        Bar(id="a", n=5, total=None, rate=0),
        Bar(id="a", n=5, total=10, rate=1e-12),
        Bar(id="a", n=1e18, total=1e19, rate=1e12),
    ],
)
def test_odd_bars_are_drawn(bar):
    made = bundle(running(bar), 1010.0)[CARD_TYPE]["bars"][0]
    assert made["fraction"] is None or 0 <= made["fraction"] <= 1
    assert made["text"]


def test_a_new_attempt_begins_with_no_bars():
    state = running(Bar(id="a", n=1), attempt=1)
    assert render(state, event("status", {"status": "running", "attempt": 2})).bars == ()


def test_clock_and_meter_stand_still_between_two_attempts():
    money = Money(rate_ucredits_per_h=USD_PER_H, hold_ucredits=USD_PER_H, cost_ucredits=7_000_000)
    why = "ValueError: no; trying again in 2.1 s (retry 1 of 2)"
    ended = view(status="queued", detail=why, attempt=1, started_at=1000.0, money=money)
    state = after(event("status", ended))
    assert text_of(state, 1010.0) == text_of(state, 5000.0)
    assert f"queued: {why}" in text_of(state, 1010.0)
    assert cost_now(state, 5000.0) == 7_000_000
    assert card_json(state, 5000.0)["ticks"] is False
    again = view(status="running", attempt=2, started_at=2000.0, money=money)
    state = render(state, event("status", again))
    assert cost_now(state, 2036.0) == 7_000_000 + USD_PER_H // 100
    assert "attempt 2 · 36 s" in text_of(state, 2036.0)


def test_what_hinders_a_running_job_is_told_until_it_is_over():
    state = render(running(), event("status", {"detail": "no word of its worker"}))
    assert "running: no word of its worker" in text_of(state, 1005.0)
    assert "running: executing" in text_of(render(state, event("status", {"detail": ""})), 1005.0)


def test_the_attempt_is_shown_on_free_machines_too():
    free = Money(rate_ucredits_per_h=0, hold_ucredits=0, cost_ucredits=0)
    state = running(attempt=2, money=free)
    assert "local · attempt 2 · 5.0 s · free" in text_of(state, 1005.0)


def test_live_figures_are_shown_and_of_an_ended_job_the_peak():
    gpu = GpuMetrics(name="T4", use_percent=71, memory_bytes=2**30, memory_total_bytes=2**34)
    metrics = Metrics(at=0, cpu_percent=182.4, memory_bytes=2**20, gpus=[gpu])
    live = running(metrics=metrics)
    assert "CPU 182 % · memory 1 MB · T4 71 % · 1 GB of 16 GB" in text_of(live, 1001.0)
    metrics = msgspec.structs.replace(metrics, peak_memory_bytes=3 * 2**20)
    ended = after(status="completed", metrics=metrics)
    assert "peak memory 3 MB" in text_of(ended, 1001.0)
    assert "CPU" not in text_of(ended, 1001.0)


def test_left_out_output_names_where_it_is():
    counts = [{"name": "stdout", "bytes": mb * 2**20, "lines": 9} for mb in (1, 2, 3)]  # in all
    state = after(*(event("folded", count) for count in counts))
    assert "3 MB of output left out here: %remote logs 0123abcd" in html_of(state, 0.0)


def test_displays_that_were_left_out_are_no_output_of_a_log():
    state = after(
        event("folded", {"name": "display_data", "bytes": 9000, "lines": 0, "displays": 106})
    )
    assert "106 displays were left out" in text_of(state, 0.0)
    assert "left out here" not in text_of(state, 0.0)


def test_a_trace_of_money_is_never_nothing():
    assert words.money(1) == "<$0.0001"
    assert words.money(0) == "$0"
    assert plain("a\n b\t\x1b") == "a b"


class Recorder:
    """Stands for the cell: what was published, and a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.shown: list[tuple[dict, bool]] = []

    def publish(self, data, metadata, *, transient, update=False):
        self.shown.append((data, update))

    def clock(self) -> float:
        return self.now


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def live_card(recorder, cancel=lambda force, after: None, **how):
    """A card of a job that goes on for long enough."""
    card = Card(recorder.publish, cancel, clock=recorder.clock, **how)
    recorder.now += LIVE_AFTER_S
    return card


def test_a_job_that_ends_at_once_gets_no_widget(recorder):
    for front in ("page", "view"):
        card = Card(recorder.publish, lambda force: None, front=front, clock=recorder.clock)
        assert card.draw(running()) == pytest.approx(LIVE_AFTER_S)
        assert card._widget is None
        card.draw(after(status="completed"))
    assert [update for _, update in recorder.shown] == [False, True] * 2


def test_a_live_card_says_now_and_then_that_its_cell_runs(recorder):
    said = []
    card = live_card(recorder, busy=lambda: said.append(recorder.now))
    for n in range(50):
        card.draw(running(Bar(id="a", n=n, total=50)))
        recorder.now += 0.1
    assert 4 <= len(said) <= 5
    card.draw(after(status="completed"))
    assert len(said) <= 5


def test_a_card_is_published_at_changes_of_status_only(recorder):
    card = live_card(recorder)
    state = running(Bar(id="a", n=0, total=100))
    for n in range(50):
        card.draw(render(state, event("progress", Bar(id="a", n=n, total=100))))
        recorder.now += 0.02
    assert len(recorder.shown) == 1
    card.draw(after(status="completed"))
    assert [update for _, update in recorder.shown] == [False, True]


def test_what_a_file_may_hold_refers_to_no_widget(recorder):
    card = live_card(recorder)
    card.draw(running())
    host = card._widget.state["host"]
    card.draw(after(status="completed"))
    live, ended = (data for data, _ in recorder.shown)
    assert set(live) == set(ended) == {CARD_TYPE, "text/html", "text/plain"}
    assert f'<div class="{host}">' in live["text/html"]
    assert "as of " in live["text/html"]
    assert host not in ended["text/html"]
    assert "as of " not in ended["text/html"]


def test_a_file_saved_in_the_middle_is_not_old(recorder):
    card = live_card(recorder)
    for n in range(300):
        card.draw(running(Bar(id="a", n=n, total=300)))
        recorder.now += 0.1
    assert len(recorder.shown) == 3
    assert recorder.shown[-1][0][CARD_TYPE]["bars"][0]["fraction"] > 0.6
    card.draw(after(status="completed"))


def test_where_each_output_stands_alone_the_card_is_a_widget_of_its_own(recorder):
    card = live_card(recorder, front="view")
    card.draw(running())
    card.draw(after(status="completed"))
    live, ended = (data for data, _ in recorder.shown)
    assert "application/vnd.jupyter.widget-view+json" in live
    assert set(ended) == {CARD_TYPE, "text/html", "text/plain"}


def test_a_widget_is_told_of_the_end_before_it_is_closed(recorder, monkeypatch):
    card = live_card(recorder)
    card.draw(running())
    said = []
    card._widget.observe(lambda change: said.append(change.new["status"]), "state")
    monkeypatch.setattr(card._widget, "close", lambda: said.append("closed"))
    card.draw(after(status="completed"))
    assert said == ["completed", "closed"]


def test_where_nobody_looks_there_is_no_widget(recorder):
    card = Card(recorder.publish, lambda force: None, front="still", clock=recorder.clock)
    card.draw(running(Bar(id="a", n=1, total=2)))
    assert card._widget is None
    assert card.draw(running(Bar(id="a", n=2, total=2))) == pytest.approx(10)
    card.draw(after(status="completed"))
    assert len(recorder.shown) == 2


def test_a_job_that_never_came_to_its_backend_names_no_command(recorder):
    state = msgspec.structs.replace(after(status="failed"), reason="refused", detail="no space")
    assert "failed: no space" in html_of(state, 0.0)
    assert "%remote" not in html_of(state, 0.0)


def test_a_spread_too_small_to_be_seen_is_not_said():
    assert words.interval((80_000, 80_100, 80_200)) == "$0.0008"


def test_a_widget_gets_at_most_ten_states_a_second(recorder):
    card = live_card(recorder)
    card.draw(running())
    states = []
    card._widget.observe(lambda change: states.append(change.new), "state")
    for n in range(200):
        recorder.now += 0.005
        card.draw(running(Bar(id="a", n=n, total=200)))
    assert 8 <= len(states) <= 11
    card.draw(after(status="completed"))


def test_what_waits_is_drawn_when_its_time_has_come(recorder):
    card = live_card(recorder)
    card.draw(running())
    state = running(Bar(id="a", n=1, total=2))
    recorder.now += 0.04
    assert card.draw(state) == pytest.approx(0.06)
    recorder.now += 0.07
    assert card.draw(state) is None
    assert card._widget.state["bars"][0]["fraction"] == 0.5
    card.draw(after(status="completed"))


def test_cancel_over_the_comm_reaches_the_job(recorder):
    asked = []
    card = live_card(recorder, lambda *how: asked.append(how))
    card.draw(running())
    for how in ({"force": True}, {"force_after_s": 30}, {"force_after_s": "soon"}):
        card._widget._handle_custom_msg({"event": "cancel", **how}, [])
    assert asked == [(True, None), (False, 30), (False, None)]
    card.draw(after(status="cancelled"))


def test_what_is_stopped_says_when_it_is_killed_and_costs_until_it_ended():
    money = Money(rate_ucredits_per_h=3600 * 10**6, hold_ucredits=10**8, cost_ucredits=0)
    state = after(status="cancelling", started_at=100.0, kill_at=130.0, money=money)
    assert text_of(state, 122.5).startswith(
        "[cancelling: killed in 8 s] train · local · 22 s · $0.22"
    )
    assert "cancelling: killed in 8 s" in html_of(state, 122.5)
    assert "[cancelling: killing…]" in text_of(state, 130.0)
    drawn = card_json(state, 122.5)
    assert (drawn["kill_at"], drawn["ticks"], drawn["texts"]["status"]) == (
        130.0,
        True,
        "cancelling",
    )
    ended = after(status="cancelling", stage="saving result", started_at=100.0, kill_at=130.0)
    assert "[cancelling: saving result]" in text_of(ended, 130.0)
    never = after(status="cancelling", started_at=100.0)
    assert "[cancelling: not killed while its code goes on]" in text_of(never, 122.5)
    ended = after(status="cancelled", detail="killed after 30 s", started_at=100.0, ended_at=130.0)
    assert text_of(ended, 999.0).startswith("[cancelled: killed after 30 s] train")


def test_another_time_of_the_kill_is_published_at_once(recorder):
    card = live_card(recorder)
    lines: list[str] = []
    text = TextCard(lines.append, recorder.clock)
    for kill_at in (recorder.now + 10, recorder.now + 60, None):
        state = after(status="cancelling", started_at=0.0, kill_at=kill_at)
        recorder.now += 0.2
        card.draw(state)
        text.draw(state)
    assert "killed in 10 s" in lines[0]
    assert "killed in 1 min 00 s" in lines[1]
    assert "not killed" in lines[2]
    assert "not killed" in recorder.shown[-1][0]["text/plain"]


def test_a_log_gets_a_line_a_status_and_a_bar_every_ten_percent(recorder):
    lines: list[str] = []
    card = TextCard(lines.append, recorder.clock)
    for n in range(1001):
        card.draw(running(Bar(id="a", n=n, total=1000, description="step")))
    assert lines[0].startswith("step: ")
    assert 10 <= len(lines) <= 13
    assert "100 %" in lines[-1]
    card.draw(after(status="completed"))
    assert lines[-1].startswith("[completed] train")


def test_a_slow_bar_gets_a_line_every_ten_seconds(recorder):
    lines: list[str] = []
    card = TextCard(lines.append, recorder.clock)
    for n in range(100):
        card.draw(running(Bar(id="a", n=n)))
        recorder.now += 1
    assert 10 <= len(lines) <= 12
