"""How an attempt ended, from what its kernel said and why it was stopped. Pure."""

from __future__ import annotations

import signal
from typing import Literal, cast

import msgspec

from jupyter_remote.errors import EnvironmentUnavailable
from jupyter_remote.model import Reason
from jupyter_remote.wire import LAST_OUTPUT, RemoteFailure
from jupyter_remote.worker.channel import Finished
from jupyter_remote.worker.supervise import CANCELLED, PREEMPTED, Stop

ORPHANED = "orphaned"  # how a kernel ended that died with the process that it was forked from
LAST_WORDS = 600  # characters of output in the account of a death
SAID = 200  # characters of an exception's name and message

Outcome = Literal["succeeded", "failed", "cancelled", "expired", "died", "preempted"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What :class:`~jupyter_remote.wire.Complete` will say."""

    outcome: Outcome
    reason: str = ""
    detail: str = ""
    signal: str = ""
    error: RemoteFailure | None = None


def ending(code: int) -> str:
    """Words for an exit code as Python has them: ``exit 3``, ``SIGSEGV`` for -11."""
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def of_finished(finished: Finished, stop: Stop | None) -> Verdict:
    """The code came to its end. What finished well meanwhile stands, whatever was asked; but code
    that was interrupted because it goes on elsewhere may have taken that for its end."""
    if stop is PREEMPTED:
        return Verdict(outcome="preempted", detail=stop.detail)
    if finished.ok:
        return Verdict(outcome="succeeded")
    if stop is not None:
        outcome = cast(Outcome, stop.outcome)
        return Verdict(
            outcome=outcome, reason=stop.reason, detail=stop.detail, error=finished.error
        )
    return Verdict(
        outcome="failed",
        reason=finished.reason or Reason.USER_ERROR,
        detail=finished.detail or _said(finished.error),
        error=finished.error,
    )


def _said(error: RemoteFailure | None) -> str:
    """An exception in one line: ``ZeroDivisionError: division by zero``."""
    if error is None:
        return ""
    message = error.evalue.strip().partition("\n")[0]
    return f"{error.ename}: {message}"[:SAID] if message else error.ename


def of_death(how: str, stop: Stop | None, out_of_memory: bool, last_output: str) -> Verdict:
    """The process ended before the code did. ``how``: "SIGSEGV", "exit 3", ORPHANED."""
    words = last_output.strip()[-LAST_WORDS:]
    ending = f"{LAST_OUTPUT}{words}" if words else ""
    if stop is not None:
        detail = _of_cancel(how) if stop is CANCELLED else stop.detail
        detail += ending if stop.reason is Reason.OUT_OF_MEMORY else ""
        outcome = cast(Outcome, stop.outcome)
        signal = how if outcome in ("died", "failed") else ""
        return Verdict(outcome=outcome, reason=stop.reason, detail=detail, signal=signal)
    if how == ORPHANED:
        detail = "the process that its kernel came from is dead"
        return Verdict(outcome="died", reason=Reason.LOST, detail=detail + ending)
    if out_of_memory and how == "SIGKILL":
        detail = "out of memory (killed by the system)"
        return Verdict(
            outcome="died", reason=Reason.OUT_OF_MEMORY, detail=detail + ending, signal=how
        )
    detail = f"killed by {how}" if how.startswith("SIG") else f"the process ended itself ({how})"
    return Verdict(outcome="died", reason=Reason.KERNEL_DIED, detail=detail + ending, signal=how)


def _of_cancel(how: str) -> str:
    """It was interrupted, and its process ended before anybody killed it."""
    return f"KeyboardInterrupt ended its process ({how})" if how else "before its code began"


UNSAVED = Verdict(
    outcome="cancelled", reason=Reason.CANCELLED, detail="killed while its result was saved"
)


def unprepared(why: str) -> Verdict:
    """The user's code could not be run, or what it left could not be kept."""
    return Verdict(outcome="failed", reason=Reason.ENVIRONMENT, detail=why)


def without_environment(error: EnvironmentUnavailable) -> Verdict:
    """Its packages could not be installed. Its user gets this very error, with its next step."""
    name = type(error).__name__
    failure = RemoteFailure(
        ename=name,
        evalue=error.message,
        module=type(error).__module__,
        qualname=name,
        attributes={"message": error.message, "hint": error.hint},
    )
    first = error.message.partition("\n")[0]
    return msgspec.structs.replace(unprepared(first), error=failure)


def of_our_failure(error: Exception, ran: bool) -> Verdict:
    """The agent could not go on. ``ran``: the code is over, and must not run again for that."""
    if ran:
        return unprepared(f"the result could not be delivered: {error!r}")
    return Verdict(outcome="died", reason=Reason.LOST, detail=f"the worker failed: {error!r}")
