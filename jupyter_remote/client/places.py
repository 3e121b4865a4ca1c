"""Where jobs run, as far as their packages depend on it. It is asked seldom."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from jupyter_remote.wire import (
    EnvironmentSpec,
    EstimateRequest,
    Need,
    PlanReply,
    WorkerEnvironment,
)

if TYPE_CHECKING:
    from jupyter_remote.client.files import CapturedFile
    from jupyter_remote.client.link import Link

KNOWN_FOR_S = 60.0  # what a worker has
UNKNOWN_FOR_S = 5.0  # that none is there yet


class Place(msgspec.Struct, frozen=True):
    """Where jobs of a need run."""

    same_python: bool = False  # in the interpreter here
    there: WorkerEnvironment | None = None  # None: not known


@dataclass(frozen=True, slots=True)
class Provided:
    """An environment for a job, and what has to be sent for it. None: it needs none."""

    spec: EnvironmentSpec | None = None
    wheels: list[CapturedFile] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    size_bytes: int = 0  # that the worker fetches


NOTHING = Provided()


def is_here(link: Link, need: Need) -> bool:
    """Does it run in the interpreter here, for certain?"""
    return link.embedded and (need.machine == "local" or need == Need())


class Places:
    """Where jobs run, asked once for a need in a while."""

    def __init__(self) -> None:
        self._known: dict[Need, tuple[float, Place]] = {}

    def of(self, link: Link, need: Need) -> Place:
        """Raises UnknownMachine and the like, as submitting to it would."""
        if is_here(link, need):
            return Place(same_python=True)
        until, place = self._known.get(need, (0.0, Place()))
        if time.monotonic() >= until:
            place = self._asked(link, need)
            lasts_s = KNOWN_FOR_S if place != Place() else UNKNOWN_FOR_S
            self._known[need] = time.monotonic() + lasts_s, place
        return place

    def _asked(self, link: Link, need: Need) -> Place:
        request = EstimateRequest(need=need, executable=sys.executable)
        reply = link.call("POST", "/v1/plans", request, reply=PlanReply)
        return Place(reply.same_python, reply.there)
