"""Where a job comes from: the key of its code, and its notebook. For estimates and the cache."""

from __future__ import annotations

import functools
import os
import sys
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from jupyter_remote.client import renames
from jupyter_remote.client.normalised import key_of_function
from jupyter_remote.processes import began_at
from jupyter_remote.wire import CacheAsk

SESSION_NAME = "JPY_SESSION_NAME"  # set by Jupyter Server: the notebook's path as the kernel began
VSCODE_NAME = "__vsc_ipynb_file__"  # a variable that VS Code sets in the notebook

_keys: weakref.WeakKeyDictionary[Callable[..., Any], tuple[object, str]]
_keys = weakref.WeakKeyDictionary()


class Cell(NamedTuple):
    """The cell that runs now, as its front end calls it."""

    id: str = ""
    code: str = ""  # see wire.cell_code_of


NO_CELL = Cell()


class Origin(msgspec.Struct, frozen=True):
    """What a request says of where its job comes from."""

    code_key: str = ""
    notebook: str = ""
    cache: CacheAsk | None = None
    cell: Cell = NO_CELL


class Question(NamedTuple):
    """What is asked of the cache, and what the user should know."""

    ask: CacheAsk | None  # None: it cannot be told what the result depends on
    notices: list[str]


NOT_ASKED = Question(None, [])


def session_name() -> str:
    """The path by which Jupyter Server knows what this kernel is for, now; empty: it has none."""
    name = os.environ.get(SESSION_NAME, "")
    found = renames.log().all() if name else ()
    return renames.now_of(name, _began_at(), found) if found else name


_began_at = functools.cache(began_at)


def notebook_name(namespace: dict[str, Any]) -> str:
    """The path of the notebook, or of the script, that runs here; empty: not known."""
    if name := session_name() or namespace.get(VSCODE_NAME):
        return str(name)
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    is_kernel = "ipykernel" in sys.modules
    return "" if main is None or is_kernel else os.path.abspath(main)


def code_key_of(function: Callable[..., Any]) -> str:
    """That of a function, remembered as long as its code is the same object."""
    code = getattr(function, "__code__", None)
    try:
        known = _keys.get(function)
    except TypeError:  # cannot be referred to weakly, or has no hash
        return key_of_function(function)
    if known is None or known[0] is not code or code is None:
        known = code, key_of_function(function)
        if code is not None:
            _keys[function] = known
    return known[1]
