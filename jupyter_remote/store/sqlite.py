"""The store on SQLite: WAL, ``synchronous=FULL``, one writer, readers that never wait for it."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_remote.errors import StorageFull
from jupyter_remote.model import (
    AttemptRecord,
    History,
    JobId,
    JobRecord,
    JobState,
    OwnerId,
    PastRun,
    Stage,
    WorkerId,
)
from jupyter_remote.settings import CACHE_BYTES
from jupyter_remote.store import (
    attempts,
    audit,
    blobs,
    checkpoints,
    events,
    jobs,
    sql,
    waiting,
)
from jupyter_remote.store.apply import apply, load
from jupyter_remote.store.base_parts import (
    AttemptUpdate,
    BlobRow,
    Changed,
    NewJob,
    Outcome,
    Snapshot,
    Written,
)
from jupyter_remote.store.lifecycle import due
from jupyter_remote.store.migrate import bring_up_to_date
from jupyter_remote.store.records import stored_of
from jupyter_remote.store.session import Session, connect, disk_errors_told
from jupyter_remote.store.sqlite_enrolment import EnrolmentVerbs
from jupyter_remote.store.sqlite_fleet import FleetVerbs
from jupyter_remote.store.sqlite_money import MoneyVerbs
from jupyter_remote.store.sqlite_sharing import SharingVerbs
from jupyter_remote.wire import (
    Checkpoint,
    Event,
    MissingSegment,
    Segment,
)


def open_sqlite(
    path: str | Path,
    *,
    jitter: Callable[[], float] = random.random,
    cache_bytes: int = CACHE_BYTES,
) -> SqliteStore:
    """Open, and bring up to date, the database at ``path``; its folder exists already.

    ``jitter`` gives numbers in [0, 1) that spread the waits before a retry; ``cache_bytes`` is
    what the cache of each owner may take.
    Raises StorageFull when the file cannot be opened or written.
    """
    return SqliteStore(path, jitter, cache_bytes)


class SqliteStore(SharingVerbs, MoneyVerbs, FleetVerbs, EnrolmentVerbs):
    """Implements :class:`jupyter_remote.store.base.Store`.

    Verbs that write may be called from any thread, one at a time; a ``Writer`` groups them.
    Verbs that read take a connection of their own.
    """

    def __init__(
        self,
        path: str | Path,
        jitter: Callable[[], float] = random.random,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._path = path
        self._jitter = jitter
        self._cache_bytes = cache_bytes
        self._turn = threading.RLock()
        self._idle: deque[Session] = deque()
        self._grouped = False
        connection = connect(path)
        try:
            with disk_errors_told():
                bring_up_to_date(connection, path)
        except BaseException:
            connection.close()
            raise
        self._writer = Session(connection)

    def close(self) -> None:
        """Also flushes the write-ahead log into the database."""
        with self._turn:
            while self._idle:
                self._idle.pop().connection.close()
            self._writer.connection.close()

    @contextmanager
    def _write(self) -> Iterator[Session]:
        with self._turn:
            if self._grouped:  # what undoes this call alone was set by the group
                yield self._writer
                return
            with disk_errors_told(), self._writer.transaction():
                yield self._writer

    @contextmanager
    def _read(self) -> Iterator[Session]:
        try:
            session = self._idle.pop()
        except IndexError:
            session = Session(connect(self._path, read_only=True))
        try:
            with disk_errors_told():
                yield session
        finally:
            self._idle.append(session)

    def run_group(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """Run ``calls`` in one transaction; each result, or the exception that undid that call.

        Called by the Writer. Raises StorageFull when nothing of the group was committed.
        """
        with self._turn:
            self._grouped = True
            try:
                if len(calls) == 1:
                    return [self._one_of_group(calls[0])]
                with disk_errors_told(), self._writer.transaction():
                    return [self._one_of_group(call) for call in calls]
            finally:
                self._grouped = False

    def _one_of_group(self, call: Callable[[], Any]) -> Any:
        try:
            with disk_errors_told(), self._writer.transaction():
                return call()
        except StorageFull:
            raise  # SQLite may have rolled the whole group back
        except Exception as error:
            return error

    # -- jobs
    def submit(self, new: Sequence[NewJob], now: float) -> list[Written]:
        with self._write() as session:
            return [jobs.submit(session, one, now) for one in new]

    def job(self, job: JobId, owner: OwnerId | None = None) -> JobRecord:
        with self._read() as session:
            return load(session, job, owner, whole=True).job

    def find(self, prefix: str, owner: OwnerId, limit: int = 10) -> list[JobRecord]:
        with self._read() as session:
            return jobs.find(session, prefix, owner, limit)

    def jobs(
        self,
        owner: OwnerId,
        *,
        states: Sequence[JobState] | None = None,
        client: str | None = None,
        batch: str | None = None,
        notebook: str | None = None,
        ids: Sequence[JobId] | None = None,
        limit: int = 50,
        before: str = "",
    ) -> list[JobRecord]:
        with self._read() as session:
            return jobs.listed(session, owner, states, client, batch, notebook, ids, limit, before)

    def sessions(self, owner: OwnerId, name: str = "") -> list[JobRecord]:
        with self._read() as session:
            return jobs.sessions(session, owner, name)

    def history(self, job: JobId) -> list[History]:
        with self._read() as session:
            return jobs.history(session, job)

    def past_runs(
        self,
        owner: OwnerId,
        *,
        code_key: str = "",
        notebook: str = "",
        kind: str = "",
        limit: int = 100,
    ) -> list[PastRun]:
        with self._read() as session:
            return jobs.past_runs(session, owner, code_key, notebook, kind, limit)

    def snapshot(self, limit: int = 1000) -> Snapshot:
        with self._read() as session, session.snapshot():
            return jobs.snapshot(session, limit)

    def forget_jobs(self, ended_before: float, limit: int = 1000) -> int:
        with self._write() as session:
            return jobs.forget(session, ended_before, limit)

    # -- transitions
    def claim(
        self, job: JobId, worker: WorkerId, now: float, lease_s: float, devices: str = ""
    ) -> tuple[Changed, AttemptRecord] | None:
        with self._write() as session:
            return attempts.claim(session, job, worker, now, lease_s, devices)

    def start(self, job: JobId, epoch: int, now: float) -> Changed:
        with self._write() as session:
            return attempts.start(session, job, epoch, now)

    def beat(self, update: AttemptUpdate, now: float, lease_s: float) -> Changed:
        with self._write() as session:
            return attempts.beat(session, update, now, lease_s)

    def finish(self, job: JobId, epoch: int, outcome: Outcome, now: float) -> Changed:
        with self._write() as session:
            limit, jitter = self._cache_bytes, self._jitter()
            return attempts.finish(session, job, epoch, outcome, now, jitter, limit)

    def release(self, job: JobId, epoch: int, now: float, why: str) -> Changed:
        with self._write() as session:
            return attempts.release(session, job, epoch, now, why)

    def cancel(
        self,
        job: JobId,
        owner: OwnerId,
        now: float,
        force: bool = False,
        why: str = "by the user",
        saves: bool = False,
        kill_at: float | None = None,
    ) -> Changed:
        with self._write() as session:
            return attempts.cancel(session, job, owner, now, force, why, saves, kill_at)

    def warn(self, job: JobId, epoch: int, now: float) -> Changed:
        with self._write() as session:
            return checkpoints.warn(session, job, epoch, now)

    def taken_away(self, job: JobId, epoch: int, text: str, now: float) -> Changed:
        with self._write() as session:
            return checkpoints.taken_away(session, job, epoch, text, now)

    def checkpoint(self, job: JobId, epoch: int, checkpoint: Checkpoint, now: float) -> Changed:
        with self._write() as session:
            return checkpoints.save(session, job, epoch, checkpoint, now)

    def renew_leases(self, now: float, lease_s: float) -> int:
        with self._write() as session:
            return session.change(sql.RENEW_LEASES, lease_until_at=now + lease_s)

    def expire_leases(self, now: float) -> list[Changed]:
        if not self._any(sql.EXPIRED_LEASES, now=now):
            return []
        with self._write() as session:
            found = [stored_of(row) for row in session.rows(sql.EXPIRED_LEASES, now=now)]
            return [attempts.expire_lease(session, one, now, self._jitter()) for one in found]

    def expire_limits(self, now: float, grace_s: float) -> list[Changed]:
        with self._read() as session:
            active = [stored_of(row) for row in session.rows(sql.ACTIVE)]
        if not any(attempts.past_limit(one.job, now, grace_s) for one in active):
            return []
        with self._write() as session:
            active = [stored_of(row) for row in session.rows(sql.ACTIVE)]
            past = [one for one in active if attempts.past_limit(one.job, now, grace_s)]
            return [attempts.expire_limit(session, one, now) for one in past]

    def wake(self, now: float) -> list[Changed]:
        if not self._any(sql.DUE, now=now):
            return []
        with self._write() as session:
            found = [stored_of(row) for row in session.rows(sql.DUE, now=now)]
            return [apply(session, one, due(one.job), now) for one in found]

    def _any(self, statement: Any, **values: Any) -> bool:
        """Asked by a reader first, so that a sweep that finds nothing costs no commit."""
        with self._read() as session:
            return session.row(statement, **values) is not None

    def resume(self, worker: WorkerId, job: JobId, epoch: int, now: float, lease_s: float) -> bool:
        with self._write() as session:
            return attempts.resume(session, worker, job, epoch, now, lease_s)

    def note_waiting(
        self,
        jobs: Sequence[JobId],
        text: str,
        now: float,
        stage: Stage | None = None,
        detail: str | None = None,
    ) -> list[Changed]:
        with self._write() as session:
            return waiting.note(session, jobs, text, now, stage, detail)

    def refuse_waiting(
        self, jobs: Sequence[JobId], why: str, error: bytes, now: float
    ) -> list[Changed]:
        with self._write() as session:
            return waiting.refuse(session, jobs, why, error, now)

    # -- events
    def events(
        self,
        *,
        after: int,
        owner: OwnerId | None = None,
        job: JobId | None = None,
        client: str | None = None,
        limit: int = 1000,
    ) -> list[Event]:
        with self._read() as session:
            return events.after(session, after, owner, job, client, limit)

    def last_cursor(self) -> int:
        with self._read() as session:
            return session.value(sql.LAST_CURSOR) or 0

    # -- blobs
    def blob_lost(self, digest: str) -> None:
        with self._write() as session:
            session.change(sql.MARK_ABSENT, digest_is=digest)

    def blob_present(
        self, digest: str, size_bytes: int, now: float, owners: Sequence[OwnerId] = ()
    ) -> list[Changed]:
        with self._write() as session:
            return blobs.arrived(session, digest, size_bytes, now, owners)

    def blob(self, digest: str) -> BlobRow | None:
        """What is known of a blob; None when nothing is."""
        with self._read() as session:
            return blobs.blob(session, digest)

    def missing(self, segments: Sequence[Segment], owner: OwnerId) -> list[MissingSegment]:
        with self._read() as session:
            return blobs.missing(session, segments, owner)

    def chunk_places(
        self, chunks: Sequence[str], owner: OwnerId
    ) -> dict[str, tuple[str, int, int]]:
        with self._read() as session:
            return blobs.chunk_places(session, chunks, owner)

    def add_chunks(self, segment: str, chunks: Sequence[tuple[str, int]]) -> None:
        with self._write() as session:
            blobs.add_chunks(session, segment, chunks)

    def collect(self, now: float, unused_for_s: float) -> list[str]:
        if not self._any(sql.UNUSED, before=now - unused_for_s):
            return []
        with self._write() as session:
            return blobs.collect(session, now - unused_for_s)

    def may_read_blob(self, digest: str, owner: OwnerId) -> bool:
        with self._read() as session:
            return blobs.may_read(session, digest, owner)

    # -- for people and tests
    def audit(self) -> list[str]:
        with self._read() as session, session.snapshot():
            return audit.violations(session)
