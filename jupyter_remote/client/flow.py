"""Walks a cell in the order in which it runs and notes which names it needs from outside.

A name is *needed* when it may be read before the cell itself has bound it on every path. A function
that the cell defines is looked into when the cell first uses it, since only then can it run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from jupyter_remote.client import scopes
from jupyter_remote.client.lines import Code, implied_by, tree_of
from jupyter_remote.client.paths import bound_in, bound_in_all, may_swallow, takes_all
from jupyter_remote.client.scopes import Uses, mangled
from jupyter_remote.client.tracking import CellNames, State, Tracker, join

__all__ = ["CellNames", "Flow"]


class Flow(Tracker):
    """Feed a tree to :meth:`run`, then ask for :meth:`result`."""

    def run(self, tree: ast.Module) -> None:
        self.block(tree.body)

    # --- statements ----------------------------------------------------------------------
    def block(self, body: Iterable[ast.AST]) -> None:
        for node in body:
            self.visit(node)

    def fork(self, *branches: Iterable[ast.AST]) -> None:
        """Exactly one of these runs."""
        start, ends = self.state, []
        for branch in branches:
            self.state = start.copy()
            self.block(branch)
            ends.append(self.state)
        self.state = join(ends)

    def visit_Name(self, node: ast.Name) -> None:
        match node.ctx:
            case ast.Load():
                self.read(node.id)
            case ast.Store():
                self.store(node.id)
            case _:
                self.delete(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name) and not isinstance(node.ctx, ast.Load):
            self.members.setdefault((node.value.id, node.attr))
        self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        target = node.targets[0]
        if isinstance(node.value, ast.Lambda) and isinstance(target, ast.Name):
            self.block(scopes.signature_parts(node.value))
            self.block(node.targets)
            self._later(target.id, scopes.uses_of_function(node.value, (), self.in_class))
            return
        self.visit(node.value)
        self.block(node.targets)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.read(node.target.id)
            self.visit(node.value)
            self.store(node.target.id)
        else:
            self.visit(node.target)
            self.visit(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        if node.value is not None:
            self.visit(node.value)
        if node.value is not None or not isinstance(node.target, ast.Name):
            self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.visit(node.target)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.fork(node.body, node.orelse)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        self.fork([node.body], [node.orelse])

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.visit(node.values[0])
        for value in node.values[1:]:
            self.fork([value], [])

    def visit_Compare(self, node: ast.Compare) -> None:
        self.block((node.left, node.comparators[0]))
        for comparator in node.comparators[1:]:
            self.fork([comparator], [])

    def visit_Assert(self, node: ast.Assert) -> None:
        self.visit(node.test)
        if node.msg is not None:
            self.fork([node.msg], [])

    def _dead(self, node: ast.AST) -> None:
        self.generic_visit(node)
        self.state.bound = None

    visit_Raise = visit_Continue = visit_Return = _dead

    def visit_Break(self, node: ast.Break) -> None:
        if self.breaks:
            self.breaks[-1].append(self.state.copy())
        self.state.bound = None

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self._enter_loop(node)
        empty = self.state.copy()
        self.visit(node.target)
        self._loop(node, empty)

    visit_AsyncFor = visit_For

    def visit_While(self, node: ast.While) -> None:
        self._enter_loop(node)
        self.visit(node.test)
        ends = self.state.copy()
        if isinstance(node.test, ast.Constant) and node.test.value:
            ends.bound = None  # only ``break`` leaves
        self._loop(node, ends)

    def _enter_loop(self, node: ast.AST) -> None:
        """Before the first pass everything holds that may hold before any later one."""
        stored, deleted = bound_in(node)
        self.state.possible |= stored
        if self.state.bound is not None:
            self.state.bound -= deleted

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While, ends: State) -> None:
        self.breaks.append([])
        self.block(node.body)
        ends.possible |= self.state.possible
        self.state = ends
        self.block(node.orelse)
        self.state = join([self.state, *self.breaks.pop()])

    def visit_Try(self, node: ast.Try | ast.TryStar) -> None:
        before = self.state.copy()
        self.block(node.body)
        _, deleted = bound_in_all(node.body)
        before.possible |= self.state.possible
        if before.bound is not None:
            before.bound -= deleted
        self.block(node.orelse)
        ends = [self.state]
        for handler in node.handlers:
            self.state = before.copy()
            self.visit(handler)
            ends.append(self.state)
        self._finally(node.finalbody, before, ends)

    def visit_TryStar(self, node: ast.TryStar) -> None:
        self.visit_Try(node)

    def _finally(self, body: list[ast.stmt], before: State, ends: list[State]) -> None:
        after = join(ends)
        self.state = before.copy()
        self.state.possible |= after.possible
        self.block(body)
        if self.state.bound is None or after.bound is None:
            after.bound = None
        else:
            after.bound |= self.state.bound - (before.bound or set())
            after.bound -= (before.bound or set()) - self.state.bound
        after.possible |= self.state.possible
        self.state = after

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """``except … as name`` deletes the name when it ends."""
        if node.type is not None:
            self.visit(node.type)
        if not node.name:
            self.block(node.body)
            return
        self.read(node.name, perhaps=True)  # it must be there, if it is to stay when all goes well
        self.store(node.name)
        self.block(node.body)
        if self.in_class:
            self.state.local.discard(node.name)
        else:
            self.forget(node.name)

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.visit(item.context_expr)
            if item.optional_vars is not None:
                self.visit(item.optional_vars)
        if any(may_swallow(item.context_expr) for item in node.items):
            self.fork(node.body, [])
        else:
            self.block(node.body)

    visit_AsyncWith = visit_With

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        ends = []
        for case in node.cases:
            rest = self.state.copy()
            self.visit(case.pattern)
            if case.guard is not None:
                self.visit(case.guard)
            rest.possible |= self.state.possible
            self.block(case.body)
            ends.append(self.state)
            if case.guard is None and takes_all(case.pattern):
                rest.bound = None
            self.state = rest
        self.state = join([*ends, self.state])

    def _capture(self, node: ast.pattern, name: str | None) -> None:
        self.generic_visit(node)
        if name:
            self.store(name)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self._capture(node, node.name)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        self._capture(node, node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self._capture(node, node.rest)

    def visit_MatchOr(self, node: ast.MatchOr) -> None:
        self.fork(*([pattern] for pattern in node.patterns))

    def visit_Import(self, node: ast.Import) -> None:
        self.imports.update(dict.fromkeys(scopes.imported_modules(node)))
        for name in scopes.bound_by_import(node):
            self.store(name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.imports.update(dict.fromkeys(scopes.imported_modules(node)))
        if node.module == "__future__":
            self.text_annotations |= any(a.name == "annotations" for a in node.names)
        if any(alias.name == "*" for alias in node.names):
            self.star_imports.setdefault(node.module or ".")
        for name in scopes.bound_by_import(node):
            self.store(name)

    def visit_Global(self, node: ast.Global) -> None:
        self.class_globals |= {mangled(name, self.in_class) for name in node.names}

    # --- functions, classes, comprehensions ----------------------------------------------
    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.block(node.decorator_list)
        self.block(scopes.signature_parts(node))
        types = frozenset(scopes.type_parameters(node))
        for part in scopes.annotations_of(node):
            self._annotation(part, types)
        uses = scopes.uses_of_function(node, (types,) if types else (), self.in_class)
        if node.decorator_list:
            self._use_all_but(node.name, uses)
            uses = Uses()
        self.store(node.name)
        self._later(node.name, uses)

    visit_AsyncFunctionDef = visit_FunctionDef

    def _use_all_but(self, name: str, uses: Uses) -> None:
        """A decorator may call what it decorates; what refers to itself finds itself."""
        if not self.in_class:
            uses.reads.pop(name, None)
        self.use(uses)

    def _later(self, name: str, uses: Uses) -> None:
        """``uses`` counts when ``name`` is used; in a class, when the class is."""
        if self.class_uses is not None:
            self.class_uses.add(uses)
        elif self.state.bound is not None:
            self.pending[name] = uses

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.block(scopes.signature_parts(node))
        self.use(scopes.uses_of_function(node, (), self.in_class))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.block(node.decorator_list)
        if types := frozenset(scopes.type_parameters(node)):
            uses = scopes.uses_of_class(node, ())
            for name in types:
                uses.reads.pop(name, None)
        else:
            self.block((*node.bases, *node.keywords))
            uses = self._class_body(node)
        if node.decorator_list:
            self._use_all_but(node.name, uses)
            uses = Uses()
        self.store(node.name)
        self._later(node.name, uses)

    def _class_body(self, node: ast.ClassDef) -> Uses:
        """Runs at once; gives what its methods use later."""
        saved = self.in_class, self.class_uses, self.class_globals, self.state.local
        self.in_class, self.class_globals = node.name, set()
        self.class_uses = uses = Uses()
        self.state.local = {"__module__", "__qualname__"}
        self.block(node.body)
        self.in_class, self.class_uses, self.class_globals, self.state.local = saved
        return uses

    def visit_TypeAlias(self, node: ast.AST) -> None:
        types = frozenset(scopes.type_parameters(node))
        self._annotation(node.value, types, text=True)  # type: ignore[attr-defined]
        self.visit(node.name)  # type: ignore[attr-defined]

    def _comprehension(self, node: scopes.ComprehensionNode) -> None:
        self.visit(node.generators[0].iter)
        targets = sorted(scopes.walrus_targets(node))
        self.use(scopes.uses_of_comprehension(node, (), self.in_class))
        for name in targets:
            self.store_global(name, perhaps=True)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def _annotation(
        self, node: ast.expr, but: frozenset[str] = frozenset(), text: bool = False
    ) -> None:
        """Evaluated here, or kept as text for who asks later (then nothing fails without it)."""
        if self.text_annotations or text or but:
            for name in scopes.names_in(node):
                if name not in but:
                    self.read(name, perhaps=True)
            return
        self.visit(node)
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                for name in scopes.names_in_text(part.value):
                    self.read(name, perhaps=True)

    # --- code in strings -----------------------------------------------------------------
    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if (implied := implied_by(node)) is None:
            return
        for name in implied.reads:
            self.read(name, perhaps=True)
        for code in implied.code:
            self._run_text(code)
        for name in implied.assigns:
            self.store(name)
        for name in implied.deletes:
            self.delete(name)
        self.note(implied)

    def _run_text(self, code: Code) -> None:
        if (tree := tree_of(code, self.parse)) is None:
            return
        doubtful, self.doubtful = self.doubtful, self.doubtful or code.perhaps
        if code.apart:
            self.use(scopes.uses_of_block(tree.body))
        elif code.perhaps:
            self.fork(tree.body, [])
        else:
            self.block(tree.body)
        self.doubtful = doubtful
