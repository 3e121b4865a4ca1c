"""A job's output events to a sink: in order, and no faster than they would be passed on.

Texts of one stream that follow each other closely are joined. Where the pace is used up outputs
wait, and text that waits is one message a stream: the order between stdout and stderr is then
that of such windows, as it is of local code.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from jupyter_remote.notebook.sinks import ENVELOPE_BYTES, Sink
from jupyter_remote.outputs import LeftOut
from jupyter_remote.wire import BESIDE_WIDGET, WIDGET_TYPE, Event

JOIN_S = 0.02
JOIN_SHORT_S = 0.1  # where the pace is nearly used up
MOMENT_S = 0.0001  # a wait shorter than this is none
MAX_TEXT = 256 * 1024  # of one stream message

DISPLAYS = ("display_data", "execute_result", "update_display_data")
OUTPUTS = frozenset([*DISPLAYS, "stream", "clear_output", "error", "folded", "notice", "comm"])
SILENT = ("update_display_data", "comm")  # what may be of elsewhere in the notebook
NOT_LIVE = "[widgets of remote code are not live here: they are shown as text]"
DISCONNECTED = "[its widgets are disconnected: the job is over; in a session (-s) they stay live]"


class Comms(Protocol):
    """Widgets of the job."""

    @property
    def last(self) -> bool: ...

    def is_live(self, id: str) -> bool: ...

    def hear(self, event: Event) -> None: ...

    def over(self) -> bool: ...


@dataclass(slots=True)
class Output:
    """An output on its way: an event's type and data, or text of a stream."""

    type: str
    data: dict[str, Any] = field(default_factory=dict)
    name: str = ""  # of the stream
    texts: list[str] = field(default_factory=list)
    length: int = 0
    event: Event | None = None  # of a comm; None: they are over

    @property
    def size_bytes(self) -> int:
        """About what counts where streams are limited."""
        return min(self.length, MAX_TEXT) + ENVELOPE_BYTES if self.type == "stream" else 0

    @property
    def is_half_a_line(self) -> bool:
        return not self.texts[-1].endswith("\n")


class Relay:
    """Shows the outputs of one job. Called from one thread at a time.

    Parameters
    ----------
    results: show what the last expression of the cell gives; else only :meth:`show_result` does.
    signed: it is shown at the end, with what :meth:`sign` adds to its metadata.
    comms: takes messages of widgets; None: they are shown as text.
    cleared: called after the cell was cleared, to show the card again; None: there is none.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        results: bool = True,
        signed: bool = False,
        cleared: Callable[[], None] | None = None,
        comms: Comms | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.sink = sink
        self._results = results
        self._signed = signed
        self._result: Output | None = None  # not shown yet
        self._cleared = cleared
        self._comms = comms
        self._has_widgets = False  # that are live
        self._clock = clock
        self._sleep = sleep
        self._waiting: deque[Output] = deque()
        self._updates: dict[str, Output] = {}  # of those that wait, by the id of their display
        self._sent_at = 0.0
        self._began_at = 0.0  # of the text that waits
        self._clear_waits = False
        self._told_of_widgets = False
        self._ended = False
        self._left_out = LeftOut()

    @property
    def is_waiting(self) -> bool:
        """Is there something that was not shown yet?"""
        return bool(self._waiting)

    def event(self, event: Event) -> None:
        """Shows an event that is an output, at once or later; others are left alone."""
        if event.type not in OUTPUTS:
            return
        if event.type == "comm":
            if self._comms is not None:
                self._waiting.append(Output("comm", event=event))
                self.flush()
            return
        data: dict[str, Any] = msgspec.json.decode(event.data)
        match event.type:
            case "stream":
                self._text(data["name"], data["text"])
            case "clear_output" if data.get("wait"):
                self._clear_waits = True
            case "clear_output":
                self._clear(wait=False)
            case "folded":
                if text := self._left_out.take(event.job, data):
                    self.note(text)
            case "notice":
                self.note(str(data.get("text", "")))
            case _:
                self._display(Output(event.type, data))
        self.flush()

    def due(self) -> float | None:
        """Seconds until :meth:`flush` should be called; None: nothing waits."""
        if not self._waiting:
            return None
        first, pace = self._waiting[0], self.sink.pace
        paced = pace.wait_s(first.size_bytes) if pace is not None else 0.0
        wait = max(paced, self._joins_s(first))
        return wait if wait > MOMENT_S else 0.0

    def flush(self) -> None:
        """Sends what has waited long enough."""
        while self.due() == 0.0:
            self._send()
        if self._ended and not self._waiting:
            self.sink.finish()

    def note(self, text: str) -> None:
        """A line of ours among the output."""
        self._join("stderr", text.rstrip("\n") + "\n")
        if self._ended:
            self.settle()
        else:
            self.flush()

    def error(self, ename: str, evalue: str, traceback: list[str]) -> None:
        """What the job ended with, where that is not raised."""
        self._put(Output("error", {"ename": ename, "evalue": evalue, "traceback": traceback}))

    def show_result(self) -> None:
        """What the last expression gave, if that was held back."""
        if self._result is not None:
            self._put(self._result)
            self.settle()

    def sign(self, metadata: dict[str, Any]) -> None:
        """The job ended: what the last expression gave is shown, and says so."""
        if self._result is not None and self._signed:
            self._result.data["metadata"] = self._result.data.get("metadata", {}) | metadata
            if self._results:
                self._put(self._result)

    def end(self) -> None:
        """The job ended: says how much was left out. What waits goes on being sent."""
        for line in self._left_out.lines():
            self.note(line)
        if self._comms is not None and not self._comms.last:
            self._waiting.append(Output("comm"))
        self._ended = True
        self.flush()

    def settle(self) -> None:
        """Returns when all is shown."""
        while (wait := self.due()) is not None:
            self._sleep(wait) if wait else self._send()
        self.sink.finish()

    def drop(self, why: str) -> None:
        """Forgets what waits, and says so."""
        for output in self._waiting:
            if output.type == "comm":
                self._tell(output)
        self._waiting.clear()
        self._updates.clear()
        self.note(why)

    # -- what waits
    def _text(self, name: str, text: str) -> None:
        if self._clear_waits:
            self._clear(wait=True)
        self._join(name, text)

    def _join(self, name: str, text: str) -> None:
        if (output := self._open(name)) is None:
            output = Output("stream", name=name)
            self._waiting.append(output)
            self._began_at = self._clock()
        output.texts.append(text)
        output.length += len(text)

    def _open(self, name: str) -> Output | None:
        """Text that ``name`` can be joined to. Of two streams each has one where both wait."""
        for output in reversed(self._waiting):
            if output.type != "stream" or output.name == name:
                return output if output.type == "stream" else None
            if not self._is_short:
                return None
        return None

    @property
    def _is_short(self) -> bool:
        return self.sink.pace is not None and self.sink.pace.is_short

    def _display(self, output: Output) -> None:
        transient = output.data.get("transient") or {}
        if transient.pop(BESIDE_WIDGET, False) and self._comms is not None:
            return  # the widget itself is shown
        if output.type == "update_display_data":
            self._update(output)
        elif output.type == "execute_result" and (self._signed or not self._results):
            self._result = output
        else:
            self._put(output)

    def _put(self, output: Output) -> None:
        if self._clear_waits:
            self._clear(wait=True)
        self._updates.pop(_display_id(output), None)  # those after this one are for it
        self._waiting.append(output)

    def _update(self, output: Output) -> None:
        """One that waits is replaced: it would be seen for no time."""
        id = _display_id(output)
        if (waiting := self._updates.get(id)) is not None:
            waiting.data = output.data
            return
        self._waiting.append(output)
        if id:
            self._updates[id] = output

    def _clear(self, wait: bool) -> None:
        """What waits would be gone at once; updates may be of displays elsewhere."""
        self._clear_waits = False
        kept = [output for output in self._waiting if output.type in SILENT]
        self._waiting = deque([*kept, Output("clear_output", {"wait": wait})])

    def _joins_s(self, first: Output) -> float:
        """How long it still waits to be joined by more: half a line for its other half, as
        print() writes the text and the end apart; lines that follow each other closely."""
        alone = len(self._waiting) == 1
        if self._ended or first.type != "stream" or first.length >= MAX_TEXT:
            return 0.0
        short = self._is_short
        if not alone and not (short and all(o.type == "stream" for o in self._waiting)):
            return 0.0
        since = max(self._sent_at, self._began_at if first.is_half_a_line else 0.0)
        return max(0.0, since + (JOIN_SHORT_S if short else JOIN_S) - self._clock())

    # -- what goes
    def _send(self) -> None:
        output = self._waiting.popleft()
        if output.type == "stream":
            self._send_text(output)
            return
        if output.type == "comm":
            self._tell(output)
            return
        if output.type == "update_display_data":
            self._updates.pop(_display_id(output), None)
        if output.type in DISPLAYS:
            self._look_for_widget(output.data["data"])
        self._show(output.type, output.data)

    def _tell(self, output: Output) -> None:
        """A comm message goes to the front end."""
        assert self._comms is not None
        if output.event is None:
            if self._comms.over() and self._has_widgets:
                self._join("stderr", DISCONNECTED + "\n")
            return
        self._comms.hear(output.event)

    def _look_for_widget(self, data: dict[str, Any]) -> None:
        """A view of a widget that the front end does not know would be an error there."""
        if (view := data.get(WIDGET_TYPE)) is None:
            return
        if self._comms is not None and self._comms.is_live(str(view.get("model_id", ""))):
            self._has_widgets = True
            return
        del data[WIDGET_TYPE]
        if not self._told_of_widgets:
            self._told_of_widgets = True
            self._join("stderr", NOT_LIVE + "\n")

    def _send_text(self, output: Output) -> None:
        text = "".join(output.texts)
        if len(text) > MAX_TEXT:
            text, rest = text[:MAX_TEXT], text[MAX_TEXT:]
            output.texts, output.length = [rest], len(rest)
            self._waiting.appendleft(output)
        self.sink.stream(output.name, text)
        self._sent_at = self._clock()

    def _show(self, type: str, data: dict[str, Any]) -> None:
        match type:
            case "clear_output":
                # the card that is shown again at once is what a clear that waits is waiting for
                self.sink.clear(bool(data["wait"]) or self._cleared is not None)
                if self._cleared is not None:
                    self._cleared()
            case "error":
                self.sink.error(data["ename"], data["evalue"], data.get("traceback", []))
            case "execute_result":
                self.sink.result(data["data"], data.get("metadata", {}))
            case _:
                self.sink.display(
                    data["data"],
                    data.get("metadata", {}),
                    transient=data.get("transient") or {},
                    update=type == "update_display_data",
                )


def _display_id(output: Output) -> str:
    return str((output.data.get("transient") or {}).get("display_id", ""))
