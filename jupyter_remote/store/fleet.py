"""Workers, instances and tokens."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
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
from jupyter_remote.store import schema, sql
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


ENDING = (InstanceState.TERMINATING, InstanceState.TERMINATED)


def move_instance(
    session: Session,
    id_: str,
    state: InstanceState,
    now: float,
    provider_id: str | None,
    zone: str | None = None,
    detail: str | None = None,
) -> InstanceRecord:
    """Raises NotFound; Conflict when it is being ended, or was, and is to be there again."""
    before = _instance(session, id_)
    over = before.state is InstanceState.TERMINATED and state is not InstanceState.TERMINATED
    if over or (before.state in ENDING and state not in ENDING):
        raise Conflict(f"instance {id_} is {before.state.value}")
    first = state is InstanceState.READY and before.ready_at is None
    after = replace(
        before,
        state=state,
        provider_id=before.provider_id if provider_id is None else provider_id,
        zone=before.zone if zone is None else zone,
        detail=before.detail if detail is None else detail,
        ready_at=now if first else before.ready_at,
        changed_at=now,
    )
    put_instance(session, after)
    if state is InstanceState.TERMINATED:  # nobody hears their connections close after a crash
        session.change(sql.WORKERS_GONE, instance_is=id_, seen_at=now)
    return after


def _instance(session: Session, id_: str) -> InstanceRecord:
    if (found := instance(session, id_)) is None:
        raise NotFound(f"no instance {id_}")
    return found


def instance(session: Session, id_: str) -> InstanceRecord | None:
    """One, whatever became of it."""
    row = session.row(sql.INSTANCE, id=id_)
    return None if row is None else instance_of(row)


def instances(
    session: Session, owner: OwnerId | None, job: str, limit: int
) -> list[InstanceRecord]:
    """Newest first."""
    return [instance_of(row) for row in session.adhoc(newest(owner, job, limit))]


def newest(owner: OwnerId | None = None, job: str = "", limit: int = 1) -> sa.Select[Any]:
    """Machines, whatever became of them."""
    table = schema.instance
    query = sa.select(table).order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
    if owner is not None:
        query = query.where(table.c.owner == owner)
    if job:
        query = query.where(table.c.job == job)
    return query


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
