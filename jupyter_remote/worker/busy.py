"""How long the calls and cells of a session have run: the rest of its time it waits."""

from __future__ import annotations

import time
from collections.abc import Callable

TELL_S = 1.0  # between two messages to the agent

Tell = Callable[[float, bool], None]


class Busy:
    """Of one session. ``tell`` gets the seconds until now, and whether something runs just now."""

    def __init__(self, tell: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._ran_s = 0.0
        self._since: float | None = None  # something runs
        self._told_at = float("-inf")
        self._news = False

    def begin(self) -> None:
        self._since = self._clock()
        self._news = True
        self.tell_if_due()

    def end(self) -> None:
        """Also of what did not begin."""
        if self._since is not None:
            self._ran_s += self._clock() - self._since
            self._since, self._news = None, True

    def wait_s(self) -> float:
        """How long until there is something to be told."""
        if not self._news:
            return float("inf")
        return max(0.0, self._told_at + TELL_S - self._clock())

    def tell_if_due(self) -> None:
        if self.wait_s() <= 0:
            self.tell_now()

    def tell_now(self) -> None:
        self._news, self._told_at = False, self._clock()
        running_s = 0.0 if self._since is None else self._told_at - self._since
        self._tell(self._ran_s + running_s, self._since is not None)
