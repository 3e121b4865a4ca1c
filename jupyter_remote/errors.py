"""Every error of the project. Each has a stable ``code`` and says the next step in ``hint``.

Codes cross the wire (see :mod:`jupyter_remote.wire`, which maps them to HTTP); classes do not.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, ClassVar, NoReturn

from jupyter_remote import composite

_OURS = str(Path(__file__).parent)
_HEAD = "Traceback (most recent call last)"  # of IPython's tracebacks, at the end of a line
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class JupyterRemoteError(Exception):
    """Base of all errors.

    ``message`` says what happened, ``hint`` the next step.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def message(self) -> str:
        """What happened, without the hint."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """Called by IPython in place of its own traceback: the user's frames, none of ours."""
        return _traceback_of(self)


# --- how they look in a notebook -------------------------------------------------------------
def explain(error: BaseException, note: str) -> None:
    """Adds a line to an exception that is not ours, and shows it without our frames."""
    error.add_note(note)
    error._render_traceback_ = functools.partial(_explained, error)  # type: ignore[attr-defined]


def _explained(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", [])
    lines = _traceback_of(error)
    return [*lines, *(note for note in notes if not any(note in line for line in lines))]


def _traceback_of(error: BaseException) -> list[str]:
    """As IPython shows it, with the user's frames that called ours."""
    cause, suppressed = error.__cause__, error.__suppress_context__
    error.__cause__ = None  # what went wrong inside of ours is for us
    try:
        return _structured(error, _users(error.__traceback__))
    finally:
        error.__cause__, error.__suppress_context__ = cause, suppressed


def _structured(error: BaseException, tb: TracebackType | None) -> list[str]:
    shell: Any = sys.modules["IPython"].get_ipython()
    if tb is None:
        text = str(error)
        name = f"\x1b[31m{type(error).__name__}\x1b[39m"
        return as_coloured([f"{name}: {text}" if text else name])
    show = shell.InteractiveTB.structured_traceback
    lines: list[str] = show(type(error), error, tb, tb_offset=0)
    return lines


def as_coloured(lines: list[str]) -> list[str]:
    """Lines without colours where the shell of this process shows none."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    plain = str(getattr(shell, "colors", "")).lower() == "nocolor"
    return [_COLOUR.sub("", line) for line in lines] if plain else lines


def _users(tb: TracebackType | None) -> TracebackType | None:
    """The frames of the user's code that called ours; not a cell's own call of a magic."""
    kept: list[TracebackType] = []
    while tb is not None and not (code := tb.tb_frame.f_code).co_filename.startswith(_OURS):
        if "/IPython/core/" not in Path(code.co_filename).as_posix():  # what runs a cell
            kept.append(tb)
        elif code.co_name in ("run_cell_magic", "run_line_magic") and len(kept) == 1:
            kept.clear()
        tb = tb.tb_next
    rest: TracebackType | None = None
    for entry in reversed(kept):
        rest = TracebackType(rest, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return rest


def _below_callers(lines: list[str], tb: TracebackType | None) -> list[str]:
    """The lines of a remote traceback below those of the user's frames that called."""
    heads = [i for i, line in enumerate(lines) if _COLOUR.sub("", line).endswith(_HEAD)]
    callers = _users(tb)
    if not heads or callers is None:
        return lines
    shown = _structured(Exception(), callers)
    begin = next((i for i, line in enumerate(shown, 1) if _HEAD in line), None)
    if begin is None:  # %xmode Minimal
        return lines
    return [*lines[: heads[-1] + 1], *shown[begin:-1], *lines[heads[-1] + 1 :]]


# --- what the user gave us -------------------------------------------------------------------
class UsageError(JupyterRemoteError):
    """A wrong option, name or argument."""

    code = "usage"


class InvalidRequest(JupyterRemoteError):
    """The server could not accept the request as it was written."""

    code = "invalid_request"


class CaptureError(JupyterRemoteError):
    """Names that a cell or function uses cannot travel. Lists every one of them."""

    code = "capture"


class UnknownMachine(UsageError):
    """No machine type has this id, or none fits what was asked."""

    code = "unknown_machine"


class EnvironmentMismatch(JupyterRemoteError):
    """Python or a package differs in a way that makes pickles unsafe; nothing was unpickled."""

    code = "environment_mismatch"


class EnvironmentUnavailable(JupyterRemoteError):
    """The packages that a job needs cannot be locked here, or not be installed there."""

    code = "environment_unavailable"


# --- reaching the backend --------------------------------------------------------------------
class BackendUnreachable(JupyterRemoteError):
    """No backend answers at this address."""

    code = "backend_unreachable"


class ProtocolMismatch(JupyterRemoteError):
    """Client, server or worker speak different versions of the protocol."""

    code = "protocol_mismatch"


class NotAuthenticated(JupyterRemoteError):
    """The token is missing, wrong, expired or revoked."""

    code = "not_authenticated"


class NotAuthorized(JupyterRemoteError):
    """The token is known but does not allow this."""

    code = "not_authorized"


class NotFound(JupyterRemoteError):
    """Absent, or somebody else's: the two look the same."""

    code = "not_found"


class LaunchRefused(JupyterRemoteError):
    """A provider launches no machine. ``kind`` says what can be done about it.

    ``capacity``: none is free there now, another zone or type may have one. ``throttled``: later.
    ``quota``, ``rights``, ``credentials``, ``image``, ``machine`` (not offered in this region),
    ``setting``, ``other``: not before somebody does something.
    """

    code = "launch_refused"

    def __init__(self, message: str = "", *, hint: str = "", kind: str = "other") -> None:
        super().__init__(message, hint=hint)
        self.kind = kind

    @property
    def passes(self) -> bool:
        """It may work elsewhere, or later."""
        return self.kind in ("capacity", "throttled")


class Conflict(JupyterRemoteError):
    """The state does not allow this transition (a stale epoch, a terminal job, a reused key)."""

    code = "conflict"


class KeyReused(Conflict):
    """The same idempotency key with another body."""

    code = "key_reused"


class TooLarge(JupyterRemoteError):
    """A body, frame or count is above its limit; the message says which and how much."""

    code = "too_large"


class UnsupportedMediaType(JupyterRemoteError):
    """The content type is not one that this route takes."""

    code = "unsupported_media_type"


class StorageFull(JupyterRemoteError):
    """The disk under the backend is full or fails; nothing was acknowledged."""

    code = "storage_full"


class DigestMismatch(JupyterRemoteError):
    """Bytes are not what their digest says; they were not used."""

    code = "digest_mismatch"


# --- money -----------------------------------------------------------------------------------
class InsufficientFunds(JupyterRemoteError):
    """The balance does not cover the hold; nothing ran."""

    code = "insufficient_funds"


class BudgetExceeded(JupyterRemoteError):
    """The job reached its cost limit and was stopped; or a budget leaves nothing for it."""

    code = "budget_exceeded"


# --- how a job ended -------------------------------------------------------------------------
class JobCancelled(JupyterRemoteError):
    """The job was cancelled."""

    code = "job_cancelled"


class JobLost(JupyterRemoteError):
    """The worker died or vanished; says how."""

    code = "job_lost"


class EngineError(JobLost):
    """The worker of a session died, or its session is over; says how, and what was lost."""

    code = "engine_error"


class TaskAborted(JobCancelled):
    """A call of a session was stopped before it began."""

    code = "task_aborted"


class UnmetDependencyError(JupyterRemoteError):
    """What a function needs (:func:`require`) is not there where it was to run."""

    code = "unmet_dependency"


class ImpossibleDependency(UnmetDependencyError):
    """A call was to begin after others, or where they ran, and that can never be."""

    code = "impossible_dependency"


class InvalidDependency(ImpossibleDependency):
    """A call depends on calls that this client does not know."""

    code = "invalid_dependency"


class DependencyTimeout(ImpossibleDependency, TimeoutError):
    """What a call depends on was not done within the time that was given for it."""

    code = "dependency_timeout"


class ResultNotReady(JupyterRemoteError, TimeoutError):
    """The calls of an AsyncResult did not end within the time that was given to wait."""

    code = "result_not_ready"


class StillRunning(JupyterRemoteError, TimeoutError):
    """It did not end within the time that was given to wait; it goes on."""

    code = "still_running"


class JobTimedOut(JupyterRemoteError):
    """The job reached its time limit and was stopped."""

    code = "job_timed_out"


class RemoteError(JupyterRemoteError):
    """The remote code raised. The remote exception's own type is a second base class.

    ``ename``, ``evalue`` and ``traceback`` (list of ANSI-coloured lines) are as Jupyter has them.
    """

    code = "remote_error"
    engine_info: Mapping[str, Any] = MappingProxyType({})  # of the worker of a view, see below

    def __init__(
        self,
        ename: str = "",
        evalue: str = "",
        traceback: list[str] | None = None,
        *,
        hint: str = "",
    ) -> None:
        super().__init__(f"{ename}: {evalue}" if evalue else ename, hint=hint)
        self.ename = ename
        self.evalue = evalue
        self.traceback = traceback or []

    @property
    def engine_id(self) -> int | None:
        return self.engine_info.get("engine_id")

    def render_traceback(self) -> list[str]:
        """Lines of the remote traceback, the last one says which worker it was."""
        return [*(self.traceback or [str(self)]), *composite.worker_line(self)]

    def print_traceback(self, excid: int | None = None) -> None:
        """Print the remote traceback."""
        print("\n".join(as_coloured(self.render_traceback())))

    def _render_traceback_(self) -> list[str]:
        """Called by IPython in place of its own traceback: the remote one, below the frames of
        the user's code that called."""
        return as_coloured(_below_callers(self.render_traceback(), self.__traceback__))


class CompositeError(ExceptionGroup[Exception], RemoteError):
    """Several jobs of one batch or several workers of one view failed.

    ``exceptions`` are what they raised, ``elist`` the same as (ename, evalue, traceback,
    engine_info).
    """

    code = "composite"
    ename = "CompositeError"
    hint = ""
    traceback: list[str] = []  # noqa: RUF012 - that of each part is its own

    def __new__(cls, message: str, exceptions: Sequence[Exception]) -> CompositeError:
        return super().__new__(cls, message, exceptions)

    def __init__(self, message: str, exceptions: Sequence[Exception]) -> None:
        self.evalue = message

    def derive(self, exceptions: Sequence[Exception], /) -> CompositeError:  # type: ignore[override]
        """What ``except*`` leaves of it."""
        return CompositeError(self.message, exceptions)

    @property
    def msg(self) -> str:
        return self.message

    @property
    def elist(self) -> list[tuple[str, str, str, Mapping[str, Any]]]:
        return [composite.entry(error) for error in self.exceptions]

    def __str__(self) -> str:
        return "\n".join([self.message, *composite.listed(self.exceptions)])

    def __repr__(self) -> str:
        return f"CompositeError({len(self.exceptions)})"

    def render_traceback(self, excid: int | None = None) -> list[str]:
        """Lines of one remote traceback by its number from 0, or of the first ones.

        Raises IndexError.
        """
        if excid is not None:
            return composite.lines_of(self._part(excid))
        return composite.tracebacks(self.exceptions)

    def print_traceback(self, excid: int | None = None) -> None:
        print("\n".join(as_coloured(self.render_traceback(excid))))

    def raise_exception(self, excid: int = 0) -> NoReturn:
        """Raise one of them. Raises IndexError when there is none of this number."""
        raise self._part(excid)

    def _part(self, excid: int) -> Exception:
        if not 0 <= excid < len(self.exceptions):
            raise IndexError(f"an exception with index {excid} does not exist")
        return self.exceptions[excid]

    def _render_traceback_(self) -> list[str]:
        return as_coloured([f"{type(self).__name__}: {self}", *self.render_traceback()])


def _tree(cls: type[JupyterRemoteError]) -> list[type[JupyterRemoteError]]:
    return [cls, *(d for sub in cls.__subclasses__() for d in _tree(sub))]


BY_CODE: dict[str, type[JupyterRemoteError]] = {c.code: c for c in _tree(JupyterRemoteError)}
