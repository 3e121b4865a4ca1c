"""Texts that people type, as numbers: ``2h``, ``16GB``, ``A10G:2``. Pure."""

from __future__ import annotations

import math
import re

from jupyter_remote.amounts import memory_bytes
from jupyter_remote.errors import UsageError

__all__ = ["count", "gpu", "memory_bytes", "names", "number", "seconds", "usd"]

_SECONDS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*")


def seconds(text: str) -> float:
    """``90s``, ``1.5h``, ``2h30m``, ``90`` (seconds) as seconds; more than zero."""
    parts = _PART.findall(text.lower())
    if not parts or _PART.sub("", text.lower()) or any(unit not in _SECONDS for _, unit in parts):
        raise UsageError(f"{text!r} is not a time", hint="write 90s, 15m, 1.5h or 2h30m")
    return _positive(sum(float(number) * _SECONDS[unit] for number, unit in parts), text)


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


def count(text: str) -> int:
    """A whole number, zero or more."""
    if not text.isdigit():
        raise UsageError(f"{text!r} is not a whole number", hint="write 0, 1, 2, …")
    return int(text)


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
