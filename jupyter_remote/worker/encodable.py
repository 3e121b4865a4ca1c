"""Texts and numbers of user code as they can be sent: it may say what no encoding has."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec


def text_of(text: str) -> str:
    """``text`` with lone surrogates as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def number_of(value: Any) -> float | None:
    """Counts may be numpy scalars or anything else that becomes a float; None if it is none."""
    try:
        number = float(value)
    except Exception:  # None, or whatever a type of the user's raises
        return None
    return number if math.isfinite(number) else None


def rate_of(count: float, elapsed_s: float) -> float | None:
    """Units a second; None while there are none."""
    return number_of(count / elapsed_s) if count and elapsed_s > 0 else None


def encoded(encode: Callable[[Any], bytes], message: Any) -> bytes:
    """``encode(message)``, with lone surrogates in any of its texts as escapes."""
    try:
        return encode(message)
    except UnicodeEncodeError:
        return encode(_escaped(msgspec.to_builtins(message, builtin_types=(bytes,))))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return text_of(value)
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    return value
