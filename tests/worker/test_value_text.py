"""A value as a text, whatever its types make of that."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from jupyter_remote.worker import value_text
from jupyter_remote.worker.value_text import CHARS, text_of


@pytest.fixture(autouse=True)
def _no_alarm_is_left() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    yield
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before


@pytest.mark.parametrize(
    "value",
    [
        *(None, 3, 2.5, "a 'b'", b"x", bytearray(b"y"), range(3), ...),
        *([], [1], (), (1,), (1, 2), {}, {1: [2, {"a"}]}, set(), {1}, frozenset({2}), frozenset()),
        [[1, [2, (3, {"k": "v"})]]],
    ],
)
def test_a_small_value_is_its_repr(value: Any) -> None:
    assert text_of(value) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        *("x" * 10**7, b"x" * 10**7, list(range(10**6)), dict.fromkeys(range(10**6))),
        *(set(range(10**6)), [[[0] * 1000] * 1000] * 1000, tuple("abc" * 10**5)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_large_value_is_cut_and_its_rest_is_not_made(value: Any) -> None:
    began = time.thread_time()
    text = text_of(value)
    assert time.thread_time() - began < 1
    assert len(text) == CHARS + 1
    assert text.endswith("…")


class Raises:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error


class Endless:
    def __repr__(self) -> str:
        while True:
            pass


class Stubborn:
    """Swallows the first of what is to stop it."""

    def __repr__(self) -> str:
        try:
            time.sleep(600)
        except BaseException:
            time.sleep(600)
        return "done"


class NoText:
    def __repr__(self) -> Any:
        return 5


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), RecursionError()])
def test_a_repr_that_raises_is_named(error: BaseException) -> None:
    text = text_of([1, Raises(error)])
    assert text == f"[1, … (its repr raised {type(error).__name__})"


def test_a_repr_that_gives_no_text_is_named() -> None:
    assert "TypeError" in text_of(NoText())


@pytest.mark.parametrize("value", [Endless(), Stubborn()])
def test_a_repr_that_does_not_end_is_interrupted(
    value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(value_text, "LIMIT_S", 0.05)
    began = time.perf_counter()
    assert "its repr took longer than 0.05 s" in text_of({"a": value})
    assert time.perf_counter() - began < 300  # the first sleep takes longer


def test_an_interrupt_goes_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        text_of(Raises(KeyboardInterrupt()))


def test_a_list_that_holds_itself_has_a_text() -> None:
    endless: list[Any] = [1]
    endless.append(endless)
    assert text_of(endless).startswith("[1, [1, [1, ")
