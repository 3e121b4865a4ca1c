"""What the body of a function, lambda or comprehension takes from and gives to the globals.

A body runs later, or not at all, so order inside it does not matter here: only scopes do.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from jupyter_remote.client.lines import Implied, implied_by

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
ComprehensionNode = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Parents = tuple[frozenset[str], ...]  # names of the enclosing functions, outermost first


@dataclass(slots=True)
class Uses:
    """Globals that a body uses when it runs."""

    reads: dict[str, bool] = field(default_factory=dict)  # name -> only perhaps
    stores: set[str] = field(default_factory=set)
    deletes: set[str] = field(default_factory=set)
    imports: list[str] = field(default_factory=list)
    implied: list[Implied] = field(default_factory=list)

    def read(self, name: str, perhaps: bool = False) -> None:
        self.reads[name] = perhaps and self.reads.get(name, True)

    def add(self, other: Uses) -> None:
        for name, perhaps in other.reads.items():
            self.read(name, perhaps)
        self.stores |= other.stores
        self.deletes |= other.deletes
        self.imports += other.imports
        self.implied += other.implied


def uses_of_function(node: FunctionNode, parents: Parents = (), private: str = "") -> Uses:
    """Globals used by the body alone: decorators, defaults and annotations run elsewhere."""
    scope = Scope(parents, private)
    given = (*parameters(node.args), *type_parameters(node), "__class__")
    scope.stores |= {mangled(name, private) for name in given}
    scope.visit_all(node.body if isinstance(node.body, list) else [node.body])
    return scope.close()


def uses_of_comprehension(
    node: ComprehensionNode, parents: Parents = (), private: str = ""
) -> Uses:
    """Globals used by all but the first iterable, which the enclosing scope evaluates."""
    scope = Scope(parents, private)
    scope.visit_all(g.target for g in node.generators)
    scope.visit_all(g.iter for g in node.generators[1:])
    scope.visit_all(test for g in node.generators for test in g.ifs)
    scope.visit_all(results_of(node))
    # these belong to the enclosing scope
    scope.stores -= {mangled(name, private) for name in walrus_targets(node)}
    return scope.close()


def uses_of_block(body: list[ast.stmt], parents: Parents = (), private: str = "") -> Uses:
    """Globals used by statements that run as if they were the body of a function."""
    scope = Scope(parents, private)
    scope.visit_all(body)
    return scope.close()


def results_of(node: ComprehensionNode) -> list[ast.expr]:
    return [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]


def parameters(args: ast.arguments) -> Iterator[str]:
    for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg):
        if arg is not None:
            yield arg.arg


def type_parameters(node: ast.AST) -> Iterator[str]:
    """Names of ``[T]`` in ``def f[T]``, from Python 3.12 on."""
    for parameter in getattr(node, "type_params", ()):
        yield parameter.name


def walrus_targets(node: ast.AST) -> list[str]:
    """Names that ``:=`` inside a comprehension binds in the scope around it."""
    found: list[str] = []
    stack = [node]
    while stack:
        part = stack.pop()
        if isinstance(part, ast.Name | ast.Constant | ast.Lambda):
            continue
        if isinstance(part, ast.NamedExpr):
            found.append(part.target.id)
        stack += ast.iter_child_nodes(part)
    return found


def signature_parts(node: FunctionNode) -> Iterator[ast.expr]:
    """Defaults: evaluated where the function is defined."""
    yield from node.args.defaults
    yield from (default for default in node.args.kw_defaults if default is not None)


def annotations_of(node: FunctionNode) -> Iterator[ast.expr]:
    args = node.args
    every = (*args.posonlyargs, *args.args, args.vararg, *args.kwonlyargs, args.kwarg)
    yield from (arg.annotation for arg in every if arg is not None and arg.annotation is not None)
    if not isinstance(node, ast.Lambda) and node.returns is not None:
        yield node.returns


def names_in(node: ast.AST) -> Iterator[str]:
    """Every name in an expression; those in strings too, for annotations written as text."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield from names_in_text(part.value)


def names_in_text(text: str) -> Iterator[str]:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError):
        return
    for part in ast.walk(tree):
        if isinstance(part, ast.Name):
            yield part.id


def imported_modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Dotted names of the modules that a statement may import."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if node.level or not node.module:
        return []
    return [node.module, *(f"{node.module}.{a.name}" for a in node.names if a.name != "*")]


def bound_by_import(node: ast.Import | ast.ImportFrom) -> list[str]:
    """``import a.b`` binds ``a``, ``import a.b as c`` binds ``c``."""
    return [a.asname or a.name.partition(".")[0] for a in node.names if a.name != "*"]


class Scope(ast.NodeVisitor):
    """One function-like scope; :meth:`close` says which globals it uses."""

    def __init__(self, parents: Parents, private: str = "", *, is_class: bool = False) -> None:
        self.parents = parents
        self.private = private  # name of the enclosing class, for ``__mangled`` names
        self.is_class = is_class
        self.loads: dict[str, bool] = {}
        self.stores: set[str] = set()
        self.deletes: set[str] = set()
        self.declared_global: set[str] = set()
        self.declared_nonlocal: set[str] = set()
        self.children: list[tuple[ast.AST, str]] = []
        self.uses = Uses()

    def visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def close(self) -> Uses:
        """Called once, when everything in the scope was visited."""
        own = frozenset(self.stores - self.declared_global - self.declared_nonlocal)
        for name, perhaps in self.loads.items():
            if name in self.declared_global or not self._resolves(name, own):
                self.uses.read(name, perhaps)
            elif self.is_class and name in own:
                self.uses.read(name, True)  # until it is bound, a class body has the global's
        self.uses.stores |= self.stores & self.declared_global
        self.uses.deletes |= self.deletes & self.declared_global
        inner = self.parents
        if not self.is_class:  # what is declared global here is so for what is nested in it
            inner = (*(parent - self.declared_global for parent in self.parents), own)
        for node, private in self.children:
            self.uses.add(uses_of_child(node, inner, private))
        return self.uses

    def _resolves(self, name: str, own: frozenset[str]) -> bool:
        return name in own or any(name in parent for parent in self.parents)

    def _name(self, name: str) -> str:
        return mangled(name, self.private)

    def load(self, name: str, perhaps: bool = False) -> None:
        name = self._name(name)
        self.loads[name] = perhaps and self.loads.get(name, True)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.load(node.id)
        else:
            self.stores.add(self._name(node.id))
            if isinstance(node.ctx, ast.Del):
                self.deletes.add(self._name(node.id))
                self.load(node.id)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.load(node.target.id)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if self.is_class:
            self._annotation(node.annotation)
        self.visit(node.target)  # a bare ``x: int`` makes the name local too
        if node.value is not None:
            self.visit(node.value)

    def visit_Global(self, node: ast.Global) -> None:
        self.declared_global |= {self._name(name) for name in node.names}

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self.declared_nonlocal |= {self._name(name) for name in node.names}

    def visit_Import(self, node: ast.Import) -> None:
        self.stores |= {self._name(name) for name in bound_by_import(node)}
        self.uses.imports += imported_modules(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.stores |= {self._name(name) for name in bound_by_import(node)}
        self.uses.imports += imported_modules(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.stores.add(self._name(node.name))
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self._capture(node, node.name)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        self._capture(node, node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self._capture(node, node.rest)

    def _capture(self, node: ast.pattern, name: str | None) -> None:
        self.generic_visit(node)
        if name:
            self.stores.add(self._name(name))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.visit_all(node.decorator_list)
        self.visit_all(signature_parts(node))
        for part in annotations_of(node):
            self._annotation(part)
        self.stores.add(self._name(node.name))
        self.children.append((node, self.private))

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit_all(signature_parts(node))
        self.children.append((node, self.private))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.visit_all(node.decorator_list)
        if not getattr(node, "type_params", ()):
            self.visit_all((*node.bases, *node.keywords))
        self.stores.add(self._name(node.name))
        self.children.append((node, node.name))

    def visit_TypeAlias(self, node: ast.AST) -> None:
        self.visit(node.name)  # type: ignore[attr-defined]
        self._annotation(node.value)  # type: ignore[attr-defined]

    def _comprehension(self, node: ComprehensionNode) -> None:
        self.visit(node.generators[0].iter)
        self.stores |= {self._name(name) for name in walrus_targets(node)}
        self.children.append((node, self.private))

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def _annotation(self, node: ast.AST) -> None:
        for name in names_in(node):
            self.load(name, perhaps=True)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if (implied := implied_by(node)) is None:
            return
        for name in implied.reads:
            self.load(name, perhaps=True)
        for code in implied.code:
            for name in names_in_code(code.text):
                self.load(name, perhaps=True)
        self.uses.implied.append(implied)


def names_in_code(text: str) -> Iterator[str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for part in ast.walk(tree):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
            yield part.id


def uses_of_child(node: ast.AST, parents: Parents, private: str) -> Uses:
    if isinstance(node, ast.ClassDef):
        return uses_of_class(node, parents)
    if isinstance(node, COMPREHENSIONS):
        return uses_of_comprehension(node, parents, private)
    assert isinstance(node, FunctionNode)
    return uses_of_function(node, parents, private)


def uses_of_class(node: ast.ClassDef, parents: Parents) -> Uses:
    """Globals used by the body of a class inside a function, and by its methods."""
    types = frozenset(type_parameters(node))
    scope = Scope((*parents, types) if types else parents, node.name, is_class=True)
    if types:
        scope.visit_all((*node.bases, *node.keywords))
    scope.stores |= {"__module__", "__qualname__"}
    scope.visit_all(node.body)
    return scope.close()


def mangled(name: str, private: str) -> str:
    """``__x`` inside ``class C`` is ``_C__x``."""
    stripped = private.lstrip("_")
    if not stripped or not name.startswith("__") or name.endswith("__") or "." in name:
        return name
    return f"_{stripped}{name}"
