from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.notebook.kernels import Kernel, started


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    manager, client = started()
    kernel = Kernel(manager, client)
    kernel.run("%load_ext jupyter_remote\n%remote status")
    yield kernel
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()
