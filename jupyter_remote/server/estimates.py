"""What jobs of this server are expected to take and to cost, from its store.

What earlier runs of all kinds teach is kept for a while, so that a submit reads only the runs of
its own code: a few dozen rows through an index.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from jupyter_remote import wire
from jupyter_remote.clock import Clock
from jupyter_remote.model import JobRecord, JobState, OwnerId, PastRun
from jupyter_remote.money.forecast import Price, estimate
from jupyter_remote.money.learning import Ask, Learned, learn
from jupyter_remote.store.base_parts import NewJob

QUICK_S = 1.0  # of what is free and takes less nobody asks how long it takes
OWN_RUNS = 30  # of the same code
OTHER_RUNS = 150  # of the same notebook, and as many of the same kind
LEARNED_FOR_S = 300.0  # of a full history; little is learned anew at once, for that is quick
OWN_FOR_S = 600.0  # what ends meanwhile is added
KEPT = 500  # of each

T = TypeVar("T")
Read = Callable[..., Awaitable[Any]]


class PastRuns(Protocol):
    """The verb of the store."""

    def __call__(
        self,
        owner: OwnerId,
        *,
        code_key: str = "",
        notebook: str = "",
        kind: str = "",
        limit: int = 100,
    ) -> list[PastRun]: ...


def price_of(rate_ucredits_per_h: int, hold_ucredits: int | None) -> Price:
    """As the ledger charges a run: from the start of its code to the end, within what is held."""
    return Price(rate_ucredits_per_h=rate_ucredits_per_h, most_ucredits=hold_ucredits)


class _Experience(msgspec.Struct, frozen=True):
    learned: Learned
    runs: list[PastRun]


class Estimates:
    """Used on the event loop; what reads much does so in a thread."""

    def __init__(self, past_runs: PastRuns, read: Read, clock: Clock) -> None:
        self._past_runs = past_runs
        self._read = read
        self._around: _Kept[_Experience] = _Kept(clock)
        self._own: _Kept[list[PastRun]] = _Kept(clock)

    async def estimate(
        self, owner: OwnerId, ask: Ask, price: Price, *, fresh: bool = False
    ) -> wire.Estimate:
        """From whatever runs there are; ``fresh``: of this moment."""
        own = self._runs_of(owner, ask.code_key)
        around = await self._experience(owner, ask, fresh)
        return estimate(own or around.runs, ask, price, around.learned)

    async def added(self, new: NewJob, most_ucredits: int) -> NewJob:
        """The job with its estimate, within what it will hold.

        None for a session, which lasts as long as it is wanted, for what goes on from a checkpoint,
        since how much is left nobody knows, and for what is free and never took long: nobody waits
        for that.
        """
        if new.kind == "session" or new.resumes is not None:
            return new
        if not new.rate_ucredits_per_h and not self._took_long(new):
            return new
        ask = Ask(
            machine=new.machine,
            inputs_bytes=new.inputs_bytes,
            code_key=new.code_key,
            notebook=new.notebook,
            kind=new.kind,
        )
        price = price_of(new.rate_ucredits_per_h, most_ucredits)
        made = await self.estimate(new.owner, ask, price)
        if made.run_s is None:
            return new
        return msgspec.structs.replace(new, estimate=wire.encode(made))

    def _took_long(self, new: NewJob) -> bool:
        return any(run.run_s >= QUICK_S for run in self._runs_of(new.owner, new.code_key))

    def note(self, job: JobRecord) -> None:
        """A job as it is now; one that succeeded is an earlier run for the next."""
        known = self._own.get((job.owner, job.code_key))
        if known is None or job.state is not JobState.SUCCEEDED or job.cached_from:
            return
        if not job.ran_whole or any(run.ended_at == job.ended_at for run in known):
            return  # not of use, or told before
        if job.started_at is not None and job.ended_at is not None:
            run = PastRun(
                run_s=job.ended_at - job.started_at,
                machine=job.machine,
                inputs_bytes=job.inputs_bytes,
                code_key=job.code_key,
                notebook=job.notebook,
                kind=job.kind,
                ended_at=job.ended_at,
            )
            self._own.put((job.owner, job.code_key), [run, *known][:OWN_RUNS], OWN_FOR_S)

    def _runs_of(self, owner: OwnerId, code_key: str) -> list[PastRun]:
        if not code_key:
            return []
        known = self._own.get((owner, code_key))
        if known is None:
            known = self._past_runs(owner, code_key=code_key, limit=OWN_RUNS)
            self._own.put((owner, code_key), known, OWN_FOR_S)
        return known

    async def _experience(self, owner: OwnerId, ask: Ask, fresh: bool) -> _Experience:
        key = owner, ask.notebook, ask.kind
        known = None if fresh else self._around.get(key)
        if known is None:
            known = await self._read(self._learn, *key)
            share = min(1.0, len(known.runs) / OTHER_RUNS)
            self._around.put(key, known, share * LEARNED_FOR_S)
        return known

    def _learn(self, owner: OwnerId, notebook: str, kind: str) -> _Experience:
        runs = [
            *self._past_runs(owner, notebook=notebook, limit=OTHER_RUNS),
            *self._past_runs(owner, kind=kind, limit=OTHER_RUNS),
        ]
        runs = list({(run.code_key, run.ended_at): run for run in runs}.values())
        return _Experience(learn(runs), runs)


class _Kept(Generic[T]):
    """Values that are good for some seconds; the oldest go first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._values: OrderedDict[tuple[str, ...], tuple[float, T]] = OrderedDict()

    def get(self, key: tuple[str, ...]) -> T | None:
        found = self._values.get(key)
        return None if found is None or self._clock.monotonic() > found[0] else found[1]

    def put(self, key: tuple[str, ...], value: T, for_s: float) -> None:
        self._values[key] = self._clock.monotonic() + for_s, value
        self._values.move_to_end(key)
        while len(self._values) > KEPT:
            self._values.popitem(last=False)
