"""The instances behind the API: their states as EC2 has them, and the machines that they are."""

from __future__ import annotations

import base64
import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.cloud import many
from tests.cloud.imds import Metadata
from tests.cloud.machines import Gpu, Machine, remove
from tests.cloud.witness import Witness

Make = Callable[[Metadata, Path, list[Gpu]], Machine]

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopped": 80}
BY_ITSELF = "Client.InstanceInitiatedShutdown", "Instance initiated shutdown"
SPOT_ENDED = "Server.SpotInstanceTermination", "Spot instance termination"
BY_CALL = "Client.UserInitiatedShutdown", "User initiated shutdown"
RETIRED = "Server.InternalError", "The computer that it ran on failed"

log = logging.getLogger(__name__)


class Fleet:
    """``boot_s`` and ``ending_s`` are how long an instance is pending and shutting down;
    ``visible_after_s`` passes before it is described at all (``math.inf``: until it is shown), and
    once it is terminated ``forgotten_after_s`` until it is described no more."""

    def __init__(self, backend: Any, make: Make, folder: Path, witness: Witness) -> None:
        self.boot_s = 0.1
        self.ending_s = 0.1
        self.visible_after_s = 0.0
        self.forgotten_after_s = 3600.0  # as EC2: about an hour
        self.moto = threading.RLock()  # moto's EC2 is not made for threads; taken before ours
        self.tags: dict[str, dict[str, str]] = {}  # that instances were launched with
        self.machines: dict[str, Machine] = {}
        self._there: dict[str, Machine] = {}  # that are not terminated
        self._backend = backend
        self._make = make
        self._folder = folder
        self._witness = witness
        self._instances: dict[str, Any] = {}
        self._hidden: dict[str, float] = {}  # until when, monotonic
        self._ended: deque[tuple[float, str]] = deque()  # since when, monotonic
        self._timers: set[threading.Timer] = set()
        self._held: list[Callable[[], None]] | None = None  # what is due, while time stands still
        self._lock = threading.RLock()
        self._closed = False

    # -- what the API does
    def zone_of(self, parameters: dict[str, str]) -> str:
        """Where a launch is to be: by its placement, or by its subnet."""
        if zone := parameters.get("Placement.AvailabilityZone"):
            return zone
        ids = (parameters.get(k) for k in ("SubnetId", "NetworkInterface.1.SubnetId"))
        subnet = next((id for id in ids if id), None)
        found = self._backend.describe_subnets(subnet_ids=[subnet]) if subnet else []
        return found[0].availability_zone if found else ""

    def launched(self, id: str, intent: str) -> None:
        """moto has made an instance; it is pending for a while."""
        instance = self._backend.get_instance(id)
        user_data = base64.b64decode(str(instance.user_data)) if instance.user_data else b""
        machine = self._make(Metadata(instance, user_data), self._folder / id, self._gpus(instance))
        with self._lock:
            self._instances[id], self.machines[id] = instance, machine
            self._there[id] = machine
            self.tags[id] = {tag["key"]: tag["value"] for tag in instance.get_tags()}
            self._set(instance, "pending")
            self._hidden[id] = time.monotonic() + self.visible_after_s
        self._witness.saw("launched", id, intent)
        self._later(self.boot_s, lambda: self._boot(id))

    @contextlib.contextmanager
    def ending(self, ids: Sequence[str]) -> Iterator[None]:
        """Around moto's own doing: what it says is terminated at once takes a while."""
        with self._lock:
            known = [id for id in ids if id in self._instances]
            before = {id: self._instances[id]._state.name for id in known}
            reasons = {id: self._instances[id].state_reason for id in known}
            yield
            for id in known:
                instance = self._instances[id]
                if instance._state.name != "terminated":
                    continue  # moto refused
                if before[id] in ("terminated", "shutting-down"):
                    self._set(instance, before[id])
                    instance.state_reason = reasons[id]
                    continue
                self._witness.saw("asked to end", id)
                self._end(id, BY_CALL)

    def hidden(self) -> set[str]:
        """Those that are not described now, whatever they do."""
        now = time.monotonic()
        with self._lock:
            self._hidden = {id: until for id, until in self._hidden.items() if until > now}
            return set(self._hidden)

    def there(self) -> list[Machine]:
        """Those that are not terminated. Waits for nothing."""
        return list(self._there.values())

    def forget_old(self) -> None:
        """Those that ended long ago are not described any more."""
        long_ago = time.monotonic() - self.forgotten_after_s
        with self.moto, self._lock:
            while self._ended and self._ended[0][0] <= long_ago:
                many.forget(self._backend, self._ended.popleft()[1])

    def console(self, id: str) -> bytes:
        return self.machines[id].console()

    # -- what the world does
    def hide(self, id: str, seconds: float = math.inf) -> None:
        """The API denies it for so long, or until it is shown, though it is there."""
        with self._lock:
            self._hidden[id] = time.monotonic() + seconds

    def show(self, id: str) -> None:
        """The API knows it."""
        with self._lock:
            self._hidden.pop(id, None)

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """Nothing goes on by itself in here: no boot, no end; what was due comes afterwards."""
        with self._lock:
            self._held = []
        try:
            yield
        finally:
            with self._lock:
                due, self._held = self._held, None
            for then in due:
                self._later(0, then)

    def recommend_rebalance(self, id: str) -> None:
        self.machines[id].metadata.rebalance_at = datetime.now(UTC)

    def interrupt(self, id: str, notice_s: float) -> None:
        """A spot notice, and after ``notice_s`` (on EC2 120) the machine is taken away."""
        self.machines[id].metadata.interrupted_at = datetime.now(UTC) + timedelta(seconds=notice_s)
        self._later(notice_s, lambda: self._take_away(id, "interrupted", SPOT_ENDED))

    def kill(self, id: str) -> None:
        """It is gone, without notice."""
        self._take_away(id, "killed", RETIRED)

    def close(self) -> None:
        """End all machines."""
        with self._lock:
            self._closed = True
            for timer in self._timers:
                timer.cancel()
        for machine in list(self.machines.values()):
            machine.kill()

    # -- how it goes on
    def _boot(self, id: str) -> None:
        with self._lock:
            instance = self._instances[id]
            if instance._state.name != "pending":
                return
            self._set(instance, "running")
        self._witness.saw("running", id)
        try:
            self.machines[id].boot(lambda: self._ended_itself(id))
        except Exception:
            log.exception("the machine %s does not boot", id)

    def _ended_itself(self, id: str) -> None:
        with self.moto, self._lock:
            if self._closed or self._instances[id]._state.name != "running":
                return
            self._witness.saw("ended itself", id)
            if self._instances[id].instance_initiated_shutdown_behavior == "terminate":
                self._end(id, BY_ITSELF)
            else:
                self._set(self._instances[id], "stopped")
                self._witness.saw("stopped", id)

    def _take_away(self, id: str, what: Any, reason: tuple[str, str]) -> None:
        with self.moto, self._lock:
            if self._closed or self._instances[id]._state.name not in ("pending", "running"):
                return
            self._witness.saw(what, id)
            self._end(id, reason)

    def _end(self, id: str, reason: tuple[str, str]) -> None:
        instance = self._instances[id]
        if instance._state.name != "terminated":
            instance.terminate()
        code, message = reason
        instance.state_reason = type(instance.state_reason)(f"{code}: {message}", code)
        self._set(instance, "shutting-down")
        self._later(0, self.machines[id].kill)
        self._later(self.ending_s, lambda: self._terminated(id))

    def _terminated(self, id: str) -> None:
        self.machines[id].kill()  # at the latest
        with self.moto, self._lock:  # whoever is told so finds it with the witness, too
            self._set(self._instances[id], "terminated")
            self._ended.append((time.monotonic(), id))
            del self._there[id]
            self._witness.saw("terminated", id)
        remove(self._folder / id)

    def _later(self, seconds: float, then: Callable[[], None]) -> None:
        def run() -> None:
            with self._lock:
                self._timers.discard(timer)
                if self._closed:
                    return
                if self._held is not None:
                    self._held.append(then)
                    return
            then()

        timer = threading.Timer(seconds, run)
        timer.daemon = True
        with self._lock:
            self._timers.add(timer)
        timer.start()

    def _set(self, instance: Any, state: str) -> None:
        instance._state.name, instance._state.code = state, CODES[state]

    def _gpus(self, instance: Any) -> list[Gpu]:
        [found] = self._backend.describe_instance_types([instance.instance_type])
        gpus = found.get("GpuInfo", {}).get("Gpus", [])
        return [
            (f"{gpu['Manufacturer']} {gpu['Name']}", gpu["MemoryInfo"]["SizeInMiB"])
            for gpu in gpus
            for _ in range(gpu["Count"])
        ]
