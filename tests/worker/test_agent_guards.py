"""What ends a job by itself is announced first; what is left to spend bounds the run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from jupyter_remote.clock import FakeClock
from jupyter_remote.wire import Answer, GpuMetrics, WorkerMessage
from tests.worker.agents_server import FakeServer
from tests.worker.conftest import Begin
from tests.worker.test_agent import WAIT


class Gpus:
    """What is read next."""

    def __init__(self, use_percent: float | None) -> None:
        self.use_percent = use_percent

    def read(self, own: object = ()) -> list[GpuMetrics]:
        return [] if self.use_percent is None else [GpuMetrics("T4", self.use_percent)]


def with_gpus(agent: Any, gpus: Gpus) -> None:
    agent._means.gpus = gpus


def notices(server: FakeServer, job: str) -> list[str]:
    return [data["text"] for data in server.data(job, "notice")]


async def test_a_job_that_uses_no_gpu_is_told_and_then_stopped(server: FakeServer, begin: Begin):
    with_gpus(await begin(), Gpus(0.0))
    job = await server.assign(WAIT, gpu_idle_s=2.0)
    done = await server.end_of(job)
    assert (done.outcome, done.reason) == ("expired", "gpu_idle")
    assert done.detail.startswith("no GPU was used for ")
    (told,) = notices(server, job)
    assert re.match(r"no GPU was used for [\d.]+ s: the job is stopped in 0\.5 s", told)


async def test_a_job_that_uses_its_gpu_is_left_alone(server: FakeServer, begin: Begin):
    with_gpus(await begin(), Gpus(80.0))
    code = "import time\ntime.sleep(1.8)"  # longer than the limit
    job = await server.assign(code, gpu_idle_s=1.0)
    assert (await server.end_of(job)).outcome == "succeeded"
    assert notices(server, job) == []


async def test_without_a_gpu_it_is_told_that_nothing_is_watched(
    server: FakeServer, begin: Begin, tmp_path: Path
):
    with_gpus(await begin(), Gpus(None))
    gate = tmp_path / "gate"
    waits = f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)"
    job = await server.assign(f"import os, time\n{waits}\ntime.sleep(1.8)", gpu_idle_s=0.5)
    await server.until(lambda: notices(server, job))
    gate.touch()
    assert (await server.end_of(job)).outcome == "succeeded"
    assert notices(server, job) == ["no GPU can be seen here: --gpu-idle has no effect"]


async def test_the_backend_may_watch_all_jobs_that_do_not_say(server: FakeServer, begin: Begin):
    server.gpu_idle_s = 1.0
    with_gpus(await begin(), Gpus(0.0))
    own = await server.assign("import time\ntime.sleep(1.8)", gpu_idle_s=0.0)
    assert (await server.end_of(own)).outcome == "succeeded"
    job = await server.assign(WAIT)
    assert (await server.end_of(job)).reason == "gpu_idle"


async def test_a_time_limit_is_announced_in_the_output(server: FakeServer, begin: Begin):
    clock = FakeClock()
    server.heartbeat_s, server.dead_man_s = 1e9, 1e9
    await begin(clock=clock)
    job = await server.assign(f"kernel.print('begun')\n{WAIT}", limits_timeout_s=600.0)
    await server.until(lambda: "begun" in server.text(job))
    clock.advance(545.0)
    await server.until(lambda: notices(server, job))
    assert notices(server, job)[0].startswith("it is stopped in 5")
    assert notices(server, job)[0].endswith("at its time limit of 10 min 00 s")
    assert job not in server.completes
    clock.advance(60.0)
    assert (await server.end_of(job)).reason == "time_limit"


@pytest.mark.parametrize(("left", "reason"), [(200, "cost_limit"), (None, "time_limit")])
async def test_what_is_left_to_spend_bounds_the_run(
    server: FakeServer, begin: Begin, left: int | None, reason: str
):
    """A hold may be cut by a budget after the job was sent, and an earlier try has used of it."""

    def answer(message: WorkerMessage) -> Answer:
        return Answer(req=0, budget_left_ucredits=left)

    await begin()
    server.answers = answer
    job = await server.assign(
        WAIT, limits_timeout_s=1.0, max_run_s=1.0, rate_ucredits_per_h=3_600_000
    )
    done = await server.end_of(job)
    assert (done.outcome, done.reason) == ("expired", reason)
