"""Amounts of memory and time as people read and write them. Pure.

Memory has one unit everywhere: a kB, MB or GB is 1024 times the one before, as machine types count.
"""

from __future__ import annotations

import re

from jupyter_remote.errors import UsageError

LEAST_MEMORY_BYTES = 64 * 1024 * 1024  # a process of Python with little in it
LONGEST_FORCE_AFTER_S = 86_400.0  # that a cancel may wait before it kills

_BYTES = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": 1024**power
    for power, prefix in enumerate("kmgt", start=1)
    for suffix in ("", "b", "ib")
}
_AMOUNT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)")
_SECONDS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(_AMOUNT.pattern + r"\s*")


def size(count_bytes: float) -> str:
    """``812 B``, ``1.5 MB``, ``16 GB``."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if round(count_bytes, 1) < 1024 or unit == "TB":
            break
        count_bytes /= 1024
    return f"{count_bytes:.{0 if unit == 'B' else 1}f}".removesuffix(".0") + f" {unit}"


def memory_bytes(amount: str | float) -> int:
    """``16GB``, ``512MB``, ``1.5GiB`` or a number of bytes, as the limit of a job. Raises
    UsageError, also for one in which no job fits."""
    found = _bytes(amount)
    if found is None or not found < float("inf"):
        raise UsageError(f"{amount!r} is not an amount of memory", hint="write 16GB or 512MB")
    if found < LEAST_MEMORY_BYTES:
        least = size(LEAST_MEMORY_BYTES)
        raise UsageError(
            f"{amount!r} is {size(found)}: a job needs {least} or more", hint="write 16GB or 512MB"
        )
    return int(found)


def seconds(amount: str | float) -> float:
    """``90s``, ``1.5h``, ``2h30m`` or a number of seconds; more than zero. Raises UsageError."""
    found = _seconds(amount)
    if found is None:
        raise UsageError(f"{amount!r} is not a time", hint="write 90s, 15m, 1.5h or 2h30m")
    if not 0 < found < float("inf"):
        raise UsageError(f"{amount!r} must be more than zero")
    return found


def force_after_s(amount: str | float) -> float:
    """Between the interrupt and the kill of what is cancelled; ``never``, or 0: 0.0."""
    if amount in (0, "0", "never"):
        return 0.0
    found = seconds(amount)
    if found > LONGEST_FORCE_AFTER_S:
        raise UsageError(
            f"{amount!r} is longer than {duration(LONGEST_FORCE_AFTER_S)}",
            hint="write 30s or 5m; never: it is not killed",
        )
    return found


def _seconds(amount: str | float) -> float | None:
    if isinstance(amount, bool) or not isinstance(amount, (str, int, float)):
        return None
    if not isinstance(amount, str):
        return float(amount)
    text = amount.strip().lower()
    parts = [match.groups() for match in _PART.finditer(text)]
    if not parts or _PART.sub("", text) or any(unit not in _SECONDS for _, unit in parts):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _bytes(amount: str | float) -> float | None:
    if isinstance(amount, bool) or not isinstance(amount, (str, int, float)):
        return None
    if not isinstance(amount, str):
        return float(amount)
    match = _AMOUNT.fullmatch(amount.strip().lower())
    return float(match[1]) * _BYTES[match[2]] if match and match[2] in _BYTES else None


def memory_text(count_bytes: int) -> str:
    """As it can be typed: ``16GB``, ``1536MB``."""
    for power, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        if count_bytes % 1024**power == 0:
            return f"{count_bytes // 1024**power}{unit}"
    return f"{count_bytes}B"


def duration(seconds: float) -> str:
    """``8.4 s``, ``2 min 05 s``, ``3 h 07 min``."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours} h {minutes:02d} min" if minutes else f"{hours} h"


def seconds_text(seconds: float) -> str:
    """As it can be typed: ``2h``, ``90m``, ``45s``."""
    for length, unit in ((3600, "h"), (60, "m")):
        if seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"


def roughly(seconds: float) -> str:
    """A duration to be expected or allowed: ``90 s``, ``10 min``, ``5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
