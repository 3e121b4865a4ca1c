"""Calls for whichever worker is free."""

from __future__ import annotations

import itertools
import os
import threading
from pathlib import Path

import numpy as np
import pytest

import jupyter_remote as jr
from tests.views.gates import LIMIT_S, Gate, held


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def test_two_held_calls_run_on_two_workers(balanced, gate):
    results = [balanced.apply(held, gate.path) for _ in range(2)]
    gate.open()
    assert [r.get() for r in results] == ["open", "open"]
    assert sorted(r.engine_id for r in results) == [0, 1]


def test_targets_say_which_workers_may_take_calls(client):
    for number in (0, 1):
        view = client.load_balanced_view(number)
        calls = [view.apply(os.getpid) for _ in range(4)]
        assert {r.get() for r in calls} == {client[number].apply_sync(os.getpid)}
        assert set(view.map_sync(_pid, range(8))) == {client[number].apply_sync(os.getpid)}
    assert client.load_balanced_view("all").targets is None


def _pid(_: object) -> int:
    return os.getpid()


@pytest.mark.parametrize("chunksize", [None, 1, 2, 100])
def test_map_keeps_the_order_whatever_the_chunks(balanced, chunksize):
    result = balanced.map_async(lambda x: 2 * x, range(25), chunksize=chunksize)
    assert len(result) == 25
    assert result.get() == [2 * x for x in range(25)]
    assert (result[2], result[1:3], result[-1], result.progress) == (4, [2, 4], 48, 25)


def test_a_chunksize_says_how_many_items_a_call_has(balanced):
    result = balanced.map(abs, range(5), chunksize=2)
    result.get()
    assert len(result.msg_ids) == 3
    with pytest.raises(jr.JupyterRemoteError, match="at least 1"):
        balanced.map(abs, [1], chunksize=0)


def test_map_takes_sequences_of_any_kind_and_length(balanced):
    def pair(x, y):
        return x, y

    assert balanced.map_sync(abs, []) == []
    assert balanced.map_sync(pair, [1, 2, 3], (n for n in [4])) == [(1, 4)]
    assert balanced.map_sync(abs, np.array([-1, 2])) == [1, 2]
    with pytest.raises(jr.JupyterRemoteError, match="must have some sequences"):
        balanced.map(abs)


def test_unordered_results_come_as_they_are_done(balanced, gate):
    def maybe(wait: bool) -> str:
        return held(gate.path) if wait else "first"

    found = iter(balanced.map(maybe, [True, False], chunksize=1, ordered=False))
    assert next(found) == "first"
    gate.open()
    assert list(found) == ["open"]


def test_exceptions_take_the_place_of_their_items_when_told_to(balanced):
    found = balanced.map_sync(lambda x: 1 / x, [1, 0, 2], return_exceptions=True)
    assert (found[0], found[2]) == (1, 0.5)
    assert isinstance(found[1], ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        raise found[1]


def test_a_parallel_function_is_called_with_chunks(balanced):
    @balanced.parallel(block=True, chunksize=2)
    def sizes(numbers):
        return [len(numbers)] * len(numbers)

    assert sizes(range(5)) == [2, 2, 2, 2, 1]
    np.testing.assert_array_equal(
        balanced.parallel(block=True)(np.negative)(np.arange(3)), [0, -1, -2]
    )


def test_items_of_a_map_are_free_to_be_changed(balanced, gate):
    array, numbers = np.zeros(1), [0]

    def opened(array: np.ndarray, numbers: list[int], path: str) -> tuple[float, int]:
        held(path)
        return float(array[0]), numbers[0]

    results = [
        balanced.map_async(opened, [array] * 6, [numbers] * 6, [gate.path] * 6, **options)
        for options in ({}, {"chunksize": 2}, {"return_exceptions": True})
    ]
    array[0] = numbers[0] = 1
    gate.open()
    assert [result.get(LIMIT_S) for result in results] == [[(0.0, 0)] * 6] * 3


def test_parts_of_arrays_are_free_to_be_changed(balanced, gate):
    array = np.zeros(6)

    @balanced.parallel(block=False)
    def opened(part):
        return held(path) and part

    path = gate.path
    result = opened(array)
    array[:] = 1
    gate.open()
    np.testing.assert_array_equal(result.get(LIMIT_S), np.zeros(6))


@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_item_that_cannot_be_sent_fails_alone_wherever_it_stands(balanced, at):
    items: list[object] = [-1, -2]
    items.insert(at, threading.Lock())
    result = balanced.map_async(_pid, items, chunksize=1, return_exceptions=True)
    assert result.wait(LIMIT_S)
    waited_for = balanced.map_sync(_pid, items, chunksize=1, return_exceptions=True)
    for found in (result.get(), waited_for):
        failed = [isinstance(value, jr.JupyterRemoteError) for value in found]
        assert failed == [n == at for n in range(3)]


# --- imap -------------------------------------------------------------------------------------
def test_imap_takes_endless_iterators_and_no_more_of_them_than_it_needs(balanced):
    taken = []

    def numbers():
        for n in itertools.count():
            taken.append(n)
            yield n

    found = balanced.imap(abs, numbers(), max_outstanding=3)
    assert taken == [0, 1, 2]
    assert [next(found) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(taken) == 8
    found.cancel()
    assert list(found) == [5, 6, 7]


def test_imap_gives_what_is_done_first_when_order_does_not_matter(balanced, gate):
    def maybe(wait: bool) -> str:
        return held(gate.path) if wait else "first"

    found = balanced.imap(maybe, [True, False], ordered=False)
    assert next(found) == "first"
    gate.open()
    assert list(found) == ["open"]


def test_imap_without_a_limit_takes_all_at_once(balanced):
    items = iter(range(30))
    found = balanced.imap(abs, items, max_outstanding=0)
    assert next(items, None) is None
    assert list(found) == list(range(30))


def test_imap_raises_or_gives_exceptions(balanced):
    with pytest.raises(ZeroDivisionError):
        list(balanced.imap(lambda x: 1 / x, [1, 0]))
    found = list(balanced.imap(lambda x: 1 / x, [1, 0, 2], return_exceptions=True))
    assert [type(f) for f in found] == [float, found[1].__class__, float]
    assert isinstance(found[1], jr.RemoteError)


@pytest.mark.parametrize("ordered", [True, False])
def test_imap_goes_on_after_an_exception(balanced, ordered):
    found = balanced.imap(lambda x: 1 / x, [1, 0, 2, 4], max_outstanding=1, ordered=ordered)
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert [next(found), next(found)] == [0.5, 0.25]
    with pytest.raises(StopIteration):
        next(found)


# --- flags ------------------------------------------------------------------------------------
def test_flags_are_checked(client):
    view = client.load_balanced_view(retries=2, block=True)
    assert (view.retries, view.block) == (2, True)
    with pytest.raises(KeyError, match="Invalid name"):
        view.set_flags(nothing=1)
    with pytest.raises(ValueError, match="Invalid dependency: 5"):
        view.set_flags(after=5)
    with pytest.raises(ValueError, match="Invalid timeout"):
        view.set_flags(timeout=-1)
    with pytest.raises(TypeError):
        view.set_flags(retries="many")
    assert (view.after, view.timeout, view.retries) == (None, None, 2)
