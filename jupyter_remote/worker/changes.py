"""How what a cell changed goes home: as copies for the notebook's objects, or as new objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from jupyter_remote.contents.update import can_change, copy_of
from jupyter_remote.contents.watch import Watch
from jupyter_remote.reach import holders_in

Namespace = dict[str, Any]


class Changes(NamedTuple):
    """What is to be sent beside the names that the cell assigned."""

    copies: list[tuple[int, Any]]  # the number of an input, and what it holds now
    names: Namespace  # inputs to be bound anew, since something in them comes as a new object
    given: dict[int, int]  # by ``id()``: what goes as its number


def changes_of(
    changed: set[int],
    watch: Watch,
    inputs: Namespace,
    namespace: Namespace,
    *,
    fixed: Iterable[int] = (),
) -> Changes:
    """``fixed``: numbers of what the notebook cannot change where it is."""
    changes = _Changes(changed, watch, set(fixed))
    changes.spread(inputs, namespace)
    return changes.result(inputs)


class _Changes:
    def __init__(self, changed: set[int], watch: Watch, fixed: set[int]) -> None:
        self._objects = watch.objects
        self._numbers = watch.numbers
        self._fixed = fixed
        self._classes = {n for n in changed if isinstance(self._objects[n], type)}
        others = changed - self._classes
        self._new = {n for n in others if not self._can_change(n)}  # come as new objects
        self._changed = others - self._new
        self._holders: dict[int, Any] = {}  # that nobody numbered, such as tuples

    def _can_change(self, number: int) -> bool:
        return number not in self._fixed and can_change(self._objects[number])

    def spread(self, inputs: Namespace, namespace: Namespace) -> None:
        """Whatever holds an object that comes as a new one has to take that instead."""
        if not self._new:
            return
        holders = holders_in(inputs.values(), namespace)
        left = [self._objects[n] for n in self._new]
        while left:
            for holder in holders(left.pop()):
                number = self._numbers.get(id(holder))
                if number is not None and self._can_change(number):
                    self._changed.add(number)
                elif number is not None and number not in self._new:
                    self._new.add(number)
                    left.append(holder)
                elif number is None and id(holder) not in self._holders:
                    self._holders[id(holder)] = holder
                    left.append(holder)

    def result(self, inputs: Namespace) -> Changes:
        objects, by_value = self._objects, self._new | self._classes
        given = {i: n for i, n in self._numbers.items() if n not in by_value}
        copies = [(n, copy_of(objects[n])) for n in sorted(self._changed)]
        copies += [(n, objects[n]) for n in sorted(by_value)]
        names = {n: v for n, v in inputs.items() if id(v) in self._holders}
        return Changes(copies, names, given)
