"""The seam for machines. Verbs return at once, are idempotent, and tag first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from jupyter_remote.model import InstanceState, MachineType


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """An intent, already written to the store. The same ``id`` launches once."""

    id: str
    machine: str
    server_url: str
    enrolment_token: str  # scope `worker`; handed over in a 0600 file or user data, never in argv
    connection_file: str = ""  # local: where a restarted backend is found again
    slots: int = 1


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider says about an instance of ours."""

    id: str
    provider_id: str
    state: InstanceState
    detail: str = ""


class Provider(Protocol):
    """Launches and ends instances. Conformance: ``tests/conformance/provider.py``."""

    name: str

    def machines(self) -> list[MachineType]:
        """What can be rented here."""
        ...

    async def launch(self, launch: Launch) -> Seen: ...

    async def describe(self, ids: Sequence[str]) -> list[Seen]:
        """One batched call. An id that is not listed proves nothing."""
        ...

    async def terminate(self, id: str) -> None:
        """Absent is fine. It is terminated when ``describe`` says so."""
        ...

    async def tidy(self, keep: Sequence[str]) -> None:
        """Delete what instances that ended have left here, but for those in ``keep``."""
        ...

    async def close(self) -> None: ...
