"""What a job puts out: in which order it is sent, and when its log is kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from jupyter_remote.clock import FakeClock
from jupyter_remote.wire import Segment, WorkerEvent
from jupyter_remote.worker.channel import COMM_IDLE, Ask, Out, Text
from jupyter_remote.worker.folding import Bounds
from jupyter_remote.worker.job_output import JobOutput
from jupyter_remote.worker.outbox import Outbox
from jupyter_remote.worker.transfer import BadInput

SMALL = Bounds(bytes_per_s=100, tail_bytes=50, text_cost_bytes=1)
FLOOD = "x\n" * 200
LATER = 10.0  # there is room for the last lines again


class Said:
    """One job's output, and what the server would get of it: there is no connection."""

    def __init__(self, folder: Path, log_bytes: int = 10_000) -> None:
        clock = FakeClock()
        self.logs: list[str] = []
        self.problem = ""
        self._outbox = Outbox(
            SimpleNamespace(up=False),  # type: ignore[arg-type]
            "job",
            1,
            clock,
            lambda answer, at: None,
        )
        means: Any = SimpleNamespace(
            clock=clock, transfer=self, bounds=SMALL, work=folder, log_bytes=log_bytes
        )
        self.output = JobOutput("name", means, self._outbox)

    async def give_file(self, path: Path) -> Segment:
        if self.problem:
            raise BadInput(self.problem)
        self.logs.append(path.read_text())
        return Segment(digest="", size_bytes=path.stat().st_size)

    @property
    def events(self) -> list[WorkerEvent]:
        return self._outbox.close()

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    @property
    def notes(self) -> list[str]:
        return [msgspec.json.decode(e.data)["text"] for e in self.events if e.type == "notice"]

    @property
    def text(self) -> str:
        return "".join(
            msgspec.json.decode(e.data)["text"] for e in self.events if e.type == "stream"
        )


@pytest.fixture
def said(tmp_path: Path) -> Said:
    return Said(tmp_path)


def test_a_question_comes_after_what_was_said_before_it(said: Said):
    said.output.hear(Text("stdout", FLOOD + "your name?\n"), 0.0)
    assert not said.text.endswith("your name?\n")
    said.output.ask(Ask("? "), LATER)
    assert said.types[-1] == "ask"
    assert said.text.endswith("your name?\n")


def test_that_a_widget_was_served_is_said_after_what_its_callback_printed(said: Said):
    said.output.hear(Text("stdout", FLOOD + "clicked\n"), 0.0)
    said.output.hear(Out(msg_type=COMM_IDLE, content=b'{"id": "1"}'), LATER)
    assert said.types[-1] == "comm"
    assert said.text.endswith("clicked\n")


async def test_what_was_shown_as_a_whole_needs_no_log(said: Said):
    said.output.hear(Text("stdout", "hello\n"), 0.0)
    said.output.end(0.1)
    assert await said.output.give_log() is None
    assert (said.logs, said.notes) == ([], [])


async def test_the_log_has_what_was_folded(said: Said):
    said.output.hear(Text("stdout", FLOOD), 0.0)
    said.output.end(0.1)
    assert await said.output.give_log() is not None
    assert said.logs == [FLOOD]


async def test_the_log_has_what_is_shown_by_something_else(said: Said):
    said.output.hear(Text("stdout", "in an Output widget\n", elsewhere=True), 0.0)
    said.output.end(0.1)
    assert await said.output.give_log() is not None
    assert said.logs == ["in an Output widget\n"]
    assert said.text == ""


async def test_a_log_that_is_cut_is_kept_and_that_is_said_once(tmp_path: Path):
    said = Said(tmp_path, log_bytes=5)
    for _ in range(3):
        said.output.hear(Text("stdout", "hello\n"), 0.0)
    said.output.end(0.1)
    assert await said.output.give_log() is not None
    assert said.logs == ["hello"]
    assert said.notes == ["the log ends at its limit of 5 bytes"]


async def test_a_log_that_the_server_does_not_take_is_said(said: Said):
    said.problem = "it has no room"
    said.output.hear(Text("stdout", FLOOD), 0.0)
    said.output.end(0.1)
    assert await said.output.give_log() is None
    assert said.notes == ["the whole output could not be kept: it has no room"]
