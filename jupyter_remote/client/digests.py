"""What values hold, as digests that are the same in every process.

A pickle is not: it tells which equal strings are one object, sets in the order of this process,
functions with the lines on which they stand. Here functions count by their normalised code, sets
without an order, arrays by their bytes; and it counts which objects are one and the same.
"""

from __future__ import annotations

import copyreg
import functools
import marshal
import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from blake3 import blake3

from jupyter_remote import mapping
from jupyter_remote.client import digests_of_arrays
from jupyter_remote.client.normalised import key_of_code
from jupyter_remote.contents.parts import DICTS, content_of_cell, has_identity
from jupyter_remote.pickling.reducers import REDUCERS
from jupyter_remote.reach import globals_of, is_importable

PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None), type(...)})
MARSHAL = 2  # the last version that does not tell which strings are one object
SCALARS = (bool, int, float, type(None))
TEXT = 24  # characters of a value that is shown
# Of a class: what Python notes for itself, and where it was defined.
_NOTES = frozenset({
    "__dict__", "__weakref__", "__module__", "__doc__", "__qualname__", "__firstlineno__",
    "__static_attributes__", "__slotnames__", "_abc_impl", "__abstractmethods__",
})  # fmt: skip

Extents = Mapping[tuple[int, int], str]
"""Digests of memory that were computed already, by address and size."""


class Undigestible(Exception):
    """Its content cannot be told."""

    def __init__(self, value: object, why: str) -> None:
        super().__init__(f"{type(value).__qualname__}: {why}")


def text_of(value: object) -> str:
    """A number as people see it; empty for all else, which may be long or a secret."""
    if type(value).__module__ == "numpy" and not getattr(value, "shape", (1,)):
        item = getattr(value, "item", None)
        value = item() if item is not None else value
    text = repr(value) if type(value) in SCALARS else ""
    return text if len(text) <= TEXT else ""


class Digests:
    """One walk over values with names: each has a digest of its own."""

    def __init__(
        self, namespace: dict[str, Any], known: Extents | None = None, *, apart: bool = False
    ) -> None:
        """``namespace``: globals of it are no part of its functions, for they have names of their
        own. ``apart``: for an element of a set, to put that in an order."""
        self.objects: list[Any] = []  # that have an identity, as they were met
        self.codes: list[types.CodeType] = []  # of the functions among them
        self._namespace = namespace
        self._known = known or {}
        self._apart = apart
        self._places: dict[int, bytes] = {}  # where an object was first met
        self._out: list[bytes] = []
        self._name = b""

    def of(self, name: str, value: Any) -> str:
        """Of the value's content. Raises Undigestible."""
        self._out, self._name = [], name.encode(errors="surrogatepass")
        try:
            self.visit(value)
        except RecursionError as error:
            raise Undigestible(value, "it is nested too deeply") from error
        return blake3(b"".join(self._out)).hexdigest()

    # -- tokens
    def put(self, kind: str, data: bytes = b"") -> None:
        """A token, whose end is known from its beginning."""
        self._out.append(b"%s %d:%s" % (kind.encode(), len(data), data))

    def text(self, kind: str, text: object) -> None:
        self.put(kind, str(text).encode(errors="surrogatepass"))

    def plain(self, value: Any) -> None:
        """What consists of exact builtins only."""
        self.put("plain", marshal.dumps(value, MARSHAL))

    def memory(self, address: int, view: Any) -> None:
        """Bytes of an array."""
        known = self._known.get((address, view.nbytes))
        self.text("bytes", known or mapping.clean_digest(view) or mapping.digest_of(view))

    # -- values
    def visit(self, value: Any) -> None:
        kind = type(value)
        if kind in PLAIN:
            self.plain(value)
        elif has_identity(value):
            if (place := self._places.get(id(value))) is not None:
                self.put("again", place)
                return
            self._places[id(value)] = b"%s %d" % (self._name, len(self.objects))
            self.objects.append(value)  # kept, or its id would be given to another
            _visit_of(value)(self, value)
        else:
            _visit_of(value)(self, value)

    def each(self, values: Iterable[Any]) -> None:
        for value in values:
            self.visit(value)

    def _sequence(self, value: Any) -> None:
        if PLAIN.issuperset(map(type, value)):
            self.plain(value)
        else:
            self.text(type(value).__name__, len(value))
            self.each(value)

    def _deque(self, value: Any) -> None:
        self.text("deque", value.maxlen)
        self.visit(tuple(value))

    def _mapping(self, value: Any) -> None:
        flat = PLAIN.issuperset(map(type, value)) and PLAIN.issuperset(map(type, value.values()))
        if type(value) is dict and flat:
            return self.plain(value)
        self.text(type(value).__name__, len(value))
        self.visit(getattr(value, "default_factory", None))
        for key, content in list(value.items()):
            self.visit(key)
            self.visit(content)
        return None

    def _set(self, value: Any) -> None:
        self.text(type(value).__name__, len(value))
        if PLAIN.issuperset(map(type, value)):
            self.put("elements", b"".join(sorted(marshal.dumps(v, MARSHAL) for v in value)))
        elif not self._apart:
            keys = {id(v): self._key_of(v) for v in value}
            if len(set(keys.values())) < len(value):
                raise Undigestible(value, "its elements cannot be told apart by their content")
            self.each(sorted(value, key=lambda v: keys[id(v)]))

    def _key_of(self, element: Any) -> str:
        return Digests(self._namespace, self._known, apart=True).of("", element)

    def _proxy(self, value: Any) -> None:
        self.visit(dict(value))

    def _cell(self, value: Any) -> None:
        self.visit(content_of_cell(value))

    def _bytes(self, value: Any) -> None:
        self.put(type(value).__name__, bytes(value))

    # -- functions and classes
    def _function(self, function: types.FunctionType) -> None:
        if is_importable(function):
            return self._named(function)
        code = function.__code__
        self.codes.append(code)
        self.text("function", key_of_code(code))
        self.visit(function.__defaults__)
        self.visit(function.__kwdefaults__)
        self.each(function.__closure__ or ())
        wrapped = {k: v for k, v in vars(function).items() if k != "__wrapped__"}
        self.visit(wrapped)
        if "__wrapped__" in vars(function):
            self.visit(function.__wrapped__)  # type: ignore[attr-defined]
        if function.__globals__ is not self._namespace:
            self._globals(function)
        return None

    def _globals(self, function: types.FunctionType) -> None:
        """Of a function that is neither the notebook's nor a module's."""
        names = [n for n in globals_of(function.__code__).names if n in function.__globals__]
        for name in names:
            self.text("global", name)
            self.visit(function.__globals__[name])

    def _builtin(self, function: Any) -> None:
        owner = getattr(function, "__self__", None)
        if owner is None or isinstance(owner, types.ModuleType):
            return self._named(function)
        self.text("method", function.__name__)
        return self.visit(owner)

    def _method(self, method: Any) -> None:
        self.put("bound")
        self.visit(method.__func__)
        self.visit(method.__self__)

    def _wrapper(self, wrapper: Any) -> None:
        self.text("wrapper", type(wrapper).__name__)
        inside = ("__func__", "func", "fget", "fset", "fdel")
        self.each(found for name in inside if (found := getattr(wrapper, name, None)) is not None)

    def _named(self, thing: Any) -> None:
        self.text("named", f"{thing.__module__}.{thing.__qualname__}")

    def _class(self, cls: type) -> None:
        if is_importable(cls):
            return self._named(cls)
        self.text("class", cls.__qualname__)
        self.each(cls.__bases__)
        self.visit(type(cls))
        for name, member in list(vars(cls).items()):
            if name not in _NOTES:
                self.text("member", name)
                self._member(member)
        return None

    def _member(self, member: Any) -> None:
        if isinstance(member, types.MemberDescriptorType | types.GetSetDescriptorType):
            self.text("slot", member.__name__)
        else:
            self.visit(member)

    # -- instances, as pickle would take them apart
    def _instance(self, value: Any) -> None:
        kind = type(value)
        inner = getattr(value, "__wrapped__", None)
        if kind.__module__.startswith("jupyter_remote.") and inner is not None:
            return self.visit(inner)  # a function marked remote: how it is run does not count
        reduced = _reduced(value)
        self.put("instance")
        if isinstance(reduced, str):
            return self.text("named", f"{getattr(value, '__module__', '')}.{reduced}")
        maker, arguments, *rest = reduced
        state, elements, items = (*rest, None, None, None)[:3]
        self.visit(maker)
        self.visit(tuple(arguments))
        self.visit(state)
        self.visit(None if elements is None else tuple(elements))
        return self.visit(None if items is None else tuple(items))

    def _module(self, module: Any) -> None:
        self.text("module", module.__name__)


def _visit_of(value: Any) -> Callable[[Digests, Any], None]:
    if (known := _VISITS.get(type(value))) is not None:
        return known
    if isinstance(value, type):
        return Digests._class
    if isinstance(value, types.ModuleType):
        return Digests._module
    return digests_of_arrays.visit_of(value) or Digests._instance


def _reduced(value: Any) -> Any:
    reducer = REDUCERS.get(type(value)) or copyreg.dispatch_table.get(type(value))
    try:
        reduced = NotImplemented if reducer is None else reducer(value)
        return value.__reduce_ex__(4) if reduced is NotImplemented else reduced
    except RecursionError:
        raise
    except Exception as error:  # whatever a type raises
        raise Undigestible(value, str(error) or type(error).__name__) from error


_VISITS: dict[type, Callable[[Digests, Any], None]] = {
    **dict.fromkeys((list, tuple), Digests._sequence),
    deque: Digests._deque,
    **dict.fromkeys(DICTS, Digests._mapping),
    **dict.fromkeys((set, frozenset), Digests._set),
    **dict.fromkeys((property, staticmethod, classmethod), Digests._wrapper),
    functools.cached_property: Digests._wrapper,
    bytearray: Digests._bytes,
    types.MappingProxyType: Digests._proxy,
    types.CellType: Digests._cell,
    types.FunctionType: Digests._function,
    types.BuiltinFunctionType: Digests._builtin,
    types.MethodType: Digests._method,
}


def extents_of(contents: Iterable[tuple[str, memoryview]]) -> dict[tuple[int, int], str]:
    """Where the buffers lie that packing has hashed already."""
    return {mapping.extent(view): digest for digest, view in contents if view.nbytes}


class _Structure(Digests):
    """Only which objects there are."""

    def memory(self, address: int, view: Any) -> None:
        pass


def aligned(
    names: Iterable[str],
    mine: tuple[dict[str, Any], dict[str, Any]],
    theirs: tuple[dict[str, Any], dict[str, Any]],
) -> dict[int, Any]:
    """By ``id()`` of theirs: the object of mine in the same place. Both are values by their names,
    equal in content, and the namespace of their functions."""
    walks = []
    for values, namespace in (mine, theirs):
        walk = _Structure(namespace)
        for name in names:
            walk.of(name, values[name])
        walks.append(walk)
    pairs = zip(walks[0].objects, walks[1].objects, strict=True)
    return {id(other): own for own, other in pairs}
