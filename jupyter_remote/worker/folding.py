"""What of a job's output is shown live when there is too much of it. Pure: time is an argument.

The whole text is in the job's log (:mod:`jupyter_remote.worker.spill`); here it is only decided
what people see at once. Nothing goes without a ``folded`` or ``notice`` event that says so.
"""

from __future__ import annotations

import re

import msgspec

from jupyter_remote.amounts import size
from jupyter_remote.wire import encode
from jupyter_remote.worker.holding import Held, Item, Shown, Text

MIB = 1024 * 1024
AS_THEY_ARE = frozenset(
    {"display_data", "execute_result", "update_display_data", "clear_output", "error", "notice"}
)

_ENDS = re.compile(r"[\r\n]")


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much is shown live."""

    total_bytes: int = 8 * MIB  # text of a job; after that only a trickle
    bytes_per_s: int = 512 * 1024  # text; a second's worth twice over may come at once
    trickle_bytes_per_s: int = 1024  # so that the last lines of a long flood are seen now and then
    text_cost_bytes: int = 128  # a shorter piece counts as this much: it is a message, too
    total_lines: int = 20_000  # of a job: a browser lays out every one; after that a trickle
    trickle_lines_per_s: int = 2
    line_bytes: int = 64 * 1024  # of a line without an end
    tail_bytes: int = 4096  # of folded text: shown when the flood stops
    tail_lines: int = 20
    display_bytes: int = 20 * MIB  # one display_data or execute_result
    displays_bytes_per_s: int = 8 * MIB
    display_cost_bytes: int = 16 * 1024  # a small one counts as this much
    report_s: float = 1.0  # between two counts of what was folded
    slowest_report_s: float = 30.0


def stream(name: str, text: str) -> Shown:
    return Shown("stream", encode({"name": name, "text": text}))


def notice(text: str) -> Shown:
    return Shown("notice", encode({"text": text}))


def too_large(msg_type: str, size_bytes: int, limit_bytes: int) -> str:
    """What is said in the place of an output."""
    limit = size(limit_bytes)
    return f"{msg_type} of {size(size_bytes)} is not shown: the limit is {limit}"


def collapse(text: str) -> str:
    """``text`` without what carriage returns overwrite again before anybody could read it.

    What it continues is not known, so the cursor must stand at its end where it would have stood:
    what comes next, in another piece, is written there.
    """
    if "\r" not in text:
        return text
    first, *others = text.replace("\r\n", "\n").split("\n")
    last = len(others)
    begun, mark, rest = first.partition("\r")
    lines = [begun + mark + _overwritten(rest, last == 0) if mark else first]
    lines.extend(_overwritten(line, i == last) for i, line in enumerate(others, 1))
    return "\n".join(lines)


def _overwritten(line: str, goes_on: bool) -> str:
    if "\r" not in line:
        return line
    seen = part = ""
    for part in line.split("\r"):
        # Escape sequences have no width, so that the remainder of a longer line is not known.
        seen = part + seen[len(part) :] if "\x1b" not in part + seen else part or seen
    return f"{seen}\r{part}" if goes_on and len(part) < len(seen) else seen


class Bucket:
    """Tokens that come back with time: ``rate`` a second, up to ``capacity``."""

    def __init__(self, rate: float, capacity: float) -> None:
        self._rate = rate
        self._capacity = capacity
        self._level = capacity
        self._at = 0.0

    def level(self, now: float) -> float:
        self._level = min(self._capacity, self._level + max(0.0, now - self._at) * self._rate)
        self._at = now
        return self._level

    def spend(self, amount: float, now: float) -> None:
        self._level = self.level(now) - amount

    def slow_down(self, rate: float, capacity: float) -> None:
        self._rate, self._capacity = rate, capacity


class Count:
    """What was folded of one stream, or of displays."""

    def __init__(self) -> None:
        self.bytes = 0
        self.lines = 0
        self.displays = 0
        self.reported = 0


class Folding:
    """Decides what is shown of one job's output. Called by its attempt with the clock's time."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._text = Bucket(bounds.bytes_per_s, 2 * bounds.bytes_per_s)
        self._lines = Bucket(0, bounds.total_lines)
        self._resume_at: tuple[float, float] = (bounds.bytes_per_s / 2, 1)  # bytes, lines
        self._displays = Bucket(
            bounds.displays_bytes_per_s, 2 * bounds.displays_bytes_per_s + bounds.display_bytes
        )
        self._lines_shown = 0  # that are still to be seen: since the last clear_output
        self._held = Held(
            bounds.tail_bytes, bounds.tail_lines, bounds.display_bytes, self._cost, self._leave_out
        )
        self._left = bounds.total_bytes
        self._folding = False
        self._columns: dict[str, int] = {}
        self._counts: dict[str, Count] = {}
        self._report_at = 0.0
        self._report_s = bounds.report_s

    @property
    def folded(self) -> bool:
        """Was anything left out so far?"""
        return bool(self._counts)

    def text(self, name: str, text: str, now: float) -> list[Shown]:
        """stdout or stderr wrote ``text``: what to show of it."""
        text = self._cut_long_lines(name, collapse(text))
        if self._folding or self._held.clears:
            self._keep(name, text)
            return self.tick(now)
        cost = max(_size(text), self._bounds.text_cost_bytes)
        room, lines = self._text.level(now), self._lines.level(now)
        if not text or (cost <= room and text.count("\n") <= lines):
            return [self._show(name, text, now)] if text else self._report(now)
        self._folding = True
        head = _head(text, int(room), int(lines))
        shown = [self._show(name, head, now)] if head else []
        self._keep(name, text[len(head) :])
        return [*shown, *self._report(now)]

    def display(self, msg_type: str, content: bytes, now: float) -> list[Shown]:
        """A rich output or a ``clear_output``: itself, or a count or notice in its place."""
        shown = Shown(msg_type, content)
        if len(content) > self._bounds.display_bytes:
            shown = notice(too_large(msg_type, len(content), self._bounds.display_bytes))
        waits = self._held.has_queue or (msg_type == "clear_output" and self._folding)
        if waits or self._cost(shown) > self._displays.level(now):
            self._held.add(shown)
            return self.tick(now)
        self._held.forget_update(shown)
        return [self._spend(shown, now)]

    def tick(self, now: float) -> list[Shown]:
        """Time has passed: the last lines of a flood that ebbed, and counts."""
        released = self._release(now)
        if self._held.clears or not self._folding or not self._has_room(now):
            return [*released, *self._report(now)]
        shown = [*released, *self._report(now), *self._resume(now)]
        self._report_at = min(self._report_at, now + self._bounds.report_s)
        return shown

    def end(self, now: float) -> list[Shown]:
        """The job ended: the last lines, whatever the budget, and the final counts."""
        told = [] if self._held.clears else self._report(now, at_once=True)
        return [*told, *self._take_all(now), *self._report(now, at_once=True)]

    # -- what waits
    def _release(self, now: float) -> list[Shown]:
        """What there is room for; a ``clear_output`` goes with everything after it, or waits."""
        displays, texts = self._held.displays(), self._held.texts()
        if self._held.clears:
            cost = sum(map(self._cost, displays))
            room = cost <= self._displays.level(now) and (not texts or self._has_room(now))
            return self._take_all(now) if room else []
        released = []
        for shown in displays:
            if self._cost(shown) > self._displays.level(now):
                break
            self._held.take_out(shown)
            released.append(self._spend(shown, now))
        return released

    def _has_room(self, now: float) -> bool:
        """For the last lines."""
        size, lines = self._resume_at
        return self._text.level(now) >= size and self._lines.level(now) >= lines

    def _take_all(self, now: float) -> list[Shown]:
        self._folding = False
        return [self._spend(item, now) for item in self._held.take()]

    def _resume(self, now: float) -> list[Shown]:
        """The last lines of a flood."""
        self._folding = False
        texts = self._held.texts()
        for item in texts:
            self._held.take_out(item)
        return [self._spend(item, now) for item in texts]

    def _spend(self, item: Item, now: float) -> Shown:
        if isinstance(item, Text):
            return self._show(item.name, item.text, now)
        self._displays.spend(self._cost(item), now)
        if item.type == "clear_output":  # a browser has forgotten them
            self._lines.spend(-self._lines_shown, now)
            self._lines_shown = 0
        return item

    def _cost(self, shown: Shown) -> int:
        return max(len(shown.data), self._bounds.display_cost_bytes)

    def _keep(self, name: str, text: str) -> None:
        if text:
            self._held.add(Text(name, text))

    def _leave_out(self, item: Item) -> None:
        if isinstance(item, Text):
            count = self._count(item.name)
            count.bytes += _size(item.text)
            count.lines += item.text.count("\n")
        else:
            count = self._count("display_data")
            count.bytes += len(item.data)
            count.displays += 1

    # -- text
    def _show(self, name: str, text: str, now: float) -> Shown:
        bounds, size = self._bounds, _size(text)
        self._text.spend(max(size, bounds.text_cost_bytes), now)
        self._lines.spend(text.count("\n"), now)
        self._lines_shown += text.count("\n")
        self._left -= size
        if self._left <= 0 or self._lines.level(now) < 1:
            self._text.slow_down(bounds.trickle_bytes_per_s, bounds.tail_bytes)
            self._lines.slow_down(bounds.trickle_lines_per_s, bounds.tail_lines)
            self._resume_at = bounds.tail_bytes, bounds.tail_lines
        return stream(name, text)

    def _cut_long_lines(self, name: str, text: str) -> str:
        """A line that is begun anew by carriage returns is as long as its parts."""
        column = self._columns.get(name, 0)
        if len(text) <= self._bounds.line_bytes - column and not _ENDS.search(text):
            self._columns[name] = column + len(text)
            return text
        lines = _ENDS.split(text)
        ends = [*_ENDS.findall(text), ""]
        self._columns[name] = (column if len(lines) == 1 else 0) + len(lines[-1])
        if column + len(text) <= self._bounds.line_bytes:
            return text
        lines[0] = self._cut(name, lines[0], column)
        lines[1:] = [self._cut(name, line, 0) for line in lines[1:]]
        return "".join(line + end for line, end in zip(lines, ends, strict=True))

    def _cut(self, name: str, line: str, column: int) -> str:
        room = self._bounds.line_bytes - column
        if len(line) <= room:
            return line
        self._count(name).bytes += _size(line[max(0, room) :])
        return line[:room] + "…" if room >= 0 else ""

    # -- counts
    def _count(self, name: str) -> Count:
        return self._counts.setdefault(name, Count())

    def _report(self, now: float, at_once: bool = False) -> list[Shown]:
        news = [(n, c) for n, c in self._counts.items() if c.bytes != c.reported]
        if not news or not (at_once or now >= self._report_at):
            return []
        self._report_at = now + self._report_s
        self._report_s = min(2 * self._report_s, self._bounds.slowest_report_s)
        for _, count in news:
            count.reported = count.bytes
        return [
            Shown(
                "folded",
                encode({"name": n, "bytes": c.bytes, "lines": c.lines, "displays": c.displays}),
            )
            for n, c in news
        ]


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _head(text: str, room_bytes: int, lines: int) -> str:
    """The beginning of ``text`` that fits, whole lines where there are any."""
    if room_bytes <= 0 or lines <= 0:
        return ""
    head = text[:room_bytes]
    if head.count("\n") > lines:
        head = head[: len(head) - len(head.split("\n", lines)[-1])]
    if not head.isascii():
        head = head.encode()[:room_bytes].decode(errors="ignore")
    return head[: head.rfind("\n") + 1] or head
