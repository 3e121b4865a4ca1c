"""What a worker says of its packages."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sys
from pathlib import Path

import pytest

from jupyter_remote import distributions
from jupyter_remote.worker import installed


def test_a_worker_says_which_python_and_packages_it_has() -> None:
    environment = installed.environment()
    assert environment.python == platform.python_version()
    assert environment.magic == importlib.util.MAGIC_NUMBER.hex()
    for name in ("numpy", "pytest", "typing-extensions"):
        assert environment.packages[name] == importlib.metadata.version(name)


def test_of_two_versions_the_first_in_the_path_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, version in (("first", "1.0"), ("second", "2.0")):
        (tmp_path / folder / f"Some_Thing-{version}.dist-info").mkdir(parents=True)
    folders = [str(tmp_path / name) for name in ("none", "first", "second")]
    monkeypatch.setattr(sys, "path", folders)
    assert distributions.installed() == {"some-thing": "1.0"}
