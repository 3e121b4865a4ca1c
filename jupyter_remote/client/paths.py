"""What the AST tells of control flow: what a loop may bind, what may be swallowed."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from jupyter_remote.client import scopes

# context managers of these names may end their block early without an exception coming out
SWALLOWS = ("suppress", "raises", "ignor", "swallow", "catch", "exitstack", "handle", "fail")


def bound_in(node: ast.AST) -> tuple[set[str], set[str]]:
    """Names that a statement may bind and delete, whatever the path."""
    return bound_in_all([node])


def bound_in_all(nodes: Iterable[ast.AST]) -> tuple[set[str], set[str]]:
    stored: set[str] = set()
    deleted: set[str] = set()
    for part in (p for node in nodes for p in statements_and_names(node)):
        match part:
            case ast.Name(ctx=ast.Store()):
                stored.add(part.id)
            case ast.Name(ctx=ast.Del()):
                deleted.add(part.id)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                stored.add(part.name)
            case ast.Import() | ast.ImportFrom():
                stored |= set(scopes.bound_by_import(part))
            case ast.ExceptHandler(name=str(name)):
                deleted.add(name)
    return stored, deleted


def statements_and_names(node: ast.AST) -> Iterator[ast.AST]:
    """As :func:`ast.walk`, without going into bodies that run later."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return
    for child in ast.iter_child_nodes(node):
        yield from statements_and_names(child)


def may_swallow(manager: ast.expr) -> bool:
    """Does leaving this context manager perhaps hide an exception? Told by its name."""
    words = [n.attr if isinstance(n, ast.Attribute) else n.id for n in ast.walk(manager)
             if isinstance(n, ast.Attribute | ast.Name)]  # fmt: skip
    return any(part in word.lower() for word in words for part in SWALLOWS)


def takes_all(pattern: ast.pattern) -> bool:
    """``case _`` and ``case name`` match anything."""
    return isinstance(pattern, ast.MatchAs) and (
        pattern.pattern is None or takes_all(pattern.pattern)
    )
