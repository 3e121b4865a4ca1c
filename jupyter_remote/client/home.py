"""Puts what a remote cell changed into the notebook, as if the cell had run there.

Two kinds of change come home. A name that the cell *assigned* is bound to the new object, and to
nothing else happens anything. An object that the cell *changed in place* (``items.append(4)``,
``df["c"] = 1``, ``model.fit(X, y)``) should change for everyone who holds it: the notebook's own
object takes over what it holds now (:mod:`jupyter_remote.contents`). Where that is not possible
exactly, every name of the notebook that was bound to the old object, and every entry of ``Out``, is
bound to the new one.

Nothing is applied before everything is known to be applicable, and what fails midway is undone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from jupyter_remote.contents.update import Undo, copy_arrays, updater
from jupyter_remote.contents.watch import Watch
from jupyter_remote.reach import inside
from jupyter_remote.values import Numbered
from jupyter_remote.wire import Result

Namespace = dict[str, Any]
Pairs = list[tuple[Any, Any]]  # of an old object and the new one


@dataclass(frozen=True, slots=True)
class Arrived:
    """The value of a cell as it came."""

    names: Namespace
    copies: list[tuple[int, Any]]  # the number of an input, and what it holds now


@dataclass(frozen=True, slots=True)
class Homecoming:
    """What the notebook got."""

    new: list[str]
    deleted: list[str]
    kept: list[str] = field(default_factory=list)  # changed here and there: yours stay


def bring_home(
    namespace: Namespace,
    result: Result,
    arrived: Arrived,
    originals: Callable[[int], Any],
    sent: Namespace,
    watch: Watch | None = None,
    theirs: Collection[str] = (),
) -> Homecoming:
    """Apply a cell's result to ``namespace``.

    Parameters
    ----------
    originals: gives the notebook's object that has a number.
    sent: names and objects as they were when the cell was captured.
    watch: of the notebook's objects since then: what was changed here meanwhile stays.
    theirs: names that were bound anew here since then: these stay as well.

    A name that the notebook has bound to something else since the cell was captured keeps that, if
    the cell only changed its old object. Raises nothing half-done.
    """
    mine = watch.changed() if watch is not None else set()
    pairs = [(originals(n), new) for n, new in arrived.copies if n not in mine]
    pairs = [(old, new) for old, new in pairs if old is not new]
    updates = [(old, new) for old, new in pairs if updater(old, new) is not None]
    replaced = [(old, new) for old, new in pairs if updater(old, new) is None]
    deleted = [n for n in result.deleted if n in namespace and _is_as_sent(n, namespace, sent)]
    names = {n: v for n, v in arrived.names.items() if n not in theirs}
    changed_here = _names_of([originals(n) for n, _ in arrived.copies if n in mine], sent)
    told = Homecoming(
        new=[n for n in names if n not in namespace],
        deleted=deleted,
        kept=[*changed_here, *(n for n in arrived.names if n not in names)],
    )
    _apply(namespace, names, deleted, replaced, updates)
    return told


def _is_as_sent(name: str, namespace: Namespace, sent: Namespace) -> bool:
    return name not in sent or namespace[name] is sent[name]


def _names_of(objects: list[Any], sent: Namespace) -> list[str]:
    """As people know them; those that have no name of their own as part of something."""
    names = {id(value): name for name, value in sent.items()}
    return list(
        dict.fromkeys(names.get(id(o), f"a {type(o).__name__} in your data") for o in objects)
    )


def restored(inputs: Namespace, arrived: Arrived, originals: Numbered) -> Namespace:
    """Names that a cell assigned or whose objects it changed, where the notebook that sent them is
    gone: ``inputs`` and ``originals`` are what it had sent, opened anew."""
    pairs = [(originals[n], new) for n, new in arrived.copies if originals[n] is not new]
    updates = [(old, new) for old, new in pairs if updater(old, new) is not None]
    replaced = [(old, new) for old, new in pairs if updater(old, new) is None]
    names = dict(inputs)
    _apply(names, {}, [], replaced, updates)
    touched = {id(thing) for pair in pairs for thing in pair}
    changed = {n: v for n, v in names.items() if touched & inside([v], names).keys()}
    return changed | arrived.names


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
            if update := updater(old, new):
                undo.append(update())
        undo.append(_restore_dict(namespace))
        _rebind(namespace, replaced, undo)
        namespace.update(assigned)
        for name in deleted:
            namespace.pop(name, None)
    except BaseException:
        for step in reversed(undo):
            step()
        raise
    copy_arrays(updates)


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
