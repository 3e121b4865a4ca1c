"""``%remote`` rerun."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_remote.cards import words as say
from jupyter_remote.client.changes import environment_here, since, verdict
from jupyter_remote.client.comparison import values_agree
from jupyter_remote.client.job import Job
from jupyter_remote.client.receipts import newer, read
from jupyter_remote.errors import NotFound, UsageError
from jupyter_remote.model import Status
from jupyter_remote.notebook import again, kept
from jupyter_remote.notebook.commands import Command, Given, one_word
from jupyter_remote.notebook.options import RUN_OPTIONS
from jupyter_remote.notebook.tables import Table
from jupyter_remote.wire import Receipt

if TYPE_CHECKING:
    from jupyter_remote.notebook.context import Context

_MAY_CHANGE = ("machine", "gpu", "cpus", "memory", "max_cost", "timeout", "description", "quiet")


def rerun(context: Context, given: Given, words: list[str]) -> Any:
    """The job of a receipt once more; of a file with several receipts a table of them."""
    word = one_word(words, "receipt: an id, a variable, or PATH.ipynb[:CELL]")
    path, _, cell = word.partition(".ipynb")
    if not cell and path != word:
        return _listed(Path(word), kept.of_file(Path(word)))
    receipt = _found(context, word)
    if told := newer(receipt):
        print(told, file=sys.stderr)
    old = _known(context, receipt)
    _check(context, receipt, old, given)
    before = context.client.job("last").id
    try:
        return again.repeat(context, receipt.id, given)
    finally:
        new = context.client.job("last")
        if new.id != before and new.done():  # it may have failed, as it did then
            _tell(receipt, old, new)


def _found(context: Context, word: str) -> Receipt:
    """The receipt that a word stands for. Raises UsageError, NotFound."""
    path, ipynb, cell = word.partition(".ipynb:")
    if ipynb:
        return kept.of_cell(Path(f"{path}.ipynb"), cell)
    value = (context.namespace or {}).get(word)
    if isinstance(value, Receipt):
        return value
    if isinstance(value, Mapping):
        return read(value)
    job = value if isinstance(value, Job) else context.client.job(word)
    receipt = job.whole_receipt
    if receipt is None:
        ended = job.done()
        raise UsageError(
            f"job {say.short(job.id)} has no receipt{'' if ended else ' yet: it ' + job.status}",
            hint="it is made when a job ends" if not ended else "an older version ran it",
        )
    return receipt


def _listed(path: Path, found: list[kept.Kept]) -> Table:
    return Table(
        ["cell", "job", "what", "machine", "status", "ended", "cost"],
        [[f"In [{one.cell}]" if one.cell else "", *_texts(one.receipt)] for one in found],
        empty=f"{path.name} has no receipts: no cell of it was saved with the card of a job",
        note=f"%remote rerun {path}:CELL repeats one" if found else "",
        numbers=(6,),
        whole=(0, 1, 5),
    )


def _texts(receipt: Receipt | UsageError) -> list[str]:
    if isinstance(receipt, UsageError):
        return ["", "", "", receipt.message, "", ""]
    return [
        say.short(receipt.id),
        receipt.description or receipt.kind,
        receipt.machine,
        receipt.status,
        time.strftime("%Y-%m-%d %H:%M", time.localtime(receipt.ended_at or 0)),
        say.money(receipt.cost.total_ucredits),
    ]


def _known(context: Context, receipt: Receipt) -> Job | None:
    """The job, if this backend still knows it."""
    try:
        return context.client.job(receipt.id)
    except NotFound:
        return None


def _check(context: Context, receipt: Receipt, old: Job | None, given: Given) -> None:
    """Tells what changed. Raises UsageError that says all that is gone."""
    elsewhere = any(name in given for name in ("machine", "gpu", "cpus"))
    machines = context.client.machines()
    found = since(
        receipt,
        is_known=old is not None,
        machine=machines[0].id if elsewhere else receipt.machine,
        machines=machines,
        environment=environment_here(receipt),
    )
    if found.gone:
        hint = (
            "run its cell again: the receipt has digests of its code and inputs, not these"
            if old is None
            else "-m names another machine; `%remote machines` lists them"
        )
        also = f"; since then {', '.join(found.changed)}" if found.changed else ""
        raise UsageError(
            f"it cannot be repeated; no longer there: {'; '.join(found.gone)}{also}", hint=hint
        )
    if found.changed:
        print(f"since then: {', '.join(found.changed)}", file=sys.stderr)


def _tell(receipt: Receipt, old: Job | None, new: Job) -> None:
    """What was as it was, and what was not."""
    now = new.whole_receipt
    told = [verdict(receipt, now)] if now is not None else []
    if old is not None and old.status == new.status == Status.COMPLETED:
        told.append(f"result: {values_agree(old, new).text}")
    print(f"compared with job {say.short(receipt.id)}: {'; '.join(told)}", file=sys.stderr)


_OPTIONS = tuple(option for option in RUN_OPTIONS if option.field in _MAY_CHANGE)
COMMANDS = (Command("rerun", rerun, "run a job once more, from its receipt", "RECEIPT", _OPTIONS),)
