"""Verbs of the store: the cache, the ledger and budgets. See :mod:`jupyter_remote.store.base`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jupyter_remote.model import (
    Balance,
    Budget,
    BudgetRename,
    Entry,
    OwnerId,
)
from jupyter_remote.store.base_parts import Source
from jupyter_remote.wire import (
    CacheCleared,
    CacheReply,
)


class MoneyStore(Protocol):
    """Part of :class:`jupyter_remote.store.base.Store`."""

    # -- the cache
    def cached(self, owner: OwnerId, key: str) -> Source | None:
        """What a submit with this key would be given, if its bytes are whole."""
        ...

    def cache_stats(self, owner: OwnerId) -> CacheReply: ...

    def clear_cache(self, owner: OwnerId, which: str = "") -> CacheCleared:
        """Drop entries of a name, or of a job by the beginning of its id; empty: all."""
        ...

    def trim_cache(self, now: float) -> int:
        """Drop the least valuable entries of whoever has too much; how many."""
        ...

    # -- money
    def grant(self, owner: OwnerId, amount_ucredits: int, key: str, now: float) -> Balance:
        """Idempotent on ``key``."""
        ...

    def balance(self, owner: OwnerId) -> Balance: ...

    def entries(self, owner: OwnerId, limit: int = 100) -> list[Entry]: ...

    def set_budget(
        self, owner: OwnerId, scope: str, name: str, limit_ucredits: int, now: float
    ) -> Budget:
        """In place of the one of this scope and name. Jobs that hold money keep it; from now on a
        submit is cut to what the tightest budget leaves, or raises BudgetExceeded."""
        ...

    def clear_budget(self, owner: OwnerId, scope: str, name: str) -> bool:
        """Was there one?"""
        ...

    def rename_budgets(
        self, owner: OwnerId, renames: Sequence[BudgetRename], now: float
    ) -> list[Budget]:
        """What is left of budgets of notebooks goes to their new names, in place of what was set
        there; what is not there as it was seen is passed over. All budgets of the owner."""
        ...

    def budgets(self, owner: OwnerId, now: float) -> list[Budget]: ...
