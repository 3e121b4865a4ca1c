"""Waiting for a condition, with a limit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest


def until(condition: Callable[[], object], limit_s: float = 60.0) -> None:
    """Return when ``condition`` holds; fail when it does not within the limit."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {limit_s} s: {condition}")
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Has this process ended (a zombie counts)?"""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return True
    return state in "ZX" or not os.path.exists(f"/proc/{pid}")
