"""A call leaves the GPU to what comes after it: run by `make test-gpu`, on a computer with one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import jupyter_remote as jr
from jupyter_remote.wire import JobSpec

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="is about a GPU")


@pytest.fixture
def client(fresh_home: Path) -> Iterator[jr.Client]:
    with jr.Client() as client:
        yield client


TAKE_MOST = """
import torch
most = torch.cuda.get_device_properties(0).total_memory * 3 // 4
last = int(torch.ones(most, dtype=torch.uint8, device="cuda")[-1])
"""


def take_most() -> Any:
    names: dict[str, Any] = {}
    exec(TAKE_MOST, names)
    return names["last"]


def fail_over_there() -> Any:
    import torch

    return torch.ones(3, device="cuda")[torch.tensor([7], device="cuda")].cpu()


def test_a_cell_after_a_call_has_all_of_the_memory(client: jr.Client) -> None:
    assert client.submit(take_most).result() == 1
    client.submit_spec(JobSpec(kind="cell", code=TAKE_MOST)).result()  # a process of its own
    assert client.submit(take_most).result() == 1


def test_a_call_after_one_that_broke_its_gpu_runs(client: jr.Client) -> None:
    with pytest.raises(RuntimeError, match="device-side assert"):
        client.submit(fail_over_there).result()
    assert client.submit(take_most).result() == 1
