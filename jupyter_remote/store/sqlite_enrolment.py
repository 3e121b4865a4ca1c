"""Verbs of machines that boot, as the store on SQLite does them."""

from __future__ import annotations

from contextlib import AbstractContextManager

from jupyter_remote.model import InstanceRecord, TokenRecord
from jupyter_remote.store import enrolment
from jupyter_remote.store.session import Session


class EnrolmentVerbs:
    """Part of :class:`jupyter_remote.store.sqlite.SqliteStore`."""

    def _write(self) -> AbstractContextManager[Session]:
        raise NotImplementedError

    def _read(self) -> AbstractContextManager[Session]:
        raise NotImplementedError

    def report_boot(
        self, id: str, step: str, log: bytes | None = None, detail: str | None = None
    ) -> InstanceRecord:
        with self._write() as session:
            return enrolment.report_boot(session, id, step, log, detail)

    def enrol(
        self, id: str, token: TokenRecord, token_hash: str, provider_id: str = "", zone: str = ""
    ) -> InstanceRecord:
        with self._write() as session:
            return enrolment.enrol(session, id, token, token_hash, provider_id, zone)
