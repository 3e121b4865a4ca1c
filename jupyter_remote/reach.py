"""What a value reaches: the notebook's names that its functions use, its modules, its objects.

Pickle takes a whole graph along; here that graph is walked without running any code of the user
and without touching the elements of arrays, frames, strings or lists of numbers.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import gc
import itertools
import sys
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ATOMIC: frozenset[type] = frozenset({
    int, float, complex, bool, str, bytes, memoryview, type(None), type(...), range,
    type(NotImplemented), slice, types.CodeType, types.FrameType,
    types.TracebackType, types.GetSetDescriptorType, types.MemberDescriptorType,
    types.WrapperDescriptorType, types.MethodDescriptorType, types.GeneratorType,
    weakref.ReferenceType,
})  # fmt: skip
SEQUENCES = (list, tuple, set, frozenset, deque)
NOT_FOLLOWED = ("logging", "threading", "_thread", "asyncio", "IPython", "ipykernel", "zmq",
                "traitlets", "tornado", "jupyter_remote")  # fmt: skip
GLOBAL_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
GLOBAL_STORES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})


class Globals(NamedTuple):
    """What the code of a function, and code inside it, takes from outside."""

    loads: tuple[str, ...]
    stores: tuple[str, ...]
    imports: tuple[str, ...]  # modules; relative ones as they are written

    @property
    def names(self) -> dict[str, None]:
        """Of globals."""
        return dict.fromkeys((*self.loads, *self.stores))


@dataclass(slots=True)
class Reached:
    """What was found on the way."""

    names: dict[str, bool] = field(default_factory=dict)  # global of the notebook -> only perhaps
    stored: dict[str, None] = field(default_factory=dict)  # globals that a function may assign
    modules: dict[str, None] = field(default_factory=dict)  # of functions, classes and modules
    functions: list[types.FunctionType] = field(default_factory=list)  # travel by value
    objects: dict[int, Any] = field(default_factory=dict)  # by id; whatever has parts


def reach(values: Iterable[Any], namespace: dict[str, Any]) -> Reached:
    """Walk everything that is part of ``values``, and of the globals that their functions use."""
    walk = _Walk(namespace)
    walk.run(values)
    return walk.reached


def whole_of(values: Iterable[Any], namespace: dict[str, Any]) -> Iterator[tuple[Any, list[Any]]]:
    """Everything that ``values`` consist of, each with its direct parts that have parts."""
    walk = _Walk(namespace, follow_globals=False)
    walk.run(values)
    for value in walk.reached.objects.values():
        yield value, [p for p in walk.parts(value) if type(p) not in ATOMIC]


def inside(values: Iterable[Any], namespace: dict[str, Any]) -> dict[int, Any]:
    """Everything that ``values`` consist of, by ``id()``."""
    walk = _Walk(namespace, follow_globals=False)
    walk.run(values)
    return walk.reached.objects


def holders_in(values: Iterable[Any], namespace: dict[str, Any]) -> Callable[[Any], list[Any]]:
    """Asks what, of all that ``values`` consist of, has an object for a part."""
    held_by: dict[int, list[Any]] = {}
    for value, parts in whole_of(values, namespace):
        for part in parts:
            held_by.setdefault(id(part), []).append(value)
    return lambda part: held_by.get(id(part), [])


class _Walk:
    """Breadth first, a level at a time, so that large flat containers are handled in C."""

    def __init__(self, namespace: dict[str, Any], follow_globals: bool = True) -> None:
        self.namespace = namespace
        self.follow_globals = follow_globals
        self.reached = Reached()

    def run(self, values: Iterable[Any]) -> None:
        level = [v for v in values if type(v) not in ATOMIC]
        with without_collection():
            while level:
                fresh = [v for v in level if self._is_new(v)]
                parts = itertools.chain.from_iterable(map(self.parts, fresh))
                level = [p for p in parts if type(p) not in ATOMIC]

    def _is_new(self, value: Any) -> bool:
        if id(value) in self.reached.objects or value is self.namespace:
            return False
        self.reached.objects[id(value)] = value
        return True

    def parts(self, value: Any) -> Iterable[Any]:
        kind = type(value)
        if kind in SEQUENCES:
            return _followed(value)
        if kind is dict:
            return itertools.chain(_followed(value), _followed(value.values()))
        if isinstance(value, types.ModuleType):
            self.reached.modules.setdefault(value.__name__)
            return ()
        if isinstance(value, types.FunctionType):
            return self._of_function(value)
        if isinstance(value, type):
            return self._of_class(value)
        if kind is types.CellType:
            return gc.get_referents(value)
        if kind is types.BuiltinFunctionType:  # such as items.append
            return () if isinstance(value.__self__, types.ModuleType) else (value.__self__,)
        return self._of_instance(value)

    def _of_function(self, function: types.FunctionType) -> Iterator[Any]:
        module = getattr(function, "__module__", None)
        if is_importable(function):
            self.reached.modules.setdefault(str(module))
            return
        self.reached.functions.append(function)
        yield from function.__defaults__ or ()
        yield from (function.__kwdefaults__ or {}).values()
        yield from vars(function).values()
        yield from function.__annotations__.values()
        yield from function.__closure__ or ()
        if self.follow_globals:
            yield from self._globals(function)

    def _globals(self, function: types.FunctionType) -> Iterator[Any]:
        used = globals_of(function.__code__)
        own = function.__globals__ is self.namespace
        for name in used.names:
            if own:
                self.reached.names.setdefault(name, False)
            if name in function.__globals__:
                yield function.__globals__[name]
        if own:
            self.reached.stored.update(dict.fromkeys(used.stores))
        self.reached.modules.update(dict.fromkeys(used.imports))

    def _of_class(self, cls: type) -> Iterator[Any]:
        if is_importable(cls):
            self.reached.modules.setdefault(cls.__module__)
            return
        yield from cls.__bases__
        yield type(cls)
        for value in list(vars(cls).values()):
            yield from _unwrapped(value)

    def _of_instance(self, value: Any) -> Iterable[Any]:
        cls = type(value)
        if cls.__module__.partition(".")[0] in NOT_FOLLOWED:
            wrapped = getattr(value, "__dict__", {}).get("__wrapped__")
            return () if wrapped is None else (wrapped,)
        if is_object_array(value):
            return itertools.chain((cls,), _followed(value.ravel().tolist()))
        if isinstance(value, types.MethodType | functools.partial):
            return _unwrapped(value)
        return itertools.chain((cls,), gc.get_referents(value), _dict_of(value))


def _followed(values: Any) -> Iterable[Any]:
    """The elements, or nothing where all are plain numbers and strings."""
    return () if ATOMIC.issuperset(map(type, values)) else values


def _dict_of(value: Any) -> Iterator[Any]:
    """Subclasses of dict and list keep their elements beside their attributes."""
    if isinstance(value, dict):
        yield from dict.values(value)
    elif isinstance(value, list):
        yield from list.__iter__(value)


def _unwrapped(value: Any) -> Iterator[Any]:
    """Functions inside what wraps them."""
    match value:
        case staticmethod() | classmethod() | types.MethodType():
            yield value.__func__
            if isinstance(value, types.MethodType):
                yield value.__self__
        case property():
            yield from (f for f in (value.fget, value.fset, value.fdel) if f is not None)
        case functools.cached_property():
            yield value.func
        case functools.partial():
            yield from (value.func, value.args, value.keywords)
        case _ if type(value) not in ATOMIC:
            yield value


def is_importable(thing: Any) -> bool:
    """Does a function or class travel by reference: can its module, not the notebook, give it?"""
    module = getattr(thing, "__module__", None)
    if module in (None, "__main__"):
        return False
    found: Any = sys.modules.get(module)
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None) if found is not None else None
    return found is thing


def is_object_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray) and value.dtype.hasobject


@functools.lru_cache(maxsize=4096)
def globals_of(code: types.CodeType) -> Globals:
    """What a function uses of its module. Bodies of classes may mean their own names."""
    loads: dict[str, None] = {}
    stores: dict[str, None] = {}
    imports: dict[str, None] = {}
    kinds = {
        **dict.fromkeys(GLOBAL_LOADS, loads),
        **dict.fromkeys(GLOBAL_STORES, stores),
        "IMPORT_NAME": imports,
    }
    for instruction in dis.get_instructions(code):
        if (names := kinds.get(instruction.opname)) is not None:
            names.setdefault(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = globals_of(constant)
            for names, more in zip((loads, stores, imports), inner, strict=True):
                names.update(dict.fromkeys(more))
    return Globals(tuple(loads), tuple(stores), tuple(imports))


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Python looks for garbage whenever many objects are made, which takes longer than making them
    where none of them is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
