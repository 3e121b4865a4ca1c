"""Kernels are killed while they show jobs; what these show comes home to their notebooks."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

import jupyter_remote as jr
from tests.e2e.kernel_kills import are_over, kill_kernels
from tests.e2e.waiting import until

KILLS = int(os.environ.get("KERNEL_KILLS", "20"))


@pytest.mark.timeout(120 + 5 * KILLS)
def test_notebooks_of_killed_kernels_show_all_that_their_jobs_showed(
    fresh_home, tmp_path, monkeypatch
):
    monkeypatch.setenv("JUPYTER_REMOTE_SLOTS", "4")
    with jr.Client() as client, tempfile.TemporaryDirectory(prefix="jr-") as place:
        killed = list(kill_kernels(client, tmp_path, Path(place), KILLS, max(8, KILLS // 50)))
        until(lambda: are_over(client))
        for one in killed:
            one.check(client)
    assert sum(one.was_midway for one in killed) >= KILLS
