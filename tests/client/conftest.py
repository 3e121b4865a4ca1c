"""A fake backend, and clients of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jupyter_remote.client.api import Client
from jupyter_remote.settings import Settings

from .fake_backend import TOKEN, FakeBackend


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    fake = FakeBackend()
    yield fake
    fake.state.hold.set()
    fake.kill()


@pytest.fixture
def client(backend: FakeBackend) -> Iterator[Client]:
    with Client(settings=Settings(url=backend.url, token=TOKEN)) as one:
        yield one
