"""A client for a whole file, and calls that the tests hold in their hands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import jupyter_remote as jr

LIMIT_S = 30.0


@pytest.fixture(scope="module")
def client() -> Iterator[jr.Client]:
    with jr.Client(namespace={}) as client:
        yield client


def until(fulfilled: Callable[[], bool]) -> None:
    """Wait for a condition. Raises AssertionError after the limit."""
    waiter = threading.Event()
    for _ in range(int(LIMIT_S / 0.01)):
        if fulfilled():
            return
        waiter.wait(0.01)
    raise AssertionError("it did not come true")


def hold(folder: str, name: str) -> str:
    """Runs over there until :func:`release` is called here."""
    import pathlib
    import time

    pathlib.Path(folder, f"{name}.begun").touch()
    while not pathlib.Path(folder, f"{name}.free").exists():
        time.sleep(0.005)
    return name


def has_begun(folder: Path, name: str) -> bool:
    return (folder / f"{name}.begun").exists()


def release(folder: Path, name: str) -> None:
    (folder / f"{name}.free").touch()
