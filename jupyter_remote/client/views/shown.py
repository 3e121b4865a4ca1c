"""Outputs of workers, seen in the cell that waits, each with its worker's number."""

from __future__ import annotations

import re
import sys
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from jupyter_remote import calls
from jupyter_remote.client.views.exchange import Output
from jupyter_remote.wire import Bar

BAR_WIDTH = 30
RICH = ("display_data", "execute_result")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")

Line = tuple[int | None, str, str]  # the worker (None: there is one), stream, text


def _content(shown: calls.Shown) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.json.decode(shown.content)
    return content


def rich(outputs: Iterable[Output]) -> list[dict[str, Any]]:
    """What was displayed: bundles with ``data`` and ``metadata``."""
    found = [o for o in outputs if isinstance(o, calls.Shown) and o.msg_type == "display_data"]
    return [_bundle(shown) for shown in found]


def execute_result(outputs: Iterable[Output]) -> dict[str, Any] | None:
    """The value of a cell's last expression."""
    for shown in outputs:
        if isinstance(shown, calls.Shown) and shown.msg_type == "execute_result":
            return _bundle(shown)
    return None


def _bundle(shown: calls.Shown) -> dict[str, Any]:
    content = _content(shown)
    return {"data": content.get("data", {}), "metadata": content.get("metadata", {})}


def in_notebook() -> bool:
    """Is there an IPython whose cells show what comes?"""
    module = sys.modules.get("IPython")
    return module is not None and module.get_ipython() is not None


class Live:
    """Shows what comes while somebody waits. ``many``: lines say whose they are; those that many
    workers say, but for the numbers in them, are one line with a count."""

    def __init__(self, many: bool) -> None:
        self._many = many
        self._queue: deque[tuple[int | None, Output]] = deque()
        self._rest: dict[tuple[int | None, str], str] = {}  # of lines that are not whole
        self._lock = threading.Lock()

    def add(self, worker: int | None, output: Output) -> None:
        """From any thread."""
        self._queue.append((worker if self._many else None, output))

    def flush(self, last: bool = False) -> None:
        """Show what came. On the main thread, in the cell that waits."""
        with self._lock:
            lines: list[Line] = []
            while self._queue:
                worker, output = self._queue.popleft()
                if isinstance(output, calls.Text):
                    lines += self._lines(worker, output)
                    continue
                _write(lines)
                lines = []
                if isinstance(output, calls.Moved):
                    if output.bar.state == "close":
                        _write([(worker, "stderr", _bar_line(output.bar))])
                else:
                    _publish(worker, output)
            if last:
                lines += [(w, name, text) for (w, name), text in self._rest.items() if text]
                self._rest.clear()
            _write(lines)

    def _lines(self, worker: int | None, text: calls.Text) -> list[Line]:
        if not self._many:
            return [(None, text.name, text.text)]
        key = (worker, text.name)
        whole = self._rest.pop(key, "") + text.text
        *lines, rest = whole.split("\n")
        if rest:
            self._rest[key] = rest
        return [(worker, text.name, line) for line in lines]


def _write(lines: Sequence[Line]) -> None:
    for worker, name, text in folded(lines):
        stream = sys.stderr if name == "stderr" else sys.stdout
        if worker is None:
            stream.write(text)
        else:
            stream.write(f"{worker}{text}\n")
        stream.flush()


def folded(lines: Sequence[Line]) -> list[tuple[str | None, str, str]]:
    """Lines with the head that they are shown with. Of those that several workers say, but for
    numbers, the first stands for all."""
    speakers: dict[tuple[str, str], set[int]] = {}
    for worker, name, text in lines:
        if worker is not None:
            speakers.setdefault((name, _shape(text)), set()).add(worker)
    told: list[tuple[str | None, str, str]] = []
    done: set[tuple[str, str]] = set()
    for worker, name, text in lines:
        if worker is None:
            told.append((None, name, text))
            continue
        key = (name, _shape(text))
        if len(speakers[key]) < 2:
            told.append((f"[{name}:{worker}] ", name, text))
        elif key not in done:
            done.add(key)
            told.append((f"[{len(speakers[key])} similar] ", name, text))
    return told


def _shape(text: str) -> str:
    return _NUMBER.sub("#", _ANSI.sub("", text))


def _publish(worker: int | None, output: Output) -> None:
    if not isinstance(output, calls.Shown) or not in_notebook():
        return
    if output.msg_type in (*RICH, "update_display_data"):
        from IPython.display import publish_display_data

        content = _content(output)
        publish_display_data(  # type: ignore[no-untyped-call]
            content.get("data", {}),
            content.get("metadata", {}),
            transient=content.get("transient") or None,
            update=output.msg_type == "update_display_data",
        )
    elif output.msg_type == "clear_output" and worker is None:
        from IPython.display import clear_output

        clear_output(wait=bool(_content(output).get("wait")))  # type: ignore[no-untyped-call]


def replay(worker: int | None, outputs: Sequence[Output], *, result_only: bool = False) -> None:
    """Show outputs that are there already."""
    if not result_only:
        for name in ("stdout", "stderr"):
            text = "".join(o.text for o in outputs if isinstance(o, calls.Text) and o.name == name)
            stream = sys.stderr if name == "stderr" else sys.stdout
            if text:
                stream.write(text if worker is None else f"[{name}:{worker}] {text}")
                stream.flush()
    for output in outputs:
        if isinstance(output, calls.Shown):
            if output.msg_type == "execute_result" or not result_only:
                _publish(worker, output)
        elif isinstance(output, calls.Moved) and output.bar.state == "close" and not result_only:
            _write([(worker, "stderr", _bar_line(output.bar))])


def _bar_line(bar: Bar) -> str:
    total = f"/{bar.total:g}" if bar.total is not None else ""
    label = f"{bar.description}: " if bar.description else ""
    return f"{label}{bar.n:g}{total} [{bar.elapsed_s:.1f} s]\n"


class WaitBar:
    """A bar of one line, drawn over itself. ``total``: None as long as it is not known."""

    def __init__(self, name: str, total: int | None) -> None:
        self.total = total
        self._name = name

    def show(self, done: int, elapsed_s: float, last: bool = False) -> None:
        end = "\n" if last else ""
        sys.stderr.write(f"\r{self._name}: {self._state(done, elapsed_s)}   {end}")
        sys.stderr.flush()

    def _state(self, done: int, elapsed_s: float) -> str:
        if self.total is None:
            return f"{done} done [{elapsed_s:.1f} s]"
        share = done / self.total if self.total else 1.0
        full = round(BAR_WIDTH * share)
        bar = "█" * full + "░" * (BAR_WIDTH - full)
        left = f", {elapsed_s * (1 - share) / share:.0f} s left" if 0 < share < 1 else ""
        return f"{bar} {done}/{self.total} [{elapsed_s:.1f} s{left}]"
