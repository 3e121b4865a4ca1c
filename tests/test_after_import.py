"""Something to be done when a module is imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_remote.imports import after_import


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that nobody has imported."""
    name = f"imported_later_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text("value = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def test_nothing_is_imported_for_it_and_the_module_is_whole_when_it_is(module: str) -> None:
    seen: list[int] = []
    after_import(module, lambda found: seen.append(found.value))
    assert module not in sys.modules
    assert seen == []
    importlib.import_module(module)
    assert seen == [1]


def test_what_is_there_already_is_seen_at_once(module: str) -> None:
    importlib.import_module(module)
    seen: list[str] = []
    after_import(module, lambda found: seen.append(found.__name__))
    assert seen == [module]


def test_several_may_wait_for_one_module(module: str) -> None:
    seen: list[str] = []
    after_import(module, lambda found: seen.append("one"))
    after_import(module, lambda found: seen.append("two"))
    importlib.import_module(module)
    assert seen == ["one", "two"]


def test_a_module_that_does_not_exist_stays_an_import_error() -> None:
    after_import("no_such_module_anywhere", lambda found: None)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module_anywhere")
