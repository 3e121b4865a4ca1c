"""A worker that stood still past its lease: nothing that it says afterwards is taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

import jupyter_remote as jr
from jupyter_remote.model import JobId
from tests.e2e.waiting import gone, until
from tests.server.conftest import Running


def count_until_gate(journal: str, gate: str) -> int:
    import os
    import time

    with open(journal, "a") as f:
        f.write(f"{os.getpid()}\n")
    end, n = time.monotonic() + 400, 0
    while not os.path.exists(gate) and time.monotonic() < end:
        print(n, flush=True)
        n += 1
        time.sleep(0.02)
    return os.getpid()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path, lease_s=9.0, dead_man_s=6.0, heartbeat_s=0.3)
    yield running
    running.stop()


@pytest.fixture
def agents(server: Running, tmp_path: Path) -> Iterator[dict[str, psutil.Process]]:
    """Two, one slot each, by the names that they say hello with."""
    started = []
    for n in range(2):
        config = tmp_path / f"agent-{n}.json"
        fields = {"url": server.url, "token": server.make_token("worker"), "instance": f"i{n}"}
        config.write_bytes(msgspec.json.encode({**fields, "home": str(tmp_path / f"home-{n}")}))
        command = [sys.executable, "-m", "jupyter_remote", "worker", "--config", str(config)]
        started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
    board = server.backend.scheduler.board
    until(lambda: len(board.agents) == 2)
    by_instance = {f"i{n}": psutil.Process(agent.pid) for n, agent in enumerate(started)}
    yield {agent.id: by_instance[agent.instance] for agent in board.agents.values()}
    for agent in started:
        os.kill(agent.pid, signal.SIGCONT)
        agent.terminate()
        agent.wait(60)


def test_a_zombie_writes_nothing_and_its_kernel_is_killed(server, agents, tmp_path):
    journal, gate = tmp_path / "journal", tmp_path / "gate"
    store = server.backend.store
    with jr.Client(server.url, server.token) as client:
        job = client.submit(count_until_gate, str(journal), str(gate))
        id = JobId(job.id)
        until(lambda: journal.exists() and "5\n" in job.stdout)
        kernel = int(journal.read_text())
        zombie = agents[store.job(id).worker]
        zombie.suspend()
        until(lambda: len(journal.read_text().split()) == 2)  # given away, and started there
        assert (store.job(id).epoch, store.job(id).starts) == (2, 2)
        before = [e.cursor for e in store.events(after=0, job=id, limit=100_000) if e.epoch == 1]
        os.kill(kernel, 0)  # it ran on, for nobody stopped it
        zombie.resume()
        until(lambda: gone(kernel))
        until(lambda: len(server.backend.scheduler.board.agents) == 2)
        gate.touch()
        assert job.result(60) == int(journal.read_text().split()[1])
        after = [e.cursor for e in store.events(after=0, job=id, limit=100_000) if e.epoch == 1]
        assert after == before
        assert job.view.attempt == 2
        assert store.audit() == []
