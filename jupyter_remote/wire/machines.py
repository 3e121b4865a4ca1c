"""Machines that were rented: what they are, how they enrol, how far their bootstrap has come."""

from __future__ import annotations

import msgspec


class InstanceView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A machine that is there, or is meant to be, or was."""

    id: str
    provider: str
    machine: str
    state: str  # model.InstanceState
    provider_id: str = ""
    zone: str = ""
    spot: bool = False
    owner: str = ""
    job: str = ""  # for which it was asked
    usd_per_h: float = 0.0
    created_at: float = 0.0
    ready_at: float | None = None
    ended_at: float | None = None
    step: str = ""
    detail: str = ""
    slots: int = 0
    busy: int = 0
    idle_since_at: float | None = None
    ends_at: float | None = None  # when it is ended if nothing comes to it


class InstanceList(msgspec.Struct, frozen=True):
    """``GET /v1/machines/instances``."""

    instances: list[InstanceView]  # newest first


class BootLog(msgspec.Struct, frozen=True):
    """``GET /v1/machines/instances/{id}/log``; also by the id of the job that it was asked for."""

    instance: str
    step: str
    text: str


class Enrol(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``POST /v1/workers/enrol``, with the enrolment token: once."""

    instance: str
    provider_id: str = ""
    zone: str = ""


class Enrolled(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The worker's own token, and what its agent is to be told."""

    token: str
    config: dict[str, str | int | float | bool] = {}


class BootReport(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``POST /v1/workers/boot``: a step of the bootstrap began, or it failed."""

    instance: str
    step: str
    failed: bool = False
    text: str = ""  # the end of its log


class Notice(msgspec.Struct, frozen=True, omit_defaults=True, tag="notice", kw_only=True):
    """From a worker: its machine is taken away at about ``ends_at``."""

    req: int
    ends_at: float = 0.0
    why: str = ""  # "spot"
