"""What a function needs where it runs: ``require`` and ``depend``."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from jupyter_remote.remotely import Checked


def require(*objects: str | ModuleType | FunctionType, **mapping: Any) -> Callable[..., Checked]:
    """Decorator: before the function is called over there these modules are imported; functions
    and values are given their names there.

    Over there UnmetDependencyError is raised where one cannot be imported.
    """
    modules: list[str] = []
    values = dict(mapping)
    for obj in objects:
        if isinstance(obj, str):
            modules.append(obj)
        elif isinstance(obj, ModuleType):
            modules.append(obj.__name__)
        elif callable(obj):
            values[obj.__name__] = obj
        else:
            raise TypeError(f"Objects of type {type(obj)} cannot be required")

    def decorate(function: Callable[..., Any]) -> Checked:
        return Checked(function, modules, values=values)

    return decorate


def depend(check: Callable[..., Any], *args: Any) -> Callable[..., Checked]:
    """Decorator: the function is called over there only if ``check(*args)`` is true there; else
    UnmetDependencyError is raised."""

    def decorate(function: Callable[..., Any]) -> Checked:
        return Checked(function, [], [(check, args)])

    return decorate
