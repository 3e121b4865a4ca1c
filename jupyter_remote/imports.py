"""Something to be done when a module is imported, and not before: nothing is imported for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Action = Callable[[ModuleType], None]
_actions: dict[str, list[Action]] = {}


def after_import(name: str, action: Action) -> None:
    """Call ``action`` with the module of this name: at once if it is there, and right after it is
    imported."""
    if name in sys.modules:
        action(sys.modules[name])
    _actions.setdefault(name, []).append(action)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """All other imports pass by."""

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _actions:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is not self and find and (spec := find(fullname, path, target)):
                _act_after(spec)
                found: ModuleSpec = spec
                return found
        return None


def _act_after(spec: ModuleSpec) -> None:
    loader: Any = spec.loader
    if not hasattr(loader, "exec_module"):
        return
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        for action in _actions[spec.name]:
            action(module)

    loader.exec_module = exec_module
