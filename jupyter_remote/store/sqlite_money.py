"""Verbs of the store on SQLite: the cache, the ledger and budgets."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from jupyter_remote.model import Balance, Budget, BudgetRename, Entry, OwnerId
from jupyter_remote.store import budgets, cache, money
from jupyter_remote.store.base_parts import Source
from jupyter_remote.store.session import Session
from jupyter_remote.wire import CacheCleared, CacheReply


class MoneyVerbs:
    """Part of :class:`jupyter_remote.store.sqlite.SqliteStore`."""

    _cache_bytes: int

    def _write(self) -> AbstractContextManager[Session]:
        raise NotImplementedError

    def _read(self) -> AbstractContextManager[Session]:
        raise NotImplementedError

    def cached(self, owner: OwnerId, key: str) -> Source | None:
        with self._read() as session:
            return cache.source_of(session, owner, key)

    def cache_stats(self, owner: OwnerId) -> CacheReply:
        with self._read() as session, session.snapshot():
            return cache.stats(session, owner, self._cache_bytes)

    def clear_cache(self, owner: OwnerId, which: str = "") -> CacheCleared:
        with self._write() as session:
            return cache.clear(session, owner, which)

    def trim_cache(self, now: float) -> int:
        with self._write() as session:
            return cache.trim(session, self._cache_bytes, now)

    def grant(self, owner: OwnerId, amount_ucredits: int, key: str, now: float) -> Balance:
        with self._write() as session:
            return money.grant(session, owner, amount_ucredits, key, now)

    def balance(self, owner: OwnerId) -> Balance:
        with self._read() as session, session.snapshot():
            return money.balance(session, owner)

    def entries(self, owner: OwnerId, limit: int = 100) -> list[Entry]:
        with self._read() as session, session.snapshot():
            return money.entries(session, owner, limit)

    def set_budget(
        self, owner: OwnerId, scope: str, name: str, limit_ucredits: int, now: float
    ) -> Budget:
        with self._write() as session:
            return budgets.set_budget(session, owner, scope, name, limit_ucredits, now)

    def clear_budget(self, owner: OwnerId, scope: str, name: str) -> bool:
        with self._write() as session:
            return budgets.clear_budget(session, owner, scope, name)

    def rename_budgets(
        self, owner: OwnerId, renames: Sequence[BudgetRename], now: float
    ) -> list[Budget]:
        with self._write() as session:
            budgets.rename_budgets(session, owner, renames, now)
            return budgets.listed(session, owner, now)

    def budgets(self, owner: OwnerId, now: float) -> list[Budget]:
        with self._read() as session:
            return budgets.listed(session, owner, now)
