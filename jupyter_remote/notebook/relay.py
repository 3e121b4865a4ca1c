"""A job's output events to a sink: in order, and below what a Jupyter server passes on.

jupyter_server drops what exceeds 1,000 messages or 1 MB a second; here consecutive texts of one
stream are joined for up to 20 ms, and what still exceeds the limits waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from jupyter_remote.notebook import words
from jupyter_remote.notebook.sinks import Sink
from jupyter_remote.wire import Event

JOIN_S = 0.02
MESSAGES_PER_S = 90.0
BYTES_PER_S = 900_000.0
MAX_TEXT = 256 * 1024  # of one stream message

OUTPUTS = frozenset(
    [
        "stream",
        "display_data",
        "execute_result",
        "update_display_data",
        "clear_output",
        "error",
        "folded",
        "notice",
    ]
)


class Pace:
    """Two token buckets of one second: messages and bytes."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._at = clock()
        self._messages = MESSAGES_PER_S
        self._bytes = BYTES_PER_S

    def spend(self, size_bytes: int) -> None:
        """Waits until a message of this size may go. A larger one than a second's worth goes
        when the bucket is full, and is paid off by those after it."""
        now = self._clock()
        passed, self._at = now - self._at, now
        self._messages = min(MESSAGES_PER_S, self._messages + passed * MESSAGES_PER_S)
        self._bytes = min(BYTES_PER_S, self._bytes + passed * BYTES_PER_S)
        short_bytes = min(size_bytes, BYTES_PER_S) - self._bytes
        wait = max((1 - self._messages) / MESSAGES_PER_S, short_bytes / BYTES_PER_S)
        self._messages -= 1
        self._bytes -= size_bytes
        if wait > 0:
            self._sleep(wait)


class Relay:
    """Shows the outputs of one job. Called from one thread at a time.

    Parameters
    ----------
    cleared: called after the cell was cleared, so that the card can be shown again.
    show_errors: show ``error`` events; where the error is raised in the cell they are not.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        cleared: Callable[[], None] = lambda: None,
        show_errors: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.sink = sink
        self.show_errors = show_errors
        self._cleared = cleared
        self._clock = clock
        self._pace = Pace(clock, sleep) if sink.paced else None
        self._name = ""
        self._texts: list[str] = []
        self._length = 0
        self._sent_at = 0.0
        self._began_at = 0.0  # of the text that waits
        self._clear_waits = False
        self._folded: dict[str, dict[str, Any]] = {}  # the latest count of each stream

    def event(self, event: Event) -> None:
        """Shows an event that is an output; others are left alone."""
        if event.type not in OUTPUTS:
            return
        data: dict[str, Any] = msgspec.json.decode(event.data)
        if event.type == "stream":
            self._stream(data["name"], data["text"])
            return
        self.flush()
        if event.type == "clear_output" and data.get("wait"):
            self._clear_waits = True
        elif event.type != "error" or self.show_errors:
            self._show(event, data)

    def due(self) -> float | None:
        """Seconds until :meth:`flush` should be called; None: nothing waits."""
        if not self._texts:
            return None
        since = max(self._sent_at, self._began_at if self._half() else 0.0)
        return max(0.0, since + JOIN_S - self._clock())

    def _half(self) -> bool:
        return not self._texts[-1].endswith("\n")

    def flush(self) -> None:
        """Sends the text that waits to be joined."""
        if not self._texts:
            return
        text, name = "".join(self._texts), self._name
        self._texts, self._length = [], 0
        for start in range(0, len(text), MAX_TEXT):
            part = text[start : start + MAX_TEXT]
            self._spend(len(part))
            self.sink.stream(name, part)
        self._sent_at = self._clock()

    def note(self, text: str) -> None:
        """A line of ours among the output."""
        self._stream("stderr", text.rstrip("\n") + "\n")
        self.flush()

    def _stream(self, name: str, text: str) -> None:
        if name != self._name:
            self.flush()
        self._name = name
        if not self._texts:
            self._began_at = self._clock()
        self._texts.append(text)
        self._length += len(text)
        # half a line waits for its other half: print() writes the text and the end apart
        if self._length >= MAX_TEXT or self.due() == 0.0:
            self.flush()

    def _spend(self, size_bytes: int) -> None:
        if self._clear_waits:
            self._clear_waits = False
            self._clear()
        if self._pace is not None:
            self._pace.spend(size_bytes)

    def _clear(self) -> None:
        # the card is shown again at once and is what the waiting clear waits for: no flicker
        self.sink.clear(True)
        self._cleared()

    def _show(self, event: Event, data: dict[str, Any]) -> None:
        match event.type:
            case "clear_output":
                self._clear_waits = False
                self._clear()
            case "folded":
                self._fold(event.job, data)
            case "notice":
                self.note(str(data.get("text", "")))
            case "error":
                self._spend(len(event.data))
                self.sink.error(data["ename"], data["evalue"], data.get("traceback", []))
            case "execute_result":
                self._spend(len(event.data))
                self.sink.result(data["data"], data.get("metadata", {}))
            case kind:
                self._spend(len(event.data))
                self.sink.display(
                    data["data"],
                    data.get("metadata", {}),
                    transient=data.get("transient") or {},
                    update=kind == "update_display_data",
                )

    def _fold(self, job: str, data: dict[str, Any]) -> None:
        """Said once while it goes on; how much it was is said at the end, and on the card."""
        if not self._folded:
            self.note(f"[too much to show all of it here: %remote logs {words.short(job)}]")
        self._folded[data["name"]] = data

    def end(self) -> None:
        """The job ended: sends what waits, and says how much was left out."""
        self.flush()
        size = words.size(sum(data["bytes"] for data in self._folded.values()))
        lines = sum(data.get("lines", 0) for data in self._folded.values())
        if self._folded:
            self.note(f"[{size}, {lines:,} lines left out here]")
