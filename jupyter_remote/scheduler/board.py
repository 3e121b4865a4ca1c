"""The scheduler's view in memory: who waits, which slots are free, what runs. No I/O.

It is kept current by :meth:`Board.note`, called with every job that a transaction returned, so
that a submit is assigned without the store being read again.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Literal

from jupyter_remote.model import (
    ACTIVE,
    InstanceState,
    JobId,
    JobRecord,
    JobState,
    MachineType,
    OwnerId,
    WorkerId,
)
from jupyter_remote.money.estimate import typical
from jupyter_remote.scheduler.machines import Machine, Pool, Search
from jupyter_remote.store.base_parts import NewJob

LOCAL = "local"
BOOT_S = 90.0  # from an intent to the worker's hello, as long as nothing was measured
OVERDUE_S = 0.001  # 0 would be never
WAITS = 50  # how many starts are remembered for estimates

Place = tuple[OwnerId, str, bool, str]
"""A queue: whose jobs, for which pool, whether they are calls of batches, and what they wait for
instead of a slot (empty: a slot)."""

NO_SLOT = "no slot"
NOBODY = OwnerId("")


@dataclass(slots=True)
class Waiting:
    """A job that may be assigned."""

    job: JobId
    owner: OwnerId
    pool: str  # which workers can take it
    batch: bool = False  # one of many: single jobs of the same owner go first
    session: JobId | None = None  # a cell of this session: only its worker can take it
    aside: bool = False  # takes no slot: mostly it waits for its user
    gpus: int = 0  # of a machine's, where that is not shared otherwise; 0: all

    @property
    def place(self) -> Place:
        """Its queue."""
        return self.owner, self.pool, self.batch, self.session or (NO_SLOT if self.aside else "")


How = Literal["", "checkpoint", "interrupt", "kill"]
"""Of a cancel; empty: there is none."""


@dataclass(slots=True)
class Active:
    """An attempt that a worker has, or is just being given (epoch 0)."""

    job: JobId
    owner: OwnerId
    client: str
    worker: WorkerId
    epoch: int = 0
    started: bool = False
    started_at: float | None = None
    rate_ucredits_per_h: int = 0
    hold_ucredits: int = 0  # what earlier attempts left of it
    cancel: How = ""
    kill_at: float | None = None  # then it is killed; None: never
    leaving: bool = False  # its worker has said that it ended
    aside: bool = False  # it takes no slot
    gpus: int = 0
    calls: Pool | None = None  # of a call of a batch: where it runs
    devices: tuple[int, ...] = ()  # which slots of its machine it has: where gpus is set, its GPUs

    def stop(self, now: float) -> tuple[How, float | None]:
        """What its worker is told of a cancel: how, and in how many seconds it is killed. Once
        that is past the worker decides: code that ended is not killed while its result is saved."""
        if self.cancel in ("", "kill"):
            return self.cancel, None
        if self.kill_at is None:
            return self.cancel, 0.0
        left_s = self.kill_at - now
        return (self.cancel, left_s) if left_s > 0 else ("interrupt", OVERDUE_S)


@dataclass(slots=True)
class Agent:
    """A worker that is connected."""

    id: WorkerId
    instance: str
    pool: str
    slots: int
    python: str = ""
    draining: bool = False  # it takes nothing more but cells of its sessions
    leaving: bool = False  # nor these: they go on elsewhere
    owner: OwnerId = NOBODY  # of a machine elsewhere: whose jobs alone it takes
    jobs: dict[JobId, tuple[int, ...]] = field(default_factory=dict)  # with the slots they have
    asides: set[JobId] = field(default_factory=set)  # those that need none

    def take(self, active: Active) -> None:
        """It has this attempt."""
        if active.aside:
            self.asides.add(active.job)
        elif active.job not in self.jobs:
            taken = {slot for slots in self.jobs.values() for slot in slots}
            unused = (slot for slot in count() if slot not in taken)
            active.devices = active.devices or tuple(islice(unused, self.slots_for(active)))
            self.jobs[active.job] = active.devices

    def slots_for(self, job: Active | Waiting) -> int:
        """A job has the whole of a machine elsewhere, unless it asked for some of its GPUs."""
        return (job.gpus or self.slots) if self.owner else 1

    @property
    def free(self) -> int:
        """Slots that can take a job now."""
        return 0 if self.draining else self.slots - sum(map(len, self.jobs.values()))


@dataclass(slots=True)
class Instance:
    """A machine that is meant to be there."""

    id: str
    launched_at: float
    looked_at: float
    state: InstanceState = InstanceState.INTENT
    away_since: float = 0.0  # its worker is not connected since; infinite: it is


def pool_of(job: JobRecord | NewJob) -> str:
    """Simulated machines are played by this computer."""
    return LOCAL if job.simulated else job.machine


def waiting_of(job: JobRecord | NewJob) -> Waiting:
    """How a job waits. Sessions on this computer leave its slots to jobs."""
    pool, is_session = pool_of(job), job.kind == "session"
    session = JobId(job.session) if job.session and not is_session else None
    aside = session is not None or (is_session and pool == LOCAL)
    return Waiting(job.id, job.owner, pool, job.batch is not None, session, aside, job.gpus)


def _active_of(waiting: Waiting, worker: WorkerId) -> Active:
    made = Active(waiting.job, waiting.owner, "", worker, aside=waiting.aside, gpus=waiting.gpus)
    made.calls = (waiting.owner, waiting.pool) if waiting.batch else None
    return made


class Board:
    """See the module. Queues are in order of arrival."""

    def __init__(self) -> None:
        # Ordered dicts: the first of a plain dict is slow to find once many before it are gone.
        self.queues: dict[Place, OrderedDict[JobId, Waiting]] = {}
        self.agents: dict[WorkerId, Agent] = {}
        self.active: dict[JobId, Active] = {}
        self.retry_at: dict[JobId, float] = {}
        self.instances: dict[str, Instance] = {}
        self.types: dict[str, MachineType] = {}  # those that a provider elsewhere launches
        self.machines: dict[str, Machine] = {}  # of such providers
        self.searches: dict[Pool, Search] = {}
        self.told: set[JobId] = set()  # of the machine that they wait for
        self.crowded: set[JobId] = set()  # told that there are as many machines as there may be
        self.homes: dict[WorkerId, str] = {}  # on which machine elsewhere each worker is
        self.boots: dict[str, deque[float]] = {}  # of machine types: from intent to hello, seconds
        self.calls: dict[Pool, deque[float]] = {}  # how long calls of batches took, seconds
        self.heard_at: dict[WorkerId, float] = {}  # when each worker said something last
        self.suspects: set[WorkerId] = set()  # those that were not heard for long
        self.partial = False  # more is queued in the store than was read
        self.closing = False
        self.refused = False  # a commit was, since leases were last looked at
        self.paused_until = 0.0
        self.launch_at = 0.0
        self.launch_failures = 0
        self.waits: deque[float] = deque(maxlen=WAITS)  # from claim to start, seconds
        self.starts: deque[float] = deque(maxlen=WAITS)  # from launch to hello, seconds
        self.done_at: dict[str, float] = {}  # when each periodic action was last done

    @property
    def waiting(self) -> int:
        """Jobs that wait for a slot."""
        return sum(len(queue) for queue in self.queues.values())

    def waits_for_slot(self, job: JobId) -> bool:
        """Is it in a queue, or to be tried again?"""
        return job in self.retry_at or any(job in queue for queue in self.queues.values())

    @property
    def idle(self) -> bool:
        """Nothing waits, runs or is to be tried again, and no machine is to be looked after."""
        jobs = self.active or self.retry_at or self.partial or self.waiting
        return not (jobs or self.machines)

    def waiting_in(self, pool: Pool) -> Iterator[Waiting]:
        """Those that wait for slots of a machine elsewhere, single jobs first."""
        for queue in self._queues_of(pool):
            yield from queue.values()

    def calls_waiting(self, pool: Pool) -> int:
        """How many calls of batches wait for a machine of this pool."""
        owner, type = pool
        return len(self.queues.get((owner, type, True, ""), ()))

    def is_waited_for(self, pool: Pool) -> bool:
        """Does anybody wait for a machine of this pool?"""
        return any(self._queues_of(pool))

    def is_coming(self, pool: Pool) -> bool:
        """Is a machine for this pool on its way?"""
        return any(m.coming and m.pool == pool for m in self.machines.values())

    def _queues_of(self, pool: Pool) -> Iterator[OrderedDict[JobId, Waiting]]:
        owner, type = pool
        for batch in (False, True):
            yield self.queues.get((owner, type, batch, ""), OrderedDict())

    @property
    def pools(self) -> list[Pool]:
        """Whose jobs wait for machines elsewhere."""
        return sorted({(o, p) for o, p, _, what in self.queues if not what and p in self.types})

    @property
    def stranded(self) -> list[Pool]:
        """Whose jobs wait for machines that nobody has, and no worker of theirs is there."""
        elsewhere = {(o, p) for o, p, _, what in self.queues if not what and p != LOCAL}
        served = {a.pool for a in self.agents.values()}
        return sorted((o, p) for o, p in elsewhere if p not in self.types and p not in served)

    def search(self, pool: Pool) -> Search:
        """How it stands with finding a machine for this pool."""
        return self.searches.setdefault(pool, Search())

    def call_s(self, now: float, pool: Pool) -> float:
        """How long a call of a batch takes there: as those before, or at least as long as those
        that run now have taken; 0: nothing is known yet."""
        running = [a.started_at for a in self.active.values() if a.calls == pool and a.started_at]
        longest = max((now - at for at in running), default=0.0)
        return max(longest, typical(self.calls.get(pool, ()), 0.0))

    def boot_s(self, type: str) -> float:
        """How long a machine of this type takes from its intent to its worker's hello."""
        return typical(self.boots.get(type, ()), BOOT_S)

    def booted(self, type: str, seconds: float) -> None:
        """A machine of this type took so long from its intent to its worker's hello."""
        self.boots.setdefault(type, deque(maxlen=WAITS)).append(seconds)

    def forget_machine(self, machine: Machine) -> None:
        """There is no such machine. Who waited for it will hear of another one, if not yet."""
        self.machines.pop(machine.id, None)
        others = [m.told for m in self.machines.values() if m.pool == machine.pool and m.coming]
        self.told.difference_update(set(machine.told).difference(*others))
        self.homes = {w: home for w, home in self.homes.items() if home != machine.id}

    def agent_on(self, machine: str) -> Agent | None:
        """The worker of a machine elsewhere, if it is connected."""
        return next((a for a in self.agents.values() if a.owner and a.instance == machine), None)

    def note(self, job: JobRecord) -> Active | None:
        """A job as it is now. Returns an attempt that its worker does not know to be over."""
        self.retry_at.pop(job.id, None)
        if job.state in ACTIVE:
            self._note_active(job)
            return None
        gone = self.active.get(job.id)
        if gone is not None and gone.calls and job.ended_at and job.started_at:
            took = self.calls.setdefault(gone.calls, deque(maxlen=WAITS))
            took.append(job.ended_at - job.started_at)
        if gone is not None and gone.epoch == 0 and job.state is JobState.QUEUED:
            return None  # it is being claimed just now
        waits = job.state is JobState.QUEUED and job.ready
        if gone is not None or not waits:
            self._dequeue(job)
            self.drop(job.id)
        if waits:
            self._enqueue(job)  # one that waits already keeps its turn
        else:
            self._untold(job.id)
        if job.state is JobState.RETRY_WAIT and job.not_before_at is not None:
            self.retry_at[job.id] = job.not_before_at
        return gone if gone is not None and gone.epoch and not gone.leaving else None

    def _note_active(self, job: JobRecord) -> None:
        self._dequeue(job)
        active = self.active.get(job.id)
        if active is None or (active.epoch and active.epoch != job.epoch):
            self.drop(job.id)
            active = _active_of(waiting_of(job), job.worker or WorkerId(""))
            active.devices = tuple(map(int, filter(None, job.devices.split(","))))
            self.active[job.id] = active
        self._untold(job.id)
        active.epoch, active.client = job.epoch, job.client
        if job.state is JobState.RUNNING and not active.started and job.started_at:
            self.waits.append(job.started_at - (job.claimed_at or job.started_at))
        active.started = job.state is JobState.RUNNING
        active.started_at = job.started_at
        active.rate_ucredits_per_h = job.rate_ucredits_per_h
        active.hold_ucredits = job.hold_ucredits - job.cost_ucredits
        if job.cancel_requested and active.cancel != "kill":
            soft: How = "checkpoint" if job.cancel_saves else "interrupt"
            active.cancel = "kill" if job.cancel_forced else soft
            active.kill_at = job.kill_at
        if agent := self.agents.get(active.worker):
            agent.take(active)

    def _untold(self, job: JobId) -> None:
        """It does not wait any more."""
        self.told.discard(job)
        self.crowded.discard(job)

    def _enqueue(self, job: JobRecord) -> None:
        waiting = waiting_of(job)
        self.queues.setdefault(waiting.place, OrderedDict())[job.id] = waiting

    def _dequeue(self, job: JobRecord) -> None:
        place = waiting_of(job).place
        queue = self.queues.get(place)
        if queue is not None:
            queue.pop(job.id, None)
            if not queue:
                del self.queues[place]

    def reserve(self, waiting: Waiting, worker: WorkerId) -> None:
        """A claim is on its way: nothing else may take this job or this slot."""
        queue = self.queues[waiting.place]
        del queue[waiting.job]
        if not queue:
            del self.queues[waiting.place]
        self.occupy(waiting, worker)

    def occupy(self, waiting: Waiting, worker: WorkerId) -> None:
        """As :meth:`reserve`, for a job that is just being written."""
        active = _active_of(waiting, worker)
        self.active[waiting.job] = active
        self.agents[worker].take(active)

    def give_back(self, waiting: Waiting, again: bool) -> None:
        """The claim came to nothing; ``again``: the job still waits, first in its queue."""
        active = self.active.get(waiting.job)
        if active is not None and active.epoch == 0:
            self.drop(waiting.job)
        if again:
            queue = self.queues.setdefault(waiting.place, OrderedDict())
            queue[waiting.job] = waiting
            queue.move_to_end(waiting.job, last=False)

    def drop(self, job: JobId) -> None:
        """The job holds no slot any more."""
        active = self.active.pop(job, None)
        if active is not None and (agent := self.agents.get(active.worker)):
            agent.jobs.pop(job, None)
            agent.asides.discard(job)

    def connect(self, agent: Agent) -> None:
        """A worker said hello; it has what the store says it has."""
        for active in self.held_by(agent.id):
            agent.take(active)
        self.agents[agent.id] = agent
        self.launch_failures = 0

    def disconnect(self, worker: WorkerId) -> None:
        """Its connection closed. Its attempts stay: unknown is not dead."""
        self.agents.pop(worker, None)

    def forget_workers(self) -> None:
        """Those that are not there and have nothing."""
        known = self.agents.keys() | {a.worker for a in self.active.values()}
        self.heard_at = {w: at for w, at in self.heard_at.items() if w in known}
        self.suspects &= known

    def held_by(self, worker: WorkerId) -> Iterator[Active]:
        """Attempts that this worker has."""
        return (a for a in list(self.active.values()) if a.worker == worker)
