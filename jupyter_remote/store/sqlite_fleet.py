"""Verbs of workers, instances and tokens, as the store on SQLite does them."""

from __future__ import annotations

from contextlib import AbstractContextManager

from jupyter_remote.model import (
    InstanceRecord,
    InstanceState,
    OwnerId,
    TokenRecord,
    WorkerId,
    WorkerRecord,
)
from jupyter_remote.store import fleet, sql
from jupyter_remote.store.session import Session


class FleetVerbs:
    """Part of :class:`jupyter_remote.store.sqlite.SqliteStore`."""

    def _write(self) -> AbstractContextManager[Session]:
        raise NotImplementedError

    def _read(self) -> AbstractContextManager[Session]:
        raise NotImplementedError

    def put_worker(self, worker: WorkerRecord) -> None:
        with self._write() as session:
            fleet.put_worker(session, worker)

    def token_of_worker(self, worker: WorkerId) -> str:
        with self._read() as session:
            return fleet.token_of_worker(session, worker)

    def worker_gone(self, worker: WorkerId, now: float) -> None:
        with self._write() as session:
            fleet.worker_gone(session, worker, now)

    def put_instance(self, instance: InstanceRecord) -> None:
        with self._write() as session:
            fleet.put_instance(session, instance)

    def move_instance(
        self,
        id: str,
        state: InstanceState,
        now: float,
        provider_id: str | None = None,
        *,
        zone: str | None = None,
        detail: str | None = None,
    ) -> InstanceRecord:
        with self._write() as session:
            return fleet.move_instance(session, id, state, now, provider_id, zone, detail)

    def report_boot(
        self, id: str, step: str, log: bytes | None = None, detail: str | None = None
    ) -> InstanceRecord:
        with self._write() as session:
            return fleet.report_boot(session, id, step, log, detail)

    def instance(self, id: str) -> InstanceRecord | None:
        with self._read() as session:
            return fleet.instance(session, id)

    def instances(
        self, owner: OwnerId | None = None, *, job: str = "", limit: int = 100
    ) -> list[InstanceRecord]:
        with self._read() as session:
            return fleet.instances(session, owner, job, limit)

    def add_token(self, token: TokenRecord, token_hash: str) -> None:
        with self._write() as session:
            fleet.add_token(session, token, token_hash)

    def token(self, token_hash: str) -> TokenRecord | None:
        with self._read() as session:
            return fleet.token(session, token_hash)

    def tokens(self, owner: OwnerId) -> list[TokenRecord]:
        with self._read() as session:
            return fleet.tokens(session, owner)

    def revoke_token(self, id: str, owner: OwnerId, now: float) -> None:
        with self._write() as session:
            fleet.revoke_token(session, id, owner, now)

    def forget_fleet(self, gone_before: float) -> None:
        with self._write() as session:
            for statement in sql.FORGET_FLEET:
                session.change(statement, before=gone_before)
