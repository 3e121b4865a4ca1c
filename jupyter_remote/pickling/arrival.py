"""What a pickle calls when it is opened: notebook functions get the job's namespace as globals."""

from __future__ import annotations

import contextlib
import dataclasses
import types
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from jupyter_remote.pickling.reasons import of_the_shell


@dataclasses.dataclass
class Globals:
    """What functions that were opened brought along."""

    came: dict[str, Any] = dataclasses.field(default_factory=dict)
    new: set[str] = dataclasses.field(default_factory=set)  # names that had no value before


@dataclasses.dataclass
class Arrival:
    """What one unpickling needs to know."""

    namespace: dict[str, Any]
    at_home: bool  # classes that were defined here are here
    brought: Globals
    new_classes: set[type] = dataclasses.field(default_factory=set)
    filled_classes: set[type] = dataclasses.field(default_factory=set)  # defined elsewhere


current: ContextVar[Arrival] = ContextVar("arrival")


@contextlib.contextmanager
def arriving(
    namespace: dict[str, Any] | None, at_home: bool = False, brought: Globals | None = None
) -> Iterator[Arrival]:
    """``brought`` is filled with the globals of functions."""
    names = {"__name__": "__main__"} if namespace is None else namespace
    arrival = Arrival(names, at_home, brought or Globals())
    token = current.set(arrival)
    try:
        yield arrival
    finally:
        current.reset(token)


def make_function(code: types.CodeType, closure: Any) -> types.FunctionType:
    return types.FunctionType(code, current.get().namespace, None, None, closure)


def fill_function(func: types.FunctionType, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    attributes, slots = state
    func.__dict__.update(attributes)
    slots.pop("submodules")  # being unpickled has imported them
    namespace, brought = func.__globals__, current.get().brought
    for name, value in slots.pop("__globals__").items():
        if name not in namespace or of_the_shell(name, namespace[name]):
            namespace[name] = value
            brought.new.add(name)
        brought.came[name] = value
    for cell, content in zip(func.__closure__ or (), slots.pop("cells"), strict=True):
        fill_cell(cell, content)
    for name, value in slots.items():
        setattr(func, name, value)


def fill_cell(cell: types.CellType, content: tuple[Any, ...]) -> None:
    """Nothing: it stays as it is."""
    for value in content:
        cell.cell_contents = value
