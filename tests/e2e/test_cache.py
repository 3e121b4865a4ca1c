"""What is kept on a real backend, and what becomes of it when its bytes are damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jupyter_remote as jr
from jupyter_remote.client.job import Job
from jupyter_remote.connection import home_of
from jupyter_remote.wire import Parcel


def large(n: int) -> Any:
    import numpy

    print("made it")
    return numpy.arange(n) * 2.0


def said(job: Job) -> list[str]:
    return [line.text for line in job.history]


@pytest.fixture
def caching(client: jr.Client) -> jr.Client:
    return client.with_options(cache=True)


def blobs_of(caching: jr.Client, job: Job) -> list[Path]:
    assert job.ended is not None
    assert job.ended.result is not None
    value = job.ended.result.value
    assert isinstance(value, Parcel)
    folder = home_of(caching.settings) / "blobs"
    files = [next(folder.rglob(s.digest)) for s in value.segments if s.data is None]
    assert files
    return files


def test_a_large_result_is_given_again_without_a_run(caching: jr.Client) -> None:
    first = caching.submit(large, 100_000)
    expected = first.result()
    again = caching.submit(large, 100_000)
    np.testing.assert_array_equal(again.result(), expected)
    assert again.view.cached_from == first.id
    assert again.stdout == "made it\n"
    assert "given to worker" not in " ".join(said(again))
    assert "added 1 entry to the cache (" in said(first)[-1]
    other = caching.submit(large, 100_001)
    assert other.result().shape == (100_001,)
    assert "not in the cache: input `n` changed: 100000 → 100001" in said(other)[0]


@pytest.mark.parametrize("damage", ["other bytes", "cut short", "gone"])
def test_a_damaged_result_is_a_miss_that_says_so(caching: jr.Client, damage: str) -> None:
    first = caching.submit(large, 100_000)
    expected = first.result()
    for file in blobs_of(caching, first):
        data = file.read_bytes()
        file.unlink()  # what is mapped stays as it is
        if damage != "gone":
            file.write_bytes(bytes(len(data)) if damage == "other bytes" else data[:-1])
    again = caching.submit(large, 100_000)
    np.testing.assert_array_equal(again.result(), expected)
    assert again.view.cached_from == ""
    assert "its stored result is damaged or gone; it runs again" in said(again)[0]
    third = caching.submit(large, 100_000)
    np.testing.assert_array_equal(third.result(), expected)
    assert third.view.cached_from == again.id


def test_what_is_taken_costs_nothing_and_says_what_it_saved(caching: jr.Client) -> None:
    priced = caching.with_options(machine="g5.xlarge", timeout=60)
    first = priced.submit(large, 10)
    first.result()
    spent = caching.balance()
    assert first.view.money.cost_ucredits > 0
    again = priced.submit(large, 10)
    again.result()
    assert caching.balance() == spent
    assert again.view.money.cost_ucredits == 0
    assert again.view.saved_ucredits == first.view.money.cost_ucredits
    stats = caching.cache_stats()
    assert (stats.hits, stats.misses, stats.entries) == (1, 1, 1)
    assert stats.saved_ucredits == first.view.money.cost_ucredits
    assert stats.newest[0].name == "large"


def test_calls_of_a_map_run_each_time_and_say_so(caching: jr.Client) -> None:
    with pytest.warns(UserWarning, match="calls of a map are not cached"):
        batch = caching.map(large, [1, 2])
    assert [len(job.result()) for job in batch] == [1, 2]
    assert caching.cache_stats().entries == 0


def test_a_result_is_found_again_by_its_id_from_elsewhere(caching: jr.Client) -> None:
    caching.submit(large, 100_000).result()
    again = caching.submit(large, 100_000)
    again.result()
    with jr.Client() as other:
        found = other.job(again.id)
        assert len(found.result()) == 100_000
        assert found.stdout == "made it\n"
