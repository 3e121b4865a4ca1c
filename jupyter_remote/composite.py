"""How several exceptions look together: a short list, then the tracebacks that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LISTED = 10  # exceptions that are named, the others are counted
DRAWN = 4  # tracebacks

Entry = tuple[str, str, str, Mapping[str, Any]]  # ename, evalue, traceback, engine_info


def entry(error: BaseException) -> Entry:
    return name_of(error), value_of(error), "\n".join(lines_of(error)), info_of(error)


def listed(errors: Sequence[BaseException]) -> list[str]:
    """A line for each, with the worker that raised it and what it was called for."""
    lines = []
    for number, error in enumerate(errors[:LISTED], start=1):
        info, value = info_of(error), value_of(error).partition("\n")[0]
        label = f"{info['engine_id']}:{info['name']}" if info else str(number)
        lines.append(f"[{label}] {name_of(error)}: {value}".removesuffix(": "))
    more = len(errors) - LISTED
    return [*lines, f"… and {more} more"] if more > 0 else lines


def tracebacks(errors: Sequence[BaseException]) -> list[str]:
    """Those of the first ones; one that was drawn already is not drawn again."""
    lines: list[str] = []
    drawn: dict[str, int] = {}
    count = len(errors)
    for number, error in enumerate(errors[:LISTED], start=1):
        shown = lines_of(error)
        same = drawn.get("\n".join(shown))
        if same is not None:
            lines.append(f"[{number} of {count}] as [{same} of {count}]")
        elif len(drawn) == DRAWN:
            lines += ["", f"[{number} of {count}] print_traceback({number - 1}) shows it"]
        else:
            drawn["\n".join(shown)] = number
            lines += ["", f"[{number} of {count}]", *shown, *worker_line(error)]
    return lines


def lines_of(error: BaseException) -> list[str]:
    """The remote traceback."""
    own = getattr(error, "traceback", None)
    if own:
        return list(own)
    render = getattr(error, "_render_traceback_", None) if hasattr(error, "exceptions") else None
    return list(render()) if render else [f"{type(error).__name__}: {error}"]


def name_of(error: BaseException) -> str:
    return str(getattr(error, "ename", "") or type(error).__name__)


def value_of(error: BaseException) -> str:
    for name in ("evalue", "message"):
        if isinstance(value := getattr(error, name, None), str):
            return value
    return str(error)


def info_of(error: BaseException) -> Mapping[str, Any]:
    """Of the worker of a view."""
    info: Mapping[str, Any] = getattr(error, "engine_info", {})
    return info


def worker_line(error: BaseException) -> list[str]:
    info = info_of(error)
    return [f"on worker {info['engine_id']} (session {info['session']!r})"] if info else []
