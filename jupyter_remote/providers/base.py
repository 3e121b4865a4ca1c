"""The seam for machines. Verbs return at once, are idempotent, and tag first.

A provider whose machines are not this computer reads its settings when it is made, and imports its
library when it is first used. Its errors are :class:`jupyter_remote.errors.LaunchRefused`.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from jupyter_remote.model import InstanceState, MachineType

LOCAL_NAMES = ("localhost", "0.0.0.0", "::")


def is_loopback(url: str) -> bool:
    """Does this address mean another computer on each computer?"""
    host = urlsplit(url).hostname or ""
    try:
        return host in LOCAL_NAMES or ip_address(host).is_loopback
    except ValueError:
        return False


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """An intent, already written to the store. The same ``id`` launches once."""

    id: str
    machine: str  # id of the machine type
    server_url: str
    enrolment_token: str
    """Handed over in a 0600 file or in user data, never in argv. On this computer it is a worker's
    token; elsewhere it is good for one enrolment, which gives the worker's own"""
    connection_file: str = ""  # local: where a restarted backend is found again
    slots: int = 1
    owner: str = ""  # whose jobs alone it runs
    spot: bool = False
    zone: str = ""  # empty: wherever there is room
    user_data: str = ""  # the bootstrap script, for providers that hand it over


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider says about an instance of ours."""

    id: str
    provider_id: str
    state: InstanceState
    detail: str = ""  # why it ended, in words
    zone: str = ""
    interrupted: bool = False  # the provider took a spot machine back


class Provider(Protocol):
    """Launches and ends instances. Conformance: ``tests/conformance/provider.py``."""

    name: str
    near: bool
    """Its machines are on this computer: they reach its loopback addresses"""

    def machines(self) -> list[MachineType]:
        """What can be rented here. May ask the provider: call it in a thread."""
        ...

    def zones(self, machine: str) -> list[str]:
        """Where this machine type is offered, best first; empty: zones mean nothing here."""
        ...

    async def launch(self, launch: Launch) -> Seen:
        """Raises LaunchRefused; OSError where it cannot be known what became of the call: the same
        launch may be tried again."""
        ...

    async def describe(self, ids: Sequence[str]) -> list[Seen]:
        """One batched call. An id that is not listed proves nothing."""
        ...

    async def listed(self) -> list[Seen]:
        """All instances of this backend that are not terminated, known or not, by their tags; those
        of other backends and of anybody else are left out."""
        ...

    async def terminate(self, id: str) -> None:
        """Absent is fine. It is terminated when ``describe`` says so, and asked for again as long
        as that shows it otherwise."""
        ...

    async def tidy(self, keep: Sequence[str]) -> None:
        """Delete what instances that ended have left here, but for those in ``keep``."""
        ...

    async def close(self) -> None: ...
