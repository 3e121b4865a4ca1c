"""State of Python's own modules: warnings, logging, limits, random numbers."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from typing import Any, Literal, NamedTuple


class Kind(NamedTuple):
    """One kind of state."""

    module: str  # has to be loaded
    used_by: frozenset[str]  # packages whose code depends on it; empty: any code may
    read: Callable[[Any], Any]  # from the module; a value that can be pickled, None: as always
    write: Callable[[Any, Any], None]
    random: bool = False  # each use changes it
    is_used: Callable[[Any], bool] | None = None  # by this process; None: where it is loaded


# --- warnings --------------------------------------------------------------------------------
# As text: a filter for a category of a package must not make the other side import it.
Filter = tuple[str, str | None, tuple[str, str], str | None, int]


def _read_filters(module: Any) -> list[Filter]:
    return [f for each in module.filters if (f := _told(each)) is not None]


def _told(each: tuple[Any, ...]) -> Filter | None:
    action, message, category, where, line = each
    named = category.__module__, category.__qualname__
    if _found(named) is not category or category.__module__ == "__main__":
        return None  # of the notebook
    return action, _pattern(message), named, _pattern(where), line


def _pattern(given: re.Pattern[str] | str | None) -> str | None:
    return given.pattern if isinstance(given, re.Pattern) else given


def _found(named: tuple[str, str]) -> Any:
    found: Any = sys.modules.get(named[0])
    for part in named[1].split("."):
        found = getattr(found, part, None)
    return found


def _write_filters(module: Any, came: list[Filter]) -> None:
    """Filters for what is not loaded here are left out, and those that only this side has stay,
    unless even Python's own are gone: ``warnings.resetwarnings()``."""
    known = [(told, each) for each in module.filters if (told := _told(each)) is not None]
    made = [filter_ for told in came if (filter_ := _made(told)) is not None]
    own = [each for told, each in known if told[2][0] != "builtins" and told not in came]
    own += [each for each in module.filters if _told(each) is None]
    is_reset = all(told[2][0] != "builtins" for told in came)
    module.filters[:] = made if is_reset else [*made, *own]
    module._filters_mutated()


def _made(told: Filter) -> tuple[Any, ...] | None:
    action, message, named, where, line = told
    category = _found(named)
    if category is None:
        return None
    compiled = None if message is None else re.compile(message, re.IGNORECASE)
    return action, compiled, category, None if where is None else re.compile(where), line


# --- logging ---------------------------------------------------------------------------------
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


# --- limits ----------------------------------------------------------------------------------
def _read_limits(module: Any) -> tuple[int, int]:
    return module.getrecursionlimit(), module.get_int_max_str_digits()


def _write_limits(module: Any, came: tuple[int, int]) -> None:
    module.setrecursionlimit(came[0])
    module.set_int_max_str_digits(came[1])


KINDS = {
    "warnings": Kind("warnings", frozenset(), _read_filters, _write_filters),
    "logging": Kind("logging", frozenset(), _read_logging, _write_logging),
    "logging.disable": Kind(
        "logging", frozenset(), lambda m: m.root.manager.disable, lambda m, v: m.disable(v)
    ),
    "sys": Kind("sys", frozenset(), _read_limits, _write_limits),
    "random": Kind(
        "random", frozenset(), lambda m: m.getstate(), lambda m, v: m.setstate(v), random=True
    ),
}
