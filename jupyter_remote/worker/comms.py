"""What the widgets of a job say, on its way out: merged and bounded.

Code may change a widget ten thousand times a second, and a front end shows a few of them. Changes
of one widget that follow each other closely become one; the more there were, the longer that takes.
So what is stored is about its state, and grows slowly however long a job runs. A value that is null
again at once was a message to the front end (plotly says what has changed so): it is not merged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from jupyter_remote.amounts import size
from jupyter_remote.clock import Clock
from jupyter_remote.wire import COMM_BYTES, CommMessage, encode
from jupyter_remote.worker.channel import COMM_IDLE, Comm, Out
from jupyter_remote.worker.folding import Bucket

WINDOW_S = 0.05  # between two changes of one widget
LOOK_S = 0.01  # between two looks at all that wait
CHANGES = (2.0, 200.0)  # of one widget: a second, and at once
PROMPT = 20  # of those not merged: front ends take what follows an opening for a part of it
MESSAGES = (50.0, 5000.0)  # of a job that cannot be merged: opened, closed, the widgets' own
BYTES = (1024.0 * 1024, 4.0 * COMM_BYTES)  # of a job
MOST_OPEN = 5000
ON_THE_WAY = 100  # to the kernel
REPORT_S = 10.0  # between two words on what was left out

NULL = msgspec.Raw(b"null")

Path = tuple[str | int, ...]


class _Data(msgspec.Struct):
    method: str = ""
    state: dict[str, msgspec.Raw] = {}
    buffer_paths: list[Path] = []


class _Content(msgspec.Struct):
    comm_id: str
    data: _Data


_comm_id = msgspec.json.Decoder(type=msgspec.defstruct("_Id", [("comm_id", str)]))
_content = msgspec.json.Decoder(_Content)


class _Changes:
    """Of one widget."""

    def __init__(self) -> None:
        self.bucket = Bucket(*CHANGES)
        self.sent_at = float("-inf")
        self.state: dict[str, msgspec.Raw] = {}
        self.buffers: dict[Path, bytes] = {}
        self.metadata = b"{}"

    def add(self, data: _Data, out: Out) -> None:
        """A later value takes the place of an earlier one, with its buffers."""
        whole = {path[0] for path in data.buffer_paths if len(path) == 1}
        gone = whole | data.state.keys()
        self.buffers = {p: b for p, b in self.buffers.items() if p[0] not in gone}
        self.state = {n: v for n, v in self.state.items() if n not in whole} | data.state
        self.buffers.update(zip(data.buffer_paths, out.buffers, strict=False))
        self.metadata = out.metadata

    @property
    def waits(self) -> bool:
        return bool(self.state or self.buffers)

    def tells(self, data: _Data) -> bool:
        """Does this set null what waits with a value, or the other way?"""
        filled = {n for n, v in self.state.items() if v != NULL} | {p[0] for p in self.buffers}
        later = {n for n, v in data.state.items() if v != NULL} | {p[0] for p in data.buffer_paths}
        waiting, changed = filled | self.state.keys(), later | data.state.keys()
        return any((name in filled) != (name in later) for name in waiting & changed)

    def wait_s(self, now: float) -> float:
        level = self.bucket.level(now)
        if level > CHANGES[1] - PROMPT:
            return 0.0
        return max(self.sent_at + WINDOW_S - now, (1.0 - level) / CHANGES[0])

    def take(self, comm_id: str, now: float) -> Out:
        data = {"method": "update", "state": self.state, "buffer_paths": list(self.buffers)}
        out = Out(
            msg_type="comm_msg",
            content=encode({"comm_id": comm_id, "data": data}),
            metadata=self.metadata,
            buffers=list(self.buffers.values()),
        )
        self.state, self.buffers = {}, {}
        self.sent_at = now
        return out


class Comms:
    """Those of one attempt; on the agent's event loop.

    ``add`` takes what goes out, ``note`` a line for the user.
    """

    def __init__(
        self, clock: Clock, add: Callable[[Out], None], note: Callable[[str], None]
    ) -> None:
        self._clock = clock
        self._add = add
        self._note = note
        self._changes: dict[str, _Changes] = {}
        self._open: set[str] = set()
        self._messages = Bucket(*MESSAGES)
        self._bytes = Bucket(*BYTES)
        self._on_the_way = 0  # to a kernel that takes none
        self._left_out = 0
        self._said_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when it comes, by the loop's clock

    def hear(self, out: Out) -> None:
        """A message of a comm, or that one of the front end was served."""
        now = self._clock.monotonic()
        if out.msg_type == COMM_IDLE:
            self._flush(now)
            self._add(out)
        elif (content := _as_update(out)) is not None:
            changes = self._changes.setdefault(content.comm_id, _Changes())
            if changes.tells(content.data) and self._may_go(now):
                self._send(content.comm_id, changes, self._messages, now)
            changes.add(content.data, out)
            self._flush_due(now, content.comm_id)
        else:
            self._send_whole(out, now)

    async def pass_on(self, send: Callable[[Comm], Awaitable[None]], message: CommMessage) -> None:
        """The other way: what a front end says, to the kernel."""
        if self._on_the_way >= ON_THE_WAY:
            self._left_out += 1
            self._report(self._clock.monotonic())
            return
        self._on_the_way += 1
        try:
            await send(
                Comm(
                    id=message.id,
                    msg_type=message.msg_type,
                    content=message.content,
                    metadata=message.metadata,
                    buffers=message.buffers,
                )
            )
        finally:
            self._on_the_way -= 1

    def flush(self) -> None:
        """All that waits, at the end; says what was left out."""
        now = self._clock.monotonic()
        self._flush(now)
        self._report(now, at_once=True)

    def _send_whole(self, out: Out, now: float) -> None:
        try:
            comm_id: str = _comm_id.decode(out.content).comm_id  # type: ignore[attr-defined]
        except msgspec.MsgspecError:
            return  # nobody could be told of it
        opens = out.msg_type == "comm_open"
        if (opens and len(self._open) >= MOST_OPEN) or not self._may_go(now):
            self._left_out += 1
            self._report(now)
            return
        if opens:
            self._open.add(comm_id)
        self._flush(now, comm_id)
        self._pay(out, now)
        if out.msg_type == "comm_close":
            self._changes.pop(comm_id, None)
            self._open.discard(comm_id)

    def _may_go(self, now: float) -> bool:
        return self._messages.level(now) >= 1 and self._bytes.level(now) >= 0

    def _pay(self, out: Out, now: float) -> None:
        self._messages.spend(1.0, now)
        self._bytes.spend(_size(out), now)
        self._add(out)

    def _flush(self, now: float, only: str | None = None) -> None:
        for comm_id in list(self._changes) if only is None else [only]:
            changes = self._changes.get(comm_id)
            if changes is not None and changes.waits:
                self._send(comm_id, changes, changes.bucket, now)

    def _flush_due(self, now: float, only: str | None = None) -> None:
        waits = []
        for comm_id in self._changes if only is None else [only]:
            changes = self._changes[comm_id]
            if not changes.waits:
                continue
            wait = max(changes.wait_s(now), -self._bytes.level(now) / BYTES[0])
            if wait > 0:
                waits.append(wait)
            else:
                self._send(comm_id, changes, changes.bucket, now)
        if waits:
            self._flush_in(max(min(waits), LOOK_S))

    def _flush_in(self, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + wait_s
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._timer, self._due = loop.call_later(wait_s, self._on_time), due

    def _send(self, comm_id: str, changes: _Changes, bucket: Bucket, now: float) -> None:
        out = changes.take(comm_id, now)
        bucket.spend(1.0, now)
        if (bytes_ := _size(out)) > COMM_BYTES:  # each change was below it, all of them are not
            self._note(f"a widget's state of {size(bytes_)} is not shown")
            return
        self._bytes.spend(bytes_, now)
        self._add(out)

    def _on_time(self) -> None:
        self._timer = None
        self._flush_due(self._clock.monotonic())

    def _report(self, now: float, at_once: bool = False) -> None:
        if self._left_out and (at_once or now - self._said_at >= REPORT_S):
            self._note(f"{self._left_out:,} messages of widgets were left out: there are too many")
            self._left_out, self._said_at = 0, now


def _as_update(out: Out) -> _Content | None:
    if out.msg_type != "comm_msg":
        return None
    try:
        content = _content.decode(out.content)
    except msgspec.MsgspecError:
        return None  # a message of the widget's own
    data = content.data
    return content if data.method == "update" and all(data.buffer_paths) else None


def _size(out: Out) -> int:
    return len(out.content) + sum(map(len, out.buffers))


def update_of(comm_id: str, state: dict[str, Any]) -> dict[str, Any]:
    """The content of a message that changes a widget's state."""
    return {
        "comm_id": comm_id,
        "data": {"method": "update", "state": state, "buffer_paths": []},
    }
