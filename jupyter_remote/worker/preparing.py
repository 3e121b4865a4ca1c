"""The bar of an environment that is built, below the stage that says so."""

from __future__ import annotations

from typing import Literal

from jupyter_remote.clock import Clock
from jupyter_remote.model import Stage
from jupyter_remote.wire import Bar, encode
from jupyter_remote.worker.outbox import Outbox

KEY = "environment"


class Preparing:
    """Shows nothing as long as nothing is built."""

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self._outbox = outbox
        self._clock = clock
        self._began_at = clock.monotonic()
        self._total = 0

    def told(self, count: int, total: int, what: str) -> None:
        """So many packages of all are there."""
        if not self._total:
            self._outbox.set_stage(Stage.PREPARING_ENVIRONMENT, at_once=True)
        self._total = total
        self._show(count, what, "update")

    def close(self) -> None:
        if self._total:
            self._show(self._total, "environment", "close")

    def _show(self, count: int, what: str, state: Literal["update", "close"]) -> None:
        bar = Bar(
            id=KEY,
            n=count,
            total=self._total,
            description=what,
            unit="packages",
            elapsed_s=self._clock.monotonic() - self._began_at,
            state=state,
            leave=False,
        )
        last = state == "close"
        self._outbox.add_latest(KEY, "progress", encode(bar), at_once=True, last=last)
