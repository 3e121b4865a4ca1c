"""What happened to instances, told by neither the server under test nor its database."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

What = Literal[
    "launched",  # the API executed the call
    "running",
    "asked to end",  # TerminateInstances
    "ended itself",
    "interrupted",  # spot: taken away
    "killed",  # by a test, without notice
    "stopped",  # it exists, and its disk costs
    "terminated",
]


@dataclass(frozen=True)
class Happening:
    at: float  # `time.time()`
    what: What
    instance: str
    intent: str  # ClientToken of its launch


class Witness:
    """Grows only."""

    def __init__(self) -> None:
        self.happenings: list[Happening] = []
        self._first: dict[tuple[What, str], float] = {}
        self._lock = threading.Lock()

    def saw(self, what: What, instance: str, intent: str = "") -> None:
        with self._lock:
            happening = Happening(time.time(), what, instance, intent)
            self.happenings.append(happening)
            self._first.setdefault((what, instance), happening.at)

    def when(self, what: What, instance: str) -> float | None:
        """The first time that it was seen."""
        with self._lock:
            return self._first.get((what, instance))

    def instances(self) -> list[str]:
        """All that were ever launched, in order."""
        with self._lock:
            return [h.instance for h in self.happenings if h.what == "launched"]

    def alive(self) -> list[str]:
        """Those that are not terminated; a stopped one is alive."""
        with self._lock:
            ended = {h.instance for h in self.happenings if h.what == "terminated"}
        return [instance for instance in self.instances() if instance not in ended]


def twins(intent_of: dict[str, str]) -> dict[str, list[str]]:
    """Intents that have several instances, given the intent of each instance."""
    found: dict[str, list[str]] = defaultdict(list)
    for instance, intent in intent_of.items():
        found[intent].append(instance)
    return {intent: instances for intent, instances in found.items() if len(instances) > 1}
