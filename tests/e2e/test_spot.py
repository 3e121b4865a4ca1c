"""Machines that are taken away: their jobs end once, are charged once, and lose little."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import jupyter_remote as jr
from tests.e2e.spot import check, taken_away
from tests.server.conftest import Running


@pytest.fixture
def server(tmp_path: Path, fresh_home: Path) -> Iterator[Running]:
    running = Running(tmp_path, lease_s=1.5, dead_man_s=0.9, heartbeat_s=0.3)
    yield running
    running.stop()


@pytest.fixture
def client(server: Running) -> Iterator[jr.Client]:
    with jr.Client(server.url, server.token) as client:
        yield client


def notices(job: jr.Job) -> list[str]:
    return [msgspec.json.decode(e.data)["text"] for e in job.events if e.type == "notice"]


def test_a_job_that_checkpoints_survives_every_notice(
    server: Running, client: jr.Client, tmp_path: Path
) -> None:
    job, told = taken_away(server, client, tmp_path, 3)
    check(server, client, job, told, 3, "preempted")
    lines = [line for line in notices(job) if line.startswith("preempted after ")]
    assert len(lines) == 3
    assert lines[0].endswith("taken away; goes on from its checkpoint on another one")
    starts = [line for line in job.stdout.splitlines() if "goes on at" in line]
    assert [line.split()[1] for line in starts] == ["1", "2", "3", "4"]
    assert job.view.status == "completed"


def test_a_machine_that_is_gone_without_notice_costs_one_interval_at_most(
    server: Running, client: jr.Client, tmp_path: Path
) -> None:
    job, told = taken_away(server, client, tmp_path, 1, notice=False)
    check(server, client, job, told, 1, "lost")
