"""Puts what a remote cell changed into the notebook, as if the cell had run there.

Two kinds of change come home. A name that the cell *assigned* is bound to the new object, and to
nothing else happens anything. An object that the cell *changed in place* (``items.append(4)``,
``df["c"] = 1``, ``model.fit(X, y)``; the worker says which: ``Result.in_place``) should change for
everyone who holds it. So:

* The object itself gets the new content, and keeps its identity, where that is exact: builtin
  ``list``, ``dict``, ``set``, ``bytearray``, ``deque`` and the dicts of ``collections``; arrays of
  numpy with unchanged dtype and shape (a view writes into its base, as it would have there); pandas
  frames and series; instances of plain Python classes, whose state is their ``__dict__``. Always of
  exactly the same type on both sides. What came home and refers to the new object is made to refer
  to the old one.
* Otherwise, and where such a reference cannot be replaced (in a tuple, a set, a closure), every
  name of the notebook that was bound to the old object, and every entry of ``Out``, is bound to
  the new one.

Nothing is applied before everything is known to be applicable, and what fails midway is undone.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jupyter_remote.reach import whole_of
from jupyter_remote.wire import LeftBehind, Result

Namespace = dict[str, Any]
Undo = Callable[[], None]
DICTS = (dict, OrderedDict, Counter, defaultdict)
IMMUTABLE = (int, float, complex, str, bytes, bool, type(None), tuple, frozenset, range)


@dataclass(frozen=True, slots=True)
class Homecoming:
    """What the notebook got."""

    changed: list[str]
    new: list[str]
    deleted: list[str]
    left_behind: list[LeftBehind]


def bring_home(
    namespace: Namespace, result: Result, values: Namespace, sent: dict[str, object]
) -> Homecoming:
    """Apply a cell's result to ``namespace``.

    Parameters
    ----------
    values: names and their values as they came, in one pickle.
    sent: names and objects as they were when the cell was captured; empty if the notebook's kernel
        was restarted meanwhile: then names are assigned and nothing more.

    A name that the notebook has bound to something else since the cell was captured keeps that, if
    the cell only changed its old object. Raises nothing half-done.
    """
    in_place = {n: sent[n] for n in result.in_place if n in values and n in sent}
    in_place = {n: old for n, old in in_place.items() if not isinstance(old, IMMUTABLE)}
    assigned = {n: v for n, v in values.items() if n not in in_place}
    deleted = [n for n in result.deleted if n in namespace and _is_as_sent(n, namespace, sent)]
    new = [n for n in assigned if n not in namespace]
    changed = [n for n in values if n not in new]

    updates, replaced = _planned(namespace, values, in_place)
    kept = {id(new): old for old, new in updates}
    assigned = {n: kept.get(id(v), v) for n, v in assigned.items()}
    _apply(namespace, assigned, deleted, replaced, updates)
    return Homecoming(changed, new, deleted, list(result.left_behind))


def _is_as_sent(name: str, namespace: Namespace, sent: dict[str, object]) -> bool:
    return name not in sent or namespace[name] is sent[name]


Pairs = list[tuple[Any, Any]]  # of an old object and the new one


def _planned(
    namespace: Namespace, values: Namespace, in_place: dict[str, object]
) -> tuple[Pairs, Pairs]:
    """Old objects that get new content, and those to be replaced by new ones."""
    pairs = {id(values[n]): (old, values[n]) for n, old in in_place.items()}
    fitting = {i: pair for i, pair in pairs.items() if _updater(*pair) is not None}
    slots, fixed = _references(values, namespace, fitting)
    for container, key, part in slots:
        if id(part) not in fixed:
            container[key] = fitting[id(part)][0]
    updates = [pair for i, pair in fitting.items() if i not in fixed]
    return updates, [p for i, p in pairs.items() if i in fixed or i not in fitting]


def _references(
    values: Namespace, namespace: Namespace, wanted: dict[int, tuple[Any, Any]]
) -> tuple[list[tuple[Any, Any, Any]], set[int]]:
    """Where in what came home the new objects occur: replaceable places, and ids of those that
    occur elsewhere too."""
    slots: list[tuple[Any, Any, Any]] = []
    fixed: set[int] = set()
    if not wanted:
        return slots, fixed
    for value, parts in whole_of(values.values(), namespace):
        if not any(id(part) in wanted for part in parts):
            continue
        found = [(value, key, part) for key, part in _places(value) if id(part) in wanted]
        if type(value) is not dict and is_plain(type(value)):
            found = [(vars(value), *rest) for _, *rest in found]
        slots += found
        replaceable = {id(part) for _, _, part in found}
        fixed |= {id(p) for p in parts if id(p) in wanted} - replaceable
        if isinstance(value, dict):
            fixed |= wanted.keys() & set(map(id, value))
    return slots, fixed


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Places in a value whose content can be replaced."""
    if type(value) is list or type(value) is deque:
        return list(enumerate(value))
    if type(value) in DICTS:
        return list(value.items())
    return list(vars(value).items()) if is_plain(type(value)) else []


def _apply(
    namespace: Namespace,
    assigned: Namespace,
    deleted: list[str],
    replaced: Pairs,
    updates: Pairs,
) -> None:
    undo: list[Undo] = []
    try:
        for old, new in updates:
            if updater := _updater(old, new):
                undo.append(updater())
        undo.append(_restore_dict(namespace))
        _rebind(namespace, replaced, undo)
        namespace.update(assigned)
        for name in deleted:
            namespace.pop(name, None)
    except BaseException:
        for step in reversed(undo):
            step()
        raise
    _copy_arrays([(old, new) for old, new in updates if _is_numpy_array(old)])


def _copy_arrays(pairs: Pairs) -> None:
    """Last, as this cannot fail (dtype and shape are equal) and needs no second copy to undo it.

    An interrupt in between is raised when all is done.
    """
    interrupted: KeyboardInterrupt | None = None
    for old, new in pairs:
        try:
            old[...] = new
        except KeyboardInterrupt as interrupt:
            old[...] = new
            interrupted = interrupt
    if interrupted is not None:
        raise interrupted


def _rebind(namespace: Namespace, replaced: Pairs, undo: list[Undo]) -> None:
    """Every name of the notebook for an old object, and ``Out``, now has the new one."""
    if not replaced:
        return
    new_of = {id(old): new for old, new in replaced}
    for name, value in list(namespace.items()):
        if id(value) in new_of:
            namespace[name] = new_of[id(value)]
    history = namespace.get("_oh")
    if isinstance(history, dict):
        undo.append(_restore_dict(history))
        for number, value in list(history.items()):
            if id(value) in new_of:
                history[number] = new_of[id(value)]


def _restore_dict(target: dict[Any, Any]) -> Undo:
    """Only entries that differ are set back: other threads may be adding theirs."""
    before = dict(target)

    def undo() -> None:
        for key in [k for k in target if k not in before]:
            del target[key]
        target.update(before)

    return undo


# --- new content for an old object -----------------------------------------------------------
def _updater(old: Any, new: Any) -> Callable[[], Undo] | None:
    """What gives ``old`` the content of ``new``, and gives what undoes it; None: not exactly."""
    if type(old) is not type(new) or old is new:
        return None
    if type(old) in (list, bytearray):
        return lambda: _update_sequence(old, new)
    if type(old) in (set, *DICTS):
        return lambda: _update_hashed(old, new)
    if type(old) is deque:
        return (lambda: _update_deque(old, new)) if old.maxlen == new.maxlen else None
    if _is_numpy_array(old):
        return _nothing_yet if _fits(old, new) else None
    if _is_pandas(old):
        return lambda: _update_pandas(old, new)
    if is_plain(type(old)):
        return lambda: _update_instance(old, new)
    return None


def _nothing_yet() -> Undo:
    """Arrays are copied at the end, see :func:`_copy_arrays`."""
    return lambda: None


def _update_sequence(old: Any, new: Any) -> Undo:
    before = old[:]
    old[:] = new

    def undo() -> None:
        old[:] = before

    return undo


def _update_hashed(old: Any, new: Any) -> Undo:
    before = old.copy()
    _fill(old, new)
    return lambda: _fill(old, before)


def _fill(target: Any, source: Any) -> None:
    target.clear()
    if isinstance(target, set):
        target.update(source)
    else:
        for key, value in source.items():  # not update(): Counter's would add up
            target[key] = value
    if isinstance(target, defaultdict):
        target.default_factory = source.default_factory


def _update_deque(old: Any, new: Any) -> Undo:
    before = list(old)

    def fill(content: Any) -> None:
        old.clear()
        old.extend(content)

    fill(new)
    return lambda: fill(before)


def _is_numpy_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray


def _fits(old: Any, new: Any) -> bool:
    """Can an array take over another one's elements, each at its own place in memory?"""
    spread = old.size > 1 and 0 in old.strides
    return bool(
        old.dtype == new.dtype and old.shape == new.shape and old.flags.writeable and not spread
    )


def _is_pandas(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and type(value) in (pandas.DataFrame, pandas.Series)


def _update_pandas(old: Any, new: Any) -> Undo:
    """As pandas' own ``inplace=True`` does: the frame gets another block manager."""
    before = old.copy(deep=False)
    old._update_inplace(new)
    old.attrs = new.attrs
    if hasattr(new, "name"):
        old.name = new.name

    def undo() -> None:
        old._update_inplace(before)
        old.attrs = before.attrs

    return undo


def is_plain(cls: type) -> bool:
    """Is the whole state of its instances in ``__dict__``: no slots, no part written in C?"""
    if cls.__module__ == "builtins" or issubclass(cls, type):
        return False
    return all(
        base is object
        or (
            base.__flags__ & (1 << 9)  # Py_TPFLAGS_HEAPTYPE: made by a class statement
            and base.__basicsize__ - object.__basicsize__ <= 16
            and not base.__itemsize__
            and not base.__dict__.get("__slots__")
        )
        for base in cls.__mro__
    ) and bool(cls.__dictoffset__)


def _update_instance(old: Any, new: Any) -> Undo:
    before = dict(vars(old))

    def fill(content: dict[str, Any]) -> None:
        vars(old).clear()
        vars(old).update(content)

    fill(dict(vars(new)))
    return lambda: fill(before)
