"""Code as users write it, for the type checker: the public face has types that say something."""

from __future__ import annotations

import concurrent.futures
from typing import Any, assert_type

import jupyter_remote as jr


@jr.remote
def area(width: float, height: float = 1.0) -> float:
    return width * height


@jr.remote(machine="g5.xlarge", max_cost=2.0)
def label(n: int) -> str:
    return f"n{n}"


def call() -> None:
    assert_type(area(2.0, height=3.0), float)
    assert_type(label(3), str)
    assert_type(area.local(2.0), float)


def submit(client: jr.Client) -> None:
    job = client.submit(sum, [1, 2])
    assert_type(job, jr.Job)
    assert_type(job.done(), bool)
    concurrent.futures.wait([job], timeout=1.0)
    assert_type(client.map(str, [1, 2]), jr.Batch)
    assert_type(client.plan(sum, [1]), jr.Plan)
    assert_type(job.cancel(checkpoint=True), bool)
    assert_type(client.repeat(job.id, resume=True, max_cost=1.0), jr.Job)


@jr.on_checkpoint
def save() -> dict[str, int]:
    return {"step": 1}


def refuse() -> None:
    try:
        area(1.0)
    except jr.RemoteError as error:
        assert_type(error.ename, str)
    except jr.JupyterRemoteError as error:
        assert_type(error.hint, str)


async def wait(client: jr.Client) -> object:
    return await client.submit(max, 1, 2)


def execute(client: jr.Client) -> None:
    with client.executor(2, machine="local") as executor:
        concurrent.futures.wait([executor.submit(max, 1, 2)], timeout=1.0)
        assert_type(list(executor.map(str, [1, 2], chunksize=2)), list[Any])


async def iterate(client: jr.Client) -> object:
    return [value async for value in client.view(2).map_async(str, [1, 2])]
