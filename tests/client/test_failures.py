"""Remote exceptions as exceptions here: types, arguments, attributes, causes, groups, notes."""

from __future__ import annotations

import inspect
import json
import pickle
import sys
import traceback
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from jupyter_remote import errors
from jupyter_remote.client.failures import exception_of, raise_for
from jupyter_remote.wire import Done, JobView, Money, RemoteFailure

SCALARS = (str, int, float, bool, type(None))


class Coded(ValueError):
    """An exception with an argument and an attribute of its own."""

    def __init__(self, code: int, *, retry: bool) -> None:
        super().__init__(f"code {code}")
        self.code = code
        self.retry = retry


@dataclass(frozen=True)
class Frozen(Exception):
    field: int


class Counting(type(Exception)):  # type: ignore[misc]
    """A metaclass that refuses a second base."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
        if len(bases) > 1:
            raise TypeError("one base only")
        return super().__new__(cls, name, bases, body)


class Alone(LookupError, metaclass=Counting):
    pass


class Unset(Exception):
    """Whoever calls ``__init__`` or ``__setattr__`` of it notices."""

    def __init__(self) -> None:
        raise AssertionError("__init__ of the user's class was called")

    def __setattr__(self, name: str, value: object) -> None:
        raise AssertionError("__setattr__ of the user's class was called")


def failure_of(error: BaseException, **changes: Any) -> RemoteFailure:
    """As a worker describes an exception."""
    cls = type(error)
    given: dict[str, Any] = {
        "ename": cls.__name__,
        "evalue": str(error),
        "traceback": ["\x1b[31mTraceback\x1b[0m", "  train.py line 3", f"{cls.__name__}: {error}"],
        "module": cls.__module__,
        "qualname": cls.__qualname__,
        "mro": [(c.__module__, c.__qualname__) for c in cls.__mro__[:-1]],
        "args": [a if isinstance(a, SCALARS) else repr(a) for a in error.args],
        "attributes": attributes_of(error),
        "notes": list(getattr(error, "__notes__", [])),
        "suppress_context": error.__suppress_context__,
    }
    if isinstance(error, BaseExceptionGroup):
        given["group"] = [failure_of(e) for e in error.exceptions]
    return RemoteFailure(**(given | changes))


def attributes_of(error: BaseException) -> dict[str, Any]:
    """Scalars that it has of its own, and those in slots of C such as ``errno``."""
    slots = {
        name: getattr(error, name, None)
        for cls in type(error).__mro__[:-3]
        for name, kind in vars(cls).items()
        if inspect.isdatadescriptor(kind) and name[:2] != "__"
    }
    given = slots | vars(error)
    return {k: v for k, v in given.items() if isinstance(v, SCALARS) and v is not None}


def raised(code: str) -> BaseException:
    try:
        exec(code, {"json": json})
    except BaseException as error:
        return error
    raise AssertionError(f"{code} raised nothing")


TABLE = [
    "1/0",
    "{}['x']",
    "[][3]",
    "open('/no/such/file')",
    "int('x')",
    "None.x",
    "nothing",
    "import nothing_at_all",
    "b'\\xff'.decode('utf-8')",
    "'\\ud800'.encode('utf-8')",
    "json.loads('{')",
    "compile('a b', 'f.py', 'exec')",
    "assert 1 == 2, 'no'",
    "raise StopIteration(3)",
    "raise OSError(28, 'No space left', '/x')",
    "raise RecursionError('deep')",
    "raise TimeoutError()",
    "raise ExceptionGroup('two', [ValueError(1), KeyError('k')])",
    "import subprocess, sys; subprocess.run(['false'], check=True)",
    "raise KeyboardInterrupt()",
]


@pytest.mark.parametrize("code", TABLE)
def test_a_remote_exception_is_of_its_own_type_and_reads_the_same(code: str) -> None:
    original = raised(code)
    error = exception_of(failure_of(original))
    assert isinstance(error, type(original))
    assert isinstance(error, errors.RemoteError)
    assert str(error) == str(original)
    assert type(error).__name__ == type(original).__name__
    assert error.ename == type(original).__name__
    if not isinstance(original, ExceptionGroup):
        assert len(error.args) == len(original.args)


@pytest.mark.parametrize("code", [c for c in TABLE if "Group" not in c and "json" not in c])
def test_arguments_and_c_level_attributes_are_restored(code: str) -> None:
    original = raised(code)
    error = exception_of(failure_of(original))
    for name in ("errno", "filename", "strerror", "name", "lineno", "start", "reason", "value"):
        if isinstance(getattr(original, name, None), SCALARS):
            assert getattr(error, name, "absent") == getattr(original, name, "absent"), name


def test_attributes_and_causes_and_notes_are_restored() -> None:
    cause = failure_of(KeyError("k"))
    own = Coded(7, retry=True)
    own.add_note("try later")
    error = exception_of(failure_of(own, cause=cause, suppress_context=True))
    assert isinstance(error, Coded)
    assert (error.code, error.retry) == (7, True)
    assert isinstance(error.__cause__, KeyError)
    assert error.__suppress_context__
    assert error.__notes__[0] == "try later"


def test_plain_traceback_shows_the_remote_one_without_colours() -> None:
    text = "".join(traceback.format_exception(exception_of(failure_of(Coded(7, retry=True)))))
    assert "train.py line 3" in text
    assert "\x1b" not in text
    assert "Coded: code 7" in text


def test_ipython_shows_the_remote_traceback_as_it_was() -> None:
    failure = failure_of(ValueError("x"))
    assert exception_of(failure)._render_traceback_() == failure.traceback  # type: ignore[attr-defined]


def test_members_of_a_group_can_be_caught_apart() -> None:
    group = ExceptionGroup("g", [ValueError("a"), ExceptionGroup("h", [KeyError("k")])])
    seen = []
    try:
        raise exception_of(failure_of(group))
    except* KeyError as keys:
        seen.append(("keys", len(keys.exceptions)))
    except* ValueError as values:
        seen.append(("values", len(values.exceptions)))
    assert seen == [("keys", 1), ("values", 1)]


def test_no_python_code_of_the_type_runs() -> None:
    failure = RemoteFailure(
        ename="Unset",
        evalue="boom",
        module=__name__,
        qualname="Unset",
        mro=[(__name__, "Unset"), ("builtins", "Exception")],
        attributes={"reason": "none"},
    )
    error = exception_of(failure)
    assert isinstance(error, Unset)
    assert error.reason == "none"  # type: ignore[attr-defined]


def test_a_type_that_refuses_falls_back_to_the_next_one() -> None:
    error = exception_of(failure_of(Alone("x")))
    assert isinstance(error, LookupError)
    assert not isinstance(error, Alone)
    assert str(error) == "x"


def test_a_frozen_dataclass_is_restored() -> None:
    error = exception_of(failure_of(Frozen(3)))
    assert isinstance(error, Frozen)
    assert error.field == 3


def test_unknown_types_are_not_imported() -> None:
    failure = RemoteFailure(
        ename="BadZipFile",
        evalue="x",
        module="no_such_module",
        qualname="BadZipFile",
        mro=[("no_such_module", "BadZipFile"), ("builtins", "OSError")],
    )
    error = exception_of(failure)
    assert isinstance(error, OSError)
    assert type(error).__name__ == "BadZipFile"
    assert "no_such_module" not in sys.modules


def test_types_of_the_notebook_are_found_in_its_namespace() -> None:
    failure = failure_of(Coded(1, retry=False), module="__main__")
    failure = msgspec_replace(failure, mro=[("__main__", "Coded")], qualname="Coded")
    assert isinstance(exception_of(failure, {"Coded": Coded}), Coded)
    assert not isinstance(exception_of(failure, {"Coded": 3}), Coded)


def test_system_exit_does_not_end_the_asking_interpreter() -> None:
    error = exception_of(failure_of(SystemExit(3)))
    assert isinstance(error, errors.RemoteError)
    assert not isinstance(error, SystemExit)
    assert error.ename == "SystemExit"


def test_a_remote_error_survives_pickling() -> None:
    error = exception_of(failure_of(Coded(7, retry=True)))
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, Coded)
    assert again.code == 7


def test_our_own_errors_stay_themselves() -> None:
    error = exception_of(failure_of(errors.EnvironmentMismatch("python 3.11, here 3.12")))
    assert type(error) is errors.EnvironmentMismatch
    assert str(error) == "python 3.11, here 3.12"


def done(status: str, reason: str = "", detail: str = "", error: Any = None) -> Done:
    money = Money(rate_ucredits_per_h=0, hold_ucredits=0, cost_ucredits=0)
    view = JobView(
        id="j" * 36,
        kind="call",
        status=status,
        reason=reason,
        detail=detail,
        money=money,
        submitted_at=0.0,
    )
    return Done(job=view, error=error)


@pytest.mark.parametrize(
    ("reason", "cls"),
    [
        ("time_limit", errors.JobTimedOut),
        ("cost_limit", errors.BudgetExceeded),
        ("lost", errors.JobLost),
        ("kernel_died", errors.JobLost),
        ("out_of_memory", errors.JobLost),
        ("poison", errors.JobLost),
        ("environment", errors.EnvironmentMismatch),
        ("user_error", errors.JobLost),  # failed without saying how
    ],
)
def test_each_reason_has_its_error(reason: str, cls: type[Exception]) -> None:
    error = raise_for(done("failed", reason, "killed by SIGSEGV"), last_output="epoch 3\n")
    assert type(error) is cls
    assert "killed by SIGSEGV" in str(error)
    if cls is errors.JobLost:
        assert "epoch 3" in str(error)


def test_what_was_saved_before_the_cost_limit_is_where_to_go_on() -> None:
    ended = done("failed", "cost_limit")
    assert "--max-cost" in str(raise_for(ended))
    saved = msgspec.structs.replace(ended.job, checkpoint_at=1.0)
    error = raise_for(msgspec.structs.replace(ended, job=saved))
    assert "`%remote run --resume jjjjjjjj` starts a new job from its checkpoint" in str(error)
    session = msgspec.structs.replace(saved, kind="session")
    error = raise_for(msgspec.structs.replace(ended, job=session))
    assert "--resume jjjjjjjj starts a cell or a call from its checkpoint" in str(error)


@pytest.mark.parametrize(
    ("detail", "hint"),
    [
        ("killed by SIGSEGV; last output: exit", "in which line"),
        ("killed by SIGKILL", "memory"),
        ("the process ended itself (exit 3)", "raise an exception"),
    ],
)
def test_a_death_is_followed_by_what_helps_with_it(detail: str, hint: str) -> None:
    error = raise_for(done("failed", "kernel_died", detail))
    assert isinstance(error, errors.JobLost)
    assert hint in error.hint
    assert "faulthandler" not in error.hint


def test_a_completed_job_has_no_error() -> None:
    assert raise_for(done("completed")) is None


def test_a_cancelled_job_can_be_caught_as_futures_and_interrupts_are() -> None:
    ended = done("cancelled", "cancelled", error=failure_of(KeyboardInterrupt()))
    error = raise_for(ended)
    assert isinstance(error, errors.JobCancelled)
    assert isinstance(error, CancelledError)
    assert isinstance(error, KeyboardInterrupt)
    in_a_task = raise_for(ended, interrupts=False)
    assert isinstance(in_a_task, errors.JobCancelled)
    assert not isinstance(in_a_task, KeyboardInterrupt)
    assert not isinstance(in_a_task.__cause__, KeyboardInterrupt)


def msgspec_replace(failure: RemoteFailure, **changes: Any) -> RemoteFailure:
    import msgspec

    return msgspec.structs.replace(failure, **changes)
