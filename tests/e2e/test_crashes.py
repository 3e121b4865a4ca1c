"""A backend or a worker is killed in the middle; nothing hangs, nothing runs twice unasked."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

import jupyter_remote as jr
from tests.e2e.waiting import gone, until


def wait_for_gate(journal: str, gate: str, i: int) -> int:
    import os
    import time

    with open(journal, "a") as f:
        f.write(f"{i} {os.getpid()}\n")
    end = time.monotonic() + 60
    while not os.path.exists(gate) and time.monotonic() < end:
        time.sleep(0.02)
    return i * i


@pytest.fixture
def gated(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "journal", tmp_path / "gate"


def started(journal: Path) -> list[str]:
    return journal.read_text().splitlines() if journal.exists() else []


def agent_of(backend: int) -> int:
    """The process id of the worker agent of this backend."""
    for child in psutil.Process(backend).children(recursive=True):
        if "jupyter_remote.worker.agent" in " ".join(child.cmdline()):
            return child.pid
    pytest.fail("the backend has no agent")


@pytest.fixture
def ten_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_REMOTE_SLOTS", "10")


def test_ten_running_jobs_survive_a_killed_backend_and_run_once(ten_slots, client, gated):
    journal, gate = gated
    jobs = [client.submit(wait_for_gate, str(journal), str(gate), i) for i in range(10)]
    until(lambda: len(started(journal)) == 10)
    backend = client.info().pid
    os.kill(backend, signal.SIGKILL)
    until(lambda: gone(backend))
    gate.touch()
    assert [job.result(timeout=60) for job in jobs] == [i * i for i in range(10)]
    assert client.info().pid != backend
    assert len(started(journal)) == 10


def test_a_killed_worker_is_replaced_and_its_jobs_are_tried_again(client, gated):
    journal, gate = gated
    job = client.submit(wait_for_gate, str(journal), str(gate), 3)
    until(lambda: len(started(journal)) == 1)
    kernel = int(started(journal)[0].split()[1])
    os.kill(agent_of(client.info().pid), signal.SIGKILL)
    until(lambda: gone(kernel))
    gate.touch()
    assert job.result(timeout=100) == 9
    assert len(started(journal)) == 2


def test_a_job_that_kills_its_kernel_fails_with_the_name_of_the_signal(client):
    def crash() -> None:
        import ctypes

        print("about to crash", flush=True)
        ctypes.string_at(0)

    with pytest.raises(jr.JobLost, match="SIGSEGV"):
        client.submit(crash).result(timeout=60)


def test_other_jobs_are_untouched_by_one_that_exits(client):
    def leave() -> None:
        import os

        os._exit(7)

    bad = client.submit(leave)
    good = [client.submit(abs, -i) for i in range(5)]
    assert [job.result(timeout=60) for job in good] == list(range(5))
    with pytest.raises(jr.JobLost, match="7"):
        bad.result(timeout=60)
    assert bad.view.attempt == 1
