"""A value as a short text, for those who may look at a result and not open it.

It is made by whatever ``__repr__`` the value's types have: these may raise, print or never end.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from typing import Any

CHARS = 10_000
DEPTH = 20  # of containers in containers
LIMIT_S = 0.5
AGAIN_S = 0.1  # a ``__repr__`` that swallows one alarm gets the next

_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


class _Full(Exception):
    """There is no room for more."""


class _TooLong(BaseException):
    """The time is up."""


def text_of(value: Any) -> str:
    """``repr(value)``, cut to ``CHARS``, without what lies beyond ever being made.

    A ``__repr__`` that raises is named instead; one that takes longer than ``LIMIT_S`` is
    interrupted, if it runs Python code. Raises KeyboardInterrupt. Only in the main thread.
    """
    text = _Text()
    over: list[bool] = []

    def ring(*_: object) -> None:
        if not over:
            raise _TooLong

    before = _arm(ring)
    try:
        text.add(value, 0)
    except _Full:
        text.parts.append("…")
    except _TooLong:
        text.parts.append(f"… (its repr took longer than {LIMIT_S:g} s)")
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        text.parts.append(f"… (its repr raised {type(error).__name__})")
    finally:
        over.append(True)
        _disarm(before)
    return "".join(text.parts)


def _arm(ring: Any) -> Any:
    if not hasattr(signal, "setitimer"):
        return None
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S, AGAIN_S)
    return before


def _disarm(before: Any) -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before if before is not None else signal.SIG_DFL)


class _Text:
    """The parts of a text, up to its limit."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._left = CHARS

    def say(self, text: str) -> None:
        self.parts.append(text[: self._left])
        self._left -= len(text)
        if self._left < 0:
            raise _Full

    def add(self, value: Any, depth: int) -> None:
        kind = type(value)
        if kind in (str, bytes, bytearray):
            self.say(repr(value[: self._left + 1]))
        elif depth > DEPTH and (kind in _BRACKETS or kind is dict):
            self.say("…")
        elif kind is dict:
            self._add_dict(value, depth)
        elif kind in _BRACKETS and value:
            self._add_items(value, _BRACKETS[kind], depth)
        else:
            self.say(repr(value))

    def _add_items(self, items: Iterable[Any], brackets: tuple[str, str], depth: int) -> None:
        begin, end = brackets
        self.say(begin)
        for n, item in enumerate(items):
            self.say(", " if n else "")
            self.add(item, depth + 1)
        if begin == "(" and n == 0:
            self.say(",")
        self.say(end)

    def _add_dict(self, items: dict[Any, Any], depth: int) -> None:
        self.say("{")
        for n, (key, item) in enumerate(items.items()):
            self.say(", " if n else "")
            self.add(key, depth + 1)
            self.say(": ")
            self.add(item, depth + 1)
        self.say("}")
