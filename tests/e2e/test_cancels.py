"""A cancel settles in whatever phase it comes; what did not start is not charged."""

from __future__ import annotations

import os
import random
import time

import pytest

from jupyter_remote.connection import home_of
from jupyter_remote.settings import load
from jupyter_remote.store.sqlite import open_sqlite
from tests.conftest import stop_backend

CANCELS = int(os.environ.get("CANCELS", "60"))


def stubborn(patience_s: float) -> str:
    """Sleeps; some of it may not be interrupted the first time."""
    import time

    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        try:
            time.sleep(0.02)
        except KeyboardInterrupt:
            print("not yet")
            time.sleep(0.05)
            raise
    return "done"


@pytest.mark.timeout(600)
def test_cancels_in_all_phases_settle(client, monkeypatch):
    chance = random.Random(5)
    priced = client.with_options(machine="g5.xlarge.od", timeout=60)
    jobs = []
    for _ in range(CANCELS):
        job = priced.submit(stubborn, chance.choice((0.0, 0.05, 60.0)))
        jobs.append(job)
        time.sleep(chance.choice((0, 0, 0.005, 0.02, 0.1)))
        chance.choice(jobs[-3:]).cancel(force=chance.random() < 0.3)
    for job in jobs:
        job.cancel()
    for job in jobs:
        assert job.wait(60), job.view
        assert job.status in ("cancelled", "completed", "failed"), job.view
        if job.view.started_at is None:
            assert job.view.money.cost_ucredits == 0
    assert client.balance().held_ucredits == 0
    stop_backend({})
    store = open_sqlite(home_of(load()) / "db.sqlite")
    assert store.audit() == []
    store.close()
