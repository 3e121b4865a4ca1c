"""``with view.sync_imports():`` makes import statements on both sides."""

from __future__ import annotations

import builtins
import dis
import sys
from collections.abc import Callable, Sequence
from types import FrameType, ModuleType
from typing import Any


class SyncImports:
    """Import statements of the block are made over there, too, and the names bound there.

    ``there``: called with each statement.
    """

    def __init__(self, there: Callable[[str], None], local: bool, quiet: bool) -> None:
        self._there = there
        self._local = local
        self._quiet = quiet
        self._real = builtins.__import__
        self._frame: FrameType | None = None
        self._seen: set[str] = set()

    def __enter__(self) -> None:
        self._frame = sys._getframe(1)
        self._real = builtins.__import__
        builtins.__import__ = self._import

    def __exit__(self, *_: object) -> None:
        builtins.__import__ = self._real
        self._frame = None

    def _import(
        self,
        name: str,
        globals: Any = None,
        locals: Any = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        frame = sys._getframe(1)
        if frame is not self._frame or level:  # imports of what is imported
            return self._real(name, globals, locals, fromlist, level)
        module: Any = _Stub(name)
        if self._local:
            module = self._real(name, globals, locals, fromlist, level)
        statement = statement_of(name, fromlist or (), frame)
        if statement not in self._seen:
            self._seen.add(statement)
            if not self._quiet:
                what = f"{','.join(fromlist)} from {name}" if fromlist else name
                print(f"importing {what} on engine(s)")
            self._there(statement)
        return module


class _Stub(ModuleType):
    """What an import gives that is made only over there."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Stub(f"{self.__name__}.{name}")


def statement_of(name: str, fromlist: Sequence[str], frame: FrameType) -> str:
    """The import statement that a frame is at: its bytecode has the names after ``as``."""
    if tuple(fromlist) == ("*",):
        return f"from {name} import *"
    following = [i for i in dis.get_instructions(frame.f_code) if i.offset > frame.f_lasti]
    stored = [_first(i.argval) for i in following if i.opname.startswith("STORE_")]
    if fromlist:
        names = zip(fromlist, stored, strict=False)
        return f"from {name} import {', '.join(_with_alias(n, s) for n, s in names)}"
    bound = stored[0] if stored else name
    return f"import {_with_alias(name, name if bound == name.partition('.')[0] else bound)}"


def _with_alias(name: str, bound: str) -> str:
    """Over there the name itself is bound, too: ipyparallel knows no ``as``."""
    return name if name == bound else f"{name}, {name} as {bound}"


def _first(name: Any) -> str:
    """An instruction may store two names."""
    return str(name[0] if isinstance(name, tuple) else name)
