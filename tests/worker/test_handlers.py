"""Signal handlers of user code wait while ours runs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from jupyter_remote.worker.handlers import UsersHandlers

NUMBERS = (signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    before = [signal.getsignal(number) for number in NUMBERS]
    yield
    for number, handler in zip(NUMBERS, before, strict=True):
        signal.signal(number, handler)


def raises(number: int, frame: object) -> None:
    raise TimeoutError(number)


def test_a_handler_waits_until_its_time_and_may_raise_then() -> None:
    signal.signal(signal.SIGUSR1, raises)
    handlers = UsersHandlers()
    handlers.hold()
    signal.raise_signal(signal.SIGUSR1)
    handlers.put_back()  # for the next call, which it is not for
    handlers.hold()
    with pytest.raises(TimeoutError), handlers.in_place():
        pytest.fail("it was to raise before")
    with handlers.in_place():  # once
        assert signal.getsignal(signal.SIGUSR1) is raises


def test_one_that_raises_takes_no_other_along() -> None:
    for number in NUMBERS:
        signal.signal(number, raises)
    handlers = UsersHandlers()
    handlers.hold()
    for number in NUMBERS:
        signal.raise_signal(number)
    for _ in NUMBERS:
        with pytest.raises(TimeoutError), handlers.in_place():
            pytest.fail("it was to raise before")
    handlers.put_back()
    assert [signal.getsignal(number) for number in NUMBERS] == [raises, raises]


def test_in_its_time_it_runs_at_once() -> None:
    came: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _: came.append(number))
    handlers = UsersHandlers()
    handlers.hold()
    with handlers.in_place():
        signal.raise_signal(signal.SIGUSR1)
        assert came == [signal.SIGUSR1]


async def test_what_an_event_loop_hears_is_heard_once() -> None:
    came: list[int] = []
    some = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, lambda: (came.append(1), some.set()))
    handlers = UsersHandlers()
    handlers.hold()
    signal.raise_signal(signal.SIGUSR1)
    with handlers.in_place():
        await asyncio.wait_for(some.wait(), 10)
    loop.remove_signal_handler(signal.SIGUSR1)
    assert came == [1]
