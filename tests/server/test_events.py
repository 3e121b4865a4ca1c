"""Event streams: no gap and no repeat, whatever breaks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import msgspec
import pytest

from jupyter_remote import wire
from jupyter_remote.http import Http
from jupyter_remote.server import hub as hubs
from jupyter_remote.server.hub import Hub, Topic, frame_of

from .conftest import LIMIT_S, Running, Worker, submit


def event(cursor: int, text: str = "x") -> wire.Event:
    data = wire.raw({"name": "stdout", "text": text})
    return wire.Event(job="j", type="stream", data=data, cursor=cursor)


TOPIC = Topic("o", "c")


class Log:
    """Plays the store: what was committed."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.events: list[wire.Event] = []
        self.reads = 0

    def add(self, *events: wire.Event) -> None:
        self.events += [e for e in events if e.cursor]
        self.hub.publish("o", "c", "j", events)

    async def read(self, after: int, limit: int) -> list[wire.Event]:
        self.reads += 1
        page = [e for e in self.events if e.cursor > after][:limit]
        await asyncio.sleep(0)  # others may publish between the read and its return
        return page


def cursors(frames: bytes) -> list[int]:
    return [int(line[4:]) for line in frames.split(b"\n") if line.startswith(b"id: ")]


async def take(stream: AsyncIterator[bytes], count: int) -> list[int]:
    seen: list[int] = []
    while len(seen) < count:
        seen += cursors(await asyncio.wait_for(anext(stream), LIMIT_S))
    return seen


async def test_what_is_stored_comes_first_and_then_what_is_new() -> None:
    log = Log(Hub())
    log.add(*map(event, range(1, 1201)))
    stream = log.hub.stream(TOPIC, 3, log.read)
    first = await take(stream, 600)
    log.add(event(1201))
    assert first + await take(stream, 1198 - len(first)) == list(range(4, 1202))
    await stream.aclose()
    assert log.hub.listeners == 0


async def test_events_published_while_the_store_is_read_come_once() -> None:
    log = Log(Hub())
    log.add(event(1))
    read = log.read

    async def racing(after: int, limit: int) -> list[wire.Event]:
        if log.reads == 0:
            log.add(event(2))
        page = await read(after, limit)
        if len(log.events) == 2:
            log.add(event(3))
        return page

    stream = log.hub.stream(TOPIC, 0, racing)
    assert await take(stream, 3) == [1, 2, 3]
    log.add(event(4))
    assert await take(stream, 1) == [4]


async def test_a_slow_listener_is_bounded_and_misses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hubs, "QUEUED_FRAMES", 10)
    log = Log(Hub())
    stream = log.hub.stream(TOPIC, 0, log.read)
    log.add(event(1))
    assert await take(stream, 1) == [1]
    for cursor in range(2, 5000):
        log.add(event(cursor))
    assert await take(stream, 4998) == list(range(2, 5000))


async def test_transient_events_go_to_listeners_without_a_cursor() -> None:
    log = Log(Hub())
    stream = log.hub.stream(TOPIC, 0, log.read)
    log.add(event(1))
    assert await take(stream, 1) == [1]
    log.add(event(0, "progress"))
    frame = await asyncio.wait_for(anext(stream), LIMIT_S)
    assert frame.startswith(b"data: ")
    assert b"progress" in frame


async def test_other_owners_and_clients_hear_nothing() -> None:
    hub = Hub()
    mine = hub.subscribe(TOPIC)
    others = [hub.subscribe(Topic("o", "d")), hub.subscribe(Topic("p", "c"))]
    hub.publish("o", "c", "j", [event(1)])
    assert [len(s.take()) for s in (mine, *others)] == [1, 0, 0]


async def test_closing_the_hub_ends_streams() -> None:
    log = Log(Hub())
    stream = log.hub.stream(TOPIC, 0, log.read)
    log.add(event(1))
    await take(stream, 1)
    log.hub.close()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(stream), LIMIT_S)


def test_line_ends_in_a_workers_json_do_not_break_the_frame() -> None:
    pretty = wire.Event(job="j", type="x", data=msgspec.Raw(b'{\r\n "a":\n 1}'), cursor=1)
    frame = frame_of(pretty)
    assert frame.count(b"\n") == 3
    data = frame.split(b"\n")[1].removeprefix(b"data: ")
    assert msgspec.json.decode(msgspec.json.decode(data, type=wire.Event).data) == {"a": 1}


def test_a_client_hears_its_jobs_to_the_end(server: Running, worker: Worker) -> None:
    id = submit(server, client="me").job.id
    worker.run()
    heard = []
    for one in server.http.events("/v1/events", {"client": "me", "after": 0}):
        heard.append(one.type)
        if one.type == "done":
            done = msgspec.json.decode(one.data, type=wire.Done)
            break
    assert heard[0] == "status"
    assert (done.job.id, done.job.status) == (id, "completed")


def test_resuming_a_stream_gives_no_gap_and_no_repeat(server: Running, worker: Worker) -> None:
    id = submit(server, client="me").job.id
    assign = worker.pull(wire.Assign)
    worker.start(assign)

    def work() -> None:
        for seq in range(1, 301):
            worker.print(assign, seq, f"{seq}\n")
        worker.complete(assign)

    working = threading.Thread(target=work)
    working.start()
    heard: list[wire.Event] = []
    while not heard or heard[-1].type != "done":
        after = heard[-1].cursor if heard else 0
        http = Http(server.url, server.token)  # a new connection after every few events
        for count, one in enumerate(http.events("/v1/events", {"client": "me", "after": after})):
            heard.append(one)
            if count >= 7 or one.type == "done":
                break
        http.close()
    working.join()
    numbers = [e.cursor for e in heard]
    assert numbers == sorted(set(numbers))
    texts = [msgspec.json.decode(e.data)["text"] for e in heard if e.type == "stream"]
    assert "".join(texts) == "".join(f"{n}\n" for n in range(1, 301))
    page = read_page(server, id, 0)
    assert [e.cursor for e in page.events] == numbers
    assert page.cursor == numbers[-1]


def test_a_page_of_large_outputs_is_cut_short_and_misses_nothing(
    server: Running, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_remote.store.events.PAGE_BYTES", 1000)
    id = submit(server, client="me").job.id
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    for seq in range(1, 11):
        worker.print(assign, seq, str(seq % 10) * 600)
    worker.complete(assign)
    heard: list[str] = []
    pages, cursor = 0, 0
    while (page := read_page(server, id, cursor)).events:
        pages, cursor = pages + 1, page.cursor
        heard += [msgspec.json.decode(e.data)["text"][0] for e in page.events if e.type == "stream"]
    assert "".join(heard) == "1234567890"
    assert pages >= 5
    streamed = []
    for one in server.http.events("/v1/events", {"client": "me", "after": 0}):
        streamed.append(one)
        if one.type == "done":
            break
    assert sum(e.type == "stream" for e in streamed) == 10


def read_page(server: Running, id: str, after: int) -> wire.EventPage:
    return server.http.call(
        "GET",
        f"/v1/jobs/{id}/events",
        reply=wire.EventPage,
        params={"after": after},
        headers={"accept": "application/json"},
    )


@pytest.mark.alone
def test_an_event_reaches_the_listener_soon_after_its_commit(
    server: Running, worker: Worker
) -> None:
    submit(server, client="me")
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    sent: dict[str, float] = {}
    delays: list[float] = []
    listening = threading.Event()

    def listen() -> None:
        for one in server.http.events("/v1/events", {"client": "me", "after": 0}):
            listening.set()
            if one.type == "stream":
                delays.append(time.perf_counter() - sent[msgspec.json.decode(one.data)["text"]])
            if one.type == "done":
                return

    listener = threading.Thread(target=listen)
    listener.start()
    assert listening.wait(LIMIT_S)
    for seq in range(1, 51):
        sent[str(seq)] = time.perf_counter()
        worker.print(assign, seq, str(seq))
    worker.complete(assign)
    listener.join(LIMIT_S)
    assert len(delays) == 50
    assert sorted(delays)[25] < 0.05  # generous: the machine may be busy
