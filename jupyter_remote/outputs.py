"""What a job printed and displayed, as the outputs of a notebook cell. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from jupyter_remote.amounts import size
from jupyter_remote.wire import BESIDE_WIDGET, Event

Output = dict[str, Any]

DISPLAYS = ("display_data", "execute_result")
UPDATED = "updated"  # in the fold's own ``transient``
WAITING = ("", "waiting")  # stages of a queued job; others: its machine is on its way


def too_much(job: str) -> str:
    """Said once, where it begins."""
    return f"[too much to show all of it here: %remote logs {job[:8]}]"


def dropped(displays: int) -> str:
    """Of displays that came faster than they can be shown; no log has them."""
    what = "1 display was" if displays == 1 else f"{displays:,} displays were"
    return f"{what} left out, too many at a time: show fewer, or keep them in a variable"


class LeftOut:
    """Counts of what is not shown. Each of a stream replaces the one before: they count from the
    beginning."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, Any]] = {}

    def take(self, job: str, count: dict[str, Any]) -> str:
        """What is to be said at once; mostly nothing."""
        name = count["name"]
        begins = name != "display_data" and not self._counts.keys() - {"display_data"}
        self._counts[name] = count
        return too_much(job) if begins else ""

    def lines(self) -> list[str]:
        """How much it was: said below the rest."""
        texts = [count for name, count in self._counts.items() if name != "display_data"]
        said = []
        if texts:
            lines = sum(count["lines"] for count in texts)
            said.append(f"[{size(sum(c['bytes'] for c in texts))}, {lines:,} lines left out here]")
        if (displays := self._counts.get("display_data")) is not None:
            said.append(f"[{dropped(displays['displays'])}]")
        return said


class Waits:
    """Why a job whose attempt ended waits for its next one: said between their outputs."""

    def __init__(self) -> None:
        self._attempt = 0
        self._detail = ""
        self._noticed = ""  # what the backend said last among the output

    def take(self, type: str, data: dict[str, Any]) -> str:
        """Of a ``status`` or a ``notice``: the line that is to be said; mostly none."""
        if type == "notice":
            self._noticed = str(data["text"])
            return ""
        before, self._attempt = self._detail, data.get("attempt", self._attempt)
        if "status" not in data:
            return ""
        self._detail = str(data.get("detail", ""))
        waits = data["status"] == "queued" and data.get("stage", "") in WAITING
        is_news = self._detail not in (before, self._noticed)
        return f"[{self._detail}]" if waits and self._attempt and is_news and self._detail else ""


def outputs_of(events: Iterable[Event]) -> list[Output]:
    """Outputs as nbformat has them, after all updates and clearings."""
    fold = Fold()
    for event in events:
        fold.take(event)
    return fold.outputs()


def text_of(events: Iterable[Event], name: str) -> str:
    """All that was written to ``stdout`` or ``stderr``, also what was cleared since."""
    written = (msgspec.json.decode(e.data) for e in events if e.type == "stream")
    return "".join(stream["text"] for stream in written if stream["name"] == name)


class Fold:
    """Takes one event after the other."""

    def __init__(self) -> None:
        self.size_bytes = 0  # about
        self.cleared = False  # once, or more often
        self._outputs: list[Output] = []
        self._clear_next = False
        self._left_out = LeftOut()
        self._waits = Waits()

    def take(self, event: Event) -> bool:
        """Is it an output?"""
        type, data = event.type, event.data
        if type in ("status", "notice", "folded"):
            return self._note(event)
        if type == "update_display_data":
            self._update(msgspec.json.decode(data))
        elif type == "clear_output":
            self._clear(wait=bool(msgspec.json.decode(data).get("wait")))
        elif (output := _output_of(type, data)) is not None:
            if self._clear_next:
                self._clear(wait=False)
            self._add(output)
            self.size_bytes += len(bytes(data))
        else:
            return False
        return True

    def _note(self, event: Event) -> bool:
        """Lines of ours among the output, which clear nothing."""
        data = msgspec.json.decode(event.data)
        text = self._waits.take(event.type, data) if event.type != "folded" else ""
        if event.type == "notice":
            text = str(data["text"])
        elif event.type == "folded":
            text = self._left_out.take(event.job, data)
        if text:
            self._add(_line(text))
            self.size_bytes += len(text)
        return bool(text) or event.type == "folded"

    def outputs(self) -> list[Output]:
        """After all updates and clearings."""
        return [_finished(output) for output in self._told()]

    def updated(self) -> list[int]:
        """Which of the outputs were changed in their place, and were others before."""
        told = enumerate(self._outputs)
        return [n for n, output in told if (output.get("transient") or {}).get(UPDATED)]

    def _told(self) -> list[Output]:
        """With how much was left out so far."""
        if not (said := self._left_out.lines()):
            return self._outputs
        shown = list(self._outputs)
        if shown and shown[-1].get("name") == "stderr":
            shown[-1] = {**shown[-1], "text": list(shown[-1]["text"])}
        for line in said:
            _append(shown, _line(line))
        return shown

    def _clear(self, wait: bool) -> None:
        if wait:
            self._clear_next = True
        else:
            self._outputs, self._clear_next, self.size_bytes = [], False, 0
            self.cleared = True

    def _add(self, output: Output) -> None:
        _append(self._outputs, output)

    def _update(self, content: dict[str, Any]) -> None:
        id = content.get("transient", {}).get("display_id")
        for output in self._outputs:
            if id is not None and output.get("transient", {}).get("display_id") == id:
                output["transient"][UPDATED] = True
                output["data"] = content["data"]
                output["metadata"] = content.get("metadata", {})


def _append(outputs: list[Output], output: Output) -> None:
    last = outputs[-1] if outputs else {}
    if output["output_type"] == "stream" and last.get("name") == output["name"]:
        last["text"] += output["text"]  # lists: joined once, at the end
    else:
        outputs.append(output)


def _output_of(type: str, data: msgspec.Raw) -> Output | None:
    if type == "stream":
        content = msgspec.json.decode(data)
        return {"output_type": "stream", "name": content["name"], "text": [content["text"]]}
    if type in DISPLAYS or type == "error":
        content = msgspec.json.decode(data)
        return {"output_type": type, **({"metadata": {}} if type in DISPLAYS else {}), **content}
    return None


def _line(text: str) -> Output:
    return {"output_type": "stream", "name": "stderr", "text": [text.rstrip("\n") + "\n"]}


def _finished(output: Output) -> Output:
    beside = (output.get("transient") or {}).get(BESIDE_WIDGET)
    output = {k: v for k, v in output.items() if k != "transient"}
    if beside:
        output["metadata"] = {**output["metadata"], BESIDE_WIDGET: True}
    if output["output_type"] == "stream":
        output["text"] = "".join(output["text"])
    return output
