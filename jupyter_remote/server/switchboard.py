"""Where the kernels of sessions take calls."""

from __future__ import annotations

import asyncio

import msgspec

from jupyter_remote.model import JobId, WorkerId


class Listening(msgspec.Struct, frozen=True):
    """What a worker said of a session's kernel."""

    worker: WorkerId
    epoch: int
    address: str
    key: str


class Switchboard:
    """Sessions whose kernels take calls. In memory: workers say it again when they reconnect."""

    def __init__(self) -> None:
        self._known: dict[JobId, Listening] = {}
        self._waiting: dict[JobId, set[asyncio.Event]] = {}

    def hear(self, job: JobId, listening: Listening) -> None:
        self._known[job] = listening
        self._wake(job)

    def forget(self, job: JobId) -> None:
        """It is over."""
        self._known.pop(job, None)
        self._wake(job)

    def find(self, job: JobId) -> Listening | None:
        return self._known.get(job)

    async def wait(self, job: JobId, limit_s: float) -> None:
        """Until something is said of this job, or for so long."""
        event = asyncio.Event()
        waiting = self._waiting.setdefault(job, set())
        waiting.add(event)
        try:
            async with asyncio.timeout(limit_s):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            waiting.discard(event)
            if not waiting:
                self._waiting.pop(job, None)

    def _wake(self, job: JobId) -> None:
        for event in self._waiting.get(job, ()):
            event.set()
