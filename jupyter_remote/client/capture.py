"""What a cell or a call takes along: values, the globals of its functions, local modules, files.

Nothing is sent here, and nothing of the user's runs but what pickling calls.
"""

from __future__ import annotations

import difflib
import inspect
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_remote import values
from jupyter_remote.client.files import CapturedFile, capture_files
from jupyter_remote.client.modules import LocalModules, local_modules
from jupyter_remote.client.names import CellNames, analyse
from jupyter_remote.client.shipping import (
    Namespace,
    is_of_the_shell,
    names_of_cells,
    notices_of_size,
    pack_names,
    sources_of,
)
from jupyter_remote.contents.parts import (
    CONTAINERS,
    has_identity,
    is_array,
)
from jupyter_remote.contents.update import can_change
from jupyter_remote.errors import CaptureError, UsageError
from jupyter_remote.reach import Reached, reach, without_collection
from jupyter_remote.sizes import name_info
from jupyter_remote.values import Numbered, Packed
from jupyter_remote.wire import NameInfo

__all__ = [
    "CapturedCall",
    "CapturedCell",
    "CapturedFile",
    "analyse",
    "capture_call",
    "capture_cell",
    "capture_files",
]


@dataclass(frozen=True, slots=True)
class CapturedCell:
    """A cell, ready to be sent."""

    packed: Packed | None  # dict of names to values; None: nothing is sent
    names: list[NameInfo]
    outputs: list[str] | None  # as asked for; None: what it assigns and changes
    assigned: list[str]
    deleted: list[str]
    files: list[CapturedFile] = field(default_factory=list)
    sent: dict[str, object] = field(default_factory=dict)  # names and what they were bound to
    numbered: Numbered = field(default_factory=dict)  # objects that the other side may refer to
    unwatched: list[int] = field(default_factory=list)  # numbers that stand for nothing here
    fixed: list[int] = field(default_factory=list)  # numbers of what cannot be changed in place
    notices: list[str] = field(default_factory=list)  # lines for the user
    sources: dict[str, str] = field(default_factory=dict)  # filename -> text of notebook cells
    source_names: dict[str, str] = field(default_factory=dict)  # filename -> "In [3]"
    used: list[str] = field(default_factory=list)  # modules that it imports or whose things it uses
    direct: frozenset[str] = frozenset()  # names that the cell itself reads
    aliases: frozenset[str] = frozenset()  # other names of the notebook for what is sent


@dataclass(frozen=True, slots=True)
class CapturedCall:
    """A function and its arguments, ready to be sent."""

    function: Packed
    inputs: Packed  # (args, kwargs)
    files: list[CapturedFile] = field(default_factory=list)
    names: list[NameInfo] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    source_names: dict[str, str] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)  # modules that it imports or whose things it uses
    globals: Namespace = field(default_factory=dict)  # of the notebook, that functions bring along


# --- cells -----------------------------------------------------------------------------------
def capture_cell(
    source: str,
    namespace: Namespace,
    *,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    transform: Callable[[str], str] | None = None,
    folder: str | Path | None = None,
    lasting: bool = False,
) -> CapturedCell:
    """Find and pack what a cell needs.

    Parameters
    ----------
    namespace: the notebook's ``user_ns``.
    inputs, outputs: names to send and to bring home; None: the cell's AST decides.
    transform: the shell's ``transform_cell``.
    folder: where the notebook is; modules beside it travel too.
    lasting: it runs in a namespace that lasts: names that it finds or leaves there need no word.

    Raises SyntaxError as the shell would, UsageError for an unknown name in ``inputs`` or
    ``outputs``, CaptureError listing every name that cannot travel.
    """
    cell = analyse(source, transform)
    direct = _direct(cell, namespace, inputs)
    reached = reach((namespace[name] for name in direct), namespace)
    chosen = direct | _used_by_functions(reached, namespace, direct)
    aliases = _aliases(reached, namespace, chosen) if inputs is None else {}
    perhaps = frozenset(n for n in chosen if chosen[n]) | frozenset(aliases)
    wanted = {name: namespace[name] for name in (*chosen, *aliases)}
    packed, sent, stay = pack_names(wanted, perhaps, namespace)
    numbered, unwatched, fixed = _numbered(packed, reached)
    names = packed.parcel.names if packed is not None else []
    assigned = _visible((*cell.assigns, *reached.stored), namespace)
    modules = local_modules([*cell.imports, *reached.modules], folder)
    used = [*cell.imports, *reached.modules, *modules.imports]
    sources = sources_of(reached)
    stayed = [f"{s.info.name} stays here: {s.why}." for s in stay if s.info.name in chosen]
    return CapturedCell(
        packed=packed,
        names=names,
        outputs=_outputs(outputs, cell, assigned, sent),
        assigned=assigned,
        deleted=[n for n in cell.deletes if n in sent or n not in namespace or n not in cell.reads],
        files=modules.files,
        sent=sent,
        numbered=numbered,
        unwatched=unwatched,
        fixed=fixed,
        notices=[
            *([] if lasting else _notices_of(cell)),
            *notices_of_size(names, frozenset(direct)),
            *_shared_memory(sent),
            *stayed,
            *modules.notices,
            *_members_of_modules(cell, namespace, modules),
        ],
        sources=sources,
        source_names=names_of_cells(sources, namespace),
        used=used,
        direct=frozenset(direct),
        aliases=frozenset(aliases),
    )


def _direct(cell: CellNames, namespace: Namespace, inputs: Sequence[str] | None) -> dict[str, bool]:
    """Names that the cell itself needs -> only perhaps."""
    if inputs is not None:
        for name in inputs:
            if name not in namespace:
                raise _unknown("--in", name, _of_the_user(namespace))
        modules = (n for n in cell.reads if isinstance(namespace.get(n), types.ModuleType))
        return dict.fromkeys((*inputs, *modules), False)
    there = {n: n in cell.maybe for n in cell.reads if n in namespace}
    return {n: maybe for n, maybe in there.items() if not is_of_the_shell(n, namespace[n])}


def _of_the_user(namespace: Namespace) -> list[str]:
    return [name for name, value in namespace.items() if not is_of_the_shell(name, value)]


def _used_by_functions(
    reached: Reached, namespace: Namespace, direct: dict[str, bool]
) -> dict[str, bool]:
    return {
        name: perhaps
        for name, perhaps in reached.names.items()
        if name in namespace and name not in direct and not is_of_the_shell(name, namespace[name])
    }


def _aliases(reached: Reached, namespace: Namespace, chosen: Iterable[str]) -> list[str]:
    """Other names of the notebook for objects that travel anyway, or for parts of them.

    They cost nothing in the same pickle, and so what the cell changes in place changes for them.
    """
    known = set(chosen)
    return [
        name
        for name, value in list(namespace.items())
        if id(value) in reached.objects
        and name not in known
        and not name.startswith("_")
        and not is_of_the_shell(name, value)
        and _is_changeable(value)
    ]


def _numbered(packed: Packed | None, reached: Reached) -> tuple[Numbered, list[int], list[int]]:
    """Objects that have an identity here; numbers of those that only helped to pickle others; and
    of those that cannot take over what others hold."""
    if packed is None:
        return {}, [], []
    with without_collection():
        every = {n: o for n, o in packed.numbered.items() if has_identity(o)}
        real = {n: o for n, o in every.items() if id(o) in reached.objects}
        others = [o for o in real.values() if type(o) not in CONTAINERS]
        attributes = {id(getattr(o, "__dict__", None)) for o in others}
        unwatched = [n for n, o in every.items() if n not in real and id(o) not in attributes]
        fixed = {id(o) for o in others if is_array(o) and not can_change(o)}
    return real, unwatched, [n for n, o in real.items() if id(o) in fixed] if fixed else []


def _is_changeable(value: object) -> bool:
    return not isinstance(value, type | types.FunctionType | types.ModuleType)


def _members_of_modules(
    cell: CellNames, namespace: Namespace, modules: LocalModules
) -> Iterator[str]:
    """A word on ``module.name = value``, which nobody brings home."""
    for name, member in cell.members:
        value = namespace.get(name)
        module = value.__name__ if isinstance(value, types.ModuleType) else name
        if modules.has(module):
            yield f"{name}.{member} is assigned over there only: modules do not come home."


def _outputs(
    outputs: Sequence[str] | None, cell: CellNames, assigned: list[str], sent: Namespace
) -> list[str] | None:
    """Raises UsageError for a name that the cell neither assigns nor gets."""
    if outputs is None:
        return None
    known = {*assigned, *cell.deletes, *sent}
    if not cell.dynamic and not cell.star_imports:
        for name in outputs:
            if name not in known:
                raise _unknown("--out", name, known)
    return list(outputs)


def _unknown(option: str, name: str, known: Iterable[str]) -> UsageError:
    names = [n for n in known if not n.startswith("_")]
    near = difflib.get_close_matches(name, names, 1)
    where = "the notebook has" if option == "--in" else "the cell assigns or uses"
    hint = f"Did you mean {near[0]}?" if near else f"Name a variable that {where}."
    return UsageError(f"{option}: {where} no variable {name!r}.", hint=hint)


def _visible(names: Iterable[str], namespace: Namespace) -> list[str]:
    return [n for n in dict.fromkeys(names) if not is_of_the_shell(n, namespace.get(n))]


def _notices_of(cell: CellNames) -> list[str]:
    stars = [
        f"from {module} import *: what it brings is known only over there; name what you need."
        for module in cell.star_imports
    ]
    return [*cell.notices, *stars]


def _shared_memory(sent: Namespace) -> list[str]:
    """Arrays that are views of one another become separate ones on the way."""
    owners: dict[int, str] = {}
    found = []
    numpy = sys.modules.get("numpy")
    for name, value in sent.items():
        if numpy is None or not isinstance(value, numpy.ndarray):
            continue
        owner: Any = value
        while isinstance(owner.base, numpy.ndarray):
            owner = owner.base
        first = owners.setdefault(id(owner), name)
        if first != name and sent[first] is not value:
            found.append(f"{first} and {name} share memory here; over there each has its own.")
    return found


# --- calls -----------------------------------------------------------------------------------
def capture_call(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    *,
    namespace: Namespace | None = None,
    folder: str | Path | None = None,
) -> CapturedCall:
    """Pack a call. Functions of the notebook travel by value with the globals that they use.

    Parameters
    ----------
    namespace: globals of the notebook; by default those of ``__main__``.
    folder: where the notebook is; functions of modules beside it travel by reference, with files.

    Raises CaptureError naming the function or every argument that cannot travel.
    """
    if not callable(function):
        raise UsageError(
            f"{function!r} cannot be called.", hint="Give a function, then its arguments."
        )
    if namespace is None:
        namespace = vars(sys.modules["__main__"])
    reached = reach((function, *args, *kwargs.values()), namespace)
    packed = _pack_function(function, namespace)
    inputs = _pack_arguments(function, tuple(args), kwargs, namespace)
    modules = local_modules(tuple(reached.modules), folder)
    used = _used_by_functions(reached, namespace, {})
    names = [*inputs.parcel.names, *(name_info(n, namespace[n]) for n in used)]
    direct = frozenset(info.name for info in inputs.parcel.names)
    sources = sources_of(reached)
    return CapturedCall(
        function=packed,
        inputs=inputs,
        files=modules.files,
        names=names,
        notices=[*notices_of_size(names, direct), *modules.notices],
        sources=sources,
        source_names=names_of_cells(sources, namespace),
        used=[*reached.modules, *modules.imports],
        globals={n: namespace[n] for n in reached.names if n in namespace},
    )


def _pack_function(function: Callable[..., Any], namespace: Namespace) -> Packed:
    name = name_of(function)
    try:
        return values.pack(
            function, namespace=namespace, names=[name_info(name, function)], chunked=False
        )
    except CaptureError as error:
        why = values.why_not(function, namespace) or error.message
        raise CaptureError(
            f"{name} cannot travel: {why}.",
            hint="Pass what it needs as arguments, or make it there.",
        ) from error


def _pack_arguments(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    namespace: Namespace,
) -> Packed:
    labels = labels_of(function, args, kwargs)
    names = [name_info(label, value) for label, value in labels]
    try:
        return values.pack((args, kwargs), namespace=namespace, names=names, chunked=False)
    except CaptureError as error:
        lines = [
            f"  {info.name}: {info.type}: {why}"
            for info, (_, value) in zip(names, labels, strict=True)
            if (why := values.why_not(value, namespace)) is not None
        ]
        if not lines:
            raise
        raise CaptureError(
            f"Arguments of {name_of(function)} cannot travel:\n" + "\n".join(lines),
            hint="Pass something that can be pickled, such as a list or a path.",
        ) from error


def labels_of(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[tuple[str, Any]]:
    """Arguments under the names of their parameters, as far as these can be told."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):  # a wrong call: the function itself will say so, over there
        return [*((f"argument {i}", v) for i, v in enumerate(args, 1)), *kwargs.items()]
    return list(bound.arguments.items())


def name_of(function: Callable[..., Any]) -> str:
    """How people call a function."""
    inner = getattr(function, "func", function)  # a partial
    return str(getattr(inner, "__qualname__", None) or type(function).__qualname__)
