"""What may be done about machines elsewhere: decided in :mod:`jupyter_remote.scheduler.pools`."""

from __future__ import annotations

import msgspec

from jupyter_remote.model import JobId, OwnerId


class Rent(msgspec.Struct, frozen=True):
    """Write the intent of a machine, for this job first."""

    owner: OwnerId
    type: str
    job: JobId


class Ask(msgspec.Struct, frozen=True):
    """Launch what was intended, or launch it again: that is one machine."""

    machine: str


class End(msgspec.Struct, frozen=True):
    """Terminate it. Told again until it is described as terminated."""

    machine: str
    why: str


class Drain(msgspec.Struct, frozen=True):
    """Nothing more is given to it."""

    machine: str
    why: str


class Leave(msgspec.Struct, frozen=True):
    """It will be ended in so many seconds: what it has goes on elsewhere, as at a spot notice."""

    machine: str
    why: str
    left_s: float


class Rest(msgspec.Struct, frozen=True):
    """It has nothing to do from now on, or it has again."""

    machine: str
    idle: bool


class Describe(msgspec.Struct, frozen=True):
    """Ask its provider what became of these, in one call."""

    provider: str
    machines: tuple[str, ...]


class Survey(msgspec.Struct, frozen=True):
    """List all machines that this provider has of ours."""

    provider: str


class Refuse(msgspec.Struct, frozen=True):
    """There is no machine for this pool: its jobs are told so."""

    owner: OwnerId
    type: str


class Settle(msgspec.Struct, frozen=True):
    """There is no further machine for this pool: its jobs wait for those that work."""

    owner: OwnerId
    type: str


class Strand(msgspec.Struct, frozen=True):
    """No provider has this type, or says so; its jobs came before that."""

    owner: OwnerId
    type: str


class Crowd(msgspec.Struct, frozen=True):
    """These jobs wait because there are as many machines as there may be."""

    owner: OwnerId
    jobs: tuple[JobId, ...]


class Tell(msgspec.Struct, frozen=True):
    """These jobs wait for this machine, which is coming."""

    machine: str
    jobs: tuple[JobId, ...]


class Forget(msgspec.Struct, frozen=True):
    """Nobody of this pool waits any more."""

    owner: OwnerId
    type: str


Action = (
    Rent | Ask | End | Drain | Leave | Rest | Describe | Survey
    | Refuse | Settle | Strand | Crowd | Tell | Forget
)  # fmt: skip
