"""Receipts as programs read them, and those that come from elsewhere: files, other versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import asdict, fields, replace

from jupyter_remote import errors
from jupyter_remote.errors import UsageError
from jupyter_remote.wire import RECEIPT, Done, Receipt

if TYPE_CHECKING:
    from jupyter_remote.client.link import Link

METADATA = "jupyter_remote"  # under which a cell's output has its receipt
_REQUIRED = ("receipt", "id", "kind", "status")


def plain(receipt: Receipt | None) -> dict[str, Any]:
    """All fields as dicts, lists and scalars; what is at its default too."""
    return {} if receipt is None else {name: _plain(v) for name, v in asdict(receipt).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _plain(v) for name, v in asdict(value).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def metadata(receipt: Receipt) -> dict[str, Any]:
    """As it stands in the metadata of a cell's output."""
    return {METADATA: {"receipt": msgspec.to_builtins(receipt)}}


def metadata_of_many(receipts: Sequence[Receipt]) -> dict[str, Any]:
    """The same for an output that is of several jobs."""
    made = [msgspec.to_builtins(receipt) for receipt in receipts]
    return {METADATA: {"receipts": made}} if made else {}


def fetched(link: Link, ended: Done) -> Done:
    """With the receipt, which did not come with the end. Older backends make none."""
    try:
        path = f"/v1/jobs/{ended.job.id}/receipt"
        return replace(ended, receipt=link.call("GET", path, reply=Receipt))
    except (errors.Conflict, errors.NotFound):
        return ended


def read(data: Any) -> Receipt:
    """A receipt from ``job.receipt``, from a notebook's metadata, or from JSON of either.

    Of a newer version it takes what it knows (:func:`newer` says so). Raises UsageError.
    """
    if isinstance(data, Mapping) and isinstance(inner := data.get(METADATA), Mapping):
        data = inner
    if isinstance(data, Mapping) and isinstance(inner := data.get("receipt"), Mapping):
        data = inner
    if not isinstance(data, Mapping) or not set(_REQUIRED) <= set(data):
        raise UsageError(
            "this is no receipt", hint="give job.receipt, or what a cell's metadata has of it"
        )
    try:
        return msgspec.convert(data, Receipt)
    except msgspec.ValidationError:
        return _as_far_as_known(data)


def _as_far_as_known(data: Mapping[str, Any]) -> Receipt:
    known: dict[str, Any] = {}
    for field in fields(Receipt):
        if field.name not in data:
            continue
        try:
            known[field.name] = msgspec.convert(data[field.name], field.type)
        except msgspec.ValidationError as error:
            if field.name in _REQUIRED:
                raise UsageError(f"this receipt is damaged: its {field.name}: {error}") from None
    return Receipt(**known)


def newer(receipt: Receipt) -> str:
    """What to say of a receipt of a newer version; empty for others."""
    if receipt.receipt <= RECEIPT:
        return ""
    by = f" of jupyter-remote {receipt.version}" if receipt.version else ""
    return (
        f"a receipt of version {receipt.receipt}{by}; this program knows {RECEIPT}, "
        "and reads of it what it knows"
    )
