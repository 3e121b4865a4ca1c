"""Code by what it says: the same key for runs that differ in comments, white space, positions, file
names and docstrings only. Pure, but for looking up the source of a function."""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
import inspect
import textwrap
import types
from collections.abc import Callable
from typing import Any

Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module


def key_of_cell(code: str) -> str:
    """64 hex digits for Python code; of what is none, for its text."""
    try:
        return _digest(_dump(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError):
        return _digest(code)


def key_of_function(function: Callable[..., Any]) -> str:
    """64 hex digits for what a function does, without what it uses.

    By its source; by its bytecode where there is none; of what is neither, by its name.
    """
    inner = inspect.unwrap(function)
    if isinstance(inner, functools.partial):
        return key_of_function(inner.func)
    if isinstance(inner, types.MethodType):
        inner = inner.__func__
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inner)))
    except (OSError, TypeError, SyntaxError, ValueError, RecursionError):
        return _digest(_compiled(inner))
    if isinstance(inner, types.FunctionType) and inner.__name__ == "<lambda>":
        return _digest(_compiled(inner))  # its lines may hold more than one
    return _digest(_dump(tree))


@functools.lru_cache(4096)
def key_of_code(code: types.CodeType) -> str:
    """64 hex digits for the body and the signature of a function, without its defaults' values."""
    tree = tree_of_code(code)
    return _digest(repr(_parts(code)) if tree is None else _dump(copy.deepcopy(tree)))


@functools.lru_cache(4096)
def tree_of_code(code: types.CodeType) -> ast.Module | None:
    """Of the ``def`` that it comes from; None where its source is not to be had by itself."""
    if code.co_name.startswith("<"):  # its lines may hold more than one
        return None
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, TypeError, SyntaxError, ValueError, RecursionError):
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class _Normal(ast.NodeTransformer):
    """Takes away docstrings, and the decorators that only say how a function is run."""

    def visit(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        shows = isinstance(node, ast.Module) and len(node.body) == 1  # a cell of a string alone
        if isinstance(node, Named) and not shows and ast.get_docstring(node, clean=False):
            node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.decorator_list = [d for d in node.decorator_list if not _is_remote(d)]
        return node


def _is_remote(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name == "remote"


def _dump(tree: ast.Module) -> str:
    return ast.dump(_Normal().visit(tree))


def _compiled(function: Any) -> str:
    code = getattr(function, "__code__", None)
    if code is None:
        return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
    return repr(_parts(code))


def _constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return _parts(value)
    return sorted(map(repr, value)) if isinstance(value, frozenset) else value  # no order


def _parts(code: types.CodeType) -> tuple[Any, ...]:
    constants = tuple(map(_constant, code.co_consts))
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars
