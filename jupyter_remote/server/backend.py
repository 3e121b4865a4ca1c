"""What the routes work with: store, blobs, hub, scheduler, tokens, and facts about this server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from jupyter_remote import errors
from jupyter_remote.blobs.base import Blobs
from jupyter_remote.clock import Clock
from jupyter_remote.model import TERMINAL, JobRecord, MachineType, OwnerId
from jupyter_remote.scheduler.loop import Scheduler
from jupyter_remote.server.auth import Tokens
from jupyter_remote.server.blob_shelf import BlobShelf
from jupyter_remote.server.elsewhere import Offers
from jupyter_remote.server.estimates import Estimates
from jupyter_remote.server.hub import Hub
from jupyter_remote.server.package import Packages
from jupyter_remote.server.signin import SignIns
from jupyter_remote.server.sources import Sources
from jupyter_remote.server.switchboard import Switchboard
from jupyter_remote.server.transcripts import Transcripts
from jupyter_remote.server.workers import Fleet
from jupyter_remote.settings import Settings
from jupyter_remote.store.base import Store
from jupyter_remote.store.base_parts import Changed, Written
from jupyter_remote.wire import Event

PAGES_AT_ONCE = 2  # results that are read for whoever opens them


class Writer(Protocol):
    """The store's own thread; commits are grouped there."""

    def send(
        self, verb: Callable[..., Any], /, *args: Any, **options: Any
    ) -> asyncio.Future[Any]: ...

    def close(self) -> None: ...


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change while this server runs."""

    server_id: str
    owner: OwnerId  # of an embedded backend: the user
    embedded: bool
    started_at: float
    pid: int
    version: str
    key: str = ""  # of an embedded backend: see `connection`
    scheme: str = "http"  # under which it is reached from outside
    own_scheme: str = "http"  # and from this computer
    public: str = ""  # its address for others than this computer, if it knows one


def changes_of(result: object) -> Iterator[tuple[JobRecord, Sequence[Event]]]:
    """The jobs that a verb of the store returned, with the events stored with each."""
    if isinstance(result, Changed):
        yield result.job, result.events
    elif isinstance(result, Written):
        if result.created:
            yield result.job, [*([result.event] if result.event else []), *result.more]
    elif isinstance(result, list | tuple):
        for part in result:
            if not isinstance(part, Changed | Written):
                continue
            yield from changes_of(part)


@dataclass
class Backend:
    """One server. Everything in it is used on the event loop only."""

    settings: Settings
    facts: Facts
    clock: Clock
    store: Store
    writer: Writer
    blobs: Blobs
    hub: Hub
    fleet: Fleet
    machines: list[MachineType]
    stop: Callable[[], None]  # ends the server
    offers: Offers
    packages: Packages  # what machines elsewhere install
    enrolment_key: bytes  # what their tokens are made from
    scheduler: Scheduler = field(init=False)
    tokens: Tokens = field(init=False)
    switchboard: Switchboard = field(default_factory=Switchboard)
    pages: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PAGES_AT_ONCE))
    used_at: float = 0.0  # monotonic time of the last request
    _commits: set[asyncio.Future[Any]] = field(default_factory=set)
    shelf: BlobShelf = field(init=False)
    sources: Sources = field(init=False)
    transcripts: Transcripts = field(default_factory=Transcripts)
    estimates: Estimates = field(init=False)
    sign_ins: SignIns = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = Tokens(lambda h: self.look(self.store.token, h), self.clock)
        self.sign_ins = SignIns(self.clock)
        self.used_at = self.clock.monotonic()
        self.estimates = Estimates(self.store.past_runs, self.read, self.clock)
        self.sources = Sources(self.settings, embedded=self.facts.embedded)
        self.shelf = BlobShelf(self.store, self.blobs, self.clock, self.commit)

    @property
    def links_bytes(self) -> int:
        """Blobs from this size on have addresses of their own; 0: none has."""
        return self.blobs.links.least_bytes if self.blobs.links is not None else 0

    async def read(self, verb: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Run a verb that only reads, in a thread: it may read much."""
        return await asyncio.to_thread(verb, *args, **options)

    async def look(self, verb: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Run a verb that reads a row or two right here: 20 µs, where a thread costs 200."""
        return verb(*args, **options)

    async def commit(self, verb: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Run a verb, then tell the scheduler and the listeners what it changed.

        That happens even when the caller is cancelled meanwhile: what is committed is told.
        """
        commit = self.writer.send(verb, *args, **options)
        self._commits.add(commit)
        commit.add_done_callback(self._tell)
        return await commit

    async def settled(self) -> None:
        """All commits that were begun are done."""
        await asyncio.gather(*self._commits, return_exceptions=True)

    def idle_s(self) -> float:
        """For how long there was no job, no listener and no request, seconds."""
        if self.hub.listeners or not self.scheduler.board.idle:
            self.used_at = self.clock.monotonic()
        return self.clock.monotonic() - self.used_at

    def _tell(self, commit: asyncio.Future[Any]) -> None:
        """Called before whoever waits for this commit goes on."""
        self._commits.discard(commit)
        if (error := commit.exception()) is not None:
            if isinstance(error, errors.StorageFull):
                self.scheduler.refused()
            return
        for job, events in changes_of(commit.result()):
            self.hub.publish(job.owner, job.client, job.id, events)
            self.scheduler.note(job)
            self.estimates.note(job)
            if job.state in TERMINAL:
                self.sources.forget(job.id)
                if job.kind == "session":
                    self.switchboard.forget(job.id)
