"""What the names that a cell assigns are bound to in the notebook, from its submit to its end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_NOTHING = object()
# What jobs have brought: one that ends later may bind the same names, as cells in a row do.
_brought: dict[str, int] = {}


class Bound:
    """Made when the cell is submitted. ``names``: those that it assigns."""

    def __init__(self, namespace: dict[str, Any], names: Iterable[str]) -> None:
        self._namespace = namespace
        self._before = {name: namespace.get(name, _NOTHING) for name in names}

    def others(self) -> set[str]:
        """Names that the user bound or deleted since."""
        return {name for name, before in self._before.items() if self._is_another(name, before)}

    def _is_another(self, name: str, before: Any) -> bool:
        now = self._namespace.get(name, _NOTHING)
        return now is not before and _brought.get(name) != id(now)

    def forget(self, name: str) -> bool:
        """The new value did not come: the old one goes, if it is there. Was it?"""
        before = self._before.get(name, _NOTHING)
        if before is _NOTHING or self._namespace.get(name, _NOTHING) is not before:
            return False
        del self._namespace[name]
        return True

    def brought(self) -> None:
        """Its names are bound now."""
        for name in self._before:
            if name in self._namespace:
                _brought[name] = id(self._namespace[name])
