"""An exception as data: what the notebook needs to raise and show it, never a pickle."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from jupyter_remote.errors import JupyterRemoteError
from jupyter_remote.wire import RemoteFailure

DEPTH = 8  # of causes, contexts and groups that travel
MEMBERS = 50  # of an exception group
FRAMES = 40  # of one traceback: more are a recursion, whose ends tell all
TEXT_CHARS = 100_000  # of one message, argument or attribute

_OURS = str(Path(__file__).parent.parent) + os.sep
_HARNESS = tuple(
    f"IPython/core/{name}.py" for name in ("interactiveshell", "async_helpers", "compilerop")
)
_LOOP = "asyncio/base_events.py"  # outside of the user's code it is ours that runs

Scalar = str | int | float | bool | None
Format = Callable[[BaseException], list[str]]


def is_ours(filename: str) -> bool:
    """Is this file part of what runs user code, so that users need not see it?"""
    return filename.startswith(_OURS) or filename.endswith(_HARNESS)


def user_frames(tb: TracebackType | None) -> TracebackType | None:
    """``tb`` without our own frames, wherever they are in it."""
    return _linked(_entries(tb))


def _entries(tb: TracebackType | None) -> list[TracebackType]:
    kept: list[TracebackType] = []
    while tb is not None:
        file = tb.tb_frame.f_code.co_filename
        if not is_ours(file) and (kept or not file.endswith(_LOOP)):
            kept.append(tb)
        tb = tb.tb_next
    return kept


def _linked(entries: list[TracebackType]) -> TracebackType | None:
    rest: TracebackType | None = None
    for entry in reversed(entries):
        rest = TracebackType(rest, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return rest


def failure_of(
    error: BaseException, show: Format | None = None, depth: int = DEPTH
) -> RemoteFailure:
    """``error`` and what it comes from. ``show`` says how the outermost looks in a notebook."""
    cause, context = error.__cause__, error.__context__
    deeper = depth > 0
    return RemoteFailure(
        ename=type(error).__name__,
        evalue=message_of(error),
        traceback=_shown(error, show) if show else [],
        module=type(error).__module__,
        qualname=type(error).__qualname__,
        mro=[(c.__module__, c.__qualname__) for c in type(error).__mro__ if c is not object],
        args=[scalar(a) for a in _args(error)],
        attributes=_attributes(error),
        notes=[_text(n) for n in getattr(error, "__notes__", ()) if isinstance(n, str)],
        cause=failure_of(cause, None, depth - 1) if cause is not None and deeper else None,
        context=failure_of(context, None, depth - 1) if context is not None and deeper else None,
        suppress_context=error.__suppress_context__,
        group=_group(error, depth) if deeper else [],
    )


def _group(error: BaseException, depth: int) -> list[RemoteFailure]:
    if not isinstance(error, BaseExceptionGroup):
        return []
    return [failure_of(e, None, depth - 1) for e in error.exceptions[:MEMBERS]]


def message_of(error: BaseException) -> str:
    """``str(error)``, whatever its ``__str__`` does."""
    try:
        return _text(str(error))
    except Exception as broken:
        return f"<{type(error).__name__} whose message raised {type(broken).__name__}>"


def _text(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= TEXT_CHARS else f"{text[:TEXT_CHARS]}… ({len(text)} characters)"


def _args(error: BaseException) -> tuple[Any, ...]:
    # The members of a group travel as failures of their own.
    return error.args[:1] if isinstance(error, BaseExceptionGroup) else error.args


def scalar(value: Any) -> Scalar:
    """Scalars as they are, others by their ``repr``."""
    if isinstance(value, str):
        return _text(str(value))
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    try:
        return _text(repr(value))
    except Exception as broken:
        return f"<{type(value).__name__} whose repr raised {type(broken).__name__}>"


def _attributes(error: BaseException) -> dict[str, Scalar]:
    """Scalar attributes: those of the instance, and those that OSError and its like keep in C."""
    found = dict(getattr(error, "__dict__", {}))
    for name in (
        "errno",
        "strerror",
        "filename",
        "lineno",
        "offset",
        "text",
        "msg",
        "code",
        "name",
    ):
        if name not in found and isinstance(value := getattr(error, name, None), str | int):
            found[name] = value
    scalars = (str, int, float, bool)
    return {
        str(k): scalar(v)
        for k, v in found.items()
        if not str(k).startswith("__") and (v is None or isinstance(v, scalars))
    }


def _shown(error: BaseException, show: Format) -> list[str]:
    left_out = sum([_shorten(one) for one in _chain(error)])
    if error.__traceback__ is None and isinstance(error, JupyterRemoteError):
        return []  # ours, about code that has run: its message says all
    try:
        lines = show(error)
    except Exception:
        lines = lines_of(error)
    note = [f"({left_out:,} frames between these are not shown)"] if left_out else []
    return [_text(line) for line in [*lines, *note]]


def _shorten(error: BaseException) -> int:
    """Leave the user's frames in its traceback, of a recursion the ends; how many are left out."""
    entries = _entries(error.__traceback__)
    left_out = max(0, len(entries) - FRAMES)
    if left_out:
        entries[FRAMES // 2 : FRAMES // 2 + left_out] = []
    error.__traceback__ = _linked(entries)
    return left_out


def _chain(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what is shown above it."""
    seen: dict[int, BaseException] = {}
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen[id(found)] = found
        found = found.__cause__ or found.__context__
    yield from seen.values()


def lines_of(error: BaseException) -> list[str]:
    """The traceback as Python prints it."""
    try:
        return "".join(traceback.format_exception(error)).splitlines()
    except Exception:
        return [f"{type(error).__name__}: {message_of(error)}"]


def shown_by(shell: Any, folders: Collection[str] = ()) -> Format:
    """How the IPython ``shell`` formats an exception (ANSI-coloured lines).

    Files in ``folders``, those of jobs, are called as they are beside the notebook.
    """
    from IPython.core.error import UsageError

    def show(error: BaseException) -> list[str]:
        own = getattr(error, "_render_traceback_", None)
        if own is not None and not isinstance(error, JupyterRemoteError):
            return [str(line) for line in own()]  # as IPython itself asks for it
        if isinstance(error, UsageError):
            return [f"UsageError: {message_of(error)}"]
        if isinstance(error, SyntaxError) and error.__traceback__ is None:
            lines = shell.SyntaxTB.structured_traceback(type(error), error, [])
        elif isinstance(error, SystemExit):
            return [f"SystemExit: {message_of(error)}"]
        elif isinstance(error, BaseExceptionGroup):
            lines = _with_cells(lines_of(error), shell.compile.names)
        else:
            lines = shell.InteractiveTB.structured_traceback(
                type(error), error, error.__traceback__, tb_offset=0
            )
        return [_beside(str(line), folders) for line in lines]

    return show


def _beside(line: str, folders: Collection[str]) -> str:
    for folder in folders:
        line = line.replace(folder + os.sep, "")
    return line


def _with_cells(lines: list[str], names: dict[str, str]) -> list[str]:
    for filename, name in names.items():
        lines = [line.replace(f'File "{filename}"', f"Cell {name}") for line in lines]
    return lines
