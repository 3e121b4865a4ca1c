"""How a job ended, as an exception: made from data, never from a pickle.

The exception's class is made here, of :class:`RemoteError` and the remote exception's own type, so
that ``except ZeroDivisionError`` works. The own type is only looked up: among the builtins, the
modules that are loaded already and the notebook's namespace. Nothing is imported and none of its
Python code is called.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import sys
from concurrent.futures import CancelledError
from contextlib import suppress
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

import msgspec

from jupyter_remote import errors
from jupyter_remote.model import Reason, Status
from jupyter_remote.money.budgets import FUSE
from jupyter_remote.wire import LAST_OUTPUT, Done, JobView, RemoteFailure

_set = BaseException.__setattr__  # never one that the user's class defines
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_OURS = "jupyter_remote.errors"
_OWN = (errors.RemoteError, errors.CompositeError, errors.JupyterRemoteError)

Namespace = dict[str, Any] | None


def raise_for(
    done: Done,
    namespace: Namespace = None,
    *,
    last_output: str = "",
    interrupts: bool = True,
) -> Exception | None:
    """The exception that a job ended with, to be raised; None when it completed.

    Parameters
    ----------
    namespace: the notebook's, where types of remote exceptions may be defined.
    last_output: what the job printed last; shown when its process died.
    interrupts: let a remote KeyboardInterrupt be a KeyboardInterrupt here too. An asyncio task
        must not raise one: it would take the whole event loop down.
    """
    job = done.job
    if job.status == Status.COMPLETED:
        return None
    remote = None if done.error is None else exception_of(done.error, namespace, interrupts)
    if job.status == Status.CANCELLED:
        return _cancelled(done, remote, interrupts)
    what = f"job {job.id[:8]}: {job.detail or job.reason or 'failed'}"
    ended: errors.JupyterRemoteError
    match job.reason:
        case Reason.TIME_LIMIT:
            ended = errors.JobTimedOut(what, hint="allow more with --timeout, or do less at a time")
        case Reason.COST_LIMIT:
            ended = errors.BudgetExceeded(what, hint=_go_on(job) or _more_money(job))
        case Reason.GPU_IDLE:
            ended = errors.JobTimedOut(what, hint="wait longer with --gpu-idle, or use the GPU")
        case Reason.LOST | Reason.KERNEL_DIED | Reason.OUT_OF_MEMORY | Reason.POISON:
            ended = errors.JobLost(_with_output(what, last_output), hint=_next_step(job))
        case _ if remote is not None:
            return remote
        case Reason.NO_MACHINE:
            ended = errors.LaunchRefused(what, hint="see the job's history")
        case Reason.ENVIRONMENT:
            ended = errors.EnvironmentMismatch(what, hint="see the job's history")
        case _:
            ended = errors.JobLost(_with_output(what, last_output), hint="see the job's history")
    ended.__cause__ = remote
    return ended


def _go_on(job: JobView) -> str:
    """How what a job has saved is not lost; empty: it has saved nothing."""
    if job.checkpoint_at is None:
        return ""
    if job.kind == "session":
        return f"--resume {job.id[:8]} starts a cell or a call from its checkpoint"
    return f"`%remote run --resume {job.id[:8]}` starts a new job from its checkpoint"


def _with_output(what: str, last_output: str) -> str:
    tail = last_output.rstrip()[-2000:]
    told = not tail or LAST_OUTPUT in what  # by the worker, in the detail
    return what if told else f"{what}\nIts last output was:\n{tail}"


def _more_money(job: JobView) -> str:
    if job.fuse.startswith(FUSE):
        return f"allow more with `%remote budget {job.fuse.removeprefix(FUSE)} USD`"
    return "allow more with --max-cost"


def _next_step(job: JobView) -> str:
    how, _, _ = job.detail.partition(LAST_OUTPUT)
    match job.reason:
        case Reason.OUT_OF_MEMORY:
            return "ask for more with --memory, or hold less in memory at a time"
        case Reason.POISON:
            return "it kills its workers: run it on a small input to find out where"
        case Reason.KERNEL_DIED if "SIGKILL" in how:
            return "somebody else ended it: the system, where memory is short, or a command"
        case Reason.KERNEL_DIED if "exit" in how:
            return "os._exit, or a library in C, ended it; raise an exception to end with a reason"
        case Reason.KERNEL_DIED:
            return "code in C crashed; its last output says in which line"
        case _:
            return "submit it again; --retries does so by itself"


def _cancelled(done: Done, remote: Exception | None, interrupts: bool) -> errors.JobCancelled:
    """JobCancelled, that those who know only concurrent.futures or Ctrl-C can catch too."""
    bases: tuple[type, ...] = (errors.JobCancelled, CancelledError)
    namespace: dict[str, Any] = {"__module__": _OURS}
    interrupted = done.error is not None and done.error.ename == "KeyboardInterrupt"
    if interrupted and interrupts:
        bases = (*bases, KeyboardInterrupt)
    if done.error is not None and done.error.traceback:
        lines = done.error.traceback
        namespace["_render_traceback_"] = lambda self: errors.as_coloured(
            [*lines, f"JobCancelled: {self}"]
        )
    made: type[errors.JobCancelled] = type("JobCancelled", bases, namespace)
    how = f": {done.job.detail}" if done.job.detail else ""
    error = made(f"job {done.job.id[:8]} was cancelled{how}")
    error.__cause__ = remote
    return error


# --- an exception as data, and back -----------------------------------------------------------
def exception_of(
    failure: RemoteFailure, namespace: Namespace = None, interrupts: bool = True
) -> Exception:
    """The exception that ``failure`` describes, with its causes, notes and members."""
    if failure.module == _OURS and (known := _ours(failure)) is not None:
        return known
    error = _made(failure, namespace, interrupts)
    notes = list(failure.notes)
    if failure.traceback:
        notes.append(_plain(failure))
    if notes:
        error.__dict__["__notes__"] = notes
    if failure.cause is not None:
        cause = exception_of(failure.cause, namespace, interrupts)
        _set(error, "__cause__", cause)
        _set(error, "__context__", cause)  # of two that are one, as with `raise … from`, one came
    if failure.context is not None:
        _set(error, "__context__", exception_of(failure.context, namespace, interrupts))
    _set(error, "__suppress_context__", failure.suppress_context)
    return error


def _plain(failure: RemoteFailure) -> str:
    text = _ANSI.sub("", "\n".join(failure.traceback)).strip("\n")
    return f"Remote traceback:\n{text}"


def _ours(failure: RemoteFailure) -> Exception | None:
    """One of our own errors, raised over there (a job that submits jobs, a bad environment)."""
    cls = vars(errors).get(failure.qualname)
    if not (isinstance(cls, type) and issubclass(cls, errors.JupyterRemoteError)) or cls in _OWN:
        return None
    hint = str(failure.attributes.get("hint") or "")
    message = str(failure.attributes.get("message") or failure.evalue)
    error = cls(message.removesuffix(f"\n{hint}") if hint else message, hint=hint)
    error.__notes__ = [*failure.notes, _plain(failure)] if failure.traceback else failure.notes
    return error


def _made(failure: RemoteFailure, namespace: Namespace, interrupts: bool) -> Exception:
    members = [exception_of(f, namespace, interrupts) for f in failure.group]
    for module, qualname in _lineage(failure):
        own = _look_up(module, qualname, namespace)
        if own is None:
            continue
        if own in (Exception, SystemExit) or (own is KeyboardInterrupt and not interrupts):
            break  # SystemExit must not end the interpreter that asks for a result
        if (error := _joined(own, failure, members)) is not None:
            return error
    return _filled(_class_of(failure, (errors.RemoteError,)), (), failure)


def _lineage(failure: RemoteFailure) -> list[tuple[str, str]]:
    """Types to try, most derived first."""
    lineage = failure.mro or [(failure.module, failure.qualname)]
    known = ("BaseException", "object")
    return [(m, q) for m, q in lineage if not (m == "builtins" and q in known)]


def _look_up(module: str, qualname: str, namespace: Namespace) -> type[BaseException] | None:
    places = [vars(builtins)] if module == "builtins" else []
    if module in sys.modules:
        places.append(vars(sys.modules[module]))
    if namespace is not None and module == "__main__":
        places.append(namespace)
    for place in places:
        found: Any = place
        for part in qualname.split("."):
            # never getattr: a lazy module would import something
            found = (found if found is place else vars(found)).get(part)
            if not isinstance(found, type):
                break
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
    return None


def _class_of(failure: RemoteFailure, bases: tuple[type, ...]) -> type[errors.RemoteError]:
    name = failure.qualname.rpartition(".")[2] or failure.ename
    body = {
        "__module__": failure.module,
        "__qualname__": failure.qualname,
        "__str__": lambda self: self.evalue,
        "__reduce__": lambda self: (_restored, (msgspec.json.encode(self._failure),)),
    }
    return type(name, bases, body)


def _restored(data: bytes) -> Exception:
    return exception_of(msgspec.json.decode(data, type=RemoteFailure))


def _joined(
    own: type[BaseException], failure: RemoteFailure, members: list[Exception]
) -> Exception | None:
    """An instance of RemoteError and ``own``; None when the two cannot be one class."""
    if issubclass(own, BaseExceptionGroup):
        if not members:
            return None
        own = ExceptionGroup if own is BaseExceptionGroup else own
        arguments: tuple[Any, ...] = (str((failure.args or [failure.evalue])[0]), members)
    else:
        arguments = tuple(failure.args)
    try:
        cls = _class_of(failure, (errors.RemoteError, own))
        return _filled(cls, arguments, failure)
    except Exception:  # whatever a metaclass, a layout or __init_subclass__ objects to
        return None


def _filled(
    cls: type[errors.RemoteError], arguments: tuple[Any, ...], failure: RemoteFailure
) -> Exception:
    """An instance without any ``__init__`` of Python: only the builtin base's own."""
    builtin: Any = next(c for c in cls.__mro__ if c.__module__ == "builtins" and not _is_python(c))
    error: Any = builtin.__new__(cls, *arguments)
    for candidate in (arguments, tuple(_literal(a) for a in arguments)):
        with suppress(TypeError, ValueError):  # a UnicodeDecodeError wants bytes, for instance
            builtin.__init__(error, *candidate)
            arguments = candidate
            break
    BaseException.args.__set__(error, arguments)  # type: ignore[attr-defined]
    own = dict(failure.attributes)
    for name in [n for n in own if _is_slot(cls, n)]:
        with suppress(TypeError, ValueError, AttributeError):  # read-only, or of another type
            _set(error, name, own[name])
            del own[name]
    error.__dict__.update({"message": failure.evalue, "hint": ""} | own)
    error.__dict__.update(
        ename=failure.ename,
        evalue=failure.evalue,
        traceback=list(failure.traceback),
        _failure=failure,
    )
    return error  # type: ignore[no-any-return]


def _is_python(cls: type) -> bool:
    return bool(cls.__flags__ & (1 << 9))  # Py_TPFLAGS_HEAPTYPE


def _is_slot(cls: type, name: str) -> bool:
    kinds = (MemberDescriptorType, GetSetDescriptorType)
    return isinstance(inspect.getattr_static(cls, name, None), kinds)


def _literal(argument: Any) -> Any:
    """``repr`` of bytes or a tuple back into what it was; arguments travel as scalars or repr."""
    if (isinstance(argument, str) and argument[:2] in ("b'", 'b"')) or str(argument)[:1] == "(":
        with suppress(ValueError, SyntaxError):
            return ast.literal_eval(argument)
    return argument
