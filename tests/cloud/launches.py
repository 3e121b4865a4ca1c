"""Launches whose server is killed, again and again, at every line between the intent to launch, the
call, its record, and the end of the machine. Then the witness tells what was left, doubled, or
ended too early.

Time is scaled: an idle machine is kept for 0.2 s instead of 300 s, one without its server ends
itself after ``ALONE_S`` instead of 600 s, and EC2 shows one that ended for ``SHOWN_S`` instead of
an hour. What a machine may be alive beyond its need is not scaled: 120 s. Machines are light ones
(:mod:`tests.cloud.light`), so that there can be thousands.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jupyter_remote import errors, wire
from tests.cloud.backend import Backend
from tests.cloud.faults import Fault, Moment
from tests.cloud.light import LightMachine
from tests.cloud.simulator import Simulator

INSTANCE = "jupyter-remote:instance"  # tag that names the intent
BEYOND_NEED_S = 120.0
ALONE_S = 30.0
SHOWN_S = 180.0
ROUND_S = 90.0
OPEN_STATES = ("queued", "claimed", "running", "retry_wait")
SETTINGS = {
    "JUPYTER_REMOTE_MACHINE_IDLE_S": "0.2",
    "JUPYTER_REMOTE_MACHINE_ALONE_S": str(ALONE_S),
    "JUPYTER_REMOTE_MACHINES_MOST": "50",
    "JUPYTER_REMOTE_HEARTBEAT_S": "0.4",
    "JUPYTER_REMOTE_LEASE_S": "4",
    "JUPYTER_REMOTE_DEAD_MAN_S": "2",
}
TYPES = ("g5.xlarge", "g6.xlarge", "g4dn.xlarge", "g5.xlarge.od", "g6.xlarge.od", "g4dn.xlarge.od")


@dataclass(frozen=True)
class Point:
    """Where the server is killed: at a call of the API, or when an instance has a state in the
    database; neither: at any time."""

    name: str
    action: str = ""
    moment: Moment = "called"
    state: str = ""
    delay_s: float = 0.0


POINTS = (
    Point("the intent is written", state="intent"),
    Point("the launch is called", "RunInstances", "called"),
    Point("the launch is executed, not answered", "RunInstances", "executed"),
    Point("the launch is answered", "RunInstances", "answered"),
    Point("the launch is answered, a little later", "RunInstances", "answered", delay_s=0.02),
    Point("the launch is recorded", state="requested"),
    Point("it is described", "DescribeInstances", "called"),
    Point("it is described, not answered", "DescribeInstances", "executed"),
    Point("it is seen pending", state="pending"),
    Point("its worker said hello", state="ready"),
    Point("it is to be terminated", state="terminating"),
    Point("the end is called", "TerminateInstances", "called"),
    Point("the end is executed, not answered", "TerminateInstances", "executed"),
    Point("the end is answered", "TerminateInstances", "answered"),
    Point("at any time"),
)


@dataclass
class Finding:
    """What the witness says."""

    launches: int = 0
    kills: Counter[str] = field(default_factory=Counter)  # by point
    jobs: Counter[str] = field(default_factory=Counter)  # by their last state
    twins: dict[str, list[str]] = field(default_factory=dict)
    early: list[str] = field(default_factory=list)  # terminated while they worked
    beyond_s: list[float] = field(default_factory=list)  # of each: from its need to its end
    alive: list[str] = field(default_factory=list)  # at the end

    def lines(self) -> list[str]:
        longest = max(self.beyond_s, default=0.0)
        return [
            f"{self.launches} instances launched; {sum(self.kills.values())} kills of the server:",
            *(f"  {count} when {name}" for name, count in self.kills.most_common()),
            f"jobs: {dict(self.jobs)}",
            f"twins: {len(self.twins)}",
            f"alive {BEYOND_NEED_S:.0f} s beyond their need: {len(self.late) + len(self.alive)} "
            f"(the longest {longest:.1f} s)",
            f"terminated while they worked: {len(self.early)}",
        ]

    @property
    def late(self) -> list[float]:
        return [s for s in self.beyond_s if s > BEYOND_NEED_S]


class Launches:
    """One simulator, one server, and rounds of jobs that each need a machine of their own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.finding = Finding()
        self.cloud = Simulator("processes", make=LightMachine)
        self.cloud.fleet.forgotten_after_s = SHOWN_S
        self.backend = Backend(folder, {**self.cloud.environment(), **SETTINGS})
        self.proxy = self.cloud.proxy(self.backend.port)
        self.backend.environment["JUPYTER_REMOTE_WORKER_URL"] = self.proxy.url
        self._jobs: list[str] = []

    def __enter__(self) -> Launches:
        try:
            self.backend.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        self.backend.end()
        self.cloud.close()

    def run(self, launches: int, points: Iterator[Point], at_once: int = 3) -> None:
        """Rounds of ``at_once`` jobs, with one kill in each, until so many were launched."""
        while len(self.cloud.witness.instances()) < launches:
            self.round(next(points), at_once)

    def round(self, point: Point, at_once: int) -> None:
        """Raises TimeoutError when a job does not end."""
        types = self.chance.sample(TYPES, at_once)
        armed = Armed(self, point)
        jobs = [request_for(type) for type in types]
        for job in jobs:
            self._submit(job)
        self._jobs += [job.id for job in jobs]
        self._until(lambda: armed.struck.is_set() or self._all_ended(), ROUND_S / 2)
        armed.disarm()
        self._revive()
        self._until(self._all_ended, ROUND_S)

    def lie(self) -> None:
        """The next launches have it harder, and some machines are denied for a while."""
        cloud, chance = self.cloud, self.chance
        cloud.fleet.visible_after_s = chance.choice((0.0, 0.5, 3.0))
        for action in ("RunInstances", "TerminateInstances"):
            code = chance.choice(("RequestLimitExceeded", "InternalError", ""))
            cloud.faults.add(Fault(action, code, cut=not code))
        for id in cloud.alive():
            if chance.random() < 0.3:
                cloud.fleet.hide(id, chance.uniform(0.5, 5))

    def _submit(self, job: wire.SubmitRequest) -> None:
        """Until a server acknowledges it."""
        while True:
            try:
                self.backend.submit(job)
            except errors.BackendUnreachable:
                self._revive()
            else:
                return

    def _revive(self) -> None:
        """Start the server if it was killed."""
        if not self.backend.runs:
            time.sleep(self.chance.uniform(0, 0.3))
            self.backend.start()

    def _all_ended(self) -> bool:
        states = ",".join(f"'{state}'" for state in OPEN_STATES)
        ended = f"SELECT count(*) FROM job WHERE state NOT IN ({states})"
        return self.backend.rows(ended) == [(len(self._jobs),)]

    def _until(self, condition: Callable[[], bool], limit_s: float) -> None:
        end = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"not within {limit_s} s; {self._state()}")
            time.sleep(0.05)

    def _state(self) -> str:
        """What waits for what."""
        open_states = ",".join(f"'{state}'" for state in OPEN_STATES)
        jobs = f"SELECT id, state, stage, machine FROM job WHERE state IN ({open_states})"
        machines = (
            "SELECT id, state, provider_id, machine, job, step, detail FROM instance "
            "WHERE state <> 'terminated'"
        )
        lines = [
            f"the server {'runs' if self.backend.runs else 'does not run'}; jobs that are open:",
            *map(str, self.backend.rows(jobs)),
            "machines in its database:",
            *map(str, self.backend.rows(machines)),
            f"machines that are alive: {self.cloud.alive()}",
            f"the server's log ends:\n{self.backend.log[-4000:]}",
        ]
        return "\n".join(lines)

    def settle(self) -> Finding:
        """Wait until no machine is alive, or one is too late; then tell."""
        end = time.monotonic() + BEYOND_NEED_S
        while self.cloud.alive() and time.monotonic() < end:
            time.sleep(0.05)
        finding, witness = self.finding, self.cloud.witness
        finding.launches = len(witness.instances())
        finding.alive = self.cloud.alive()
        finding.twins = self.cloud.twins(INSTANCE)
        finding.beyond_s = [
            s for id in witness.instances() if (s := self._beyond_s(id)) is not None
        ]
        finding.early = [id for id, m in self._machines() if m.killed_at_work]
        finding.jobs = Counter(state for (state,) in self.backend.rows("SELECT state FROM job"))
        return finding

    def _machines(self) -> Iterator[tuple[str, LightMachine]]:
        for id, machine in self.cloud.machines.items():
            assert isinstance(machine, LightMachine)
            yield id, machine

    def _beyond_s(self, id: str) -> float | None:
        """From its last work, or its launch if it never had any, to its end."""
        witness, machine = self.cloud.witness, self.cloud.machines[id]
        assert isinstance(machine, LightMachine)
        launched, ended = witness.when("launched", id), witness.when("terminated", id)
        assert launched is not None
        return None if ended is None else ended - (machine.worked_at or launched)


class Armed:
    """Kills the server once, when a point is reached."""

    def __init__(self, launches: Launches, point: Point) -> None:
        self.struck = threading.Event()
        self._launches, self._point = launches, point
        self._off = threading.Event()
        self._lock = threading.Lock()
        if point.action:
            launches.cloud.at(
                point.moment, point.action, lambda call: self._strike_in(point.delay_s)
            )
        else:
            threading.Thread(target=self._watch, daemon=True).start()

    def disarm(self) -> None:
        self._off.set()
        self._launches.cloud.faults.forget_watchers()

    def _watch(self) -> None:
        backend, state = self._launches.backend, self._point.state
        if not state:
            self._off.wait(self._launches.chance.uniform(0, 2.5))
        query = "SELECT count(*) FROM instance WHERE provider = 'ec2' AND state = ?"
        while state and not self._off.is_set() and backend.rows(query, state) in ([], [(0,)]):
            time.sleep(0.001)
        self._strike_in(0)

    def _strike_in(self, seconds: float) -> None:
        with self._lock:
            if self._off.is_set() or self.struck.is_set():
                return
            time.sleep(seconds)
            self._launches.backend.kill()
            self._launches.finding.kills[self._point.name] += 1
            self.struck.set()


def request_for(type: str) -> wire.SubmitRequest:
    spec = wire.JobSpec(kind="cell", code="1 + 1")
    need = wire.Need(machine=type)
    return wire.SubmitRequest(id=str(uuid.uuid4()), spec=spec, need=need, timeout_s=60.0)


def all_points(chance: random.Random) -> Iterator[Point]:
    """Each once in a while, in another order each time."""
    for _ in itertools.count():
        yield from chance.sample(POINTS, len(POINTS))
