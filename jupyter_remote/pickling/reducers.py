"""How some types travel that pickle would copy needlessly or look up in the wrong place."""

from __future__ import annotations

import copyreg
import functools
import pickle
import re
import sys
import types
import typing
import weakref
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any

from jupyter_remote.pickling.arrival import fill_cell
from jupyter_remote.pickling.reasons import is_filled, of_the_shell
from jupyter_remote.reach import globals_of

OUT_OF_BAND_BYTES = 64 * 1024  # buffers from this size on travel beside the pickle


class Everything:
    """Contains every name: functions are looked at without their globals."""

    def __contains__(self, name: object) -> bool:
        return True


def function_state(
    func: types.FunctionType,
    known: Container[str],
    given: Container[int],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What :func:`~jupyter_remote.pickling.arrival.fill_function` puts into a new function.

    ``known``: globals, and ``given``: objects by their ``id()``, that the receiver has.
    """
    names = globals_of(func.__code__).names
    there = {n: func.__globals__[n] for n in names if n in func.__globals__ and n not in known}
    used = {n: v for n, v in there.items() if not of_the_shell(n, v)}
    slots: dict[str, Any] = {
        "__name__": func.__name__,
        "__qualname__": func.__qualname__,
        "__annotations__": func.__annotations__,
        "__kwdefaults__": func.__kwdefaults__,
        "__defaults__": func.__defaults__,
        "__module__": func.__module__,
        "__doc__": func.__doc__,
        "cells": [() if id(c) in given else content_of(c) for c in func.__closure__ or ()],
        "__globals__": used,
    }
    if not isinstance(known, Everything):  # a fingerprint must not change with other imports
        slots["submodules"] = _submodules(func, used.values())
    return func.__dict__, slots


def _submodules(func: types.FunctionType, values: Iterable[Any]) -> list[types.ModuleType]:
    """Submodules that a function reaches as attributes of a package: unpickling imports them."""
    names = set(_all_names(func.__code__))
    cells = (content for c in func.__closure__ or () for content in content_of(c))
    packages = {v.__name__ for v in (*values, *cells) if isinstance(v, types.ModuleType)}
    return [sys.modules[n] for package in packages for n in _loaded(package, names)]


def _loaded(package: str, names: set[str]) -> Iterator[str]:
    for name in names:
        if (full := f"{package}.{name}") in sys.modules:
            yield full
            yield from _loaded(full, names)


def _all_names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _all_names(inner)


def slots_of(cls: type) -> tuple[str, ...] | None:
    """Names of the slots that ``cls`` itself adds, private ones as the class knows them; or None.

    A class has to be made with them: set afterwards, ``__slots__`` is a mere attribute, and the
    instances of that class would have a ``__dict__`` that those of the original have no place for.
    """
    makes_its_own = typing.NamedTuple in getattr(cls, "__orig_bases__", ())
    if "__slots__" not in vars(cls) or makes_its_own:
        return None
    special = ("__dict__", "__weakref__")
    return tuple(
        name
        for name, value in vars(cls).items()
        if isinstance(value, types.MemberDescriptorType) or name in special
    )


class Whole:
    """Pickles as ``of`` does, also where that object itself would go as a number."""

    __slots__ = ("of",)

    def __init__(self, of: Any) -> None:
        self.of = of


def whole(obj: Any, reduced: Any) -> Any:
    """How :class:`Whole` of an object is reduced, from what the pickler says to the object."""
    if reduced is NotImplemented:
        reduced = obj.__reduce_ex__(5)
    if not isinstance(reduced, tuple):
        raise pickle.PicklingError(f"{type(obj).__qualname__} cannot be copied")
    if reduced[0] is copyreg.__newobj__:  # type: ignore[attr-defined]
        return _new_object, *reduced[1:]  # pickle takes __newobj__ for objects of that class only
    if reduced[0] is copyreg.__newobj_ex__:  # type: ignore[attr-defined]
        return _new_object_ex, *reduced[1:]
    return reduced


def _new_object(cls: type, *args: Any) -> Any:
    return cls.__new__(cls, *args)


def _new_object_ex(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return cls.__new__(cls, *args, **kwargs)


def content_of(cell: types.CellType) -> tuple[Any, ...]:
    """The content of a closure's variable, or nothing as long as it has none."""
    return (cell.cell_contents,) if is_filled(cell) else ()


def reduce_cell(cell: types.CellType, *, bare: bool) -> Any:
    """A closure's variable is one object for all functions that share it.

    ``bare``: a function that is just being pickled is in it or behind it, and fills it later.
    """
    content = () if bare else content_of(cell)
    return (types.CellType, (), content, None, None, fill_cell) if content else (types.CellType, ())


def reduce_exception(error: BaseException) -> Any:
    """Without a call of an ``__init__`` in Python, which may want other arguments than it passed
    on."""
    cls = type(error)
    as_usual = (
        cls.__reduce__ is BaseException.__reduce__ and cls.__reduce_ex__ is object.__reduce_ex__
    )
    if not as_usual or not isinstance(cls.__init__, types.FunctionType):
        return NotImplemented
    return _make_exception, (cls, error.args), vars(error) or None


def _make_exception(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


def reduce_array(obj: Any) -> Any:
    """Numpy copies an array with gaps twice on its way into the stream; once is enough."""
    numpy = sys.modules.get("numpy")
    if numpy is None or type(obj) is not numpy.ndarray or obj.nbytes < OUT_OF_BAND_BYTES:
        return NotImplemented
    flags = obj.flags
    if flags.c_contiguous or flags.f_contiguous or obj.dtype.hasobject:
        return NotImplemented
    return numpy.ascontiguousarray(obj).__reduce_ex__(5)


def _is_importable(obj: Any) -> bool:
    """Whether ``obj`` is what its module, which is not the notebook, has under its name."""
    found: Any = None if obj.__module__ == "__main__" else sys.modules.get(obj.__module__)
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj


def _reduce_cached(wrapper: Any) -> Any:
    """``functools.lru_cache`` of a notebook function; it would be looked up in ``__main__``."""
    if _is_importable(wrapper):
        return NotImplemented
    options = wrapper.cache_parameters()
    made_anew = ("__wrapped__", "cache_parameters")
    attributes = {k: v for k, v in vars(wrapper).items() if k not in made_anew}
    return _make_cached, (wrapper.__wrapped__, options["maxsize"], options["typed"]), attributes


def _make_cached(func: Any, maxsize: int | None, typed: bool) -> Any:
    return functools.lru_cache(maxsize, typed)(func)


def _reduce_newtype(new: Any) -> Any:
    """``typing.NewType`` of a notebook; it would be looked up in ``__main__``."""
    if _is_importable(new):
        return NotImplemented
    return typing.NewType, (new.__name__, new.__supertype__), {"__module__": "__main__"}


def _reduce_parameters(parameters: Any) -> Any:
    """``typing.ParamSpec`` and ``TypeVarTuple`` of a notebook."""
    found = getattr(sys.modules.get(parameters.__module__), parameters.__name__, None)
    if found is parameters and parameters.__module__ != "__main__":
        return NotImplemented
    return type(parameters), (parameters.__name__,), {"__module__": parameters.__module__}


def _reduce_cached_property(cached: Any) -> Any:
    """Before Python 3.12 it holds a lock, which its class would otherwise stumble over."""
    attributes = {k: v for k, v in vars(cached).items() if k not in ("func", "lock")}
    return type(cached), (cached.func,), attributes


def _reduce_weak(weak: Any) -> Any:
    """Dictionaries with weak references (``functools.singledispatch`` has one)."""
    return type(weak), (dict(weak),)


def _reduce_match(match: re.Match[Any]) -> Any:
    """By the search that finds it again."""
    start = match.start()
    for how, begin in (("search", match.pos), ("match", start), ("fullmatch", start)):
        where = (match.string, begin, match.endpos)
        again = getattr(match.re, how)(*where)
        if again is not None and again.regs == match.regs:
            return _match_again, (match.re, how, *where)
    return NotImplemented


def _match_again(pattern: re.Pattern[Any], how: str, *where: Any) -> Any:
    return getattr(pattern, how)(*where)


REDUCERS: dict[type, Callable[[Any], Any]] = {
    type(functools.lru_cache(len)): _reduce_cached,
    typing.NewType: _reduce_newtype,
    typing.ParamSpec: _reduce_parameters,
    typing.TypeVarTuple: _reduce_parameters,
    functools.cached_property: _reduce_cached_property,
    re.Match: _reduce_match,
    weakref.WeakKeyDictionary: _reduce_weak,
    weakref.WeakValueDictionary: _reduce_weak,
}
