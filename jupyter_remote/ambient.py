"""State of Python and of libraries that no variable holds, and that code depends on all the same:
random numbers, warnings, logging, options of numpy, pandas and matplotlib.

A cell takes the notebook's along and brings home what it changed, so that after
``np.random.seed(0)`` or ``plt.style.use("ggplot")`` in one cell the next one does the same here and
over there.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from jupyter_remote import values
from jupyter_remote.errors import CaptureError
from jupyter_remote.wire import Parcel

State = dict[str, Parcel]


class Kind(NamedTuple):
    """One kind of state."""

    module: str  # has to be loaded
    used_by: frozenset[str]  # packages whose code depends on it; empty: any code may
    read: Callable[[Any], Any]  # from the module; a value that can be pickled, None: as always
    write: Callable[[Any, Any], None]
    random: bool = False  # each use changes it


def take(used: Iterable[str], *, random: bool = True) -> State:
    """The notebook's state, as far as code that uses these modules depends on it.

    ``random``: also of random numbers. Not for cells that run side by side: they would all draw
    the same ones.
    """
    roots = {name.partition(".")[0] for name in used}
    wanted = [
        name
        for name, kind in KINDS.items()
        if (random or not kind.random) and (not kind.used_by or kind.used_by & roots)
    ]
    return {name: parcel for name in wanted if (parcel := _packed(name)) is not None}


def apply(state: State, *, importing: bool) -> None:
    """Make this process's state that one; of what is not loaded only if ``importing`` it."""
    for name, parcel in state.items():
        kind = KINDS.get(name)
        if kind is not None and (importing or kind.module in sys.modules):
            value = values.unpack(parcel, _not_inline)
            kind.write(importlib.import_module(kind.module), value)


def changed(before: State) -> State:
    """What is not as in ``before`` any more, or was not there."""
    now = {name: parcel for name in KINDS if (parcel := _packed(name)) is not None}
    return {n: p for n, p in now.items() if n not in before or _bytes(before[n]) != _bytes(p)}


def present() -> State:
    """All there is in this process now."""
    return changed({})


def _packed(name: str) -> Parcel | None:
    kind = KINDS[name]
    module = sys.modules.get(kind.module)
    if module is None or (value := kind.read(module)) is None:
        return None
    try:
        packed = values.pack(value)
    except CaptureError:  # such as an option that holds something of the process
        return None
    return None if packed.contents else packed.parcel


def _bytes(parcel: Parcel) -> list[bytes | None]:
    return [segment.data for segment in parcel.segments]


def _not_inline(segment: Any) -> bytes:
    raise KeyError(segment.digest)


# --- warnings and logging --------------------------------------------------------------------
def _read_filters(module: Any) -> Any:
    """Those on builtin categories; packages set their own for theirs when they are imported."""
    return [f for f in module.filters if f[2].__module__ == "builtins"] or None


def _write_filters(module: Any, came: list[Any]) -> None:
    own = [f for f in module.filters if f not in came]
    module.filters[:] = [*came, *own]
    module._filters_mutated()


OF_OTHERS = ("traitlets", "tornado", "asyncio", "ipykernel", "IPython", "jupyter_remote")
STREAMS = ("stdout", "stderr")


def _read_logging(module: Any) -> Any:
    """Levels, and handlers that write to stdout or stderr with a plain formatter."""
    loggers = {"": module.root} | module.root.manager.loggerDict
    found = {
        name: (logger.level, logger.propagate, _handlers(logger))
        for name, logger in loggers.items()
        if isinstance(logger, logging.Logger) and name.partition(".")[0] not in OF_OTHERS
    }
    plain: dict[str, Any] = {"": (logging.WARNING, True, [])}
    return {n: s for n, s in found.items() if s != plain.get(n, (logging.NOTSET, True, []))} or None


def _handlers(logger: logging.Logger) -> list[Any]:
    return [
        (stream, handler.level, _format(handler))
        for handler in logger.handlers
        for stream in STREAMS
        if type(handler) is logging.StreamHandler and handler.stream is getattr(sys, stream)
    ]


def _format(handler: logging.Handler) -> tuple[str, str | None] | None:
    formatter = handler.formatter
    if type(formatter) is not logging.Formatter or formatter._fmt is None:
        return None
    return formatter._fmt, formatter.datefmt


def _style(text: str) -> Literal["%", "{", "$"]:
    return "%" if "%(" in text else "{" if "{" in text else "$"


def _write_logging(module: Any, came: dict[str, Any]) -> None:
    for name, (level, propagate, handlers) in came.items():
        logger = logging.getLogger(name or None)
        logger.setLevel(level)
        logger.propagate = propagate
        there = _handlers(logger)
        for stream, handler_level, told in (h for h in handlers if h not in there):
            handler = logging.StreamHandler(getattr(sys, stream))
            handler.setLevel(handler_level)
            if told is not None:
                handler.setFormatter(logging.Formatter(told[0], told[1], _style(told[0])))
            logger.addHandler(handler)


# --- options of libraries --------------------------------------------------------------------
def _write_numpy(numpy: Any, came: tuple[dict[str, Any], dict[str, Any]]) -> None:
    numpy.set_printoptions(**came[0])
    numpy.seterr(**came[1])


def _options(pandas: Any) -> dict[str, Any]:
    """Options of pandas that are not at their default."""
    known = pandas._config.config._registered_options
    now = {key: pandas.get_option(key) for key in known if not known[key].key.startswith("mode.")}
    return {key: value for key, value in now.items() if value != known[key].defval}


def _write_options(pandas: Any, came: dict[str, Any]) -> None:
    known = pandas._config.config._registered_options
    for key in [key for key in _options(pandas) if key not in came]:
        pandas.set_option(key, known[key].defval)
    for key, value in came.items():
        if key in known:
            pandas.set_option(key, value)


OF_THE_SCREEN = ("backend", "backend_fallback", "interactive", "toolbar", "webagg.", "tk.")


def _rc(matplotlib: Any) -> dict[str, Any]:
    """Parameters of matplotlib that are not at their default; none of the screen's."""
    default = matplotlib.rcParamsDefault
    names = [n for n in default if not n.startswith(OF_THE_SCREEN)]
    return {n: v for n in names if (v := matplotlib.rcParams[n]) != default[n]}


def _write_rc(matplotlib: Any, came: dict[str, Any]) -> None:
    default = matplotlib.rcParamsDefault
    back = {n: default[n] for n in _rc(matplotlib) if n not in came}
    dict.update(matplotlib.rcParams, back | {n: v for n, v in came.items() if n in default})


NUMERIC = frozenset(("numpy", "pandas", "scipy", "sklearn", "matplotlib", "seaborn", "torch"))
DRAWING = frozenset(("matplotlib", "seaborn"))
KINDS = {
    "warnings": Kind("warnings", frozenset(), _read_filters, _write_filters),
    "logging": Kind("logging", frozenset(), _read_logging, _write_logging),
    "random": Kind(
        "random", frozenset(), lambda m: m.getstate(), lambda m, v: m.setstate(v), random=True
    ),
    "numpy.random": Kind(
        "numpy",
        NUMERIC,
        lambda m: m.random.get_state(),
        lambda m, v: m.random.set_state(v),
        random=True,
    ),
    "torch.random": Kind(
        "torch",
        frozenset(("torch",)),
        lambda m: m.get_rng_state().numpy(),
        lambda m, v: m.set_rng_state(m.from_numpy(v)),
        random=True,
    ),
    "numpy": Kind("numpy", NUMERIC, lambda m: (m.get_printoptions(), m.geterr()), _write_numpy),
    "pandas": Kind("pandas", frozenset(("pandas",)), _options, _write_options),
    "matplotlib": Kind("matplotlib", DRAWING, _rc, _write_rc),
}
