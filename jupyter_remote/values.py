"""Values ⇄ bytes: pickle 5 with out-of-band buffers, named by digest. cloudpickle is only here.

What was defined in the notebook travels by value and lives in *the job's namespace* over there:
functions whose globals are the notebook's namespace get the receiving namespace as their globals.
The globals that they use travel with them and are set there **only where the name is absent**: on
the way out the namespace is fresh, so all are set; on the way home the notebook's own, perhaps
newer, values stay.

A class keeps its identity within a process. One that comes back to where it is known keeps its
methods; only class attributes that were changed over there are set. Where it comes from the place
that defined it, its definition is taken as it is.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import types
import weakref
from collections.abc import Callable, Container, Iterator, Sequence
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from blake3 import blake3

from jupyter_remote.errors import CaptureError, DigestMismatch
from jupyter_remote.mapping import clean_digest, cut, digest_of, extent, flat
from jupyter_remote.pickling import reasons
from jupyter_remote.pickling.arrival import arriving, current, fill_function, make_function
from jupyter_remote.pickling.reducers import (
    OUT_OF_BAND_BYTES,
    REDUCERS,
    Everything,
    function_state,
    reduce_array,
    slots_of,
)
from jupyter_remote.pickling.versions import (
    MAGIC,
    PYTHON,
    Difference,
    check_environment,
    differences,
    versions_used,
)
from jupyter_remote.wire import CHUNKED_BYTES, INLINE_BYTES, NameInfo, Parcel, Segment

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "Difference",
    "Packed",
    "cut",
    "differences",
    "digest_of",
    "fingerprints",
    "pack",
    "pack_raw",
    "unpack",
    "why_not",
    "with_chunks",
]


class Packed(NamedTuple):
    """A parcel and the bytes that are not in it."""

    parcel: Parcel
    contents: dict[str, memoryview]  # digest -> bytes of each segment that is not inline


# --- packing ---------------------------------------------------------------------------------
def pack(
    value: object,
    *,
    namespace: dict[str, Any] | None = None,
    names: Sequence[NameInfo] = (),
    chunked: bool = True,
    known: Container[str] = (),
) -> Packed:
    """Pickle ``value``. Large buffers are views of the value's own memory, not copies.

    Parameters
    ----------
    namespace: functions and classes whose globals are this dict get the receiver's as theirs.
    names: what is inside, for people.
    chunked: cut large segments for a network now, not by :func:`with_chunks`. Costs 1 s for 2 GB
        and is needless on the same machine.
    known: globals that the receiver has already; functions travel without them.

    Raises CaptureError saying what in ``value`` cannot travel.
    """
    stream = io.BytesIO()
    buffers: list[memoryview] = []
    try:
        _pickler()(stream, namespace, known, _keep(buffers)).dump(value)
    except MemoryError:
        raise
    except Exception as error:
        why = reasons.of(value, error, namespace)
        raise CaptureError(f"It cannot travel: {why}.", hint=reasons.HINT) from error
    pickled = stream.getvalue()
    contents = [memoryview(pickled), *buffers]
    inline = not buffers and len(pickled) <= INLINE_BYTES
    segments = [_segment(view, inline) for view in contents]
    parcel = Parcel(segments, PYTHON, MAGIC, versions=versions_used(pickled), names=list(names))
    beside = {} if inline else {s.digest: v for s, v in zip(segments, contents, strict=True)}
    packed = Packed(parcel, beside)
    return with_chunks(packed) if chunked else packed


def pack_raw(data: Buffer, *, chunked: bool = True) -> Packed:
    """Bytes as they are (a notebook, a file)."""
    view = flat(data)
    segment = _segment(view, view.nbytes <= INLINE_BYTES)
    beside = {} if segment.data is not None else {segment.digest: view}
    packed = Packed(Parcel([segment], format="raw"), beside)
    return with_chunks(packed) if chunked else packed


def with_chunks(packed: Packed) -> Packed:
    """The same with its large segments cut, so that only what is new crosses a network."""
    segments = [
        msgspec.structs.replace(s, chunks=cut(packed.contents[s.digest]))
        if s.size_bytes > CHUNKED_BYTES and s.data is None and not s.chunks
        else s
        for s in packed.parcel.segments
    ]
    return Packed(msgspec.structs.replace(packed.parcel, segments=segments), packed.contents)


def _keep(buffers: list[memoryview]) -> Callable[[PickleBuffer], bool]:
    """A buffer callback that takes large buffers out of the stream."""

    def take(buffer: PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < OUT_OF_BAND_BYTES:
            return True
        buffers.append(view)
        return False

    return take


def _segment(view: memoryview, inline: bool) -> Segment:
    digest = clean_digest(view) or digest_of(view)
    return Segment(digest, view.nbytes, bytes(view) if inline else None)


# --- unpacking -------------------------------------------------------------------------------
def unpack(
    parcel: Parcel,
    fetch: Callable[[Segment], Buffer],
    *,
    namespace: dict[str, Any] | None = None,
) -> Any:
    """The value in ``parcel``; ``bytes`` if it is raw.

    Parameters
    ----------
    fetch: gives the bytes of a segment that is not inline. Writable memory (of :func:`map_blob`,
        a bytearray) is used as it is, other memory is copied, so that arrays are writable.
    namespace: becomes the globals of functions that were packed with a namespace.

    Raises EnvironmentMismatch and DigestMismatch before anything is unpickled.
    """
    check_environment(parcel)
    stream, *buffers = [_content(segment, fetch) for segment in parcel.segments]
    if parcel.format == "raw":
        return bytes(stream)
    with arriving(namespace) as arrival:
        value = pickle.loads(stream, buffers=_writable(buffers))
    for cls in arrival.filled_classes:  # not before: a class may hold instances of its own
        _as_it_came[cls] = _marks(cls)
    return value


def _content(segment: Segment, fetch: Callable[[Segment], Buffer]) -> memoryview:
    view = flat(fetch(segment) if segment.data is None else segment.data)
    if view.nbytes == segment.size_bytes:
        found = clean_digest(view) or digest_of(view)
        if found == segment.digest:
            return view
    raise DigestMismatch(
        f"Bytes of {segment.digest[:12]}… are not what was sent; they were not used.",
        hint="Run it again: what is damaged is sent again.",
    )


def _writable(buffers: list[memoryview]) -> Iterator[memoryview]:
    """Each buffer writable, and none the memory of another (equal arrays have one digest)."""
    seen: set[int] = set()
    for view in buffers:
        address, _ = extent(view)
        yield memoryview(bytearray(view)) if view.readonly or address in seen else view
        seen.add(address)


# --- change detection and reasons ------------------------------------------------------------
class _HashFile:
    """A file that only hashes what is written to it."""

    def __init__(self) -> None:
        self.hash = blake3()

    def write(self, data: Buffer) -> int:
        view = flat(data)
        self.hash.update(view)
        return view.nbytes


def fingerprints(
    values: dict[str, Any], namespace: dict[str, Any] | None = None
) -> dict[str, bytes]:
    """For each name a digest of its value's content; ``b""`` when it cannot be told.

    Two digests of one unchanged object in one process are equal. Nothing large is copied; an
    array in an untouched mapping is not even read, and memory that several names share is read
    once. Functions count without the globals they use: those are names of their own.
    """
    seen: dict[tuple[int, int], str] = {}
    return {name: _fingerprint(value, namespace, seen) for name, value in values.items()}


def _fingerprint(
    value: object,
    namespace: dict[str, Any] | None,
    seen: dict[tuple[int, int], str],
    shallow: bool = False,
) -> bytes:
    """``shallow``: functions and classes count by identity."""
    file, buffers = _HashFile(), list[memoryview]()
    try:
        _pickler()(file, namespace, Everything(), _keep(buffers), shallow).dump(value)
    except MemoryError:
        raise
    except Exception:  # whatever a type's own __reduce__ raises: its content cannot be told
        return b""
    for view in buffers:
        where = extent(view)
        if where not in seen:
            seen[where] = clean_digest(view) or digest_of(view)
        file.hash.update(seen[where].encode())
    return file.hash.digest()


class _NullFile:
    def write(self, data: bytes) -> int:
        return len(data)


def why_not(value: object, namespace: dict[str, Any] | None = None) -> str | None:
    """Why ``value`` cannot travel, in words; None when it can."""
    try:
        _pickler()(_NullFile(), namespace, (), _keep([])).dump(value)
    except MemoryError:
        raise
    except Exception as error:
        return reasons.of(value, error, namespace)
    return None


# --- the pickler -----------------------------------------------------------------------------
@functools.cache
def _pickler() -> type[Any]:
    """Our pickler class, made when first needed: importing cloudpickle takes a while."""
    from cloudpickle import cloudpickle

    base: Any = cloudpickle.Pickler

    class NotebookPickler(base):  # type: ignore[misc]
        def __init__(
            self,
            file: Any,
            namespace: dict[str, Any] | None,
            known: Container[str],
            callback: Callable[[PickleBuffer], bool],
            shallow: bool = False,
        ) -> None:
            super().__init__(file, protocol=5, buffer_callback=callback)
            self._namespace = namespace
            self._known = known
            self._shallow = shallow
            self._plain: set[type] = set()

        def reducer_override(self, obj: Any) -> Any:
            if type(obj) in self._plain:
                return NotImplemented
            if obj is sys.stdout or obj is sys.stderr:
                return getattr, (sys, "stdout" if obj is sys.stdout else "stderr")
            reasons.refuse(obj)
            if isinstance(obj, type | types.FunctionType):
                # not (int, …): int is a type itself, and this would never end
                return (abs, (id(obj),)) if self._shallow else self._reduce_definition(obj)
            if isinstance(obj, types.CodeType):
                return _make_code, (obj.co_filename, *cloudpickle._code_reduce(obj))
            if (reducer := REDUCERS.get(type(obj))) is not None:
                return reducer(obj)
            if reasons.is_array(obj):
                return reduce_array(obj)
            self._plain.add(type(obj))  # a hundred thousand more of these ask only once
            return NotImplemented

        def _reduce_definition(self, obj: Any) -> Any:
            reduced = super().reducer_override(obj)
            if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) == 6:
                return _reduce_class(obj, reduced)
            return reduced

        def _dynamic_function_reduce(self, func: types.FunctionType) -> Any:
            if func.__globals__ is not self._namespace:
                return super()._dynamic_function_reduce(func)
            code, _, _, _, closure = self._function_getnewargs(func)
            names = cloudpickle._extract_code_globals(func.__code__)
            state = function_state(func, names, self._known)
            return make_function, (code, closure), state, None, None, fill_function

    return NotebookPickler


def _make_code(filename: str, maker: Any, arguments: tuple[Any, ...]) -> types.CodeType:
    """Code with the name of its file, which cloudpickle leaves out from 3.1.3 on: tracebacks and
    ``inspect.getsource`` go by it."""
    code: types.CodeType = maker(*arguments).replace(co_filename=filename)
    return code


# --- classes ---------------------------------------------------------------------------------
_as_it_came: weakref.WeakKeyDictionary[type, dict[str, Any]] = weakref.WeakKeyDictionary()
"""Of classes that were defined elsewhere: a mark of each attribute as it arrived."""


def _reduce_class(cls: type, reduced: tuple[Any, ...]) -> Any:
    """cloudpickle's way of a class, with ours of looking it up and filling it."""
    maker, arguments, state, _, _, fill = reduced
    state[0].pop("__slotnames__", None)  # a note of pickle's own, made while pickling
    if (slots := slots_of(cls)) is not None:
        for name in slots:
            state[0].pop(name, None)
        arguments[3]["__slots__"] = slots
    came = _as_it_came.get(cls)
    changed = None if came is None else _changed(cls, came)
    return _make_class, (maker, *arguments), (fill, state, changed), None, None, _fill_class


def _changed(cls: type, came: dict[str, Any]) -> list[str]:
    now = _marks(cls)
    return [n for n in sorted(now.keys() | came.keys()) if now.get(n) != came.get(n)]


def _marks(cls: type) -> dict[str, Any]:
    attributes = [(n, v) for n, v in vars(cls).items() if not n.startswith(("__", "_abc_"))]
    return {name: _mark(value) for name, value in attributes}


def _mark(value: object) -> Any:
    """What tells an attribute apart from its later self: code by identity, data by content."""
    if isinstance(value, property):
        return [_mark(function) for function in (value.fget, value.fset, value.fdel)]
    value = getattr(value, "__func__", value)  # of a class method or static method
    if isinstance(value, types.FunctionType | type):
        return weakref.ref(value)  # not its id: a later function may get the same
    if hasattr(type(value), "__get__"):
        return id(value)
    return _fingerprint(value, None, {}, shallow=True) or id(value)


def _make_class(maker: Callable[..., type], *arguments: Any) -> type:
    from cloudpickle import cloudpickle

    tracker_id = arguments[-2]
    was_here = tracker_id in cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID
    cls = maker(*arguments)
    if not was_here:
        current.get().new_classes.add(cls)
    return cls


def _fill_class(
    cls: type, came: tuple[Callable[..., Any], tuple[Any, Any], list[str] | None]
) -> None:
    fill, (attributes, slots), changed = came
    is_new = cls in current.get().new_classes
    if changed is None or is_new:
        fill(cls, (attributes, slots))
    else:
        for name in changed:
            _set_or_delete(cls, name, attributes)
    if is_new or cls in _as_it_came:
        current.get().filled_classes.add(cls)


def _set_or_delete(cls: type, name: str, attributes: dict[str, Any]) -> None:
    if name in attributes:
        setattr(cls, name, attributes[name])
    elif name in vars(cls):
        delattr(cls, name)
