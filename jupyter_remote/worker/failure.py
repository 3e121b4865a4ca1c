"""An exception as data: what the notebook needs to raise and show it, never a pickle."""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeGuard

from jupyter_remote.errors import JupyterRemoteError
from jupyter_remote.wire import RemoteFailure
from jupyter_remote.worker.encodable import text_of

DEPTH = 8  # of causes, contexts and groups that travel
MEMBERS = 50  # of an exception group
FRAMES = 40  # of one traceback: more are a recursion, whose ends tell all
TEXT_CHARS = 100_000  # of one message, argument or attribute

_OURS = str(Path(__file__).parent.parent) + os.sep
_HARNESS = (
    *(f"IPython/core/{name}.py" for name in ("interactiveshell", "async_helpers", "compilerop")),
    "ipykernel/kernelbase.py",
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


def failure_of(error: BaseException, show: Format | None = None) -> RemoteFailure:
    """``error`` and what it comes from. ``show`` says how the outermost looks in a notebook.

    Never raises: of what its class does not let be seen the rest is told.
    """
    try:
        return _failure_of(error, show, DEPTH, set())
    except BaseException as broken:
        name = name_of(type(error))
        why = f"<{name} that could not be described: {name_of(type(broken))}>"
        return RemoteFailure(ename=name, evalue=why, traceback=[f"{name}: {why}"])


def _failure_of(
    error: BaseException, show: Format | None, depth: int, seen: set[int]
) -> RemoteFailure:
    """``seen``: by ``id()``, exceptions that travel already; each does once."""
    seen.add(id(error))

    def linked(other: BaseException | None) -> RemoteFailure | None:
        if other is None or depth == 0 or id(other) in seen:
            return None
        return _failure_of(other, None, depth - 1, seen)

    kind = type(error)
    members = error.exceptions[:MEMBERS] if _is_group(error) else ()
    return RemoteFailure(
        ename=name_of(kind),
        evalue=message_of(error),
        traceback=_shown(error, show) if show else [],
        module=str(kind.__module__),
        qualname=str(kind.__qualname__),
        mro=[(str(c.__module__), str(c.__qualname__)) for c in kind.__mro__ if c is not object],
        args=[scalar(a) for a in _args(error)],
        attributes=_attributes(error),
        notes=_notes(error),
        cause=linked(_real(error, "__cause__")),
        context=linked(_real(error, "__context__")),
        suppress_context=_real(error, "__suppress_context__"),
        group=[one for member in members if (one := linked(member)) is not None],
    )


def name_of(kind: type) -> str:
    """Its name, whatever its metaclass makes of it."""
    return str(vars(type)["__name__"].__get__(kind))


def _real(error: BaseException, name: str) -> Any:
    """What Python itself has under this name, whatever the class makes of it."""
    return vars(BaseException)[name].__get__(error)


def _is_group(error: BaseException) -> TypeGuard[BaseExceptionGroup[BaseException]]:
    """``isinstance`` would ask the exception for its class."""
    return issubclass(type(error), BaseExceptionGroup)


def message_of(error: BaseException) -> str:
    """``str(error)``, whatever its ``__str__`` does."""
    try:
        return _text(str(error))
    except Exception as broken:
        return f"<{type(error).__name__} whose message raised {type(broken).__name__}>"


def _text(text: str) -> str:
    text = text_of(text)
    return text if len(text) <= TEXT_CHARS else f"{text[:TEXT_CHARS]}… ({len(text)} characters)"


def _args(error: BaseException) -> tuple[Any, ...]:
    args: tuple[Any, ...] = _real(error, "args")
    # The members of a group travel as failures of their own.
    return args[:1] if _is_group(error) else args


def _notes(error: BaseException) -> list[str]:
    notes = _attribute(error, "__notes__")
    return [_text(n) for n in notes if isinstance(n, str)] if isinstance(notes, list) else []


def _attribute(error: BaseException, name: str) -> Any:
    """None where there is none, or where the class does not let it be seen."""
    try:
        return getattr(error, name, None)
    except Exception:
        return None


def scalar(value: Any) -> Scalar:
    """Scalars as they are, others by their ``repr``."""
    if isinstance(value, str):
        return _text(str(value))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    try:
        return _text(repr(value))
    except Exception as broken:
        return f"<{type(value).__name__} whose repr raised {type(broken).__name__}>"


IN_C = ("errno", "strerror", "filename", "lineno", "offset", "text", "msg", "code", "name")


def _attributes(error: BaseException) -> dict[str, Scalar]:
    """Scalar attributes: those of the instance, and those that OSError and its like keep in C."""
    own = _attribute(error, "__dict__")
    found = dict(own) if isinstance(own, dict) else {}
    for name in IN_C:
        if name not in found and isinstance(value := _attribute(error, name), str | int):
            found[name] = value
    scalars = (str, int, float, bool)
    return {
        str(k): scalar(v)
        for k, v in found.items()
        if not str(k).startswith("__") and (v is None or isinstance(v, scalars))
    }


def _shown(error: BaseException, show: Format) -> list[str]:
    left_out = sum([_shorten(one) for one in _chain(error)])
    if _real(error, "__traceback__") is None and isinstance(error, JupyterRemoteError):
        return []  # ours, about code that has run: its message says all
    try:
        lines = show(error)
    except Exception:
        lines = lines_of(error)
    note = [f"({left_out:,} frames between these are not shown)"] if left_out else []
    return [_text(line) for line in [*lines, *note]]


def _shorten(error: BaseException) -> int:
    """Leave the user's frames in its traceback, of a recursion the ends; how many are left out."""
    entries = _entries(_real(error, "__traceback__"))
    left_out = max(0, len(entries) - FRAMES)
    if left_out:
        entries[FRAMES // 2 : FRAMES // 2 + left_out] = []
    BaseException.with_traceback(error, _linked(entries))  # a frozen class lets nothing be set
    return left_out


def _chain(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what is shown above it."""
    seen: dict[int, BaseException] = {}
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen[id(found)] = found
        found = _real(found, "__cause__") or _real(found, "__context__")
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
        if isinstance(error, UsageError):
            return [f"UsageError: {message_of(error)}"]
        if isinstance(error, SystemExit):
            return [f"SystemExit: {message_of(error)}"]
        if isinstance(error, SyntaxError):
            stack: Any = traceback.extract_tb(error.__traceback__)
            lines = shell.SyntaxTB.structured_traceback(type(error), error, stack)
        elif isinstance(error, BaseExceptionGroup):
            lines = lines_of(error)
        elif (lines := _as_its_class_says(error)) is None:
            lines = shell.InteractiveTB.structured_traceback(
                type(error), error, error.__traceback__, tb_offset=0
            )
        return [_beside(str(line), folders) for line in _with_cells(lines, shell.compile.names)]

    return show


def _as_its_class_says(error: BaseException) -> list[str] | None:
    try:
        return [str(line) for line in error._render_traceback_()]  # type: ignore[attr-defined]
    except Exception:  # it has none, or a broken one
        return None


def _beside(line: str, folders: Collection[str]) -> str:
    for folder in folders:
        line = line.replace(folder + os.sep, "")
    return line


def _with_cells(lines: list[str], names: dict[str, str]) -> list[str]:
    for filename, name in names.items():
        lines = [line.replace(f'File "{filename}"', f"Cell {name}") for line in lines]
    return lines
