"""Routes of tokens: made, listed, revoked by an administrator."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from jupyter_remote import errors, wire
from jupyter_remote.model import OwnerId, TokenRecord
from jupyter_remote.server import signin
from jupyter_remote.server.auth import SCOPES, allow, hash_of, new_token
from jupyter_remote.server.routing import Call, Endpoint

if TYPE_CHECKING:
    from jupyter_remote.server.backend import Backend

LONGEST_S = 10 * 365 * 86_400.0
LABEL_CHARS = 200
NOT_TO_ASK_FOR = ("enrol", "page", "cancel")  # see `enrolment` and `signin`
TO_ASK_FOR = tuple(scope for scope in SCOPES if scope not in NOT_TO_ASK_FOR)


def token_view(record: TokenRecord, token: str = "") -> wire.TokenView:
    """As the API shows it; the token itself only in the reply to its creation."""
    return wire.TokenView(
        id=record.id,
        owner=record.owner,
        scopes=list(record.scopes),
        label=record.label,
        created_at=record.created_at,
        expires_at=record.expires_at,
        revoked_at=record.revoked_at,
        token=token,
    )


async def create(call: Call) -> wire.TokenView:
    request: wire.TokenRequest = call.body
    unknown = sorted(set(request.scopes) - set(TO_ASK_FOR))
    if unknown or not request.scopes:
        raise errors.InvalidRequest(
            f"Unknown scope {unknown[0][:50]!r}." if unknown else "A token needs a scope.",
            hint=f"Scopes are {', '.join(TO_ASK_FOR)}.",
        )
    if request.expires_s is not None and not 0 < request.expires_s <= LONGEST_S:
        raise errors.InvalidRequest(f"expires_s must be between 0 and {LONGEST_S:g}.")
    now = call.backend.clock.now()
    scopes = tuple(dict.fromkeys(request.scopes))
    token = new_token(scopes)
    record = TokenRecord(
        id=uuid.uuid4().hex,
        owner=call.caller.owner,
        scopes=scopes,
        label=request.label[:LABEL_CHARS],
        created_at=now,
        expires_at=now + request.expires_s if request.expires_s is not None else None,
    )
    await call.backend.commit(call.backend.store.add_token, record, hash_of(token))
    return token_view(record, token)


async def listing(call: Call) -> wire.TokenList:
    records = await call.backend.read(call.backend.store.tokens, call.caller.owner)
    return wire.TokenList([token_view(r) for r in records])


async def revoke(call: Call) -> wire.TokenList:
    backend = call.backend
    id, owner = call.path["id"], call.caller.owner
    await _revoke(backend, id, owner)
    backend.sign_ins.forget(id)
    for record in await backend.read(backend.store.tokens, owner):
        if signin.is_made_with(record.id, id):
            await _revoke(backend, record.id, owner)
    return await listing(call)


async def _revoke(backend: Backend, id: str, owner: OwnerId) -> None:
    await backend.commit(backend.store.revoke_token, id, owner, backend.clock.now())
    backend.tokens.forget(id)
    await backend.fleet.cut_off(id)


ADMIN = allow("admin")

ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/v1/tokens",
        handler=listing,
        summary="Tokens of this account, without the secrets",
        policy=ADMIN,
        reply=wire.TokenList,
    ),
    Endpoint(
        method="POST",
        path="/v1/tokens",
        handler=create,
        summary="Make a token; it is shown once",
        policy=ADMIN,
        body=wire.TokenRequest,
        reply=wire.TokenView,
    ),
    Endpoint(
        method="DELETE",
        path="/v1/tokens/{id}",
        handler=revoke,
        summary="Revoke a token, at once",
        policy=ADMIN,
        reply=wire.TokenList,
    ),
]
