"""Do two results agree? By content, with the first difference in words. Pure.

Machines round differently: floating point that is alike to half of its digits agrees, and it is
said to which figure. Everything else is equal or differs.
"""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

LONGEST = 40  # characters of a value that is told
SHOWN = 3  # differences that are told
MOST = 100  # differences that are looked for
_HEAP_TYPE = 1 << 9  # of a class: made while the program runs (Py_TPFLAGS_HEAPTYPE)


class Agreement(NamedTuple):
    kind: Literal["identical", "close", "differ", "unknown"]
    text: str


class _Found:
    """What a walk over two values has met so far."""

    def __init__(self) -> None:
        self.differences: list[str] = []
        self.unknown: list[str] = []
        self.relative = 0.0  # the largest difference that counts as rounding
        self.seen: set[tuple[int, int]] = set()
        self.kept: list[Any] = []  # so that no id is used again

    def differ(self, path: str, first: Any, other: Any) -> None:
        self.differences.append(f"{_name(path)}{_told(first)} vs {_told(other)}")

    def differ_in(self, path: str, what: str) -> None:
        self.differences.append(f"{_name(path)}{what}")


def agreement(first: Any, other: Any) -> Agreement:
    """Of two values; of two cells the dicts of what they brought home."""
    found = _Found()
    if isinstance(first, dict) and isinstance(other, dict):
        _dicts(found, "", first, other)  # names, not items
    else:
        _walk(found, "", first, other)
    if found.differences:
        told = found.differences[:SHOWN]
        more = len(found.differences) - len(told)
        return Agreement(
            "differ", f"differ: {', '.join(told)}{f' and {more} more' if more else ''}"
        )
    if found.unknown:
        names = ", ".join(found.unknown[:SHOWN])
        return Agreement("unknown", f"cannot be compared: {names}")
    if found.relative:
        return Agreement("close", f"agree within {_power(found.relative)}")
    return Agreement("identical", "identical")


def _power(relative: float) -> str:
    """The power of ten above it: ``1e-12``."""
    return f"1e{math.ceil(math.log10(relative)):d}"


def _name(path: str) -> str:
    return f"`{path}` " if path else ""


def _told(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _walk(found: _Found, path: str, first: Any, other: Any) -> None:
    if first is other or len(found.differences) > MOST:
        return
    if (pair := (id(first), id(other))) in found.seen:
        return
    found.seen.add(pair)
    found.kept += [first, other]
    if _is_number(first) and _is_number(other):
        _numbers(found, path, first, other)
    elif _kind(first) != _kind(other):
        found.differ_in(path, f"{type(first).__name__} vs {type(other).__name__}")
    else:
        _how(first)(found, path, first, other)


def _kind(value: Any) -> tuple[str, str]:
    """Of one name: a class that the cell makes is another one on each machine."""
    return type(value).__module__, type(value).__qualname__


def _is_number(value: Any) -> bool:
    if isinstance(value, (int, float, complex)):
        return not isinstance(value, bool)
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.number)


def _how(value: Any) -> Callable[[_Found, str, Any, Any], None]:
    """What compares values of this kind."""
    for module, name, compare in _OF_LIBRARIES:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(value, kind):
            return compare
    for kind, compare in _OF_PYTHON:
        if isinstance(value, kind):
            return compare
    return _objects


def _numbers(found: _Found, path: str, first: Any, other: Any) -> None:
    if first == other or (first != first and other != other):
        return
    exact = isinstance(first, int) and isinstance(other, int)
    size = max(abs(first), abs(other))
    relative = math.inf if exact or not _finite(size) else float(abs(first - other) / size)
    if relative <= _rounding(first, other):
        found.relative = max(found.relative, relative)
    else:
        found.differ(path, _plain(first), _plain(other))


def _finite(size: Any) -> bool:
    return bool(size == size and size != math.inf)


def _plain(value: Any) -> Any:
    """``0.31``, not ``np.float64(0.31)``."""
    return value.item() if hasattr(value, "item") else value


def _rounding(*values: Any) -> float:
    """Half of the digits of the less precise one; exact for whole numbers."""
    eps = [_eps(getattr(value, "dtype", None)) for value in values]
    return math.sqrt(max(eps))


def _eps(dtype: Any) -> float:
    if dtype is None:
        return sys.float_info.epsilon
    if dtype.kind not in "fc":
        return 0.0
    return float(sys.modules["numpy"].finfo(dtype).eps)


def _arrays(found: _Found, path: str, first: Any, other: Any) -> None:
    if first.shape != other.shape:
        found.differ_in(path, f"of shape {first.shape} vs {other.shape}")
    elif first.dtype != other.dtype:
        found.differ_in(path, f"of {first.dtype} vs {other.dtype}")
    elif first.dtype.kind in "fciubmMUS":
        _elements(found, path, first, other)
    elif first.dtype.names:
        for name in first.dtype.names:
            _walk(found, f"{path}[{name!r}]", first[name], other[name])
    else:
        _walk(found, path, first.ravel().tolist(), other.ravel().tolist())


def _elements(found: _Found, path: str, first: Any, other: Any) -> None:
    np = sys.modules["numpy"]
    both_nan = (first != first) & (other != other)
    differ = (first != other) & ~both_nan
    count = int(differ.sum())
    if not count:
        return
    relative = np.full(1, math.inf)
    if first.dtype.kind in "fc":
        a, b = first[differ], other[differ]
        with np.errstate(all="ignore"):
            relative = np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))
        relative = np.where(np.isfinite(a) & np.isfinite(b), relative, math.inf)
    worst = float(relative.max())
    if worst <= _rounding(first):
        found.relative = max(found.relative, worst)
        return
    at = tuple(int(i) for i in np.argwhere(differ)[int(relative.argmax())]) if first.shape else ()
    where = f"{path}[{', '.join(map(str, at))}]" if at else path
    many = f" ({count:,} of {first.size:,} elements)" if count > 1 else ""
    found.differ_in(where, f"{_told(first[at].item())} vs {_told(other[at].item())}{many}")


def _frames(found: _Found, path: str, first: Any, other: Any) -> None:
    if list(first.columns) != list(other.columns):
        found.differ_in(path, f"has columns {_told(list(first))} vs {_told(list(other))}")
        return
    _walk(found, f"{path}.index", first.index, other.index)
    if len(first) == len(other):
        for i, name in enumerate(first.columns):
            _series(found, f"{path}[{name!r}]", first.iloc[:, i], other.iloc[:, i])


def _series(found: _Found, path: str, first: Any, other: Any) -> None:
    if len(first) != len(other):
        found.differ_in(path, f"of length {len(first):,} vs {len(other):,}")
    elif first.dtype != other.dtype:
        found.differ_in(path, f"of {first.dtype} vs {other.dtype}")
    elif not first.equals(other):
        _walk(found, path, first.to_numpy(), other.to_numpy())


def _tensors(found: _Found, path: str, first: Any, other: Any) -> None:
    if first.dtype != other.dtype:
        found.differ_in(path, f"of {first.dtype} vs {other.dtype}")
        return
    try:
        arrays = [tensor.detach().cpu().numpy() for tensor in (first, other)]
    except TypeError:  # NumPy has no bfloat16
        arrays = [tensor.detach().cpu().float().numpy() for tensor in (first, other)]
    _walk(found, path, *arrays)


def _dicts(found: _Found, path: str, first: Mapping[Any, Any], other: Mapping[Any, Any]) -> None:
    for key in [*first, *(k for k in other if k not in first)]:
        inner = f"{path}[{key!r}]" if path else str(key)
        if key not in other or key not in first:
            found.differ_in(inner, f"only in the {'first' if key in first else 'second'}")
        else:
            _walk(found, inner, first[key], other[key])


def _sequences(found: _Found, path: str, first: Any, other: Any) -> None:
    if len(first) != len(other):
        found.differ_in(path, f"of length {len(first):,} vs {len(other):,}")
        return
    for i, (a, b) in enumerate(zip(first, other, strict=True)):
        _walk(found, f"{path}[{i}]", a, b)


def _equal(found: _Found, path: str, first: Any, other: Any) -> None:
    if first != other:
        found.differ(path, first, other)


def _functions(found: _Found, path: str, first: Any, other: Any) -> None:
    if first.__code__.co_code != other.__code__.co_code:
        found.differ_in(path, "is another function")


def _names(found: _Found, path: str, first: Any, other: Any) -> None:
    """Modules and classes."""
    if first.__name__ != other.__name__:
        found.differ(path, first, other)


def _objects(found: _Found, path: str, first: Any, other: Any) -> None:
    """By their attributes; without any by their own equality."""
    ours, theirs = dict(_attributes(first)), dict(_attributes(other))
    if ours or theirs:
        for name in ours.keys() | theirs.keys():
            _walk(found, f"{path}.{name}", ours.get(name), theirs.get(name))
        return
    try:
        equal = bool(first == other)
    except Exception:  # whatever a type of the user's does
        equal = False
    if not equal and not _is_open(first):
        found.unknown.append(f"`{path}` ({type(first).__name__})" if path else type(first).__name__)


def _is_open(value: Any) -> bool:
    """Are its attributes all that there is? So of classes written in Python alone."""
    classes = type(value).__mro__[:-1]
    return hasattr(value, "__dict__") and all(cls.__flags__ & _HEAP_TYPE for cls in classes)


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    yield from getattr(value, "__dict__", {}).items()
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)


_OF_LIBRARIES: list[tuple[str, str, Callable[[_Found, str, Any, Any], None]]] = [
    ("numpy", "ndarray", _arrays),
    ("pandas", "DataFrame", _frames),
    ("pandas", "Series", _series),
    ("pandas", "Index", _series),
    ("torch", "Tensor", _tensors),
]
_OF_PYTHON: list[tuple[Any, Callable[[_Found, str, Any, Any], None]]] = [
    (Mapping, _dicts),
    ((str, bytes, bytearray, bool, set, frozenset, type(None), range), _equal),
    ((list, tuple), _sequences),
    (types.FunctionType, _functions),
    ((types.ModuleType, type), _names),
]
