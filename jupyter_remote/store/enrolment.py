"""A machine that boots: what it reports, and the one token that its worker is given."""

from __future__ import annotations

from msgspec.structs import replace

from jupyter_remote.errors import Conflict, NotFound
from jupyter_remote.model import InstanceRecord, InstanceState, TokenRecord
from jupyter_remote.store import fleet, sql
from jupyter_remote.store.session import Session

ENDING = (InstanceState.TERMINATING, InstanceState.TERMINATED)


def report_boot(
    session: Session, id_: str, step: str, log: bytes | None, detail: str | None
) -> InstanceRecord:
    """Raises NotFound."""
    before = _known(session, id_)
    after = replace(
        before,
        step=step,
        boot_log=before.boot_log if log is None else log,
        detail=before.detail if detail is None else detail,
    )
    fleet.put_instance(session, after)
    return after


def enrol(
    session: Session, id_: str, token: TokenRecord, token_hash: str, provider_id: str, zone: str
) -> InstanceRecord:
    """``token`` takes the place of one that was given before and whose reply was lost.

    Raises NotFound; Conflict when that one was used, or the machine is being ended.
    """
    before = _known(session, id_)
    if before.state in ENDING:
        raise Conflict(f"The machine {id_} is {before.state.value}.")
    if session.value(sql.WORKER_WITH_TOKEN, token=token.id) is not None:
        raise Conflict(f"The machine {id_} has enrolled already.")
    session.change(sql.FORGET_TOKEN, id=token.id)
    fleet.add_token(session, token, token_hash)
    after = replace(before, provider_id=before.provider_id or provider_id, zone=before.zone or zone)
    fleet.put_instance(session, after)
    return after


def _known(session: Session, id_: str) -> InstanceRecord:
    if (found := fleet.instance(session, id_)) is None:
        raise NotFound(f"no instance {id_}")
    return found
