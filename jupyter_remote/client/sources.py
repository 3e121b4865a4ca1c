"""What a module's file says without being run: what it imports, and the values it starts with."""

from __future__ import annotations

import ast
from collections import Counter
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from jupyter_remote.client.scopes import imported_modules


class Source(NamedTuple):
    """Of one file."""

    imports: tuple[str, ...] = ()  # top-level names of modules that it imports anywhere
    literals: tuple[tuple[str, Any], ...] = ()  # names to which it gives a constant, once


def read(path: Path) -> Source:
    """Nothing for what is not Python."""
    if path.suffix != ".py":
        return Source()
    status = path.stat()
    return _read(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _read(path: str, mtime_ns: int, size_bytes: int) -> Source:
    """``mtime_ns`` and ``size_bytes`` only tell versions of the file apart."""
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (SyntaxError, ValueError):  # a template, or a file for another Python
        return Source()
    statements = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    names = [name.partition(".")[0] for node in statements for name in imported_modules(node)]
    return Source(tuple(dict.fromkeys(names)), tuple(_literals(tree).items()))


def _literals(tree: ast.Module) -> dict[str, Any]:
    """Of names that are bound once, at the top: what else binds them may run at the import too."""
    nodes = list(ast.walk(tree))
    bound = Counter(n.id for n in nodes if isinstance(n, ast.Name) and _binds(n))
    bound.update(name for n in nodes if isinstance(n, ast.Global) for name in n.names)
    found: dict[str, Any] = {}
    for statement in tree.body:
        match statement:
            case ast.Assign([ast.Name(name)], ast.Constant(value)) if bound[name] == 1:
                found[name] = value
            case ast.AnnAssign(ast.Name(name), _, ast.Constant(value)) if bound[name] == 1:
                found[name] = value
    return found


def _binds(name: ast.Name) -> bool:
    return not isinstance(name.ctx, ast.Load)


def differing(module: ModuleType, source: Source) -> list[str]:
    """Names that do not have the values any more with which the module starts."""
    here = vars(module)
    return [n for n, literal in source.literals if n in here and not _same(here[n], literal)]


def _same(value: Any, literal: Any) -> bool:
    return type(value) is type(literal) and bool(value == literal)
