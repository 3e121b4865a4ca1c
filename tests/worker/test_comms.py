"""What widgets say on its way out: merged, bounded, in order."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from jupyter_remote.clock import FakeClock
from jupyter_remote.wire import CommMessage
from jupyter_remote.worker.channel import COMM_IDLE, Comm, Out
from jupyter_remote.worker.comms import (
    BYTES,
    CHANGES,
    MESSAGES,
    MOST_OPEN,
    ON_THE_WAY,
    PROMPT,
    WINDOW_S,
    Comms,
)


class AskedClock(FakeClock):
    """Counts how often it is looked at."""

    asked = 0

    def monotonic(self) -> float:
        self.asked += 1
        return super().monotonic()


class Said:
    """What goes out, at a time that is set."""

    def __init__(self) -> None:
        self.outs: list[Out] = []
        self.notes: list[str] = []
        self.clock = AskedClock()
        self.comms = Comms(self.clock, self.outs.append, self.notes.append)

    def change(self, id: str, buffers: dict[str, bytes] | None = None, **state: Any) -> None:
        pieces = buffers or {}
        paths = [name.split(".") for name in pieces]
        data = {"method": "update", "state": state, "buffer_paths": paths}
        self.say("comm_msg", id, data, list(pieces.values()))

    def busy(self, id: str) -> None:
        """It has changed so often that all but one of its next changes are merged."""
        for _ in range(PROMPT - 1):
            self.change(id, before=True)
        self.outs.clear()

    def say(self, kind: str, id: str, data: Any = None, buffers: list[bytes] | None = None) -> None:
        content = msgspec.json.encode({"comm_id": id, "data": data or {}})
        self.comms.hear(Out(msg_type=kind, content=content, buffers=buffers or []))

    @property
    def contents(self) -> list[Any]:
        return [msgspec.json.decode(out.content) for out in self.outs]

    @property
    def states(self) -> list[Any]:
        return [content["data"]["state"] for content in self.contents]


def play(scenario: Callable[[Said], None]) -> Said:
    async def run() -> Said:
        said = Said()
        scenario(said)
        return said

    return asyncio.run(run())


def test_the_changes_of_an_opening_go_one_by_one_and_at_once():
    def scenario(said: Said) -> None:
        said.say("comm_open", "a", {"state": {"value": 0}})
        for value in range(PROMPT):
            said.change("a", value=value)
        assert len(said.outs) == 1 + PROMPT

    play(scenario)


def test_changes_that_follow_each_other_are_one_and_the_first_goes_at_once():
    def scenario(said: Said) -> None:
        said.busy("a")
        said.change("a", value=0)
        for value in range(1, 100):
            said.change("a", value=value, other=1)
        assert len(said.outs) == 1
        said.comms.flush()

    assert play(scenario).states == [{"value": 0}, {"value": 99, "other": 1}]


def test_a_value_that_is_null_again_at_once_is_a_message_and_none_is_lost():
    def scenario(said: Said) -> None:
        said.busy("a")
        said.change("a", value=0)
        for part in ("x", "y", "y"):
            said.change("a", told=part)
            said.change("a", told=None)
        said.change("a", {"told.data": b"1"}, told={})
        said.change("a", told=None)
        said.comms.flush()

    said = play(scenario)
    told = [state["told"] for state in said.states[1:]]
    assert told == ["x", None, "y", None, "y", None, {}, None]
    assert [b for out in said.outs for b in out.buffers] == [b"1"]


def test_a_flood_of_such_messages_is_merged_too_and_ends_with_the_state():
    def scenario(said: Said) -> None:
        for number in range(10 * int(MESSAGES[1])):
            said.change("a", told=number)
            said.change("a", told=None)
        said.comms.flush()

    said = play(scenario)
    assert len(said.outs) < MESSAGES[1] + CHANGES[1] + 2
    assert said.states[-1] == {"told": None}


async def two_changes(said: Said) -> list[Any]:
    """Of a widget that changes too often: the second waits a moment."""
    said.busy("a")
    said.change("a", value=0)
    said.change("a", value=1)
    said.clock.advance(WINDOW_S)
    async with asyncio.timeout(10):
        while len(said.outs) < 2:
            await asyncio.sleep(0.01)
    return said.states


def test_what_waits_goes_when_its_time_has_come():
    async def scenario() -> list[Any]:
        said = Said()
        return await two_changes(said)

    assert asyncio.run(scenario()) == [{"value": 0}, {"value": 1}]


def test_what_waits_for_a_moment_does_not_wait_for_a_widget_that_changes_too_often():
    async def scenario() -> list[Any]:
        said = Said()
        for value in range(int(CHANGES[1]) + 100):  # told at once, it owes for a minute
            said.change("often", value=value)
            said.comms.hear(Out(msg_type=COMM_IDLE, content=b'{"id":"m"}'))
        said.change("often", value=-1)
        looks = said.clock.asked
        async with asyncio.timeout(10):
            while said.clock.asked == looks:  # until it is looked at, for the next time in a minute
                await asyncio.sleep(0.01)
        return await two_changes(said)

    assert asyncio.run(scenario()) == [{"value": 0}, {"value": 1}]


def test_a_change_costs_no_more_where_there_are_many_widgets():
    def functions_called(widgets: int) -> int:
        said = Said()
        for number in range(widgets):
            said.say("comm_open", str(number))
            said.change(str(number), value=0)
        calls: Counter[str] = Counter()
        sys.setprofile(lambda frame, event, arg: calls.update([event]))
        try:
            for value in range(1000):
                said.change("0", value=value)
        finally:
            sys.setprofile(None)
        return calls["call"]

    async def scenario() -> tuple[int, int]:
        return functions_called(10), functions_called(MOST_OPEN)

    few, many = asyncio.run(scenario())
    assert 1000 < many < 2 * few


def test_a_widget_that_changes_for_hours_is_stored_a_few_times_a_second_at_most():
    def scenario(said: Said) -> None:
        for value in range(100 * 3600):
            said.change("a", value=value)
            said.clock.advance(0.01)
        said.comms.flush()

    said = play(scenario)
    assert len(said.outs) < CHANGES[1] + CHANGES[0] * 3600 + 2
    assert said.states[-1] == {"value": 100 * 3600 - 1}


def test_a_buffer_takes_the_place_of_what_was_there_before_and_the_other_way():
    def scenario(said: Said) -> None:
        said.busy("a")
        said.change("a", x=0)
        said.change("a", {"x": b"1", "y.z": b"2"}, y={})
        said.change("a", {"y": b"3"}, x=4)
        said.comms.flush()

    said = play(scenario)
    assert said.states[-1] == {"x": 4}
    assert said.contents[-1]["data"]["buffer_paths"] == [["y"]]
    assert said.outs[-1].buffers == [b"3"]


def test_messages_of_one_widget_stay_in_order():
    def scenario(said: Said) -> None:
        said.busy("a")
        said.say("comm_open", "a", {"state": {"value": 0}})
        said.change("a", value=1)
        said.change("a", value=2)
        said.say("comm_msg", "a", {"method": "custom", "content": "x"})
        said.change("a", value=3)
        said.say("comm_close", "a")

    said = play(scenario)
    kinds = [
        (out.msg_type, content["data"].get("state") or content["data"].get("content"))
        for out, content in zip(said.outs, said.contents, strict=True)
    ]
    assert kinds == [
        ("comm_open", {"value": 0}),
        ("comm_msg", {"value": 1}),
        ("comm_msg", {"value": 2}),
        ("comm_msg", "x"),
        ("comm_msg", {"value": 3}),
        ("comm_close", None),
    ]


def test_that_a_message_was_served_is_said_after_what_its_callback_changed():
    def scenario(said: Said) -> None:
        said.busy("a")
        said.change("a", value=1)
        said.change("a", value=2)
        said.comms.hear(Out(msg_type=COMM_IDLE, content=b'{"id":"m"}'))

    assert [out.msg_type for out in play(scenario).outs] == ["comm_msg", "comm_msg", COMM_IDLE]


def test_floods_that_cannot_be_merged_are_bounded_and_told_of():
    def scenario(said: Said) -> None:
        for _ in range(20_000):
            said.say("comm_msg", "a", {"method": "custom"})
        said.comms.flush()

    said = play(scenario)
    assert len(said.outs) == MESSAGES[1]
    assert "14,999 messages of widgets were left out" in said.notes[-1]


def test_a_job_has_so_many_widgets_and_no_more():
    def scenario(said: Said) -> None:
        for number in range(MOST_OPEN + 10):
            said.say("comm_open", str(number))
            said.clock.advance(1)

    said = play(scenario)
    assert len(said.outs) == MOST_OPEN
    assert said.notes


def test_bytes_are_bounded_and_the_newest_state_still_comes_at_the_end():
    def scenario(said: Said) -> None:
        for value in range(50):
            said.change("a", {"pixels": bytes(8 << 20)}, value=value)
            said.clock.advance(WINDOW_S)
        said.comms.flush()

    said = play(scenario)
    assert sum(len(b) for out in said.outs for b in out.buffers) < BYTES[1] + (24 << 20)
    assert said.states[-1] == {"value": 49}


def test_data_of_any_shape_passes_as_it_is():
    def scenario(said: Said) -> None:
        for data in ("text", [1, 2], {"method": "update", "state": "none"}, 5):
            said.say("comm_msg", "a", data)

    assert [c["data"] for c in play(scenario).contents] == [
        "text",
        [1, 2],
        {"method": "update", "state": "none"},
        5,
    ]


def test_a_kernel_that_takes_nothing_is_sent_a_hundred_messages_and_no_more():
    async def scenario() -> tuple[int, list[str]]:
        said, gate, sent = Said(), asyncio.Event(), []

        async def send(message: Comm) -> None:
            sent.append(message)
            await gate.wait()

        message = CommMessage(id="m", content={"comm_id": "a"}, buffers=[b"x"])
        tasks = [asyncio.create_task(said.comms.pass_on(send, message)) for _ in range(150)]
        await asyncio.wait(tasks[ON_THE_WAY:])
        gate.set()
        await asyncio.gather(*tasks)
        await said.comms.pass_on(send, message)
        said.comms.flush()
        return len(sent), said.notes

    sent, notes = asyncio.run(scenario())
    assert sent == ON_THE_WAY + 1
    assert "messages of widgets were left out" in notes[0]
