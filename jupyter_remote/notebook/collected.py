"""Outputs of a job in the background, for programs that take outputs of the present cell alone
(nbclient): one display, which finds its place by its id as the card does."""

from __future__ import annotations

import html
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from jupyter_remote.client.receipts import METADATA
from jupyter_remote.notebook.pace import Pace
from jupyter_remote.notebook.sinks import Bundle, KernelSink

PERIOD_S = 1.0
BYTES_PER_S = 1_000_000  # the display is sent whole each time
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_IMAGES = ("image/png", "image/jpeg", "image/gif")


class CollectedSink:
    """Made while the cell runs, below which the outputs are to be."""

    def __init__(self, sink: KernelSink, clock: Callable[[], float] = time.monotonic) -> None:
        self._sink = sink
        self._clock = clock
        self._id = f"jupyter-remote-{uuid.uuid4().hex}"
        self._outputs: list[tuple[str, Bundle]] = []  # display id or stream, and its bundle
        self._metadata: Bundle = {}
        self._size = 0
        self._due_at = 0.0
        self._shown = True
        sink.display({"text/plain": ""}, {}, transient={"display_id": self._id})

    @property
    def pace(self) -> Pace | None:
        return self._sink.pace

    def stream(self, name: str, text: str) -> None:
        if self._outputs and self._outputs[-1][0] == name:
            text = self._outputs.pop()[1]["text/plain"] + text
        self._add(name, {"text/plain": text})

    def display(
        self,
        data: Bundle,
        metadata: Bundle,
        *,
        transient: Bundle | None = None,
        update: bool = False,
    ) -> None:
        id = (transient or {}).get("display_id", "")
        mine = [i for i, (own, _) in enumerate(self._outputs) if id and own == f"id {id}"]
        if update and not mine:
            self._sink.display(data, metadata, transient=transient, update=True)
        elif update:
            for i in mine:
                self._outputs[i] = (f"id {id}", data)
            self._show()
        else:
            self._add(f"id {id}", data)

    def result(self, data: Bundle, metadata: Bundle) -> None:
        self._metadata = {key: metadata[key] for key in (METADATA,) if key in metadata}
        self._add("result", data)

    def clear(self, wait: bool) -> None:
        self._outputs, self._size = [], 0
        self._show()

    def error(self, ename: str, evalue: str, traceback: list[str]) -> None:
        self._add("error", {"text/plain": "\n".join(traceback or [f"{ename}: {evalue}"])})

    def finish(self) -> None:
        if not self._shown:
            self._publish()

    def _add(self, kind: str, data: Bundle) -> None:
        self._outputs.append((kind, data))
        self._size += sum(len(value) for value in data.values() if isinstance(value, str))
        self._show()

    def _show(self) -> None:
        self._shown = False
        if self._clock() >= self._due_at:
            self._publish()

    def _publish(self) -> None:
        bundles = [data for _, data in self._outputs]
        whole = {
            "text/plain": "\n".join(_plain(data) for data in bundles),
            "text/html": "".join(map(_html, bundles)),
        }
        self._sink.display(whole, self._metadata, transient={"display_id": self._id}, update=True)
        self._shown = True
        self._due_at = self._clock() + max(PERIOD_S, self._size / BYTES_PER_S)


def _plain(data: Bundle) -> str:
    return _ANSI.sub("", str(data.get("text/plain", ""))).rstrip("\n")


def _html(data: Bundle) -> str:
    for kind in _IMAGES:
        if kind in data:
            return f'<img src="data:{kind};base64,{html.escape("".join(data[kind].split()))}"/>'
    for kind in ("image/svg+xml", "text/html"):
        if kind in data:
            return f"<div>{_text(data[kind])}</div>"
    return f"<pre>{html.escape(_plain(data))}</pre>"


def _text(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)
