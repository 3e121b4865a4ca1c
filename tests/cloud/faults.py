"""What can go wrong in a call of the API, once or as often as is said."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.cloud.calls import Answer, Call, error

Moment = Literal["called", "executed", "answered"]
"""Before a call is executed; after that, before its answer; after its answer was sent."""

MESSAGES = {
    "InsufficientInstanceCapacity": "We currently do not have sufficient capacity in the "
    "Availability Zone you requested.",
    "RequestLimitExceeded": "Request limit exceeded.",
    "UnauthorizedOperation": "You are not authorized to perform this operation.",
    "VcpuLimitExceeded": "You have requested more vCPU capacity than your current vCPU limit of 0 "
    "allows for the instance bucket that the specified instance type belongs to.",
    "MaxSpotInstanceCountExceeded": "Max spot instance count exceeded",
    "InternalError": "An internal error has occurred",
}


@dataclass
class Fault:
    """With a ``code`` the call is refused, else executed. ``zone``, ``type`` and ``spot`` restrict
    it to such launches."""

    action: str
    code: str = ""
    times: int | None = 1  # None: always
    zone: str = ""
    type: str = ""
    spot: bool | None = None
    message: str = ""
    delay_s: float = 0.0  # before the answer
    cut: bool = False  # the connection breaks instead of the answer: a time-out after success
    seen: int = 0  # how often it happened

    def fits(self, call: Call) -> bool:
        return (
            call.action == self.action
            and self.times != self.seen
            and (not self.zone or call.zone == self.zone)
            and (not self.type or call.type == self.type)
            and (self.spot is None or call.spot == self.spot)
        )

    def refusal(self) -> Answer | None:
        told = self.message or MESSAGES.get(self.code, "An injected fault.")
        return error(self.code, told) if self.code else None


class Faults:
    """Those that are still to come."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._watchers: list[tuple[Moment, str, Callable[[Call], None]]] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        with self._lock:
            self._faults.remove(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()
            self._watchers.clear()

    def take(self, call: Call) -> Fault | None:
        """The first that fits; it has happened once more."""
        with self._lock:
            fault = next((f for f in self._faults if f.fits(call)), None)
            if fault is not None:
                fault.seen += 1
            return fault

    def watch(self, moment: Moment, action: str, then: Callable[[Call], None]) -> None:
        """Call ``then`` at each such call; the call waits for it."""
        with self._lock:
            self._watchers.append((moment, action, then))

    def forget_watchers(self) -> None:
        with self._lock:
            self._watchers.clear()

    def tell(self, moment: Moment, call: Call) -> None:
        with self._lock:
            told = [
                then for m, action, then in self._watchers if (m, action) == (moment, call.action)
            ]
        for then in told:
            then(call)
