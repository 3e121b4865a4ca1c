"""What a running job shows reaches the client while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.waiting import until


def steps_behind_a_gate(gate: str) -> str:
    import os
    import time

    import jupyter_remote as jr

    print("begun")
    with jr.progress(total=4, desc="steps") as bar:
        bar.update(1)
        end = time.monotonic() + 60
        while not os.path.exists(gate) and time.monotonic() < end:
            time.sleep(0.02)
        bar.update(3)
    return "done"


def test_output_bars_and_metrics_are_there_before_the_end(client, tmp_path: Path):
    gate = tmp_path / "gate"
    job = client.submit(steps_behind_a_gate, str(gate))
    until(lambda: job.stdout == "begun\n")
    until(lambda: [(bar.n, bar.total) for bar in job.progress] == [(1, 4)])
    until(lambda: job.view.metrics is not None and job.view.metrics.memory_bytes > 0)
    assert job.status == "running"
    gate.touch()
    assert job.result(timeout=30) == "done"
    assert [bar.n for bar in job.progress] == [4]


def ask() -> str:
    return input("name? ")


def test_who_asks_in_a_job_gets_an_error_at_once(client):
    with pytest.raises(EOFError, match=r"It asked 'name\? '"):
        client.submit(ask).result(timeout=30)
