"""Output widgets (``ipywidgets.Output``): what code prints and shows in one, and clears there.

A front end would pick it out of the output of a cell while that runs. Here it becomes the state of
the widget, as if the code had set ``outputs``: so it also holds for output of a callback after the
cell, in a page that is loaded again, and in a saved notebook. For whoever shows no widgets each is
a display in its place, too, which is brought up to date when the job ends.
"""

from __future__ import annotations

import html
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from jupyter_remote.wire import BESIDE_WIDGET
from jupyter_remote.worker.comms import update_of
from jupyter_remote.worker.outputs import Writer
from jupyter_remote.worker.ticker import Ticker

PERIOD_S = 0.1  # between two updates of one widget
TEXT_CHARS = 100_000  # of one of its texts: the newest; all of it is in the job's log
MOST_OUTPUTS = 200  # the newest
CUT = "… (the beginning is in the log of the job)\n"
VIEW = "application/vnd.jupyter.widget-view+json"
MODEL = "IPY_MODEL_"
DISPLAYS = ("display_data", "execute_result")

_ANSI = re.compile(r"\x1b\[[0-9;]*m")

Bundle = dict[str, Any]
Send = Callable[[str, Bundle], None]  # a message's type and content


class OutputWidgets:
    """Those of one job. Methods may be called from any thread."""

    def __init__(self, writer: Writer, send: Send) -> None:
        self._writer = writer
        self._send = send
        self._widgets: dict[str, _Widget] = {}
        self._children: dict[str, list[str]] = {}
        self._entered: list[_Widget] = []
        self._lock = threading.RLock()
        self._ticker = Ticker(PERIOD_S)

    def hear(self, msg_type: str, content: Bundle) -> None:
        """A comm message, of any widget and of whatever else there is."""
        id, data = content["comm_id"], content.get("data")
        state = data.get("state") if isinstance(data, dict) else None
        with self._lock:
            if isinstance(state, dict):
                self._learn(id, state)
            if msg_type == "comm_close" and (widget := self._widgets.pop(id, None)) is not None:
                self._leave(widget)
                widget.close()
            if msg_type == "comm_close":
                self._children.pop(id, None)

    def _learn(self, id: str, state: Bundle) -> None:
        if state.get("_model_name") == "OutputModel" and id not in self._widgets:
            self._widgets[id] = _Widget(id, self._send, self._ticker)
        if isinstance(state.get("children"), list | tuple):
            self._children[id] = [str(c).removeprefix(MODEL) for c in state["children"]]
        if (widget := self._widgets.get(id)) is None:
            return
        if "outputs" in state:
            widget.set(state["outputs"])
        if "msg_id" in state:
            self._enter(widget) if state["msg_id"] else self._leave(widget)

    def take(self, msg_type: str, content: Bundle) -> bool:
        """An output that is about to be sent; true: it is in a widget, or shown with one."""
        with self._lock:
            if msg_type == "update_display_data":
                return any(widget.update(content) for widget in self._widgets.values())
            if self._entered:
                return self._entered[-1].take(msg_type, content)
            view = content.get("data", {}).get(VIEW, {})
            shown = view.get("model_id", "")
            if msg_type not in DISPLAYS or not (within := list(self._within(shown))):
                return False
            if shown not in self._widgets:
                self._send(msg_type, content)
            for widget in within:
                widget.show(view if widget.id == shown else None)
            return True

    def text(self, name: str, text: str) -> None:
        """Printed while one is entered."""
        with self._lock:
            if self._entered:
                self._entered[-1].add({"output_type": "stream", "name": name, "text": text})

    def end(self, lasting: bool) -> None:
        """The job ends: everything as it stands. ``lasting``: its widgets go on in a session."""
        with self._lock:
            for widget in self._widgets.values():
                widget.settle()
            self._ticker.clear()
            self._entered = []
            self._writer.divert = None
            if not lasting:
                self._widgets, self._children = {}, {}

    def _enter(self, widget: _Widget) -> None:
        self._entered.append(widget)
        self._writer.divert = self.text

    def _leave(self, widget: _Widget) -> None:
        self._entered = [other for other in self._entered if other is not widget]
        self._writer.divert = self.text if self._entered else None

    def _within(self, id: str, seen: frozenset[str] = frozenset()) -> Iterator[_Widget]:
        """Output widgets in what is displayed: it alone, or those in a box."""
        if id in self._widgets:
            yield self._widgets[id]
        for child in self._children.get(id, ()):
            if child not in seen:
                yield from self._within(child, seen | {id})


class _Widget:
    """What is in one, as outputs of a notebook."""

    def __init__(self, id: str, send: Send, ticker: Ticker) -> None:
        self.id = id
        self._send = send
        self._ticker = ticker
        self._outputs: list[Bundle] = []
        self._clear_next = False
        self._view: Bundle | None = None
        self._shown = False  # as a display
        self._display_behind = self._state_behind = False
        self._said_at = 0.0

    def set(self, outputs: list[Bundle]) -> None:
        """Code set the state itself."""
        self._outputs, self._display_behind = list(outputs), True

    def add(self, output: Bundle) -> None:
        if self._clear_next:
            self.clear(wait=False)
        last = self._outputs[-1] if self._outputs else {}
        if output["output_type"] == "stream" and last.get("name") == output["name"]:
            output = output | {"text": last["text"] + output["text"]}
            self._outputs.pop()
        if len(output.get("text", "")) > TEXT_CHARS:
            newest = output["text"][-TEXT_CHARS // 2 :]  # not cut anew at each line
            output = output | {"text": CUT + newest[newest.find("\n") + 1 :]}
        self._outputs.append(output)
        if len(self._outputs) > 2 * MOST_OUTPUTS:
            cut = {"output_type": "stream", "name": "stderr", "text": CUT}
            self._outputs = [cut, *self._outputs[-MOST_OUTPUTS:]]
        self._changed()

    def clear(self, wait: bool) -> None:
        self._clear_next = wait
        if not wait:
            self._outputs = []
            self._changed()

    def take(self, msg_type: str, content: Bundle) -> bool:
        """Everything but errors, which are for the cell, too."""
        if msg_type == "clear_output":
            self.clear(bool(content.get("wait")))
        elif msg_type in DISPLAYS:
            self.add({"output_type": "display_data", **content})
        return msg_type == "clear_output" or msg_type in DISPLAYS

    def update(self, content: Bundle) -> bool:
        id = (content.get("transient") or {}).get("display_id")
        found = [o for o in self._outputs if (o.get("transient") or {}).get("display_id") == id]
        for output in found if id else []:
            output.update(data=content["data"], metadata=content["metadata"])
            self._changed()
        return bool(id and found)

    def show(self, view: Bundle | None) -> None:
        """Its display appears; ``view``: in the place of the widget, else beside what it is in."""
        self._view, self._shown = view, True
        self._say_display("display_data")

    def settle(self) -> None:
        """State and display as it stands."""
        self._say_state()
        if self._shown and self._display_behind:
            self._say_display("update_display_data")

    def close(self) -> None:
        """Its place is empty from now on."""
        self._ticker.remove(self.id)
        self._outputs, self._display_behind, self._state_behind = [], True, False
        self.settle()

    def look(self, at_once: bool) -> bool:
        """Called by the ticker."""
        if at_once or time.monotonic() - self._said_at >= PERIOD_S:
            self._say_state()
        return self._state_behind

    def _changed(self) -> None:
        self._display_behind = self._state_behind = True
        if not self.look(False):
            return
        self._ticker.add(self.id, self.look)

    def _say_state(self) -> None:
        if self._state_behind:
            self._state_behind, self._said_at = False, time.monotonic()
            self._send(
                "comm_msg", update_of(self.id, {"outputs": list(map(_saved, self._outputs))})
            )

    def _say_display(self, msg_type: str) -> None:
        self._display_behind = False
        data, metadata = bundle_of(self._outputs)
        transient: Bundle = {"display_id": f"jupyter-remote-{self.id}"}
        if self._view is None:
            transient[BESIDE_WIDGET] = True
        else:
            data = data | {VIEW: self._view}
        self._send(msg_type, {"data": data, "metadata": metadata, "transient": transient})


def without_capture(content: Bundle) -> Bundle:
    """A comm message that asks no front end to move outputs of a request into an Output widget."""
    data = content.get("data")
    state = data.get("state") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(state, dict) or not state.get("msg_id"):
        return content
    return {**content, "data": {**data, "state": {**state, "msg_id": ""}}}


def _saved(output: Bundle) -> Bundle:
    """As in a notebook's file."""
    return {name: value for name, value in output.items() if name != "transient"}


def bundle_of(outputs: list[Bundle]) -> tuple[Bundle, Bundle]:
    """Several outputs as one: data and metadata of a display."""
    if len(outputs) == 1 and "data" in outputs[0]:
        return outputs[0]["data"], outputs[0].get("metadata", {})
    data = {"text/plain": "".join(map(_plain, outputs))}
    if any("data" in output for output in outputs):
        data["text/html"] = "\n".join(map(_html, outputs))
    return data, {}


def _plain(output: Bundle) -> str:
    if "data" in output:
        return str(output["data"].get("text/plain", "")) + "\n"
    return str(output.get("text") or "\n".join(output.get("traceback", ())))


def _html(output: Bundle) -> str:
    data = output.get("data", {})
    for kind in ("text/html", "image/svg+xml"):
        if kind in data:
            return str(data[kind])
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            return f'<img src="data:{kind};base64,{data[kind].strip()}">'
    return f"<pre>{html.escape(_ANSI.sub('', _plain(output)))}</pre>"
