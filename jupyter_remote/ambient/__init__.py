"""State of Python and of libraries that no variable holds, and that code depends on all the same:
random numbers, warnings, logging, options of numpy, pandas, matplotlib and of IPython itself.

A cell takes the notebook's along and brings home what it changed, so that after
``np.random.seed(0)`` or ``plt.style.use("ggplot")`` in one cell the next one does the same here and
over there.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from jupyter_remote import values
from jupyter_remote.ambient import of_libraries, of_python, of_shell
from jupyter_remote.wire import Parcel

__all__ = ["State", "apply", "changed", "present", "take", "unused"]

log = logging.getLogger("jupyter_remote.ambient")

State = dict[str, Parcel]
KINDS = {**of_python.KINDS, **of_libraries.KINDS, **of_shell.KINDS}


def take(used: Iterable[str], *, random: bool = True) -> State:
    """The notebook's state, as far as code that uses these modules depends on it.

    ``random``: also of random numbers. Not for cells that run side by side: they would all draw
    the same ones.
    """
    beside = unused(used)
    wanted = [n for n in KINDS if n not in beside and (random or not KINDS[n].random)]
    return {name: parcel for name in wanted if (parcel := _packed(name)) is not None}


def unused(used: Iterable[str]) -> frozenset[str]:
    """State of what is loaded here and that code that uses these modules does not depend on: what
    the other side has of it is its own business."""
    roots = {name.partition(".")[0] for name in used} - sys.stdlib_module_names
    below = {package for root in roots for package in _used_by(root, len(sys.modules))}
    return frozenset(
        name
        for name, kind in KINDS.items()
        if kind.used_by and not kind.used_by & (roots | below) and kind.module in sys.modules
    )


@functools.lru_cache(256)
def _used_by(root: str, modules: int) -> frozenset[str]:
    """Which packages with a state one that is loaded here has among its names.

    ``modules``: how many are loaded; with more of them the answer may be another.
    """
    prefix = f"{root}."
    own = [m for n, m in list(sys.modules.items()) if n == root or n.startswith(prefix)]
    held = {id(value) for module in own for value in list(vars(module).values())}
    known = frozenset().union(*(kind.used_by for kind in KINDS.values()))
    return frozenset(name for name in known if id(sys.modules.get(name)) in held)


def apply(state: State, *, importing: bool) -> None:
    """Make this process's state that one; of what is not loaded only if ``importing`` it."""
    for name, parcel in state.items():
        kind = KINDS.get(name)
        if kind is None or not (importing or _is_there(kind)):
            continue
        value = values.unpack(parcel, _not_inline)
        try:
            module = importlib.import_module(kind.module)
            with _silence(kind):
                kind.write(module, value)
        except Exception as error:  # an option that this side does not have
            log.info("the state of %s is as it was: %r", name, error)


def _is_there(kind: of_python.Kind) -> bool:
    module = sys.modules.get(kind.module)
    return module is not None and (kind.is_used is None or kind.is_used(module))


def changed(before: State) -> State:
    """What is not as in ``before`` any more, or was not there."""
    now = present()
    return {n: p for n, p in now.items() if n not in before or _bytes(before[n]) != _bytes(p)}


def present() -> State:
    """All there is in this process now."""
    return {name: parcel for name in KINDS if (parcel := _packed(name)) is not None}


def _packed(name: str) -> Parcel | None:
    kind = KINDS[name]
    module = sys.modules.get(kind.module)
    if module is None:
        return None
    try:
        with _silence(kind):
            value = kind.read(module)
        packed = None if value is None else values.pack(value)
    except Exception as error:  # an option that cannot travel, or another version of the library
        log.info("the state of %s stays here: %r", name, error)
        return None
    return None if packed is None or packed.contents else packed.parcel


@contextlib.contextmanager
def _silence(kind: of_python.Kind) -> Iterator[None]:
    """Options that are on their way out say so when they are read."""
    if kind.module == "warnings":
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _bytes(parcel: Parcel) -> list[bytes | None]:
    return [segment.data for segment in parcel.segments]


def _not_inline(segment: Any) -> bytes:
    raise KeyError(segment.digest)
