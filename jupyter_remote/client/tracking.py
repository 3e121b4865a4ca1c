"""What is known of names at one point of a cell, and what was noted on the way there."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from jupyter_remote.client.lines import Implied
from jupyter_remote.client.scopes import Uses, mangled


@dataclass(frozen=True, slots=True)
class CellNames:
    """What a cell does with names of the notebook."""

    reads: tuple[str, ...] = ()  # in order of first use; builtins are among them
    maybe: frozenset[str] = frozenset()  # of ``reads``: the cell may well do without them
    assigns: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    star_imports: tuple[str, ...] = ()  # modules of ``from … import *``
    imports: tuple[str, ...] = ()  # dotted names of modules that it may import
    members: tuple[tuple[str, str], ...] = ()  # (name, attribute) that it assigns
    notices: tuple[str, ...] = ()  # lines for the user
    dynamic: bool = False  # it may use names that cannot be told (eval, globals(), %run)


@dataclass(slots=True)
class State:
    """Names bound so far. ``bound`` is None where control cannot come."""

    bound: set[str] | None = field(default_factory=set)  # on every path
    possible: set[str] = field(default_factory=set)  # on some path
    local: set[str] = field(default_factory=set)  # in the class body that runs now

    def copy(self) -> State:
        bound = None if self.bound is None else set(self.bound)
        return State(bound, set(self.possible), set(self.local))


def join(states: Iterable[State]) -> State:
    """What is known where several paths meet."""
    every = list(states)
    alive = [s for s in every if s.bound is not None]
    possible = set[str]().union(*(s.possible for s in every))
    if not alive:
        return State(None, possible, set(every[0].local))
    bound = set[str].intersection(*(s.bound for s in alive if s.bound is not None))
    return State(bound, possible, set[str].intersection(*(s.local for s in alive)))


class Tracker(ast.NodeVisitor):
    """Notes what is read, assigned and deleted.

    ``parse`` gives the tree of code found in strings, transformed as a cell is.
    """

    def __init__(self, parse: Callable[[str], ast.Module]) -> None:
        self.parse = parse
        self.state = State()
        self.reads: dict[str, bool] = {}
        self.assigns: dict[str, None] = {}
        self.deletes: dict[str, None] = {}
        self.star_imports: dict[str, None] = {}
        self.imports: dict[str, None] = {}
        self.members: dict[tuple[str, str], None] = {}
        self.notices: dict[str, None] = {}
        self.dynamic = False
        self.doubtful = False  # inside text that may not be Python
        self.pending: dict[str, Uses] = {}  # functions of the cell that did not run yet
        self.unused: list[Uses] = []  # defined anew before they were used
        self.breaks: list[list[State]] = []
        self.in_class = ""
        self.class_uses: Uses | None = None
        self.class_globals: set[str] = set()
        self.text_annotations = False

    def result(self) -> CellNames:
        for uses in (*self.unused, *self.pending.values()):
            self.use(uses, perhaps=True)
        return CellNames(
            reads=tuple(self.reads),
            maybe=frozenset(name for name, perhaps in self.reads.items() if perhaps),
            assigns=tuple(self.assigns),
            deletes=tuple(self.deletes),
            star_imports=tuple(self.star_imports),
            imports=tuple(self.imports),
            members=tuple(self.members),
            notices=tuple(self.notices),
            dynamic=self.dynamic,
        )

    def read(self, name: str, perhaps: bool = False) -> None:
        """A load in the scope that runs now."""
        name = mangled(name, self.in_class)
        if not (self.in_class and name in self.state.local):
            self.read_global(name, perhaps)

    def read_global(self, name: str, perhaps: bool = False) -> None:
        bound = self.state.bound
        if bound is not None and name not in bound:
            perhaps = perhaps or self.doubtful or name in self.state.possible
            self.reads[name] = perhaps and self.reads.get(name, True)
        if uses := self.pending.pop(name, None):
            self.use(uses, perhaps)

    def store(self, name: str) -> None:
        name = mangled(name, self.in_class)
        if self.in_class and name not in self.class_globals:
            self.state.local.add(name)
        else:
            self.store_global(name)

    def store_global(self, name: str, perhaps: bool = False) -> None:
        if self.state.bound is None:
            return
        self.assigns.setdefault(name)
        self.state.possible.add(name)
        if not perhaps:
            self.state.bound.add(name)
            if name in self.pending:
                self.unused.append(self.pending.pop(name))

    def delete(self, name: str) -> None:
        """A name must be there to be deleted, so it is read as well."""
        self.read(name)
        name = mangled(name, self.in_class)
        if self.in_class and name in self.state.local:
            self.state.local.discard(name)
        else:
            self.forget(name)

    def forget(self, name: str) -> None:
        if self.state.bound is not None:
            self.deletes.setdefault(name)
            self.state.bound.discard(name)

    def use(self, uses: Uses, perhaps: bool = False) -> None:
        """A body runs now, or may."""
        for name, only_perhaps in uses.reads.items():
            self.read_global(name, perhaps or only_perhaps or name in uses.stores)
        for name in sorted(uses.stores):
            self.store_global(name, perhaps=True)
        for name in sorted(uses.deletes):
            self.forget(name)
        self.imports.update(dict.fromkeys(uses.imports))
        for implied in uses.implied:
            self.note(implied)

    def note(self, implied: Implied) -> None:
        self.dynamic |= implied.dynamic
        self.imports.update(dict.fromkeys(implied.imports))
        if implied.notice:
            self.notices.setdefault(implied.notice)
