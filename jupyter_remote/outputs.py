"""What a job printed and displayed, as the outputs of a notebook cell. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from jupyter_remote.wire import BESIDE_WIDGET, Event

Output = dict[str, Any]

DISPLAYS = ("display_data", "execute_result")


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
        self._outputs: list[Output] = []
        self._clear_next = False
        self._counts: dict[str, tuple[list[str], int]] = {}  # where a stream's folded text is told

    def take(self, event: Event) -> bool:
        """Is it an output?"""
        type, data = event.type, event.data
        if type == "update_display_data":
            self._update(msgspec.json.decode(data))
        elif type == "clear_output":
            self._clear(wait=bool(msgspec.json.decode(data).get("wait")))
        elif type == "folded" and self._count_again(data):
            pass
        elif (output := _output_of(type, data)) is not None:
            self._add(output)
            self.size_bytes += len(bytes(data))
            if type == "folded":
                text = self._outputs[-1]["text"]
                self._counts[_stream_of(data)] = (text, len(text) - 1)
        else:
            return False
        return True

    def _count_again(self, data: msgspec.Raw) -> bool:
        """Each count of a stream replaces the one before: they count from the beginning."""
        if self._clear_next or _stream_of(data) not in self._counts:
            return False
        text, at = self._counts[_stream_of(data)]
        text[at] = _line("folded", data)
        return True

    def outputs(self) -> list[Output]:
        """After all updates and clearings."""
        return [_finished(output) for output in self._outputs]

    def _clear(self, wait: bool) -> None:
        if wait:
            self._clear_next = True
        else:
            self._outputs, self._counts, self._clear_next = [], {}, False
            self.size_bytes = 0

    def _add(self, output: Output) -> None:
        if self._clear_next:
            self._clear(wait=False)
        last = self._outputs[-1] if self._outputs else {}
        if output["output_type"] == "stream" and last.get("name") == output["name"]:
            last["text"] += output["text"]  # lists: joined once, at the end
        else:
            self._outputs.append(output)

    def _update(self, content: dict[str, Any]) -> None:
        id = content.get("transient", {}).get("display_id")
        for output in self._outputs:
            if id is not None and output.get("transient", {}).get("display_id") == id:
                output["data"] = content["data"]
                output["metadata"] = content.get("metadata", {})


def _output_of(type: str, data: msgspec.Raw) -> Output | None:
    if type == "stream":
        content = msgspec.json.decode(data)
        return {"output_type": "stream", "name": content["name"], "text": [content["text"]]}
    if type in DISPLAYS or type == "error":
        content = msgspec.json.decode(data)
        return {"output_type": type, **({"metadata": {}} if type in DISPLAYS else {}), **content}
    if type in ("notice", "folded"):
        return {"output_type": "stream", "name": "stderr", "text": [_line(type, data)]}
    return None


def _stream_of(data: msgspec.Raw) -> str:
    return str(msgspec.json.decode(data)["name"])


def _line(type: str, data: msgspec.Raw) -> str:
    content = msgspec.json.decode(data)
    if type == "notice":
        return f"{content['text']}\n"
    if displays := content.get("displays"):
        return f"… {displays:,} displays are left out: there were too many at a time\n"
    return (
        f"… {content['lines']:,} lines ({content['bytes']:,} bytes) of {content['name']} "
        "are folded; job.logs() has them\n"
    )


def _finished(output: Output) -> Output:
    beside = (output.get("transient") or {}).get(BESIDE_WIDGET)
    output = {k: v for k, v in output.items() if k != "transient"}
    if beside:
        output["metadata"] = {**output["metadata"], BESIDE_WIDGET: True}
    if output["output_type"] == "stream":
        output["text"] = "".join(output["text"])
    return output
