"""What an object refers to itself: elements, attributes, slots, the variables of a closure."""

from __future__ import annotations

import functools
import gc
import operator
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Hashable, Iterable
from typing import Any

from jupyter_remote.reach import ATOMIC, is_importable

DICTS = (dict, OrderedDict, Counter, defaultdict)
CONTAINERS = (list, set, deque, bytearray, *DICTS)
UNSET = "<unset>"  # of a slot

_NOBODY = ATOMIC | {tuple, frozenset, types.ModuleType, types.MethodType, types.BuiltinFunctionType}
_PLAIN_VALUES = (int, float, complex, str, bytes, bool, type(None))


def has_identity(obj: Any) -> bool:
    """Does it matter which of several equal objects it is?"""
    kind = type(obj)
    if kind in CONTAINERS or kind is types.CellType:
        return True
    if kind in _NOBODY:
        return False
    if isinstance(obj, type | types.FunctionType):
        return not is_importable(obj)
    hash_: Any = kind.__hash__
    own_hash = hash_ is not None and hash_ is not object.__hash__
    return gc.is_tracked(obj) or not own_hash  # not: numbers, dates, and the like


def is_value(obj: Any) -> bool:
    """Is it always what it is, and refers to nothing?"""
    return type(obj) in ATOMIC or isinstance(obj, types.ModuleType)


# --- what is compared ------------------------------------------------------------------------
def held_by(obj: Any) -> tuple[Any, ...] | None:
    """Everything that it refers to itself, in order; None: only its pickle tells."""
    kind = type(obj)
    if kind is list or kind is set:
        return tuple(obj)
    if kind is dict:
        return (*obj, *obj.values())
    if kind is deque:
        return (obj.maxlen, *obj)
    if kind in DICTS:
        return (getattr(obj, "default_factory", None), *obj, *obj.values())
    if kind is types.CellType:
        return content_of_cell(obj)
    if kind is types.FunctionType:
        return _of_function(obj)
    if isinstance(obj, type) or is_pandas(obj):
        return None
    if isinstance(obj, BaseException):
        return (kind, *obj.args, *_attributes(obj)) if _is_simple_exception(kind) else None
    if (base := plain_base(_hashed(kind))) is None:
        return None
    return (kind, *_elements(obj, base), *_attributes(obj))


def content_of_cell(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # not filled yet
        return ()


def _of_function(function: types.FunctionType) -> tuple[Any, ...]:
    keywords = function.__kwdefaults__ or {}
    attributes = vars(function)
    defaults = function.__defaults__ or ()
    return (function.__code__, len(defaults), *defaults, *keywords, *keywords.values(),
            *attributes, *attributes.values())  # fmt: skip


def _elements(obj: Any, base: type) -> Iterable[Any]:
    if base in (list, set, deque):
        sequence: Any = base
        return tuple(sequence.__iter__(obj))
    if base in DICTS:
        return (*dict.keys(obj), *dict.values(obj))
    return ()


def _attributes(obj: Any) -> Iterable[Any]:
    state = getattr(obj, "__dict__", None)
    own = (*state, *state.values()) if type(state) is dict else ()
    return (*own, *(slot_of(obj, slot) for slot in slots_of(_hashed(type(obj))).values()))


def slot_of(obj: Any, slot: Any) -> Any:
    try:
        return slot.__get__(obj, type(obj))
    except AttributeError:
        return UNSET


@functools.lru_cache(4096)
def slots_of(cls: type) -> dict[str, Any]:
    """The descriptors of the slots of a class and its bases, by their private names."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        if isinstance(getattr(base, "__slots__", None), str | tuple | list | dict):
            for name, value in vars(base).items():
                if isinstance(value, types.MemberDescriptorType):
                    found.setdefault(name, value)
    return found


@functools.lru_cache(4096)
def plain_base(cls: type) -> type | None:
    """What the instances of a class are made of beside attributes and slots: ``object``, or one of
    the containers; None where there is more, or where pickle is told to do it in another way."""
    if issubclass(cls, type) or not _is_pickled_as_usual(cls):
        return None
    base: type = next((b for b in cls.__mro__ if b in CONTAINERS and b is not bytearray), object)
    room = 16 + 8 * len(slots_of(_hashed(cls)))  # for __dict__, __weakref__ and slots
    if cls.__basicsize__ - base.__basicsize__ > room or cls.__itemsize__:
        return None
    ours = all(b in base.__mro__ or b.__flags__ & (1 << 9) for b in cls.__mro__)  # heap types
    return base if ours else None


def _is_pickled_as_usual(cls: type) -> bool:
    import copyreg

    if cls in copyreg.dispatch_table:
        return False
    usual = (object, *CONTAINERS)
    for name in ("__reduce__", "__reduce_ex__"):
        found = getattr(cls, name, None)
        if not any(found is getattr(base, name, None) for base in usual):
            return False
    return not any(hasattr(cls, name) for name in ("__getnewargs__", "__getnewargs_ex__"))


def _is_simple_exception(cls: type) -> bool:
    usual: Any = BaseException.__reduce__
    return (
        cls.__reduce__ is usual
        and cls.__basicsize__ - BaseException.__basicsize__ <= 16
        and not slots_of(_hashed(cls))
    )


def same(now: tuple[Any, ...] | None, before: tuple[Any, ...]) -> bool:
    if now is None or len(now) != len(before):
        return False
    if all(map(operator.is_, now, before)):
        return True
    return all(a is b or _equal_values(a, b) for a, b in zip(now, before, strict=True))


def _equal_values(a: Any, b: Any) -> bool:
    return type(a) is type(b) and type(a) in _PLAIN_VALUES and a == b and repr(a) == repr(b)


def is_array(value: Any) -> bool:
    """Exactly an array of numpy."""
    kind = type(value)
    return kind.__module__ == "numpy" and kind is sys.modules["numpy"].ndarray


def is_pandas(value: Any) -> bool:
    """A frame or a series of pandas."""
    kind = type(value)
    if not kind.__module__.startswith("pandas"):
        return False
    pandas = sys.modules["pandas"]
    return kind in (pandas.DataFrame, pandas.Series)


def _hashed(cls: type) -> Hashable:
    return cls
