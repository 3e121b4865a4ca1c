"""How far extrapolations from progress were off, of the jobs that this process showed to their end:
what calibrates those of the next."""

from __future__ import annotations

from collections import deque

from jupyter_remote.cards.state import CardState, elapsed_s
from jupyter_remote.money.estimate import outermost

MARKS = (0.05, 0.1, 0.25, 0.5)  # of the outermost bar
LEAST_S = 5.0  # of a shorter run nobody asks how long it will take
KEPT = 100

_errors: deque[tuple[float, float]] = deque(maxlen=KEPT)


def errors() -> tuple[tuple[float, float], ...]:
    """Fraction done, and what was extrapolated then over what it was in the end."""
    return tuple(_errors)


class Halfway:
    """What the progress of one job said at each mark."""

    def __init__(self) -> None:
        self._said: dict[float, tuple[float, float]] = {}  # mark → fraction done, seconds in all

    def look(self, state: CardState, now: float) -> None:
        """Its progress as it is now."""
        done, bar_s = outermost(state.bars) or (0.0, 0.0)
        passed = [mark for mark in MARKS if mark <= done < 1]
        if passed and passed[-1] not in self._said and state.runs:
            total_s = elapsed_s(state, now) + bar_s * (1 - done) / done
            self._said[passed[-1]] = done, total_s

    def ended(self, state: CardState) -> None:
        """It completed, or not: only what ran in one go to its end tells anything."""
        total_s = elapsed_s(state, 0.0)
        if state.status == "completed" and state.attempt <= 1 and total_s >= LEAST_S:
            _errors.extend((done, said_s / total_s) for done, said_s in self._said.values())
