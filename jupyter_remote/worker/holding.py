"""Outputs of a job that wait until there is room to show them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

MOST_DISPLAYS = 20  # after a clear_output: one frame of an animation
LEAST_BYTES = 64  # a shorter text counts as this much: it is an object, too


class Shown(msgspec.Struct, frozen=True):
    """An event to be sent: its type and its data as JSON."""

    type: str
    data: bytes


class Text(NamedTuple):
    """What stdout or stderr wrote."""

    name: str
    text: str


Item = Shown | Text


class Held:
    """In order. Of what is replaced by something later only the newest is kept: what a
    ``clear_output`` clears, updates of one display, displays beyond the first few.

    Parameters
    ----------
    text_bytes, text_lines: of text, about; the newest is kept.
    display_bytes: of everything else, each by its ``cost``.
    dropped: told of everything that is left out.
    """

    def __init__(
        self,
        text_bytes: int,
        text_lines: int,
        display_bytes: int,
        cost: Callable[[Shown], int],
        dropped: Callable[[Item], None],
    ) -> None:
        self._text_bytes = text_bytes
        self._text_lines = text_lines
        self._display_bytes = display_bytes
        self._cost = cost
        self._dropped = dropped
        self._items: list[Item] = []
        self._next: Shown | None = None  # a clear_output that waits for what is shown instead
        self.clears = False  # with a clear_output everything after it has to wait, too

    def add(self, item: Item) -> None:
        if isinstance(item, Text):
            self._begin_anew()
            self._add_text(item)
        elif item.type == "clear_output":
            self._add_clear(item)
        elif _updated(item):
            self.forget_update(item)
            self._items.append(item)
        else:
            self._begin_anew()
            self._items.append(item)
        self._trim()

    def take(self) -> list[Item]:
        """Everything; nothing is held afterwards."""
        items = [*self._items, *([self._next] if self._next else [])]
        self._items, self._next, self.clears = [], None, False
        return items

    def displays(self) -> list[Shown]:
        """All that is not text."""
        waiting = [self._next] if self._next else []
        return [i for i in self._items if isinstance(i, Shown)] + waiting

    @property
    def has_queue(self) -> bool:
        """Is there something that must be shown before anything that comes now?"""
        return any(not _updated(item) for item in self.displays())

    def texts(self) -> list[Text]:
        return [i for i in self._items if isinstance(i, Text)]

    def take_out(self, item: Item) -> None:
        """It is shown now. Not while there is a ``clear_output``."""
        self._items.remove(item)

    def forget_update(self, item: Shown) -> None:
        """``item`` is newer than what is held for the same display."""
        if display_id := _updated(item):
            for old in self.displays():
                if _updated(old) == display_id:
                    self._forget(old)

    def _add_text(self, item: Text) -> None:
        last = self._items[-1] if self._items else None
        if isinstance(last, Text) and last.name == item.name:
            self._items[-1] = Text(item.name, last.text + item.text)
        else:
            self._items.append(item)

    def _add_clear(self, item: Shown) -> None:
        self.clears = True
        if _content.decode(item.data).wait:
            self._next = item
        else:
            self._next = None
            self._forget_all()
            self._items.append(item)

    def _begin_anew(self) -> None:
        """Something comes to be shown: a clear_output that waited for it clears now."""
        if self._next is not None:
            self._forget_all()
            self._items.append(self._next)
            self._next = None

    def _forget_all(self) -> None:
        """What was to be shown in this cell; updates may be for another one."""
        for item in list(self._items):
            if isinstance(item, Text) or not _updated(item):
                self._forget(item)

    def _forget(self, item: Item) -> None:
        self._items.remove(item)
        if isinstance(item, Text) or item.type != "clear_output":
            self._dropped(item)

    def _trim(self) -> None:
        displays = [i for i in self._items if isinstance(i, Shown) and i.type != "clear_output"]
        plain = [i for i in displays if not _updated(i)]
        for item in plain[: -(MOST_DISPLAYS if self.clears else 1)]:
            self._forget(item)
            displays.remove(item)
        size = sum(map(self._cost, displays))
        while size > self._display_bytes and len(displays) > 1:
            size -= self._cost(displays[0])
            self._forget(displays.pop(0))
        self._trim_texts()

    def _trim_texts(self) -> None:
        texts = self.texts()
        over = sum(_weight(item.text) for item in texts) - self._text_bytes
        lines = sum(item.text.count("\n") for item in texts) - self._text_lines
        for item in texts:
            if over <= 0 and lines <= 0:
                return
            kept = _without(item.text, over, lines)
            gone = item.text[: len(item.text) - len(kept)]
            over -= _weight(item.text) - _weight(kept)
            lines -= gone.count("\n")
            at = self._items.index(item)
            self._items[at : at + 1] = [Text(item.name, kept)] if kept else []
            self._dropped(Text(item.name, gone))


class _Transient(msgspec.Struct, frozen=True):
    display_id: str = ""


class _Content(msgspec.Struct, frozen=True):
    transient: _Transient = _Transient()
    wait: bool = False


_content = msgspec.json.Decoder(_Content)


def _updated(item: Shown) -> str:
    """The display that an update is for, which a newer one replaces; empty for everything else."""
    return _content.decode(item.data).transient.display_id if item.type[:6] == "update" else ""


def _weight(text: str) -> int:
    return max(len(text), LEAST_BYTES) if text else 0


def _without(text: str, size: int, lines: int) -> str:
    """``text`` without its first ``size`` characters and ``lines`` lines at least; whole lines
    where there are any."""
    if size >= len(text) or (size > 0 and len(text) <= LEAST_BYTES):
        return ""
    last = text
    if size > 0:
        last = text[size:]
        last = last[last.find("\n", 0, -1) + 1 :]
        lines -= text.count("\n") - last.count("\n")
    if lines > last.count("\n"):
        return ""
    return last.split("\n", lines)[-1] if lines > 0 else last
