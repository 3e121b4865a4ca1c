"""Functions of a notebook: their globals are the client's namespace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jupyter_remote as jr


def defined(client: jr.Client, code: str) -> Callable[..., Any]:
    """The function that a cell defines."""
    before = set(client.namespace)
    exec(code, client.namespace)
    [name] = set(client.namespace) - before
    return client.namespace.pop(name)
