"""What the scheduler knows of machines elsewhere, and of its search for one. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

from jupyter_remote.model import InstanceState, JobId, OwnerId

Pool = tuple[OwnerId, str]
"""Whose jobs, on which machine type: no machine serves two owners."""

COMING = frozenset({InstanceState.INTENT, InstanceState.REQUESTED, InstanceState.PENDING})
ENDING = frozenset({InstanceState.TERMINATING, InstanceState.ORPHAN})


@dataclass(slots=True)
class Machine:
    """One that is there, or is meant to be; until it is known for certain to be terminated."""

    id: str
    provider: str
    owner: OwnerId
    type: str
    slots: int  # one for each of its GPUs, at least one
    created_at: float
    job: JobId  # for which it was asked
    told: list[JobId] = field(default_factory=list)  # who hears of it: that one, and who joined
    zone: str = ""
    spot: bool = False
    place: int = 0  # which of the places where one may be had
    rate_ucredits_per_h: int = 0
    state: InstanceState = InstanceState.INTENT
    busy: bool = False  # a call of its provider is under way
    act_at: float = 0.0  # not before is it launched, or terminated, again
    tries: int = 0  # of that
    unsure: bool = False  # it was asked for, and it is not known what became of that
    look_at: float = 0.0  # when it is to be described next
    looks: int = 0  # without its being there
    absent_since: float | None = None
    connected: bool = False
    away_since: float = 0.0  # if it is not connected
    idle_since: float | None = None
    ready_at: float | None = None
    step: str = ""  # how far its bootstrap has come
    ends: str = ""  # why it is to be ended
    leaves: str = ""  # why it is to be ended once it holds nothing
    left: bool = False  # its worker was told that it will be ended, whatever it has
    boot_failed: bool = False  # it will not connect
    taken: bool = False  # back, by its provider

    @property
    def pool(self) -> Pool:
        return self.owner, self.type

    @property
    def coming(self) -> bool:
        """Its worker has never said hello, and may."""
        return self.state in COMING and not self.ends


@dataclass(slots=True)
class Search:
    """How it stands with finding a machine for a pool. It is over when one connects."""

    since: float | None = None  # when one was asked for, without success
    place: int = 0  # where the next one is asked for
    not_before: float = 0.0
    problem: str = ""  # what the provider said last, or how a boot ended
    hint: str = ""
    final: bool = False  # there is none before somebody does something
    boots: int = 0  # machines that never connected
    refusing: bool = False  # its jobs are being told
    settled: bool = False  # its jobs wait for machines that are there
