"""Shares of a sequence for several workers, and the sequence out of its shares."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from jupyter_remote.errors import UsageError

_PLAIN = frozenset((int, float, complex, str, bytes, bool, type(None), range))


def are_plain(items: Iterable[tuple[Any, ...]]) -> bool:
    """Is there nothing in them that can be changed?"""
    kinds = {type(value) for item in items for value in item}
    numpy = sys.modules.get("numpy")
    numbers = () if numpy is None else (numpy.number, numpy.bool_)
    return all(kind in _PLAIN or issubclass(kind, numbers) for kind in kinds)


def shares(length: int, n: int) -> list[range]:
    """Contiguous shares of ``length`` items; the first ones have one more where it does not come
    out even."""
    size, more = divmod(length, n)
    ends = [(i + 1) * size + min(i + 1, more) for i in range(n)]
    return [range(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]


def part_of(sequence: Any, index: int, n: int, dist: str = "b") -> Any:
    """The share of worker ``index`` of ``n``. ``dist``: "b" contiguous, "r" every n-th item."""
    if not hasattr(sequence, "__getitem__") or isinstance(sequence, dict):
        sequence = list(sequence)
    if dist == "r":
        return sequence[index::n]
    if dist != "b":
        raise UsageError(f"no distribution {dist!r}", hint='"b" (blocks) or "r" (round robin)')
    share = shares(len(sequence), n)[index]
    return sequence[share.start : share.stop]


def joined(found: Sequence[Any], dist: str = "b") -> Any:
    """One sequence out of shares: arrays are concatenated, lists and the like are one list."""
    if not found:
        return []
    numpy = sys.modules.get("numpy")
    if numpy is not None and any(isinstance(part, numpy.ndarray) for part in found):
        parts = [part for part in found if len(part)] or [found[0]]
        if dist == "r":
            whole = numpy.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
            for index, part in enumerate(found):
                whole[index :: len(found)] = part
            return whole
        return numpy.concatenate(parts)
    if not all(isinstance(part, list | tuple | range) for part in found):
        return list(found)
    if dist == "r":
        longest = max(map(len, found))
        return [part[i] for i in range(longest) for part in found if i < len(part)]
    return flat(found)


def flat(found: Sequence[Any]) -> list[Any]:
    return list(chain.from_iterable(found))
