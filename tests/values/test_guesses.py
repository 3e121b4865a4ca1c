"""Digests that a plan need not compute again."""

from __future__ import annotations

import numpy
import pytest

from jupyter_remote import guesses, values
from jupyter_remote.guesses import LEAST_BYTES, guessing, named
from jupyter_remote.mapping import digest_of


@pytest.fixture
def large() -> numpy.ndarray:
    return numpy.arange(LEAST_BYTES // 8 + 1000, dtype=numpy.float64)


def test_a_plan_does_not_hash_again_what_was_hashed(
    large: numpy.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = named(memoryview(large))
    monkeypatch.setattr(guesses, "digest_of", lambda view: pytest.fail("it was hashed again"))
    with guessing() as guessed:
        assert named(memoryview(large)) == digest
    assert guessed == [digest]


@pytest.mark.parametrize("change", ["scaled", "first", "last"])
def test_content_that_changed_is_hashed(large: numpy.ndarray, change: str) -> None:
    before = named(memoryview(large))
    match change:
        case "scaled":
            large *= 2
        case "first":
            large[0] = 7
        case "last":
            large[-1] = 7
    with guessing() as guessed:
        after = named(memoryview(large))
    assert after == digest_of(large) != before
    assert guessed == []


def test_what_is_sent_is_always_hashed_whole(large: numpy.ndarray) -> None:
    named(memoryview(large))
    large[1001] = -1.0  # which no sample sees
    with guessing(False) as guessed:
        assert named(memoryview(large)) == digest_of(large)
    assert named(memoryview(large)) == digest_of(large)
    assert guessed == []


def test_small_buffers_are_not_guessed() -> None:
    small = numpy.arange(1000.0)
    with guessing() as guessed:
        assert [named(memoryview(small)) for _ in range(2)] == [digest_of(small)] * 2
    assert guessed == []


def test_arrays_of_any_shape_are_known_again() -> None:
    square = numpy.ones((2100, 2100))
    once = values.pack(square, chunked=False).parcel
    with guessing() as guessed:
        again = values.pack(square, chunked=False).parcel
    assert [s.digest for s in again.segments] == [s.digest for s in once.segments]
    assert len(guessed) == 1
