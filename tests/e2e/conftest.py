from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import jupyter_remote as jr


@pytest.fixture
def client(fresh_home: Path) -> Iterator[jr.Client]:
    """A client on an embedded backend of its own."""
    with jr.Client() as client:
        yield client
