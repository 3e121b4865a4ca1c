"""A small storm in the suite; ``python -m tests.e2e.chaos`` makes a larger one."""

from __future__ import annotations

import pytest

from tests.e2e.chaos import run


@pytest.mark.timeout(240)
def test_every_job_ends_once_or_says_why_whoever_is_killed(fresh_home, tmp_path):
    kills, ends = run(tmp_path, seconds=8, seed=11)
    assert kills.total() >= 3
    assert ends["succeeded"] >= 3
