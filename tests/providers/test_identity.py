"""The id of a backend, by which it knows its machines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jupyter_remote.errors import UsageError
from jupyter_remote.providers.identity import FILE, backend_id, known_id


def test_a_home_has_one_id_for_good_and_another_home_another(tmp_path: Path):
    first = backend_id(tmp_path / "a")
    assert backend_id(tmp_path / "a") == known_id(tmp_path / "a") == first
    assert len(first) == 16
    assert backend_id(tmp_path / "b") != first


def test_processes_that_start_at_once_agree(tmp_path: Path):
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: backend_id(tmp_path), range(32)))
    assert len(ids) == 1
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


def test_looking_for_an_id_makes_none(tmp_path: Path):
    assert known_id(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "*", "0123"])
def test_a_damaged_id_is_told_and_not_replaced(tmp_path: Path, text: str):
    (tmp_path / FILE).write_text(text)
    for ask in (backend_id, known_id):
        with pytest.raises(UsageError, match="holds no id of a backend"):
            ask(tmp_path)
    assert (tmp_path / FILE).read_text() == text
