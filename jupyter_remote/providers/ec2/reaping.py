"""The reaper that needs neither server nor database: tags and credentials are enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from jupyter_remote.amounts import duration
from jupyter_remote.errors import UsageError
from jupyter_remote.providers.ec2 import instances
from jupyter_remote.providers.ec2.client import Clients
from jupyter_remote.providers.ec2.describing import Described, seen_of, started_at, tags_of
from jupyter_remote.providers.ec2.launching import LONGEST
from jupyter_remote.settings import Settings

WAIT_S = 600.0  # machines with GPUs take minutes to be gone
LOOK_S = 5.0


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """A machine of ours that is there."""

    provider_id: str
    id: str  # of its intent
    backend: str
    machine: str  # EC2's type
    zone: str
    spot: bool
    state: str
    since: float  # Unix time
    until: float  # it should have ended itself by then
    due: bool  # it is to be ended
    ended: bool = False  # described as terminated

    def line(self, now: float) -> str:
        """Of it, for people."""
        price = "spot" if self.spot else "on demand"
        age = f"{duration(now - self.since)} old, of at most {duration(self.until - self.since)}"
        what = f"{self.provider_id}  {self.machine} {price}  {self.zone}  {self.state}  {age}"
        return f"{what}  {'to be ended' if self.due else 'kept'}"


class Reaper:
    """Ends machines of one backend that lived longer than they may, or all of them at once."""

    def __init__(
        self,
        settings: Settings,
        *,
        backend_id: str = "",
        everybody: bool = False,
        now: bool = False,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if everybody and now:
            raise UsageError(
                "Machines of other backends are ended only when they are overdue.",
                hint="Leave out --now, or name the backend: --backend ID.",
            )
        self._clients = Clients(settings)
        self._longest_s = settings.machine_longest_s
        self._backend_id = backend_id
        self._everybody = everybody
        self._now = now
        self._clock = clock
        self._sleep = sleep

    def found(self) -> list[Left]:
        """What is there, oldest first."""
        if self._everybody:
            found = instances.of_all(self._clients)
        elif self._backend_id:
            mine = instances.of_backend(self._clients, self._backend_id)
            found = [(self._backend_id, id, instance) for id, instance in mine]
        else:
            found = []  # no backend on this home had machines elsewhere
        return sorted((self._left(*row) for row in found), key=lambda left: left.since)

    def end(self, found: Sequence[Left], wait_s: float = WAIT_S) -> list[Left]:
        """Ask for the end of those that are due, and wait until EC2 says so of each.

        One that it does not show is not known to be gone, and is asked for again.
        """
        limit = self._clock() + wait_s
        waiting = {left.provider_id: left for left in found if left.due}
        for left in waiting.values():
            instances.terminate(self._clients, left.provider_id)
        while waiting:
            for id, state in self._states(list(waiting.values())):
                if state == "terminated":
                    waiting.pop(id, None)
                elif id in waiting and state != "shutting-down":
                    instances.terminate(self._clients, id)
            if not waiting or self._clock() >= limit:
                break
            self._sleep(LOOK_S)
        return [
            msgspec.structs.replace(left, ended=left.due and left.provider_id not in waiting)
            for left in found
        ]

    def close(self) -> None:
        self._clients.close()

    def _states(self, lefts: Sequence[Left]) -> Iterator[tuple[str, str]]:
        for backend in {left.backend for left in lefts}:
            ids = [left.id for left in lefts if left.backend == backend]
            for _, instance in instances.of_backend(self._clients, backend, ids):
                yield instance["InstanceId"], instance["State"]["Name"]

    def _left(self, backend: str, id: str, instance: Described) -> Left:
        seen = seen_of(instance, id)
        since = started_at(instance)
        text = tags_of(instance).get(LONGEST, "")
        until = since + (float(text) if text.isdecimal() else self._longest_s)
        return Left(
            provider_id=seen.provider_id,
            id=id,
            backend=backend,
            machine=instance["InstanceType"],
            zone=seen.zone,
            spot=instance.get("InstanceLifecycle") == "spot",
            state=instance["State"]["Name"],
            since=since,
            until=until,
            due=self._now or self._clock() >= until,
        )
