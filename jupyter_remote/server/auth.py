"""Bearer tokens: made, hashed, looked up. A route's policy says which scopes it takes."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from jupyter_remote import errors
from jupyter_remote.clock import Clock
from jupyter_remote.model import OwnerId, TokenRecord

SCOPES = ("submit", "read", "admin", "invoke", "worker", "enrol", "page", "cancel")
CACHED_TOKENS = 4096

Lookup = Callable[[str], Awaitable[TokenRecord | None]]


class Policy(msgspec.Struct, frozen=True):
    """Who may use a route: anybody, or holders of a token with any one of ``scopes``."""

    scopes: frozenset[str] = frozenset()
    open: bool = False


OPEN = Policy(open=True)


def allow(*scopes: str) -> Policy:
    """A policy for holders of one of ``scopes``. Raises ValueError for an unknown scope."""
    if not scopes or not set(scopes) <= set(SCOPES):
        raise ValueError(f"scopes must be some of {', '.join(SCOPES)}: {scopes}")
    return Policy(frozenset(scopes))


class Caller(msgspec.Struct, frozen=True):
    """Who asks: what the token says."""

    owner: OwnerId
    scopes: frozenset[str]
    token_id: str
    expires_at: float | None = None


NOBODY = Caller(OwnerId(""), frozenset(), "")


def new_token(scopes: Sequence[str]) -> str:
    """256 random bits behind a prefix that names the main scope."""
    return f"jr_{scopes[0][0]}_{secrets.token_urlsafe(32)}"


def hash_of(token: str) -> str:
    """What is stored of a token. It has 256 random bits, so that no salt is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


class Tokens:
    """Looks tokens up by their hash, with a small cache that revocation empties."""

    def __init__(self, lookup: Lookup, clock: Clock) -> None:
        self._lookup = lookup
        self._clock = clock
        self._known: dict[str, TokenRecord] = {}
        self._revocations = 0
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    async def caller(self, authorization: str, policy: Policy) -> Caller:
        """Who sent this ``Authorization`` header.

        Raises
        ------
        NotAuthenticated
            Missing, malformed, unknown, expired or revoked: not told apart.
        NotAuthorized
            Known, but without a scope that the policy takes.
        """
        if policy.open:
            return NOBODY
        record = await self._record(authorization)
        if not policy.scopes & set(record.scopes):
            needed = " or ".join(sorted(policy.scopes))
            raise errors.NotAuthorized(
                "This token does not allow that.", hint=f"Use a token with the scope {needed}."
            )
        return Caller(record.owner, frozenset(record.scopes), record.id, record.expires_at)

    async def _record(self, authorization: str) -> TokenRecord:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.startswith("jr_") or len(token) > 200:
            raise _not_authenticated()
        digest = hash_of(token)
        record = self._known.get(digest)
        if record is None:
            before = self._revocations
            record = await self._lookup(digest)
            if record is None:
                raise _not_authenticated()
            if before == self._revocations:  # else this record may be from before the revocation
                self._remember(digest, record)
        if record.revoked_at is not None or self._expired(record):
            raise _not_authenticated()
        return record

    def _remember(self, digest: str, record: TokenRecord) -> None:
        if len(self._known) >= CACHED_TOKENS:
            self._known.clear()
        self._known[digest] = record

    def _expired(self, record: TokenRecord) -> bool:
        return record.expires_at is not None and record.expires_at <= self._clock.now()

    def forget(self, token_id: str) -> None:
        """A token was revoked: look all of them up again, and end what is open with that one."""
        self._known.clear()
        self._revocations += 1
        for waiting in self._waiting.pop(token_id, ()):
            if not waiting.done():
                waiting.set_result(None)

    async def ended(self, caller: Caller) -> None:
        """Returns when the caller's token is revoked or has expired."""
        waiting = asyncio.get_running_loop().create_future()
        others = self._waiting.setdefault(caller.token_id, set())
        others.add(waiting)
        left_s = None if caller.expires_at is None else caller.expires_at - self._clock.now()
        try:
            await asyncio.wait({waiting}, timeout=left_s)
        finally:
            others.discard(waiting)
            if not others and self._waiting.get(caller.token_id) is others:
                del self._waiting[caller.token_id]


def _not_authenticated() -> errors.NotAuthenticated:
    return errors.NotAuthenticated(
        "The token is missing, wrong, expired or revoked.",
        hint="Set JUPYTER_REMOTE_TOKEN, or run `%remote connect` to find the embedded backend.",
    )
