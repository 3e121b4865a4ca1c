"""What the kernel at the other end of a connection was given, and is not given again."""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any

from jupyter_remote.client.views.functions import Shipped


class Given:
    """Of one connection. Used by whoever may send on it just now."""

    def __init__(self) -> None:
        self.globals: dict[str, object] = {}  # that functions brought last, or marks of them
        self.news = 0  # messages that others must not overtake: they brought something
        self._functions: set[int] = set()
        self._texts: dict[str, Any] = {}  # files of local modules, and cells
        self._gone: deque[int] = deque()  # functions that nobody has here any more

    def has(self, function: Shipped) -> bool:
        """Can the session call this function, and would it find these globals?"""
        there = self.globals
        return function.number in self._functions and all(
            there.get(name, there) is value for name, value in function.globals.items()
        )

    def brought(self, function: Shipped) -> None:
        """This function is sent."""
        if function.number not in self._functions:
            self._functions.add(function.number)
            weakref.finalize(function, self._gone.append, function.number).atexit = False
        self.globals.update(function.globals)
        self.news += 1

    def take_gone(self) -> list[int]:
        """Functions that the session needs no more."""
        gone = []
        while self._gone:
            gone.append(self._gone.popleft())
        self._functions.difference_update(gone)
        return gone

    def new(self, texts: dict[str, Any]) -> dict[str, Any]:
        """What the kernel was not given, or was given otherwise."""
        known = self._texts
        return {name: text for name, text in texts.items() if known.get(name) != text}

    def told(self, files: dict[str, bytes], sources: dict[str, str]) -> None:
        """These are sent."""
        self._texts.update(files)
        self._texts.update(sources)
        self.news += bool(files or sources)

    def outdate(self, files: dict[str, bytes]) -> None:
        """Of local modules that were edited, functions are to be opened with the new ones."""
        if not self._texts.keys().isdisjoint(files):
            self._functions.clear()
