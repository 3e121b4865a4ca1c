from __future__ import annotations

from collections.abc import Iterator

import pytest

import jupyter_remote as jr
from jupyter_remote.client.views.balanced import LoadBalancedView
from jupyter_remote.client.views.view import DirectView
from tests.conftest import isolate, stop_backend

WORKERS = 2


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[jr.Client]:
    """A client on an embedded backend of its own, with two workers."""
    env = isolate(tmp_path_factory.mktemp("views"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        with jr.Client() as client:
            client.wait_for_engines(WORKERS)
            yield client
        stop_backend(env)


@pytest.fixture
def view(client: jr.Client) -> DirectView:
    return client[:]


@pytest.fixture
def one(client: jr.Client) -> DirectView:
    return client[0]


@pytest.fixture
def balanced(client: jr.Client) -> LoadBalancedView:
    return client.load_balanced_view()
