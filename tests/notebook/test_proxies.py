"""Comms of jobs in a kernel that is played: what ends and what comes late."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import comm
import pytest

from jupyter_remote.notebook.comms import Comms
from jupyter_remote.wire import Event
from jupyter_remote.wire.base import raw

PARENT = {"header": {"msg_id": "cell"}, "content": {"allow_stdin": False}}


class Kernel:
    """Takes what is sent to the front end."""

    iopub_socket = object()

    def __init__(self) -> None:
        self.session = self
        self.sent: list[tuple[str, Any, str]] = []

    def send(self, socket: Any, kind: str, content: Any, parent: Any, **rest: Any) -> None:
        self.sent.append((kind, content, parent["header"]["msg_id"]))

    def get_parent(self, channel: str) -> Any:
        return PARENT

    def _topic(self, kind: str) -> bytes:
        return kind.encode()


class Job:
    """A job or session; events come when told."""

    def __init__(self, id: str, kind: str, session: Job | None = None) -> None:
        self.id = id
        self.events: list[Event] = []
        self.told: list[Any] = []
        self.heard: list[Any] = []
        self.view = SimpleNamespace(kind=kind, session=session.id if session else "", attempt=1)
        self._session = session
        self.epoch = 1

    def session(self) -> Job | None:
        return self._session

    def on_event(self, callback: Any) -> None:
        for event in self.events:
            callback(event)
        self.told.append(callback)

    def send_comm(self, message: Any) -> None:
        self.heard.append(message)
        self.comm("comm_idle", {"id": message.id})

    def comm(self, kind: str, content: dict[str, Any]) -> Event:
        return self.say("comm", {"msg_type": kind, "content": content})

    def say(self, type: str, data: Any) -> Event:
        cursor = len(self.events) + 1
        event = Event(job=self.id, type=type, data=raw(data), epoch=self.epoch, cursor=cursor)
        self.events.append(event)
        for callback in self.told:
            callback(event)
        return event


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    before = dict(comm.get_comm_manager().comms)
    yield Kernel()
    comm.get_comm_manager().comms.clear()
    comm.get_comm_manager().comms.update(before)


@pytest.fixture
def session() -> Job:
    return Job("s", "session")


@pytest.fixture
def cell(session: Job) -> Job:
    return Job("c", "cell", session)


def opened(id: str = "w", **state: Any) -> dict[str, Any]:
    return {"comm_id": id, "target_name": "jupyter.widget", "data": {"state": state}}


def changed(id: str = "w", **state: Any) -> dict[str, Any]:
    return {"comm_id": id, "data": {"method": "update", "state": state}}


def moved(id: str, **state: Any) -> dict[str, Any]:
    return {"header": {"msg_id": f"to {id}"}, "content": changed(id, **state)}


def test_what_a_session_says_before_the_cell_is_shown_is_not_lost(kernel, session, cell):
    comms = Comms(kernel)
    comms.hear(cell, cell.comm("comm_open", opened("first")), PARENT)
    session.comm("comm_msg", changed("w", value=2))
    comms.hear(cell, cell.comm("comm_open", opened("w", value=1)), PARENT)
    assert comms.models["w"].state == {"value": 2}
    assert kernel.sent[-1][1] == changed("w", value=2)


def test_a_session_that_moved_to_another_machine_disconnects_what_it_had(kernel, session, cell):
    comms = Comms(kernel)
    comms.hear(cell, cell.comm("comm_open", opened("old", disabled=False)), PARENT)
    session.epoch = 2
    session.say("notice", {"text": "moved"})
    again = Job("c2", "cell", session)
    comms.hear(again, again.comm("comm_open", opened("new", disabled=False)), PARENT)
    assert [comms.models[id].gone for id in ("old", "new")] == [True, False]
    comms.said("old", "comm_msg", moved("old", value=1))
    comms.said("new", "comm_msg", moved("new", value=1))
    assert [message.id for message in session.heard] == ["to new"]
    states = [content["data"]["state"] for _, content, *_ in kernel.sent if "data" in content]
    assert states[-1] == {"disabled": True}


def test_what_a_callback_prints_is_of_the_message_that_it_answers(kernel, session, cell):
    comms = Comms(kernel)
    comms.hear(cell, cell.comm("comm_open", opened("w")), PARENT)
    answer = session.send_comm

    def send(message: Any) -> None:
        session.say("stream", {"name": "stdout", "text": "hello"})
        answer(message)
        session.say("stream", {"name": "stdout", "text": "of a thread"})

    session.send_comm = send
    comms.said("w", "comm_msg", moved("w", value=1))
    shown = [(content["text"], parent) for kind, content, parent in kernel.sent if kind == "stream"]
    assert shown == [("hello", "to w")]


def test_a_page_that_asks_for_a_state_gets_it_from_here(kernel, session, cell):
    comms = Comms(kernel)
    comms.hear(cell, cell.comm("comm_open", opened("w", value=1, disabled=False)), PARENT)
    session.say("done", {})
    content = {"comm_id": "w", "data": {"method": "request_state"}}
    comms.said("w", "comm_msg", {"header": {"msg_id": "asks"}, "content": content})
    kind, content, parent = kernel.sent[-1]
    assert (kind, parent) == ("comm_msg", "asks")
    assert content["data"]["state"] == {"value": 1, "disabled": True}
    assert session.heard == []


def test_a_comm_that_was_closed_over_there_is_gone_here(kernel, session, cell):
    comms = Comms(kernel)
    comms.hear(cell, cell.comm("comm_open", opened("w")), PARENT)
    assert "w" in comm.get_comm_manager().comms
    comms.hear(cell, cell.comm("comm_close", {"comm_id": "w", "data": {}}), PARENT)
    assert comms.models == {}
    assert "w" not in comm.get_comm_manager().comms
    assert kernel.sent[-1][0] == "comm_close"
