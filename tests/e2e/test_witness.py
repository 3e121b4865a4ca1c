"""What is charged is what was seen from outside; ``benchmarks/witness.py`` kills 200 times."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

import jupyter_remote as jr
from jupyter_remote.money.meter import ucredits_of_usd
from tests.e2e.waiting import gone, until
from tests.e2e.witness import OVERHEAD_S, run, work

pytestmark = pytest.mark.alone  # it is measured what the backend does not charge


@pytest.mark.timeout(150)
def test_after_12_kills_the_ledger_says_what_the_witness_saw(fresh_home, tmp_path):
    finding, kills = run(tmp_path, kills=12, seed=3, pause_s=(0.2, 1.0))
    assert kills.total() == 12
    assert finding.ends["done"] >= 5
    assert finding.charged_s > 0
    assert max(finding.overheads_s) <= OVERHEAD_S


def lines(folder: Path, job: jr.Job) -> list[list[str]]:
    [file] = folder.glob(f"{job.id}.*")
    return [line.split() for line in file.read_text().splitlines()]


def test_time_that_a_result_waits_for_the_backend_is_not_charged(client, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "__module__", "__main__")  # nothing to be imported over there
    (folder := tmp_path / "journal").mkdir()
    priced = client.with_options(machine="p4d.24xlarge.od", timeout=60)
    job = priced.submit(work, str(folder), 1.5, "fine")
    until(lambda: any(folder.iterdir()))
    backend = client.info().pid
    client.close()  # else it would start another one at once
    os.kill(backend, signal.SIGKILL)
    until(lambda: gone(backend))
    until(lambda: lines(folder, job)[-1][0] == "end")
    began_at, ended_at = (float(lines(folder, job)[n][1]) for n in (0, -1))
    until(lambda: time.time() > ended_at + 2 * OVERHEAD_S)
    with jr.Client() as again:
        found = again.job(job.id)
        assert found.wait(60)
        assert found.status == "completed"
        view = found.view
    charged_s = view.money.cost_ucredits / view.money.rate_ucredits_per_h * 3600
    assert view.money.rate_ucredits_per_h >= ucredits_of_usd(1.0)
    assert ended_at - began_at <= charged_s + 0.01
    assert charged_s <= ended_at - began_at + OVERHEAD_S
