"""Texts that people type, as numbers: ``2h``, ``16GB``, ``A10G:2``. Pure."""

from __future__ import annotations

import math

from jupyter_remote.amounts import memory_bytes, seconds
from jupyter_remote.errors import UsageError

__all__ = ["count", "gpu", "memory_bytes", "names", "number", "seconds", "usd"]


def gpu(text: str) -> tuple[str, int]:
    """``A10G`` or ``A10G:2`` as name and count."""
    name, colon, count = text.partition(":")
    if not name or (colon and not (count.isdigit() and int(count) > 0)):
        raise UsageError(f"{text!r} is not a GPU", hint="write A10G, or A10G:2 for two of them")
    return name, int(count) if colon else 1


def usd(text: str) -> float:
    """``0.50`` or ``$2`` as USD; more than zero."""
    try:
        return _positive(float(text.removeprefix("$")), text)
    except ValueError:
        raise UsageError(f"{text!r} is not an amount in USD", hint="write 0.50 or 2") from None


def number(text: str) -> float:
    """A positive number."""
    try:
        return _positive(float(text), text)
    except ValueError:
        raise UsageError(f"{text!r} is not a number", hint="write 4 or 0.5") from None


def word(text: str) -> str:
    """A word as it is."""
    return text


def count(text: str) -> int:
    """A whole number, zero or more."""
    if not text.isdigit():
        raise UsageError(f"{text!r} is not a whole number", hint="write 0, 1, 2, …")
    return int(text)


def words(text: str) -> list[str]:
    """``a,b`` as words, each once."""
    found = list(dict.fromkeys(name for name in text.replace(",", " ").split() if name))
    if not found:
        raise UsageError(f"{text!r} names nothing", hint="write a,b,c")
    return found


def names(text: str) -> list[str]:
    """``a,b`` as names of variables."""
    found = [name for name in text.replace(",", " ").split() if name]
    if wrong := [name for name in found if not name.isidentifier()]:
        raise UsageError(f"{wrong[0]!r} is not the name of a variable", hint="write a,b,c")
    return found


def _positive(value: float, text: str) -> float:
    if not 0 < value < math.inf:
        raise UsageError(f"{text!r} must be more than zero")
    return value
