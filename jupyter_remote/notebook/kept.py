"""Receipts in the files of notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from jupyter_remote.client.receipts import METADATA, read
from jupyter_remote.errors import UsageError
from jupyter_remote.wire import Receipt


class Kept(NamedTuple):
    """One receipt, or why it cannot be read, and the number of its cell: ``n`` of ``In [n]``."""

    cell: int | None
    receipt: Receipt | UsageError


def of_file(path: Path) -> list[Kept]:
    """All receipts, in the order of the cells; of each job once. Raises UsageError."""
    try:
        notebook = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} cannot be read: {error.strerror}", hint="check the path"
        ) from None
    except msgspec.DecodeError:
        notebook = None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise UsageError(f"{str(path)!r} is not a notebook", hint="it must be an .ipynb file")
    found: dict[str, Kept] = {}
    for cell in notebook["cells"]:
        number = cell.get("execution_count") if isinstance(cell, dict) else None
        for receipt in of_outputs(cell):
            key = receipt.id if isinstance(receipt, Receipt) else f"damaged {len(found)}"
            found.setdefault(key, Kept(number, receipt))
    return list(found.values())


def of_outputs(cell: Any) -> Iterator[Receipt | UsageError]:
    """Those in the outputs of one cell, whatever that is."""
    outputs = cell.get("outputs") if isinstance(cell, dict) else None
    for output in outputs if isinstance(outputs, list) else []:
        metadata = output.get("metadata") if isinstance(output, dict) else None
        own = metadata.get(METADATA) if isinstance(metadata, dict) else None
        if not isinstance(own, dict):
            continue
        for data in [own.get("receipt"), *(own.get("receipts") or [])]:
            if data is not None:
                yield _read(data)


def _read(data: Any) -> Receipt | UsageError:
    try:
        return read(data)
    except UsageError as error:
        return error


def of_cell(path: Path, cell: str) -> Receipt:
    """The one of ``In [cell]``. Raises UsageError."""
    found = [kept.receipt for kept in of_file(path) if str(kept.cell) == cell]
    if len(found) == 1:
        if isinstance(found[0], UsageError):
            raise found[0]
        return found[0]
    if not found:
        raise UsageError(
            f"In [{cell}] of {path.name} has no receipt",
            hint=f"`%remote rerun {path}` lists those that there are",
        )
    ids = ", ".join(r.id[:8] if isinstance(r, Receipt) else "a damaged one" for r in found)
    raise UsageError(
        f"In [{cell}] of {path.name} has {len(found)} receipts: {ids}", hint="give one of these ids"
    )
