"""What goes into a job's namespace before its code runs, and what comes home from it."""

from __future__ import annotations

import errno
import sys
import time
from typing import Any

import msgspec

from jupyter_remote import mapping, values
from jupyter_remote.errors import CaptureError
from jupyter_remote.reach import inputs_inside
from jupyter_remote.values import Packed
from jupyter_remote.wire import JobSpec, LeftBehind, NameInfo, Parcel, Result, Segment
from jupyter_remote.worker import channel
from jupyter_remote.worker.leftovers import left_in

Namespace = dict[str, Any]

FULL = (errno.ENOSPC, errno.EDQUOT)
ROOM_S = 600.0  # how long a result waits for room on a full disk
AGAIN_S = 0.5


class Home(msgspec.Struct):
    """A result, ready for the agent."""

    result: Result
    spooled: list[channel.Spooled] = []


def open_parcel(parcel: Parcel | None, run: channel.Run, namespace: Namespace) -> Any:
    """The value of a parcel; large segments are mapped from the files that ``run`` names."""
    if parcel is None:
        return None

    def fetch(segment: Segment) -> memoryview:
        path = run.paths[segment.digest]
        return mapping.map_blob(path, segment.digest, segment.size_bytes)

    return values.unpack(parcel, fetch, namespace=namespace)


def sent_home(packed: Packed, run: channel.Run, **fields: Any) -> Home:
    """Write what is not inline into the spool. What came as a blob and is unchanged stays one.

    Waits for room on a full disk: what was computed shall not be lost. Raises OSError.
    """
    beside = [s for s in packed.parcel.segments if s.data is None]
    new = {d: b for d, b in packed.contents.items() if d not in run.paths}
    files = _spool(new, run.spool) if new else {}
    spooled = [channel.Spooled(s, files.get(s.digest, "")) for s in beside]
    return Home(Result(value=packed.parcel, **fields), spooled)


def _spool(new: dict[str, Any], folder: str) -> dict[str, str]:
    end = time.monotonic() + ROOM_S
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


def name_info(name: str, value: Any) -> NameInfo:
    """A variable as people see it. Sizes are of the value itself, without what it refers to."""
    return NameInfo(name, type(value).__name__, size_of(value))


def size_of(value: Any) -> int:
    try:
        if (memory := getattr(value, "memory_usage", None)) is not None:
            total = memory()
            return int(total.sum() if hasattr(total, "sum") else total)
        nbytes = getattr(value, "nbytes", None)
        return int(nbytes) if isinstance(nbytes, int) else sys.getsizeof(value)
    except Exception:  # a type's own properties may raise anything; a size is only for people
        return 0


class CellNamespace:
    """Names of one cell: remembers what came in, finds what changed."""

    def __init__(self, spec: JobSpec, namespace: Namespace, inputs: Namespace) -> None:
        """Puts ``inputs`` into ``namespace``; everything in it before is the shell's own."""
        self._spec = spec
        self._namespace = namespace
        self._inputs = inputs
        self._since = time.time()
        self._own = set(namespace) - set(inputs)
        namespace.update(inputs)
        watched = inputs if spec.outputs is None else {}
        self._prints = values.fingerprints(watched, namespace)

    def home(self, run: channel.Run, ambient: dict[str, Parcel]) -> Home:
        """What comes home, also after an exception: as it would be in the notebook."""
        chosen, missing = self._chosen()
        packed, left = self._packed(chosen)
        gone = self._deleted()
        in_place = [n for n in chosen if self._is_the_one_sent(n)]
        left += left_in(run.folder, self._spec, self._since)
        told = {"left_behind": [*left, *missing], "deleted": gone, "in_place": in_place}
        return sent_home(packed, run, ambient=ambient, **told)

    def _is_the_one_sent(self, name: str) -> bool:
        return name in self._inputs and self._namespace.get(name) is self._inputs[name]

    def _chosen(self) -> tuple[Namespace, list[LeftBehind]]:
        here = self._namespace
        if self._spec.outputs is None:
            names = [*self._spec.assigned, *self._changed(), *self._appeared()]
            chosen = {n: here[n] for n in dict.fromkeys(names) if n in here}
            same = {n: v for n, v in self._inputs.items() if self._is_the_one_sent(n)}
            return chosen | {n: same[n] for n in inputs_inside(chosen, same, here)}, []
        wanted = dict.fromkeys(self._spec.outputs)
        missing = [LeftBehind(n, "", "it has no value at the end") for n in wanted if n not in here]
        return {n: here[n] for n in wanted if n in here}, missing

    def _changed(self) -> list[str]:
        """Inputs bound to something else, or whose content is not what it was."""
        here = self._namespace
        same = {n: v for n, v in self._inputs.items() if n in here and here[n] is v}
        rebound = [n for n in self._inputs if n in here and n not in same]
        after = values.fingerprints(same, here)
        return [*rebound, *(n for n in same if not after[n] or after[n] != self._prints.get(n))]

    def _appeared(self) -> list[str]:
        """New names that the cell's source does not show: ``exec``, ``global``, magics, ``*``."""
        known = self._own | set(self._inputs)
        # Names that begin with an underscore are mostly IPython's own: _, _3, _i3, _exit_code.
        return [n for n in self._namespace if n not in known and not n.startswith("_")]

    def _deleted(self) -> list[str]:
        gone = [n for n in self._inputs if n not in self._namespace]
        named = [n for n in self._spec.deleted if n not in self._namespace]
        return list(dict.fromkeys([*gone, *named]))

    def _packed(self, chosen: Namespace) -> tuple[Packed, list[LeftBehind]]:
        try:
            return self._pack(chosen), []
        except CaptureError:
            left = [
                LeftBehind(name, type(value).__name__, why)
                for name, value in chosen.items()
                if (why := values.why_not(value, self._namespace)) is not None
            ]
        behind = {entry.name for entry in left}
        return self._pack({n: v for n, v in chosen.items() if n not in behind}), left

    def _pack(self, chosen: Namespace) -> Packed:
        names = [name_info(n, v) for n, v in chosen.items()]
        # The notebook has its own values of what it sent.
        known = set(self._inputs)
        return values.pack(
            chosen, namespace=self._namespace, names=names, chunked=False, known=known
        )
