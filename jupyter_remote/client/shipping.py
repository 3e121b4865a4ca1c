"""What leaves the notebook, and how it is packed: shared by cells and calls."""

from __future__ import annotations

import io
import linecache
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jupyter_remote import values
from jupyter_remote.amounts import size as in_words
from jupyter_remote.errors import CaptureError
from jupyter_remote.reach import Reached
from jupyter_remote.sizes import name_info
from jupyter_remote.values import Packed
from jupyter_remote.wire import NameInfo

LARGE_BYTES = 100_000_000  # a value above this is worth a word
SOURCES_BYTES = 1_000_000  # of notebook cells that go along for tracebacks
HINT = "Make these in the remote code, or choose what is sent with --in."

Namespace = dict[str, Any]
# what every shell makes for itself
OF_THE_SHELL = frozenset({
    "get_ipython", "exit", "quit", "__name__", "__builtin__", "__builtins__", "__doc__",
    "__loader__", "__spec__", "__package__", "__annotations__",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class CannotTravel:
    """A name that cannot be pickled."""

    info: NameInfo
    why: str


def is_of_the_shell(name: str, value: object) -> bool:
    """Does the other side have its own? IPython puts an ``open`` of its own into the notebook."""
    if name == "open":
        return getattr(value, "__wrapped__", None) is io.open
    return name in OF_THE_SHELL


def pack_names(
    chosen: Namespace, perhaps: frozenset[str], namespace: Namespace
) -> tuple[Packed | None, Namespace, list[CannotTravel]]:
    """One parcel of all names, so that two names for one object stay one object.

    Gives the parcel, what is in it, and names of ``perhaps`` that had to stay. Raises CaptureError
    listing every name that cannot travel and without which the code cannot run.
    """
    try:
        return _packed(chosen, namespace), chosen, []
    except CaptureError as error:
        stay = _cannot_travel(chosen, namespace)
        if not stay:
            raise error
    if needed := [s for s in stay if s.info.name not in perhaps]:
        raise _error(needed)
    names = {s.info.name for s in stay}
    rest = {n: v for n, v in chosen.items() if n not in names}
    return _packed(rest, namespace), rest, stay


def _packed(chosen: Namespace, namespace: Namespace) -> Packed | None:
    if not chosen:
        return None
    names = [name_info(n, v) for n, v in chosen.items()]
    return values.pack(chosen, namespace=namespace, names=names, chunked=False, numbered=True)


def _cannot_travel(chosen: Namespace, namespace: Namespace) -> list[CannotTravel]:
    reasons = {n: values.why_not(v, namespace) for n, v in chosen.items()}
    return [CannotTravel(name_info(n, chosen[n]), why) for n, why in reasons.items() if why]


def _error(stay: list[CannotTravel]) -> CaptureError:
    lines = [
        f"  {s.info.name}: {s.info.type}, {in_words(s.info.size_bytes)}: {s.why}" for s in stay
    ]
    what = "This name" if len(stay) == 1 else f"These {len(stay)} names"
    return CaptureError(f"{what} cannot travel:\n" + "\n".join(lines), hint=HINT)


def notices_of_size(names: Iterable[NameInfo], direct: frozenset[str]) -> list[str]:
    """A word on large values; on those that only a function uses, who may not be expected."""
    found = []
    for info in names:
        if info.size_bytes > LARGE_BYTES:
            also = "" if info.name in direct else ", which a function uses as a global,"
            size = in_words(info.size_bytes)
            found.append(f"{info.name}{also} is {size}; it is sent once, then only when changed.")
    return found


def sources_of(reached: Reached) -> dict[str, str]:
    """Text of the notebook cells in which functions on the way were defined, for tracebacks."""
    sources: dict[str, str] = {}
    left_bytes = SOURCES_BYTES
    for filename in dict.fromkeys(f.__code__.co_filename for f in reached.functions):
        text = _cell_text(filename)
        if text and len(text) <= left_bytes:
            sources[filename] = text
            left_bytes -= len(text)
    return sources


def names_of_cells(sources: Iterable[str], namespace: Namespace) -> dict[str, str]:
    """How tracebacks call the cells with these filenames: ``In [3]``, as here."""
    shell = namespace["get_ipython"]() if "get_ipython" in namespace else None
    told = getattr(getattr(shell, "compile", None), "format_code_name", None)
    if told is None:
        return {}
    found = {filename: told(filename) for filename in sources}
    return {f: name[1].replace("In[", "In [") for f, name in found.items() if name}


def _cell_text(filename: str) -> str:
    """The source of a cell; "" for a file, which both sides have."""
    entry = linecache.cache.get(filename)
    if entry is None or len(entry) < 4 or entry[1] is not None:  # a file has a modification time
        return ""
    return "".join(entry[2])
