"""Exceptions as data."""

from __future__ import annotations

import msgspec

from jupyter_remote.wire import RemoteFailure
from jupyter_remote.worker.failure import failure_of


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


class Odd(ValueError):
    def __init__(self, code: int, what: object) -> None:
        super().__init__(code, what)
        self.code = code
        self.what = what


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_type_arguments_and_attributes_travel_as_scalars() -> None:
    failure = failure_of(raised(Odd(7, [1])))
    assert (failure.ename, failure.qualname) == ("Odd", "Odd")
    assert failure.mro[1:] == [
        ("builtins", "ValueError"),
        ("builtins", "Exception"),
        ("builtins", "BaseException"),
    ]
    assert failure.args == [7, "[1]"]
    assert failure.attributes == {"code": 7}


def test_notes_cause_and_context_travel() -> None:
    try:
        try:
            raise KeyError("k")
        except KeyError as inner:
            raise ValueError("v") from inner
    except ValueError as outer:
        outer.add_note("a note")
        failure = failure_of(outer)
    assert failure.notes == ["a note"]
    assert failure.suppress_context
    assert failure.cause is not None
    assert failure.cause.ename == "KeyError"
    assert failure.cause.args == ["k"]


def test_members_of_a_group_travel() -> None:
    group = ExceptionGroup("both", [ValueError(1), ExceptionGroup("in", [KeyError(2)])])
    failure = failure_of(raised(group))
    assert [m.ename for m in failure.group] == ["ValueError", "ExceptionGroup"]
    assert failure.group[1].group[0].args == [2]


def test_an_exception_whose_str_raises_says_so() -> None:
    failure = failure_of(raised(Mute(Mute())), show=lambda error: [str(error)])
    assert "RuntimeError" in failure.evalue
    assert "Mute" in failure.args[0]  # type: ignore[operator]
    assert "Mute" in failure.traceback[-1]


def test_os_errors_keep_their_number_and_file() -> None:
    failure = failure_of(raised(FileNotFoundError(2, "No such file", "x.csv")))
    assert failure.attributes["errno"] == 2
    assert failure.attributes["filename"] == "x.csv"


def test_a_chain_that_goes_in_a_circle_ends() -> None:
    error = raised(ValueError(1))
    error.__context__ = other = KeyError(2)
    other.__context__ = error
    assert msgspec.json.decode(msgspec.json.encode(failure_of(error)), type=RemoteFailure)


def test_huge_numbers_and_texts_are_bounded() -> None:
    failure = failure_of(raised(ValueError(10**30, "x" * 10_000_000, float("inf"))))
    assert failure.args[0] == str(10**30)
    assert len(str(failure.args[1])) < 200_000
    assert msgspec.msgpack.encode(failure)


def test_each_of_a_chain_travels_once() -> None:
    def link(number: int) -> None:
        try:
            if number:
                link(number - 1)
            raise ValueError("x" * 1000)
        except ValueError as error:
            raise KeyError("y" * 1000) from error

    try:
        link(8)
    except KeyError as error:
        failure = failure_of(error)
    assert len(msgspec.json.encode(failure)) < 100_000
    assert failure.cause is not None
    assert failure.context is None
