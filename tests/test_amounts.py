from __future__ import annotations

import pytest

from jupyter_remote.amounts import duration, memory_bytes, memory_text, seconds, seconds_text, size
from jupyter_remote.errors import UsageError


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (1023.96, "1 kB"),
        (1024, "1 kB"),
        (1536 * 1024, "1.5 MB"),
        (1024**3 - 1, "1 GB"),
        (24 * 1024**3, "24 GB"),
        (3 * 1024**5, "3072 TB"),
    ],
)
def test_sizes_are_read_in_units_of_1024(count, text):
    assert size(count) == text


@pytest.mark.parametrize("text", ["16GB", "1536MB", "64MB", "1048577kB"])
def test_memory_is_typed_as_it_is_listed(text):
    assert memory_text(memory_bytes(text)) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1", "'1' is 1 B: a job needs 64 MB or more"),
        (1, "1 is 1 B: a job needs 64 MB or more"),
        ("63MB", "64 MB or more"),
        ("0", "64 MB or more"),
        ("much", "not an amount of memory"),
        ("-1GB", "not an amount of memory"),
        (True, "not an amount of memory"),
        (float("inf"), "not an amount of memory"),
        (float("nan"), "not an amount of memory"),
    ],
)
def test_memory_in_which_no_job_fits_is_refused_with_the_least(text, told):
    with pytest.raises(UsageError, match=told):
        memory_bytes(text)


@pytest.mark.parametrize(
    ("text", "count"), [("2h30m", 9000), ("90", 90), (90, 90), (".5 h", 1800), ("1d", 86_400)]
)
def test_times_are_read_in_each_way_that_they_are_written(text, count):
    assert seconds(text) == count


@pytest.mark.parametrize("text", ["soon", "2x", "", "-1h", "0", 0, True, None, float("inf")])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UsageError, match=r"not a time|more than zero"):
        seconds(text)


def test_times_are_listed_as_they_can_be_typed():
    assert [seconds_text(s) for s in (7200, 5400, 300, 90, 1.5)] == [
        "2h",
        "90m",
        "5m",
        "90s",
        "1.5s",
    ]


def test_durations_grow_coarser():
    assert [duration(s) for s in (0.0031, 8.44, 75, 11_220)] == [
        "0.0 s",
        "8.4 s",
        "1 min 15 s",
        "3 h 07 min",
    ]
