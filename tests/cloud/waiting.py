"""Waiting for what simulated machines do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def until(condition: Callable[[], T], limit_s: float = 60.0, pause_s: float = 0.02) -> T:
    """What ``condition`` gives once it is true; the test fails when that takes too long."""
    end = time.monotonic() + limit_s
    while not (found := condition()):
        if time.monotonic() > end:
            pytest.fail(f"not within {limit_s:.0f} s: {condition.__name__}")
        time.sleep(pause_s)
    return found
