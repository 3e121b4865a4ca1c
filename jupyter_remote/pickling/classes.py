"""How classes of a notebook travel: each is one class within a process, however often it comes.

cloudpickle makes a bare class and fills it. Here a class that is there already is not made once
more, and hooks of the notebook's own that run when a class is made (``__init_subclass__``, a
metaclass) do not run for one that merely arrives: they ran where it was defined, and what they did
travels as state.
"""

from __future__ import annotations

import contextlib
import enum
import sys
import threading
import types
import weakref
from abc import ABCMeta
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jupyter_remote.pickling.arrival import current
from jupyter_remote.pickling.reducers import slots_of
from jupyter_remote.reach import is_importable

Print = Callable[[Any], Any]
"""A digest of plain data, of which only its content counts; something false if there is none."""

as_it_came: weakref.WeakKeyDictionary[type, dict[str, Any]] = weakref.WeakKeyDictionary()
"""Of classes that were defined elsewhere: a mark of each attribute as it arrived."""

_MADE_ANEW = frozenset({
    "__dict__", "__weakref__", "__module__", "__slots__", "__slotnames__", "__abstractmethods__",
    "__orig_bases__", "__parameters__", "__firstlineno__", "__static_attributes__", "_abc_impl",
})  # fmt: skip
_REGISTRY = "_abc_impl"  # as cloudpickle calls what was registered with an abstract class
_one_at_a_time = threading.Lock()
_OF_MEMBERS = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_"})


def reduce_class(cls: type, reduced: tuple[Any, ...], named: bool, print_of: Print) -> Any:
    """cloudpickle's way of a class, with ours of looking it up and filling it.

    ``named``: the notebook has it under its own name, by which pickle looks for it over there.
    """
    maker, arguments, state, _, _, fill = reduced
    state[0].pop("__slotnames__", None)  # a note of pickle's own, made while pickling
    if (slots := slots_of(cls)) is not None:
        for name in slots:
            state[0].pop(name, None)
        arguments[3]["__slots__"] = slots
    came = as_it_came.get(cls)
    changed = None if came is None else _changed(came, marks_of(cls, print_of))
    members = _members_of(cls) if isinstance(cls, enum.EnumMeta) else {}
    content = (fill, state, changed, members, cls.__name__ if named else "")
    return _make_class, (maker, *arguments), content, None, None, _fill_class


# --- what tells a class from its later self --------------------------------------------------
def _changed(came: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [n for n in sorted(now.keys() | came.keys()) if now.get(n) != came.get(n)]


def marks_of(cls: type, print_of: Print) -> dict[str, Any]:
    """A mark of each attribute that was given to a class."""
    of_enum = isinstance(cls, enum.EnumMeta)
    names = [n for n in vars(cls) if n not in _MADE_ANEW and not (of_enum and _is_of_enum(n))]
    marks = {name: _mark(vars(cls)[name], print_of) for name in names}
    if isinstance(cls, ABCMeta):
        marks[_REGISTRY] = _registered(cls)
    return marks


def _is_of_enum(name: str) -> bool:
    return name.startswith("_") and name.endswith("_") and not name.startswith("__")


def _registered(cls: ABCMeta) -> set[Any]:
    """Weak references to the classes that were registered as subclasses."""
    try:
        import _abc  # type: ignore[import-not-found]
    except ImportError:  # not CPython
        return set()
    return set(_abc._get_dump(cls)[0])


def _mark(value: object, print_of: Print) -> Any:
    """What tells an attribute apart from its later self: code by identity, data by content."""
    if isinstance(value, property):
        return [_mark(function, print_of) for function in (value.fget, value.fset, value.fdel)]
    value = getattr(value, "__func__", value)  # of a class method or static method
    if isinstance(value, types.FunctionType | type):
        return weakref.ref(value)  # not its id: a later function may get the same
    if hasattr(type(value), "__get__"):
        return id(value)
    return print_of(value) or id(value)


def _members_of(cls: type) -> dict[str, tuple[str, dict[str, Any]]]:
    """Of an enum under each of its names: the member's own name, and what its ``__init__`` set."""
    return {
        name: (member.name, {k: v for k, v in vars(member).items() if k not in _OF_MEMBERS})
        for name, member in cls.__members__.items()  # type: ignore[attr-defined]
    }


# --- on arrival ------------------------------------------------------------------------------
def _make_class(maker: Callable[..., type], *arguments: Any) -> type:
    """Called when a class is unpickled; ``arguments`` are cloudpickle's."""
    cloudpickle: Any = sys.modules[maker.__module__]
    tracker_id = arguments[-2]
    there: type | None = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker_id)
    if there is not None:
        return there
    is_enum = isinstance(arguments[0], tuple)
    made = maker(*arguments) if is_enum else _quietly_made(maker, *arguments)
    cls: type = cloudpickle._lookup_class_or_track(tracker_id, made)
    current.get().new_classes.add(cls)
    return cls


def _quietly_made(
    maker: Callable[..., type],
    metaclass: type,
    name: str,
    bases: tuple[type, ...],
    namespace: dict[str, Any],
    *rest: Any,
) -> type:
    """Without a call of hooks of the notebook's own."""
    if not all(isinstance(base, type) for base in bases):  # NamedTuple is a function
        return maker(metaclass, name, bases, namespace, *rest)
    every = {base for direct in bases for base in direct.__mro__}
    hooks = {b for b in every if "__init_subclass__" in vars(b) and not is_importable(b)}
    if not hooks and is_importable(metaclass):
        return maker(metaclass, name, bases, namespace, *rest)
    makes: Any = next(m for m in metaclass.__mro__ if is_importable(m))
    with _silenced(hooks):
        cls: type = makes.__new__(metaclass, name, bases, dict(namespace))
    return cls


@contextlib.contextmanager
def _silenced(bases: Iterable[Any]) -> Iterator[None]:
    with _one_at_a_time:
        hooks = {base: vars(base)["__init_subclass__"] for base in bases}
        try:
            for base in hooks:
                base.__init_subclass__ = classmethod(lambda cls, **_: None)
            yield
        finally:
            for base, hook in hooks.items():
                base.__init_subclass__ = hook


def _fill_class(
    cls: type,
    content: tuple[Callable[..., Any], tuple[Any, Any], list[str] | None, dict[str, Any], str],
) -> None:
    fill, (attributes, slots), changed, members, named = content
    arrival = current.get()
    is_new = cls in arrival.new_classes
    if changed is None or is_new or not arrival.at_home:
        fill(cls, (attributes, slots))
        _fill_members(cls, members)
    else:
        for name in changed:
            _set_or_delete(cls, name, attributes)
    if named:
        arrival.namespace.setdefault(named, cls)
    if is_new or cls in as_it_came:
        arrival.filled_classes.add(cls)


def _fill_members(cls: Any, members: dict[str, tuple[str, dict[str, Any]]]) -> None:
    for name, (own_name, attributes) in members.items():
        member = cls._member_map_[own_name]
        vars(member).update(attributes)
        cls._member_map_.setdefault(name, member)


def _set_or_delete(cls: type, name: str, attributes: dict[str, Any]) -> None:
    if name == _REGISTRY and isinstance(cls, ABCMeta):
        for subclass in attributes.get(name, ()):
            cls.register(subclass)
    elif name in attributes:
        setattr(cls, name, attributes[name])
    elif name in vars(cls):
        delattr(cls, name)
