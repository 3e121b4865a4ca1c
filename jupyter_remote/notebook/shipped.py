"""What cells took along to sessions by themselves."""

from __future__ import annotations

from typing import Any


class Shipped:
    """Names that cells of this notebook took along by themselves, and what they were."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], Any] = {}  # by session and name

    def note(self, session: str, values: dict[str, Any]) -> None:
        self._values.update({(session, name): value for name, value in values.items()})

    def is_stale(self, session: str, name: str, value: Any) -> bool:
        """Did a cell bring this function or class, and is it another one here now?"""
        before = self._values.get((session, name), value)
        return before is not value and callable(value) and callable(before)
