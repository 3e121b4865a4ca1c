"""Something to be done when a module is imported, and not before: nothing is imported for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Action = Callable[[ModuleType], None]


def after_import(actions: dict[str, Action]) -> None:
    """Call each action with the module of its name: at once if it is there, else right after it
    was imported for the first time."""
    for name, action in actions.items():
        if name in sys.modules:
            action(sys.modules[name])
    sys.meta_path.insert(0, _Finder(actions))


class _Finder:
    """All other imports pass by."""

    def __init__(self, actions: dict[str, Action]) -> None:
        self._actions = actions

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._actions:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is not self and find and (spec := find(fullname, path, target)):
                self._act_after(spec)
                found: ModuleSpec = spec
                return found
        return None

    def _act_after(self, spec: ModuleSpec) -> None:
        loader: Any = spec.loader
        if not hasattr(loader, "exec_module"):
            return
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._actions[spec.name](module)

        loader.exec_module = exec_module
