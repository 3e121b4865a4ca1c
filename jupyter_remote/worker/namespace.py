"""What goes into a job's namespace before its code runs, and what comes home from it."""

from __future__ import annotations

import errno
import sys
import time
from typing import Any

import msgspec

from jupyter_remote import mapping, values
from jupyter_remote.contents.parts import is_value
from jupyter_remote.contents.watch import Watch
from jupyter_remote.errors import CaptureError
from jupyter_remote.reach import inside
from jupyter_remote.sizes import name_info
from jupyter_remote.values import Numbered, Packed
from jupyter_remote.wire import JobSpec, LeftBehind, Parcel, Result, Segment
from jupyter_remote.worker import channel
from jupyter_remote.worker.changes import Changes, changes_of
from jupyter_remote.worker.leftovers import left_in

Namespace = dict[str, Any]

FULL = (errno.ENOSPC, errno.EDQUOT)
ROOM_S = 600.0  # how long a result waits for room on a full disk
AGAIN_S = 0.5


class Home(msgspec.Struct):
    """A result, ready for the agent."""

    result: Result
    spooled: list[channel.Spooled] = []


def open_parcel(
    parcel: Parcel | None,
    run: channel.Run,
    namespace: Namespace,
    numbered: Numbered | None = None,
) -> Any:
    """The value of a parcel; large segments are mapped from the files that ``run`` names.

    ``numbered`` is filled with its objects by their numbers.
    """
    if parcel is None:
        return None

    def fetch(segment: Segment) -> memoryview:
        path = run.paths[segment.digest]
        return mapping.map_blob(path, segment.digest, segment.size_bytes)

    return values.unpack(parcel, fetch, namespace=namespace, numbered=numbered)


def sent_home(packed: Packed, run: channel.Run, **fields: Any) -> Home:
    """Write what is not inline into the spool. What came as a blob and is unchanged stays one.

    Waits for room on a full disk: what was computed shall not be lost. Raises OSError.
    """
    return Home(Result(value=packed.parcel, **fields), spooled(packed, run, ROOM_S))


def spooled(packed: Packed, run: channel.Run, room_s: float) -> list[channel.Spooled]:
    """What is not inline, in the spool, for which there may be room only later. Raises OSError."""
    beside = [s for s in packed.parcel.segments if s.data is None]
    new = {d: b for d, b in packed.contents.items() if d not in run.paths}
    files = _spool(new, run.spool, room_s) if new else {}
    return [channel.Spooled(s, files.get(s.digest, "")) for s in beside]


def _spool(new: dict[str, Any], folder: str, room_s: float) -> dict[str, str]:
    end = time.monotonic() + room_s
    told = False
    while True:
        try:
            return mapping.spool(new, folder)
        except OSError as error:
            if error.errno not in FULL or time.monotonic() > end:
                raise
            if not told:
                sys.stderr.write(f"The result finds no room in {folder}: waiting for some.\n")
                told = True
            time.sleep(AGAIN_S)


class CellNamespace:
    """Names of one cell: remembers what came in, finds what changed."""

    def __init__(
        self, spec: JobSpec, namespace: Namespace, inputs: Namespace, numbered: Numbered
    ) -> None:
        """Puts ``inputs`` into ``namespace``; everything in it before is the shell's own."""
        self._spec = spec
        self._namespace = namespace
        self._inputs = inputs
        self._since = time.time()
        self._own = set(namespace) - set(inputs)
        namespace.update(inputs)
        self._watch = Watch(_parts_of(inputs, numbered, spec, namespace), namespace)
        self._prints = self._printed()

    def home(self, run: channel.Run, ambient: dict[str, Parcel]) -> Home:
        """What comes home, also after an exception: as it would be in the notebook."""
        chosen, missing = self._chosen()
        changes = self._changes(chosen)
        packed, left = self._packed({**chosen, **changes.names}, changes)
        if not self._spec.session:  # whose folder lasts
            left += left_in(run.folder, self._spec, self._since)
        told = {"left_behind": [*left, *missing], "deleted": self._deleted()}
        return sent_home(packed, run, ambient=ambient, refers=bool(changes.given), **told)

    def _chosen(self) -> tuple[Namespace, list[LeftBehind]]:
        here = self._namespace
        if self._spec.outputs is None:
            names = [*self._spec.assigned, *self._rebound(), *self._appeared()]
            return {n: here[n] for n in dict.fromkeys(names) if n in here}, []
        wanted = dict.fromkeys(self._spec.outputs)
        missing = [LeftBehind(n, "", "it has no value at the end") for n in wanted if n not in here]
        return {n: here[n] for n in wanted if n in here}, missing

    def _rebound(self) -> list[str]:
        """Inputs bound to something else; and those of which only a digest tells that they are
        not what they were."""
        here, after = self._namespace, self._printed()
        other = [n for n in self._inputs if n in here and here[n] is not self._inputs[n]]
        return [*other, *(n for n, print_ in after.items() if print_ != self._prints.get(n))]

    def _printed(self) -> dict[str, object]:
        """Of inputs that are bound as they were and that are not watched as objects."""
        here, numbers = self._namespace, self._watch.numbers
        return {
            name: values.fingerprint(value, here, numbers) or object()
            for name, value in self._inputs.items()
            if here.get(name) is value and id(value) not in numbers and not is_value(value)
        }

    def _appeared(self) -> list[str]:
        """New names that the cell's source does not show: ``exec``, ``global``, magics, ``*``."""
        known = self._own | set(self._inputs)
        # Names that begin with an underscore are mostly IPython's own: _, _3, _i3, _exit_code.
        return [n for n in self._namespace if n not in known and not n.startswith("_")]

    def _deleted(self) -> list[str]:
        gone = [n for n in self._inputs if n not in self._namespace]
        named = [n for n in self._spec.deleted if n not in self._namespace]
        asked = self._spec.outputs
        return [n for n in dict.fromkeys([*gone, *named]) if asked is None or n in asked]

    def _changes(self, chosen: Namespace) -> Changes:
        changed = self._watch.changed()
        if self._spec.outputs is not None:
            there = inside(chosen.values(), self._namespace)
            changed = {n for n in changed if id(self._watch.objects[n]) in there}
        return changes_of(
            changed, self._watch, self._inputs, self._namespace, fixed=set(self._spec.fixed)
        )

    def _packed(self, chosen: Namespace, changes: Changes) -> tuple[Packed, list[LeftBehind]]:
        try:
            return self._pack(chosen, changes.copies, changes), []
        except CaptureError:
            why = {n: self._why_not(v, changes) for n, v in chosen.items()}
            why_copy = [self._why_not(copy, changes) for _, copy in changes.copies]
        left = [LeftBehind(n, type(chosen[n]).__name__, w) for n, w in why.items() if w]
        rest = {n: v for n, v in chosen.items() if not why[n]}
        copies = []
        for (number, copy), reason in zip(changes.copies, why_copy, strict=True):
            if reason:
                obj = self._watch.objects[number]
                left.append(LeftBehind(self._name_of(obj), type(obj).__name__, reason))
            else:
                copies.append((number, copy))
        return self._pack(rest, copies, changes), left

    def _why_not(self, value: Any, changes: Changes) -> str | None:
        return values.why_not(value, self._namespace, changes.given)

    def _pack(self, chosen: Namespace, copies: list[tuple[int, Any]], changes: Changes) -> Packed:
        return values.pack(
            (chosen, copies),
            namespace=self._namespace,
            names=[name_info(n, v) for n, v in chosen.items()],
            chunked=False,
            known=set(self._inputs),  # the notebook has its own values of what it sent
            given=changes.given,
        )

    def _name_of(self, obj: Any) -> str:
        """The name of an object, or of an input that it is in."""
        for name, value in self._inputs.items():
            if value is obj:
                return name
        for name, value in self._inputs.items():
            if id(obj) in inside([value], self._namespace):
                return f"a part of {name}"
        return "a part of the inputs"


def _parts_of(
    inputs: Namespace, numbered: Numbered, spec: JobSpec, namespace: Namespace
) -> Numbered:
    """Objects that are part of the inputs on both sides; others only helped to send them."""
    if spec.outputs == []:
        return {}
    there, not_there = inside(inputs.values(), namespace), set(spec.unwatched)
    return {n: o for n, o in numbered.items() if id(o) in there and n not in not_there}
