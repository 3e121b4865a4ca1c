"""Values ⇄ bytes: pickle 5 with out-of-band buffers, named by digest. cloudpickle is only here.

What was defined in the notebook travels by value and lives in *the job's namespace* over there:
functions whose globals are the notebook's namespace get the receiving namespace as their globals.
The globals that they use travel with them and are set there **only where the name is absent**: on
the way out the namespace is fresh, so all are set; on the way home the notebook's own, perhaps
newer, values stay.

The objects of a pickle have numbers, the same ones for whoever wrote and whoever read it (their
place in pickle's own memo). A later pickle that goes the other way may hold such a number in place
of the object, and whoever reads it puts in the object itself.

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
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from blake3 import blake3

from jupyter_remote.errors import CaptureError, DigestMismatch
from jupyter_remote.guesses import named
from jupyter_remote.mapping import clean_digest, cut, digest_of, extent, flat
from jupyter_remote.pickling import reasons, tensors
from jupyter_remote.pickling.arrival import Globals, arriving, fill_function, make_function
from jupyter_remote.pickling.classes import as_it_came, marks_of, reduce_class
from jupyter_remote.pickling.reading import Reader
from jupyter_remote.pickling.reducers import (
    OUT_OF_BAND_BYTES,
    REDUCERS,
    Everything,
    Whole,
    function_state,
    reduce_array,
    reduce_cell,
    reduce_exception,
    whole,
)
from jupyter_remote.pickling.versions import (
    MAGIC,
    PYTHON,
    Difference,
    check_environment,
    differences,
    versions_used,
)
from jupyter_remote.reach import without_collection
from jupyter_remote.wire import CHUNKED_BYTES, INLINE_BYTES, NameInfo, Parcel, Segment

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "Difference",
    "Globals",
    "Packed",
    "beside",
    "class_marks",
    "cut",
    "differences",
    "digest_of",
    "dumps",
    "fingerprint",
    "has_functions",
    "loads",
    "pack",
    "pack_raw",
    "refers",
    "unpack",
    "why_not",
    "with_chunks",
]


Numbered = dict[int, Any]  # objects of a pickle by their numbers


_NOBODY = frozenset({
    str, int, float, complex, bool, bytes, type(None), type(...), tuple, frozenset, range, slice,
    types.CodeType, types.ModuleType, types.BuiltinFunctionType, types.MethodType,
})  # fmt: skip


class Packed(NamedTuple):
    """A parcel and the bytes that are not in it."""

    parcel: Parcel
    contents: dict[str, memoryview]  # digest -> bytes of each segment that is not inline
    numbered: Numbered = {}  # noqa: RUF012  (never changed)


# --- packing ---------------------------------------------------------------------------------
def pack(
    value: object,
    *,
    namespace: dict[str, Any] | None = None,
    names: Sequence[NameInfo] = (),
    chunked: bool = True,
    known: Container[str] = (),
    numbered: bool = False,
    given: Mapping[int, int] | None = None,
    inline_bytes: int | None = None,
) -> Packed:
    """Pickle ``value``. Large buffers are views of the value's own memory, not copies.

    Parameters
    ----------
    namespace: functions and classes whose globals are this dict get the receiver's as theirs.
    names: what is inside, for people.
    chunked: cut large segments for a network now, not by :func:`with_chunks`. Costs 1 s for 2 GB
        and is needless on the same machine.
    known: globals that the receiver has already; functions travel without them.
    numbered: give the numbers of the objects, too.
    given: numbers, by ``id()``, of objects that the receiver has.
    inline_bytes: with its buffers inside, if all that is not more than this.

    Raises CaptureError saying what in ``value`` cannot travel.
    """
    stream = io.BytesIO()
    buffers: list[memoryview] = []
    pickler = _pickler(bool(given))(stream, namespace, known, _keep(buffers), given=given)
    try:
        pickler.dump(value)
    except MemoryError:
        raise
    except Exception as error:
        why = reasons.of(value, error, namespace)
        raise CaptureError(f"It cannot travel: {why}.", hint=reasons.HINT) from error
    objects = _objects(lambda: pickler.memo.copy().values()) if numbered else {}
    pickled = stream.getvalue()
    contents = [memoryview(pickled), *buffers]
    if inline_bytes is None:
        inline = not buffers and len(pickled) <= INLINE_BYTES
    else:
        inline = sum(view.nbytes for view in contents) <= inline_bytes
    segments = [_segment(view, inline) for view in contents]
    parcel = Parcel(segments, PYTHON, MAGIC, versions=versions_used(pickled), names=list(names))
    beside = {} if inline else {s.digest: v for s, v in zip(segments, contents, strict=True)}
    packed = Packed(parcel, beside, objects)
    return with_chunks(packed) if chunked else packed


_PLAIN = frozenset({str, int, float, complex, bool, bytes, type(None)})
_MOST_PLAIN = 100


def _is_plain(value: object, depth: int = 3) -> bool:
    """Would pickle itself write the same? Told quickly, of small things."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    if not depth or kind not in (tuple, list, dict) or len(value) > _MOST_PLAIN:  # type: ignore[arg-type]
        return False
    parts: Any = value
    if kind is dict:
        return all(type(k) is str and _is_plain(v, depth - 1) for k, v in parts.items())
    return all(_is_plain(part, depth - 1) for part in parts)


def dumps(value: object, namespace: dict[str, Any] | None, inline_bytes: int) -> bytes | Packed:
    """One pickle without more around it, for :func:`loads` in a process of the same environment;
    or, with large buffers or above ``inline_bytes``, what :func:`pack` gives.

    Raises CaptureError.
    """
    if _is_plain(value):
        data = pickle.dumps(value, protocol=5)
        if len(data) <= inline_bytes:
            return data
    packed = pack(value, namespace=namespace, chunked=False, inline_bytes=inline_bytes)
    segment = packed.parcel.segments[0]
    if segment.data is not None and len(packed.parcel.segments) == 1:
        return segment.data
    return packed


def loads(
    data: Buffer,
    namespace: dict[str, Any] | None,
    *,
    at_home: bool = False,
    brought: Globals | None = None,
) -> Any:
    """The value of :func:`dumps`, when that was bytes."""
    with arriving(namespace, at_home, brought) as arrival:
        value = _Unpickler(io.BytesIO(data), iter(()), None).load()
    for cls in arrival.filled_classes:
        as_it_came[cls] = marks_of(cls, _print_of_data)
    return value


def refers(data: bytes) -> bool:
    """May there be anything in this pickle that a module defines?"""
    return pickle.STACK_GLOBAL in data


def has_functions(data: bytes) -> bool:
    """May there be functions in this pickle that bring globals along?"""
    return fill_function.__name__.encode() in data


def _objects(numbered: Callable[[], Iterable[tuple[int, Any]]]) -> Numbered:
    """Without strings, numbers and the like, of which nobody asks which one it is."""
    with without_collection():
        return {number: obj for number, obj in numbered() if type(obj) not in _NOBODY}


def pack_raw(data: Buffer, *, chunked: bool = True) -> Packed:
    """Bytes as they are (a notebook, a file)."""
    view = flat(data)
    segment = _segment(view, view.nbytes <= INLINE_BYTES)
    beside = {} if segment.data is not None else {segment.digest: view}
    packed = Packed(Parcel([segment], format="raw"), beside)
    return with_chunks(packed) if chunked else packed


def beside(packed: Packed) -> Packed:
    """The same with nothing inline: for what many messages would otherwise hold."""
    inline = {s.digest: memoryview(s.data) for s in packed.parcel.segments if s.data is not None}
    segments = [msgspec.structs.replace(s, data=None) for s in packed.parcel.segments]
    parcel = msgspec.structs.replace(packed.parcel, segments=segments)
    return packed._replace(parcel=parcel, contents={**packed.contents, **inline})


def with_chunks(packed: Packed) -> Packed:
    """The same with its large segments cut, so that only what is new crosses a network."""
    segments = [
        msgspec.structs.replace(s, chunks=cut(packed.contents[s.digest]))
        if s.size_bytes > CHUNKED_BYTES and s.data is None and not s.chunks
        else s
        for s in packed.parcel.segments
    ]
    return packed._replace(parcel=msgspec.structs.replace(packed.parcel, segments=segments))


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
    digest = named(view)
    return Segment(digest, view.nbytes, bytes(view) if inline else None)


# --- unpacking -------------------------------------------------------------------------------
def unpack(
    parcel: Parcel,
    fetch: Callable[[Segment], Buffer],
    *,
    namespace: dict[str, Any] | None = None,
    numbered: Numbered | None = None,
    given: Callable[[int], Any] | None = None,
    at_home: bool = False,
    brought: Globals | None = None,
) -> Any:
    """The value in ``parcel``; ``bytes`` if it is raw.

    Parameters
    ----------
    fetch: gives the bytes of a segment that is not inline. Writable memory (of :func:`map_blob`,
        a bytearray) is used as it is, other memory is copied, so that arrays are writable.
    namespace: becomes the globals of functions that were packed with a namespace.
    numbered: is filled with the objects by their numbers.
    given: gives the object that a number in the pickle stands for.
    at_home: of a class that was defined here only what was changed elsewhere is taken over.
    brought: is filled with what functions brought along as their globals.

    Raises EnvironmentMismatch and DigestMismatch before anything is unpickled.
    """
    check_environment(parcel)
    stream, *buffers = [_content(segment, fetch) for segment in parcel.segments]
    if parcel.format == "raw":
        return bytes(stream)
    with arriving(namespace, at_home, brought) as arrival:
        unpickler = _Unpickler(Reader(stream), _writable(buffers), given)
        value = unpickler.load()
    if numbered is not None:
        numbered.update(_objects(lambda: unpickler.memo.copy().items()))
    for cls in arrival.filled_classes:  # not before: a class may hold instances of its own
        as_it_came[cls] = marks_of(cls, _print_of_data)
    return value


class _Unpickler(pickle.Unpickler):
    def __init__(
        self, file: Any, buffers: Iterator[memoryview], given: Callable[[int], Any] | None
    ) -> None:
        super().__init__(file, buffers=buffers)
        self._given = given

    def persistent_load(self, number: Any) -> Any:
        if self._given is None:
            raise pickle.UnpicklingError("it refers to objects of another pickle")
        return self._given(number)


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


def fingerprint(
    value: object,
    namespace: dict[str, Any] | None = None,
    numbers: Mapping[int, int] | None = None,
    inside: Callable[[Iterable[Any]], None] | None = None,
) -> bytes:
    """A digest of the value's content; ``b""`` when it cannot be told.

    Two digests of one unchanged object in one process are equal. Nothing large is copied; an
    array in an untouched mapping is not even read. Functions count without the globals they use.

    Parameters
    ----------
    numbers: of other objects, by ``id()``: they count by their number, whatever they hold.
    inside: is told all objects that were looked at.
    """
    with tensors.gpu(lambda: True):
        return _fingerprint(value, namespace, numbers=numbers, inside=inside)


def _fingerprint(
    value: object,
    namespace: dict[str, Any] | None = None,
    *,
    shallow: bool = False,
    numbers: Mapping[int, int] | None = None,
    inside: Callable[[Iterable[Any]], None] | None = None,
) -> bytes:
    """``shallow``: functions and classes count by identity."""
    file, buffers = _HashFile(), list[memoryview]()
    pickler = _pickler(bool(numbers))(
        file, namespace, Everything(), _keep(buffers), shallow, given=numbers, but=value
    )
    try:
        pickler.dump(value)
    except MemoryError:
        raise
    except Exception:  # whatever a type's own __reduce__ raises: its content cannot be told
        return b""
    for view in buffers:
        file.hash.update((clean_digest(view) or digest_of(view)).encode())
    if inside is not None:
        inside(obj for _, obj in pickler.memo.copy().values())
    return file.hash.digest()


def _print_of_data(value: object) -> bytes:
    return _fingerprint(value, shallow=True)


def class_marks(cls: type) -> dict[str, Any]:
    """What tells a class from its later self: its attributes, functions among them by identity."""
    return marks_of(cls, _print_of_data)


class _NullFile:
    def write(self, data: bytes) -> int:
        return len(data)


def why_not(
    value: object,
    namespace: dict[str, Any] | None = None,
    given: Mapping[int, int] | None = None,
) -> str | None:
    """Why ``value`` cannot travel, in words; None when it can."""
    try:
        _pickler(bool(given))(_NullFile(), namespace, (), _keep([]), given=given).dump(value)
    except MemoryError:
        raise
    except Exception as error:
        return reasons.of(value, error, namespace)
    return None


# --- the pickler -----------------------------------------------------------------------------
def _reducer_of(obj: Any) -> Callable[[Any], Any] | None:
    if isinstance(obj, BaseException):
        return reduce_exception
    if (reducer := REDUCERS.get(type(obj))) is not None:
        return reducer
    if reasons.is_array(obj):
        return reduce_array
    return tensors.reduce_tensor if tensors.is_tensor(obj) else None


@functools.cache
def _pickler(referring: bool = False) -> type[Any]:
    """Our pickler class, made when first needed: importing cloudpickle takes a while.

    ``referring``: one that puts in numbers for objects; asking for each object takes time.
    """
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
            given: Mapping[int, int] | None = None,
            but: object = None,
        ) -> None:
            super().__init__(file, protocol=5, buffer_callback=callback)
            self._given = given or {}
            self._but = but  # the one that does not count by its number
            self._bare: set[int] = set()  # cells of closures: their functions fill them
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
            if isinstance(obj, types.CellType):
                return reduce_cell(obj, bare=id(obj) in self._bare)
            if type(obj) is Whole:
                return whole(obj.of, self.reducer_override(obj.of))
            if (reducer := _reducer_of(obj)) is not None:
                return reducer(obj)
            self._plain.add(type(obj))  # a hundred thousand more of these ask only once
            return NotImplemented

        def _reduce_definition(self, obj: Any) -> Any:
            reduced = super().reducer_override(obj)
            if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) == 6:
                named = (self._namespace or {}).get(obj.__name__) is obj
                return reduce_class(obj, reduced, named, _print_of_data)
            return reduced

        def _dynamic_function_reduce(self, func: types.FunctionType) -> Any:
            if func.__globals__ is not self._namespace:
                return super()._dynamic_function_reduce(func)
            cells = func.__closure__
            self._bare.update(map(id, cells or ()))
            state = function_state(func, self._known, self._given)
            return make_function, (func.__code__, cells), state, None, None, fill_function

    class ReferringPickler(NotebookPickler):
        def persistent_id(self, obj: Any) -> int | None:
            number = self._given.get(id(obj))
            return None if number is None or obj is self._but else number

    return ReferringPickler if referring else NotebookPickler


def _make_code(filename: str, maker: Any, arguments: tuple[Any, ...]) -> types.CodeType:
    """Code with the name of its file, which cloudpickle leaves out from 3.1.3 on: tracebacks and
    ``inspect.getsource`` go by it."""
    code: types.CodeType = maker(*arguments).replace(co_filename=filename)
    return code
