"""Workers, instances and tokens."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from jupyter_remote.errors import Conflict, NotAuthorized, NotFound
from jupyter_remote.model import (
    InstanceRecord,
    InstanceState,
    OwnerId,
    TokenRecord,
    WorkerId,
    WorkerRecord,
)
from jupyter_remote.store import sql
from jupyter_remote.store.records import instance_of, token_of
from jupyter_remote.store.session import Session


def _columns(record: msgspec.Struct) -> dict[str, Any]:
    values = msgspec.structs.asdict(record)
    return {k: int(v) if isinstance(v, bool) else v for k, v in values.items()}


def put_worker(session: Session, worker: WorkerRecord) -> None:
    """Add it, or overwrite what is known of it. Raises NotAuthorized for another token."""
    bound = token_of_worker(session, worker.id)
    if bound and bound != worker.token:
        raise NotAuthorized("another worker has this id")
    values = _columns(worker)
    others = {name: value for name, value in values.items() if name != "id"}
    if not session.change(sql.SAVE_WORKER, id_is=worker.id, **others):
        session.insert(sql.ADD_WORKER, **values)


def token_of_worker(session: Session, worker: WorkerId) -> str:
    """Id of the token that the worker is bound to; empty: none, or it is unknown."""
    bound: str = session.value(sql.WORKER_TOKEN, id=worker) or ""
    return bound


def worker_gone(session: Session, worker: WorkerId, now: float) -> None:
    """Its attempts stay as they are."""
    session.change(sql.WORKER_GONE, id_is=worker, seen_at=now)


def put_instance(session: Session, instance: InstanceRecord) -> None:
    """Add it, or overwrite what is known of it."""
    values = _columns(instance)
    others = {name: value for name, value in values.items() if name != "id"}
    if not session.change(sql.SAVE_INSTANCE, id_is=instance.id, **others):
        session.insert(sql.ADD_INSTANCE, **values)


def move_instance(
    session: Session, id_: str, state: InstanceState, now: float, provider_id: str | None
) -> InstanceRecord:
    """Raises NotFound; Conflict when it was terminated and is to be anything else."""
    row = session.row(sql.INSTANCE, id=id_)
    if row is None:
        raise NotFound(f"no instance {id_}")
    before = instance_of(row)
    if before.state is InstanceState.TERMINATED and state is not InstanceState.TERMINATED:
        raise Conflict(f"instance {id_} is terminated")
    known = provider_id if provider_id is not None else before.provider_id
    after = replace(before, state=state, provider_id=known, changed_at=now)
    put_instance(session, after)
    return after


def add_token(session: Session, token: TokenRecord, token_hash: str) -> None:
    """Only the hash is kept."""
    values = _columns(token) | {"scopes": ",".join(token.scopes), "hash": token_hash}
    session.insert(sql.ADD_TOKEN, **values)


def token(session: Session, token_hash: str) -> TokenRecord | None:
    """Expired and revoked ones too: the caller looks at their times."""
    row = session.row(sql.TOKEN, hash=token_hash)
    return token_of(row) if row else None


def tokens(session: Session, owner: OwnerId) -> list[TokenRecord]:
    """Oldest first."""
    return [token_of(row) for row in session.rows(sql.TOKENS, owner=owner)]


def revoke_token(session: Session, id_: str, owner: OwnerId, now: float) -> None:
    """Raises NotFound, also when it is somebody else's."""
    if not session.change(sql.REVOKE, id_is=id_, owner_is=owner, now=now):
        raise NotFound(f"no token {id_}")
