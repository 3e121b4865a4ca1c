"""Values beside messages, where the folder in memory has little room."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jupyter_remote import shared

MIB = 2**20
COUNT = 8


@pytest.fixture
def little_room(monkeypatch) -> None:
    """For three arrays."""
    real = os.statvfs

    def statvfs(path: str) -> object:
        if not str(path).startswith(str(shared.MEMORY)):
            return real(path)
        used = sum(file.stat().st_size for file in Path(path).iterdir())
        return SimpleNamespace(f_bavail=3.5 * MIB * shared.SHARE - used, f_frsize=1)

    monkeypatch.setattr(os, "statvfs", statvfs)


def wait_for(path: str) -> None:
    import os
    import time

    while not os.path.exists(path):
        time.sleep(0.01)


def test_arrays_of_calls_that_wait_are_there_when_it_is_their_turn(one, tmp_path, little_room):
    gate = tmp_path / "gate"
    held = one.apply_async(wait_for, str(gate))
    arrays = [np.full(MIB // 8, float(n)) for n in range(COUNT)]
    sums = [one.apply_async(np.sum, array) for array in arrays]
    gate.touch()
    held.get(30)
    assert [result.get(30) for result in sums] == [n * MIB / 8 for n in range(COUNT)]


def test_results_that_nobody_has_fetched_yet_are_not_lost(one, little_room):
    results = [one.apply_async(np.full, MIB // 8, float(n)) for n in range(COUNT)]
    assert all(result.wait(30) for result in results)
    one.apply_sync(np.sum, np.arange(MIB / 8))
    assert [result.get(30)[0] for result in results] == [float(n) for n in range(COUNT)]


def test_a_function_takes_its_arrays_as_they_were_when_it_was_called(balanced, tmp_path):
    gate = tmp_path / "gate"
    held = [balanced.apply_async(wait_for, str(gate)) for _ in range(2)]
    array = np.zeros(MIB // 8)
    waits = balanced.apply_async(lambda: float(array.sum()))
    array[:] = 1.0
    gate.touch()
    assert waits.get(30) == 0.0
    assert [result.get(30) for result in held] == [None, None]


def mapped() -> int:
    """Arrays in memory that this process shares."""
    from pathlib import Path

    return Path("/proc/self/maps").read_text().count("/dev/shm/jupyter-remote-")


def test_a_session_keeps_no_function_that_the_client_has_no_more(one):
    before = one.apply_sync(mapped)
    for n in range(1, 4):
        array = np.full(MIB // 8, n + 0.5)
        assert one.apply_sync(lambda a=array: float(a[0])) == n + 0.5
        assert one.map_sync(functools.partial(np.add, array), [n])[0][0] == 2 * n + 0.5
    assert one.apply_sync(mapped) <= before
