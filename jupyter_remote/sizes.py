"""How large a value is, about, without looking at every element. For people; never exact."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Collection
from typing import Any

from jupyter_remote.wire import MOST_BYTES, NameInfo

SAMPLED = 16  # elements of a container that stand for all of them
DEPTH = 4
# packages whose objects say their size without computing anything
MEASURED = frozenset(
    (
        *("numpy", "pandas", "polars", "pyarrow", "scipy", "xarray"),
        *("torch", "cupy", "jax", "jaxlib"),
    )
)


def name_info(name: str, value: object) -> NameInfo:
    """A variable as people see it."""
    return NameInfo(name, type(value).__name__, size_of(value))


def size_of(value: Any) -> int:
    """Bytes, estimated: containers by a sample of their elements, instances by their attributes."""
    try:
        return max(0, min(_size_of(value, DEPTH), MOST_BYTES))
    except Exception:  # whatever a type raises: a size is only shown
        return 0


def _size_of(value: Any, depth: int) -> int:
    if isinstance(value, str | bytes | bytearray):
        return len(value)
    if isinstance(value, type | types.ModuleType | types.FunctionType):
        return sys.getsizeof(value)
    if isinstance(value, memoryview):
        return value.nbytes
    measured = type(value).__module__.partition(".")[0] in MEASURED
    if measured and (size := _measured(value)) is not None:
        return size
    own = sys.getsizeof(value, 64) if type(value).__module__ == "builtins" else 64
    if depth == 0:
        return own
    if isinstance(value, dict):
        return own + _sampled(value.keys(), depth) + _sampled(value.values(), depth)
    if isinstance(value, list | tuple | set | frozenset):
        return own + _sampled(value, depth)
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict) and not isinstance(value, type):
        return own + sum(_size_of(v, depth - 1) for v in list(attributes.values())[:1000])
    return own


def _sampled(values: Collection[Any], depth: int) -> int:
    count = len(values)
    if not count:
        return 0
    step = max(1, count // SAMPLED) if isinstance(values, list | tuple) else 1
    sample = list(itertools.islice(values, 0, SAMPLED * step, step))[:SAMPLED]
    return sum(_size_of(v, depth - 1) for v in sample) * count // len(sample)


def _measured(value: Any) -> int | None:
    """Arrays, frames, series, tensors; functions of these packages count as small."""
    if callable(getattr(value, "__wrapped__", None)):
        return 64
    if callable(usage := getattr(value, "memory_usage", None)):
        total = usage(deep=False)
        return int(total.sum() if hasattr(total, "sum") else total)
    if callable(estimate := getattr(value, "estimated_size", None)):
        return int(estimate())
    nbytes = getattr(value, "nbytes", None)
    return int(nbytes) if isinstance(nbytes, int) else None
