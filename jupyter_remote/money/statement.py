"""The ledger as a person reads it: one line for each time that money moved. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from jupyter_remote.model import Entry

WORDS = {"grant": "granted", "hold": "held", "capture": "charged", "release": "given back"}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """``available`` and ``held`` are what there was afterwards; None: not known."""

    at: float
    what: str
    ucredits: int
    available_ucredits: int | None = None
    held_ucredits: int | None = None
    job: str = ""
    description: str = ""


def lines(entries: Sequence[Entry]) -> list[Line]:
    """Both sides of a posting in one; in the order of ``entries``, which is newest first."""
    sides: dict[int, list[Entry]] = {}
    for entry in entries:
        sides.setdefault(entry.id // 2, []).append(entry)
    found = []
    after: dict[str, int | None] = {}
    for posting in reversed(sides.values()):
        for entry in posting:
            after[entry.account.partition(":")[0]] = entry.balance_ucredits
        found.append(_line(posting[0], after))
    return found[::-1]


def _line(entry: Entry, after: dict[str, int | None]) -> Line:
    return Line(
        at=entry.at,
        what=WORDS.get(entry.kind, entry.kind.replace("_", " ")),
        ucredits=abs(entry.amount_ucredits),
        available_ucredits=after.get("available"),
        held_ucredits=after.get("held"),
        job=entry.job or "",
        description=entry.description,
    )
