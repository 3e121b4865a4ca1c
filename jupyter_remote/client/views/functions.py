"""Functions on their way to sessions: packed once, as long as they and what they use stay."""

from __future__ import annotations

import itertools
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from jupyter_remote import remotely, values
from jupyter_remote.client.capture import capture_call
from jupyter_remote.client.shipping import names_of_cells, sources_of
from jupyter_remote.client.views.local_files import LocalFiles
from jupyter_remote.errors import UsageError
from jupyter_remote.reach import reach
from jupyter_remote.wire import Parcel, Segment

MOST = 500  # functions that are remembered
DEPTH = 8
_numbers = itertools.count(1)
_SIMPLE = (str, int, float, complex, bool, bytes, type(None), types.ModuleType)
_BUILTIN = (types.BuiltinFunctionType, types.WrapperDescriptorType, types.MethodDescriptorType)

Witness = list[object]
Contents = dict[str, memoryview]
Keep = Callable[[Parcel, Contents], Contents]


class Shipped(msgspec.Struct, weakref=True):
    """A function, ready to be sent."""

    number: int  # names it in all connections of this process
    name: str
    parcel: Parcel
    contents: Contents  # of segments beside it, as they were when it was packed
    files: list[str]  # of local modules
    sources: dict[str, str]
    source_names: dict[str, str]
    globals: dict[str, object]  # of the notebook, that it brings; of one that may change, a mark


class Functions:
    """Of one client. ``namespace``: the notebook's. ``keep`` gives bytes that stay as they are, of
    a parcel's contents, which the user may change."""

    def __init__(self, namespace: dict[str, Any], keep: Keep, files: LocalFiles) -> None:
        self._namespace = namespace
        self._files = files
        self._keep = keep
        self._known: OrderedDict[int, tuple[Any, Witness, Shipped]] = OrderedDict()

    def shipped(self, function: Callable[..., Any]) -> Shipped:
        """Raises CaptureError, UsageError."""
        known = self._known.get(id(function))
        if known is not None and known[0] is function:
            now = _witness(function, self._namespace)
            if now is not None and _same(now, known[1]):
                if known[2].files:
                    self._files.look_again()
                return known[2]
        shipped = self._pack(function)
        witness = _witness(function, self._namespace)
        if witness is not None:
            self._known[id(function)] = (function, witness, shipped)
            while len(self._known) > MOST:
                self._known.popitem(last=False)
        return shipped

    def _pack(self, function: Callable[..., Any]) -> Shipped:
        if not callable(function):
            raise UsageError(
                f"{function!r} cannot be called", hint="give a function, then its arguments"
            )
        name = getattr(function, "__name__", type(function).__name__)
        if getattr(function, "__module__", None) == remotely.__name__ and not _wraps(function):
            packed = values.pack(function, chunked=False)
            return Shipped(next(_numbers), name, packed.parcel, {}, [], {}, {}, {})
        captured = capture_call(function, (), {}, namespace=self._namespace)
        packed = captured.function
        contents = self._keep(packed.parcel, packed.contents) if packed.contents else {}
        modules = {_module_of(file.ref.path) for file in captured.files}
        files = self._files.add(modules) if modules else []
        return Shipped(
            next(_numbers), name, packed.parcel, contents, files,
            captured.sources, captured.source_names, self._marks(captured.globals),
        )  # fmt: skip

    def _marks(self, globals: dict[str, Any]) -> dict[str, object]:
        fixed = {n: _witness(value, self._namespace) is not None for n, value in globals.items()}
        return {n: value if fixed[n] else object() for n, value in globals.items()}


def _module_of(path: str) -> str:
    """The module, or the package, that has this file."""
    return path.partition("/")[0].removesuffix(".py")


def _wraps(function: Any) -> bool:
    return isinstance(function, remotely.Checked)


def _same(one: Witness, other: Witness) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def _witness(function: Any, namespace: dict[str, Any]) -> Witness | None:
    """Objects that are the same as long as the function is; None: it uses what may change."""
    found: Witness = []
    return found if all(_look(function, namespace, found, set(), DEPTH)) else None


def _look(
    value: Any, namespace: dict[str, Any], found: Witness, seen: set[int], depth: int
) -> Iterator[bool]:
    found.append(value)
    if isinstance(value, (*_SIMPLE, *_BUILTIN)) or id(value) in seen:
        return
    seen.add(id(value))
    if _is_imported(value):
        return
    if type(value) is tuple:
        for part in value:
            yield from _look(part, namespace, found, seen, depth - 1)
        return
    if not isinstance(value, types.FunctionType) or not depth or value.__dict__:
        yield False
        return
    found.append(value.__code__)
    for content in (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()):
        yield from _look(content, namespace, found, seen, depth - 1)
    for cell in value.__closure__ or ():
        try:
            content = cell.cell_contents
        except ValueError:
            continue
        yield from _look(content, namespace, found, seen, depth - 1)
    for name in _names_of(value.__code__):
        if name in value.__globals__:
            yield from _look(value.__globals__[name], namespace, found, seen, depth - 1)


def _is_imported(value: Any) -> bool:
    """Is it found over there by its name?"""
    module = getattr(value, "__module__", None)
    if not isinstance(module, str) or module in ("__main__", "builtins"):
        return module == "builtins"
    owner, name = sys.modules.get(module), getattr(value, "__qualname__", "")
    for part in name.split("."):
        owner = getattr(owner, part, None)
    return owner is value


def _names_of(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_of(constant)


class Belongings:
    """Local modules, and cells, that arguments of calls come from. A kernel is given each once."""

    def __init__(self, namespace: dict[str, Any], files: LocalFiles) -> None:
        self.files: dict[str, None] = {}
        self.sources: dict[str, str] = {}
        self._namespace = namespace
        self._files = files
        self._modules: set[str] = set()

    def look(self, arguments: Any) -> bool:
        """Find those of arguments; do these bring globals of the notebook? Raises CaptureError for
        a package too large to be sent."""
        reached = reach((arguments,), self._namespace)
        if new := reached.modules.keys() - self._modules:
            found = dict.fromkeys(self._files.add(new))
            self.files = {**self.files, **found}  # another thread may be reading
            self._modules |= new
        elif reached.modules and self.files:
            self._files.look_again()
        if reached.functions:
            self.sources = {**self.sources, **sources_of(reached)}
        return bool(reached.names)

    def names_of(self, sources: dict[str, str]) -> dict[str, str]:
        """How tracebacks call these cells."""
        return names_of_cells(sources, self._namespace) if sources else {}


def segments_beside(parcel: Parcel) -> list[Segment]:
    """Those that are not inside."""
    return [segment for segment in parcel.segments if segment.data is None]
