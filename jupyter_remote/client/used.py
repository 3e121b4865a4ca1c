"""Modules that a whole notebook uses: for what lasts longer than one cell, or is no cell."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import msgspec

from jupyter_remote.client.names import plain_transform
from jupyter_remote.client.repeatable import imports_of


class _Cell(msgspec.Struct):
    cell_type: str = ""
    source: str | list[str] = ""


class _Notebook(msgspec.Struct):
    cells: list[_Cell] = []


def of_notebook(data: bytes) -> Iterator[str]:
    """Modules that the cells of a file import."""
    try:
        cells = msgspec.json.decode(data, type=_Notebook).cells
    except msgspec.MsgspecError:  # of an old form; whoever runs it says so
        return
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    yield from _imported(s if isinstance(s, str) else "".join(s) for s in code)


def of_namespace(namespace: dict[str, Any]) -> Iterator[str]:
    """Modules that the values of a running notebook come from, and those that its cells, the one
    that runs now too, have imported. Nothing is looked at before the first is asked for."""
    for value in list(namespace.values()):
        if isinstance(value, ModuleType):
            yield value.__name__
        else:
            yield str(getattr(value, "__module__", None) or type(value).__module__)
    yield from _imported(str(cell) for cell in list(namespace.get("In", ())))


def _imported(cells: Iterable[str]) -> Iterator[str]:
    transform = plain_transform()
    yield from dict.fromkeys(imports_of(tree for c in cells if (tree := _tree(c, transform))))


def _tree(cell: str, transform: Callable[[str], str]) -> ast.AST | None:
    """Of a cell below a magic: of what that runs."""
    if cell.startswith("%%"):
        cell = cell.partition("\n")[2]
    try:
        return ast.parse(transform(cell))
    except (SyntaxError, ValueError, RecursionError):
        return None
