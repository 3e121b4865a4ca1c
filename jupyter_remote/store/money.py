"""The ledger: postings, balances, entries. Both sides of a posting are one row."""

from __future__ import annotations

from msgspec.structs import replace

from jupyter_remote.errors import InsufficientFunds, InvalidRequest
from jupyter_remote.model import Balance, Entry, JobRecord, OwnerId
from jupyter_remote.money.meter import amount_text
from jupyter_remote.store import sql
from jupyter_remote.store.charges import Posting
from jupyter_remote.store.records import entries_of
from jupyter_remote.store.session import Session

MOST_GRANTED = 1 << 62  # micro-credits: no balance leaves the range of the database's integers


def post(session: Session, posting: Posting, now: float, job: JobRecord | None) -> None:
    """Move money once; the unique key refuses a second time."""
    session.insert(
        sql.ADD_POSTING,
        at=now,
        source=posting.source,
        target=posting.target,
        kind=posting.kind,
        amount_ucredits=posting.amount_ucredits,
        job=job.id if job else None,
        notebook=job.notebook if job else "",
        epoch=posting.epoch,
        key=posting.key,
    )
    amount = posting.amount_ucredits
    spent = amount if posting.kind == "capture" else 0
    if not session.change(sql.DEBIT, name_is=posting.source, amount=amount, spent=spent):
        _open_account(session, posting.source, -amount)
    if not session.change(sql.CREDIT, name_is=posting.target, amount=amount):
        _open_account(session, posting.target, amount)


def _open_account(session: Session, name: str, balance: int) -> None:
    session.insert(sql.ADD_ACCOUNT, name=name, balance_ucredits=balance, spent_ucredits=0)


def admit(session: Session, owner: OwnerId, hold_ucredits: int) -> None:
    """Raises InsufficientFunds, with what is missing, when ``hold_ucredits`` are not there."""
    if not hold_ucredits:
        return
    missing = hold_ucredits - balance(session, owner).available_ucredits
    if missing > 0:
        raise InsufficientFunds(
            f"needs {amount_text(hold_ucredits)} to be held; {amount_text(missing)} are missing",
            hint="Choose a cheaper machine, a shorter --timeout or a --max-cost; "
            "`%remote balance` shows what you have.",
        )


def grant(session: Session, owner: OwnerId, amount_ucredits: int, key: str, now: float) -> Balance:
    """Idempotent on ``key``. Raises InvalidRequest for more than the ledger can count."""
    posting = Posting(
        "grant", "grants", f"available:{owner}", amount_ucredits, f"grant:{owner}:{key}"
    )
    if session.value(sql.POSTED, key=posting.key) is None:
        granted, _ = session.row(sql.ACCOUNT, name="grants") or (0, 0)
        if amount_ucredits - granted > MOST_GRANTED:
            raise InvalidRequest(
                f"{amount_text(amount_ucredits)} more are too many: {amount_text(-granted)} were "
                "granted already",
                hint=f"All grants together are at most {amount_text(MOST_GRANTED)}.",
            )
        post(session, posting, now, None)
    return balance(session, owner)


def balance(session: Session, owner: OwnerId) -> Balance:
    """What the owner has, what is held of it, what was spent so far."""
    available, _ = session.row(sql.ACCOUNT, name=f"available:{owner}") or (0, 0)
    held, spent = session.row(sql.ACCOUNT, name=f"held:{owner}") or (0, 0)
    return Balance(available_ucredits=available, held_ucredits=held, spent_ucredits=spent)


def entries(session: Session, owner: OwnerId, limit: int) -> list[Entry]:
    """The owner's sides of the newest postings, newest first, with what there was afterwards."""
    accounts = {"available": f"available:{owner}", "held": f"held:{owner}"}
    now = balance(session, owner)
    after = {
        accounts["available"]: now.available_ucredits,
        accounts["held"]: now.held_ucredits,
    }
    found = []
    for row in session.rows(sql.ENTRIES, limit=limit, **accounts):
        for entry in reversed(entries_of(row)):
            if entry.account in after:
                found.append(replace(entry, balance_ucredits=after[entry.account]))
                after[entry.account] -= entry.amount_ucredits
    return found[:limit]
