"""Verbs of the store on SQLite: results to share, and what jobs cost now."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from jupyter_remote.model import JobId, JobRecord, OwnerId, Share
from jupyter_remote.store import shares, summary
from jupyter_remote.store.base_parts import Totals
from jupyter_remote.store.session import Session


class SharingVerbs:
    """Part of :class:`jupyter_remote.store.sqlite.SqliteStore`."""

    def _write(self) -> AbstractContextManager[Session]:
        raise NotImplementedError

    def _read(self) -> AbstractContextManager[Session]:
        raise NotImplementedError

    def share(self, job: JobId, owner: OwnerId, visibility: str, id: str, now: float) -> Share:
        with self._write() as session:
            return shares.share(session, job, owner, visibility, id, now)

    def revoke_share(self, job: JobId, owner: OwnerId, now: float) -> None:
        with self._write() as session:
            shares.revoke(session, job, owner, now)

    def shares(self, jobs: Sequence[JobId]) -> dict[JobId, Share]:
        with self._read() as session:
            return shares.of_jobs(session, jobs)

    def shared(self, id: str) -> JobRecord:
        with self._read() as session:
            return shares.opened(session, id)

    def public(self, limit: int = 50, before: str = "") -> list[tuple[Share, JobRecord]]:
        with self._read() as session:
            return shares.public(session, limit, before)

    def totals(self, owner: OwnerId, since: float) -> Totals:
        with self._read() as session, session.snapshot():
            return summary.totals(session, owner, since)
