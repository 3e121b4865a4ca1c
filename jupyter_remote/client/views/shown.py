"""Outputs of workers, seen in the cell that waits, each with its worker's number."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from jupyter_remote import calls
from jupyter_remote.client.views.bars import BarLines
from jupyter_remote.client.views.exchange import Output
from jupyter_remote.errors import CompositeError

GATHER_S = 0.1  # lines of several workers wait this long for those that are like them
GROUPINGS = ("type", "engine", "order")
RESULT = "execute_result"
RICH = ("display_data", RESULT, "update_display_data")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")

Worker = int | None  # its number; None: there is one, and nobody asks which
Line = tuple[int, str, str]  # the worker, stream, text


class Stage(NamedTuple):
    """Of each worker what it said up to its next display, and that."""

    lines: list[Line]
    displays: list[tuple[int, calls.Shown]]


Said = Sequence[tuple[Worker, Sequence[Output]]]


def _content(shown: calls.Shown) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.json.decode(shown.content)
    return content


def is_result(output: Output) -> bool:
    """Is it the value of a cell's last expression?"""
    return isinstance(output, calls.Shown) and output.msg_type == RESULT


def rich(outputs: Iterable[Output]) -> list[dict[str, Any]]:
    """What was displayed: bundles with ``data`` and ``metadata``."""
    found = [o for o in outputs if isinstance(o, calls.Shown) and o.msg_type == "display_data"]
    return [_bundle(shown) for shown in found]


def execute_result(outputs: Iterable[Output]) -> dict[str, Any] | None:
    """The value of a cell's last expression."""
    for shown in outputs:
        if isinstance(shown, calls.Shown) and shown.msg_type == RESULT:
            content = _content(shown)
            return {**_bundle(shown), "execution_count": content.get("execution_count")}
    return None


def _bundle(shown: calls.Shown) -> dict[str, Any]:
    content = _content(shown)
    return {"data": content.get("data", {}), "metadata": content.get("metadata", {})}


def in_notebook() -> bool:
    """Is there an IPython whose cells show what comes?"""
    module = sys.modules.get("IPython")
    return module is not None and module.get_ipython() is not None


def show_composites() -> None:
    """IPython prints groups of exceptions with every frame there is: ours are shown as they are
    meant, also where the extension is not loaded."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    if shell is not None and not shell.custom_exceptions:
        shell.set_custom_exc((CompositeError,), _show_composite)


def _show_composite(shell: Any, kind: Any, error: Any, tb: Any, tb_offset: Any = None) -> None:
    shell._showtraceback(kind, error, error._render_traceback_())


# --- while somebody waits ---------------------------------------------------------------------
class Live:
    """Shows what comes while somebody waits. ``many``: lines say whose they are; those that many
    workers say, but for the numbers in them, are one line with a count.

    What comes of many is gathered for a short while. What a worker said between two of its
    displays is a stage: lines are folded with those of the same stage, so each worker's own order
    stays.
    """

    def __init__(self, many: bool) -> None:
        self._many = many
        self._stages: list[Stage] = []
        self._at: dict[int, int] = {}  # the stage of each worker
        self._rest: dict[tuple[int, str], str] = {}  # of lines that are not whole
        self._since = 0.0  # when the first of these came
        self._bars = BarLines()
        self._lock = threading.Lock()

    def flush(self, fresh: deque[tuple[Worker, Output]], last: bool = False) -> None:
        """Show what came. On the main thread, in the cell that waits."""
        with self._lock:
            while fresh:
                worker, output = fresh.popleft()
                self._take(worker if self._many else None, output)
            if last:
                self._finish_lines(list(self._rest))
                self._bars.end()
            if last or time.monotonic() - self._since > GATHER_S:
                self._write()

    def _take(self, worker: Worker, output: Output) -> None:
        if isinstance(output, calls.Moved):
            self._bars.show(worker, output.bar)
        elif worker is not None:
            self._gather(worker, output)
        elif isinstance(output, calls.Shown):
            _publish(worker, output)
        else:
            _print(output.name, output.text)

    def _gather(self, worker: int, output: calls.Text | calls.Shown) -> None:
        if not self._stages:
            self._since = time.monotonic()
        if isinstance(output, calls.Shown):
            self._finish_lines([key for key in self._rest if key[0] == worker])
            self._stage(worker).displays.append((worker, output))
            self._at[worker] += 1
            return
        key = (worker, output.name)
        *lines, rest = (self._rest.pop(key, "") + output.text).split("\n")
        if rest:
            self._rest[key] = rest
        if lines:
            self._stage(worker).lines.extend((worker, output.name, line) for line in lines)

    def _stage(self, worker: int) -> Stage:
        at = self._at.setdefault(worker, 0)
        while len(self._stages) <= at:
            self._stages.append(Stage([], []))
        return self._stages[at]

    def _finish_lines(self, keys: list[tuple[int, str]]) -> None:
        for worker, name in keys:
            self._stage(worker).lines.append((worker, name, self._rest.pop((worker, name))))

    def _write(self) -> None:
        stages, self._stages, self._at = self._stages, [], {}
        for lines, displays in stages:
            for head, name, text in folded(lines):
                _print(name, f"{head}{text}\n")
            for worker, output in sorted(displays, key=lambda display: display[0]):
                _publish(worker, output)


def _print(name: str, text: str) -> None:
    stream = sys.stderr if name == "stderr" else sys.stdout
    stream.write(text)
    stream.flush()


def folded(lines: Sequence[Line]) -> list[tuple[str, str, str]]:
    """Lines with the head that they are shown with. Of those that several workers say, but for
    numbers, the first stands for all."""
    kinds: dict[tuple[str, str, int], list[Line]] = {}
    times: dict[tuple[int, str, str], int] = {}  # how often a worker said one: each is its own
    for worker, name, text in lines:
        text = text.rsplit("\r", 1)[-1] or text.strip("\r")  # what a terminal would show at last
        shape = _NUMBER.sub("#", _ANSI.sub("", text))
        times[worker, name, shape] = nth = times.get((worker, name, shape), 0) + 1
        kinds.setdefault((name, shape, nth), []).append((worker, name, text))
    told = []
    for (name, _, _), alike in kinds.items():
        head = f"[{len(alike)} similar]" if len(alike) > 1 else f"[{name}:{alike[0][0]}]"
        told.append((f"{head} ", name, alike[0][2]))
    return told


def _publish(worker: Worker, output: calls.Shown) -> None:
    if not in_notebook():
        return
    content = _content(output)
    if output.msg_type in RICH:
        from IPython.display import publish_display_data

        update = output.msg_type == "update_display_data"
        transient = content.get("transient") or {}
        if worker is not None:
            if "display_id" in transient:  # that of each worker is its own
                transient = {**transient, "display_id": f"{transient['display_id']}-{worker}"}
            if not update:
                _print("stdout", f"[output:{worker}]\n")
        publish_display_data(  # type: ignore[no-untyped-call]
            content.get("data", {}),
            content.get("metadata", {}),
            transient=transient or None,
            update=update,
        )
    elif output.msg_type == "clear_output" and worker is None:
        from IPython.display import clear_output

        clear_output(wait=bool(content.get("wait")))  # type: ignore[no-untyped-call]


# --- afterwards -------------------------------------------------------------------------------
def replay(said: Said, groupby: str, *, result_only: bool = False) -> None:
    """Show outputs that are there already, without folding."""
    if groupby == "engine":
        for one in said:
            replay([one], "type", result_only=result_only)
        return
    if not result_only:
        for name in ("stdout", "stderr"):
            for worker, outputs in said:
                _print_all(worker, name, outputs)
        displays = [
            (nth, worker, o)
            for worker, outputs in said
            for nth, o in enumerate(o for o in outputs if isinstance(o, calls.Shown))
            if o.msg_type != RESULT
        ]
        if groupby == "order":
            displays.sort(key=lambda display: display[0])
        for _, worker, display in displays:
            _publish(worker, display)
        for worker, outputs in said:
            for output in outputs:
                if isinstance(output, calls.Moved) and output.bar.state == "close":
                    BarLines().show(worker, output.bar)
    for worker, outputs in said:
        for output in outputs:
            if isinstance(output, calls.Shown) and output.msg_type == RESULT:
                _publish(worker, output)


def _print_all(worker: Worker, name: str, outputs: Sequence[Output]) -> None:
    text = "".join(o.text for o in outputs if isinstance(o, calls.Text) and o.name == name)
    if not text:
        return
    if worker is not None:
        text = "".join(f"[{name}:{worker}] {line}\n" for line in text.splitlines())
    _print(name, text)
