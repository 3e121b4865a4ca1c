"""What the namespace of a session holds: what functions brought there, and what the user has."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from jupyter_remote import values
from jupyter_remote.sizes import MEASURED
from jupyter_remote.values import Globals

TELL_S = 1.0  # between two looks at what there is
MOST_NAMES = 6  # that are told
_NAME_CHARS = 40
_ABSENT = object()
_CODE = (FunctionType, BuiltinFunctionType, ModuleType, type)
_SIZED = (str, bytes, list, tuple, dict, set, frozenset)


class Brought:
    """Globals that functions of callers brought along, and what they were then."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._known: dict[str, tuple[Any, bytes]] = {}

    def __contains__(self, name: str) -> bool:
        """Is what has this name still what was brought?"""
        known = self._known.get(name)
        return known is not None and self._namespace.get(name, _ABSENT) is known[0]

    def take(self, globals: Globals) -> None:
        """Functions were opened. A helper that was edited in the notebook is the new one here;
        what the session has of its own stays, and so does what it made of a value that the
        notebook still has as it was."""
        here = self._namespace
        for name, value in globals.came.items():
            if name in globals.new:
                self._known[name] = value, values.fingerprint(value, here)
            elif name in self and value is not here[name]:
                mark = values.fingerprint(value, here)
                if not mark or mark != self._known[name][1]:
                    here[name] = value
                    self._known[name] = value, mark

    def again(self, names: Iterable[str]) -> None:
        """They were brought to the session of which this one goes on; what comes next is newer."""
        for name in names:
            self._known[name] = self._namespace[name], b""

    def doubt(self, modules: set[str]) -> None:
        """These will be imported again: what is theirs is renewed when it comes next."""
        for name, (value, _) in self._known.items():
            if _home(value) in modules:
                self._known[name] = value, b""


def _home(value: Any) -> str:
    """The module that it is, or that it or its class comes from."""
    if isinstance(value, ModuleType):
        return value.__name__
    return str(getattr(value, "__module__", ""))


class Held:
    """Tells what would be lost with the session: now and then, if it changed."""

    def __init__(self, namespace: dict[str, Any], hidden: dict[str, Any], brought: Brought) -> None:
        """``hidden``: names of the shell's own."""
        self._namespace = namespace
        self._hidden = hidden
        self._brought = brought
        self._told: list[str] = []
        self._told_at = float("-inf")
        self.dirty = False  # something ran since

    def wait_s(self) -> float:
        """How long until it is worth a look."""
        if not self.dirty:
            return float("inf")
        return max(0.0, self._told_at + TELL_S - time.monotonic())

    def news(self) -> list[str] | None:
        """What there is now; None: as before."""
        self.dirty, self._told_at = False, time.monotonic()
        held = _shortened(list(self._words()))
        if held == self._told:
            return None
        self._told = held
        return held

    def _words(self) -> Iterator[str]:
        for name, value in list(self._namespace.items()):
            own = not name.startswith("_") and self._hidden.get(name, _ABSENT) is not value
            if own and not isinstance(value, _CODE) and name not in self._brought:
                yield _word(name, value)


def _shortened(words: list[str]) -> list[str]:
    """The latest of many."""
    more = len(words) - MOST_NAMES
    return [*words[-MOST_NAMES:], *([f"{more} more"] if more > 0 else [])]


def _word(name: str, value: Any) -> str:
    """``X (ndarray 3×3)``. No code of the user's is called for it."""
    kind, shape = type(value).__name__, ""
    if type(value).__module__.partition(".")[0] in MEASURED:
        found = getattr(value, "shape", None)
        if isinstance(found, tuple):
            shape = "×".join(map(str, found))
    elif type(value) in _SIZED:
        shape = str(len(value))
    return f"{name[:_NAME_CHARS]} ({kind[:_NAME_CHARS]}{f' {shape}' if shape else ''})"
