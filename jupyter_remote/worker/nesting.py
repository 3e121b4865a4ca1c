"""Which bar is inside of which: of each thread the bars that are open."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple


class _Open(NamedTuple):
    bar: weakref.ref[Any]  # one that is dropped is over
    id: str
    is_open: Callable[[Any], bool]


_here = threading.local()


def enter(bar: Any, id: str, is_open: Callable[[Any], bool]) -> str:
    """The id of the innermost bar that is open in this thread; ``bar`` becomes the innermost."""
    stack = [
        one
        for one in getattr(_here, "stack", ())
        if (found := one.bar()) is not None and one.is_open(found)
    ]
    _here.stack = [*stack, _Open(weakref.ref(bar), id, is_open)]
    return stack[-1].id if stack else ""
