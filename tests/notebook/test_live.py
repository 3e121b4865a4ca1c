"""A job's end while more of its output waits than a front end takes at once."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from jupyter_remote.notebook.live import Live, Pump, wait
from jupyter_remote.notebook.pace import Pace, Rate
from jupyter_remote.notebook.relay import Relay
from jupyter_remote.wire import Done
from tests.notebook.test_card import JOB, event, view
from tests.notebook.test_relay import Cell, Time, display

SLOW = Rate(20, 10, 1e6, 1e6)


class Drawn:
    """A card that remembers the statuses it showed, and what the cell had shown by then."""

    is_shown = True

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.seen: list[tuple[str, bool, int]] = []

    def draw(self, state, *, force=False):
        self.seen.append((state.status, state.relaying, len(self.cell.shown)))


@pytest.fixture
def cell() -> Cell:
    cell = Cell(Time())
    cell.pace = Pace(SLOW, time.monotonic)
    return cell


@pytest.fixture
def live(cell) -> Live:
    return Live(SimpleNamespace(id=JOB, view=view()), Relay(cell), Drawn(cell))


def flood(count: int):
    done = Done(job=view(status="completed", started_at=1.0, ended_at=2.0))
    return [*(display(str(i)) for i in range(count)), event("done", done)]


def test_the_card_says_at_once_that_it_ended_and_the_output_goes_on(live, cell):
    events = queue.SimpleQueue()
    for one in flood(25):
        events.put(one)
    assert wait(live, events, threading.Event()).job.status == "completed"
    assert len(cell.shown) == 25
    assert next(shown for status, _, shown in live.card.seen if status == "completed") < 15


def test_an_interrupt_after_the_end_leaves_the_rest_of_the_output(live, cell):
    events = queue.SimpleQueue()
    for one in flood(2000):
        events.put(one)
    show = cell._show

    def interrupting(*shown):
        show(*shown)
        if len(cell.shown) == 15:
            os.kill(os.getpid(), signal.SIGINT)

    cell._show = interrupting
    assert wait(live, events, threading.Event()).job.status == "completed"
    assert len(cell.shown) < 30
    assert "%remote logs 0123abcd" in cell.shown[-1][1]


def test_between_the_outputs_of_two_attempts_stands_why_and_when(live, cell):
    why = "ValueError: no; trying again in 2.1 s (retry 1 of 2)"
    waiting = event("status", view(status="queued", detail=why, attempt=1))
    for one in (display("first"), waiting, waiting, display("second")):
        live.handle(one)
    live.relay.settle()
    assert [kind for kind, *_ in cell.shown] == ["display", "stderr", "display"]
    assert cell.text("stderr") == f"[{why}]\n"


def test_the_steps_of_the_next_machine_stand_on_the_card_and_not_between_outputs(live, cell):
    coming = {"status": "queued", "attempt": 1}
    why = view(status="queued", attempt=1, detail="preempted", stage="waiting")
    live.handle(event("notice", {"text": "preempted"}))
    live.handle(event("status", why))
    for step, stage in (("starting", "connecting"), ("installing", "preparing environment")):
        told = view(**coming, stage=stage, detail=f"{step}: usually 90 s")
        live.handle(event("status", told))
    live.relay.settle()
    assert cell.text("stderr").count("preempted") == 1
    assert live.state.detail == "installing: usually 90 s"


def test_a_job_in_the_background_is_over_when_all_of_it_is_shown(live, cell):
    pump, over = Pump(), threading.Event()
    pump.add(live, over.set)
    for one in flood(25):
        pump.put(live, one)
    assert over.wait(20)
    assert len(cell.shown) == 25


def test_a_card_says_whether_the_last_output_is_below_it(live, cell):
    events = queue.SimpleQueue()
    for one in flood(25):
        events.put(one)
    wait(live, events, threading.Event())
    ended = [
        (relaying, shown) for status, relaying, shown in live.card.seen if status == "completed"
    ]
    assert ended[0][0]
    assert ended[-1] == (False, 25)
    assert all(relaying for relaying, shown in ended if shown < 25)
