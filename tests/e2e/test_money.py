"""Money as a user sees it, on a real embedded backend: budgets, waiting sessions, the account."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import jupyter_remote as jr
from jupyter_remote import errors

from .waiting import until


def budget_left() -> float | None:
    import jupyter_remote as jr

    left: float | None = jr.job.budget_left
    return left


def again(path: str) -> float | None:
    """Fails once."""
    import os
    import time

    import jupyter_remote as jr

    if not os.path.exists(path):
        open(path, "w").close()
        time.sleep(0.3)
        raise ValueError("once")
    left: float | None = jr.job.budget_left
    return left


def texts(job: jr.Job) -> list[str]:
    return [line.text for line in job.history]


def test_a_job_is_stopped_by_the_budget_of_its_day_and_says_so(client: jr.Client) -> None:
    priced = client.with_options(machine="p5.48xlarge.od")  # 1.53 credits a second
    client.set_budget("day", 0.03)
    job = priced.submit(time.sleep, 60)
    with pytest.raises(errors.BudgetExceeded, match="the budget of the day left") as told:
        job.result(60)
    assert "%remote budget day" in told.value.hint
    assert job.view.fuse == "budget day"
    told_of = texts(job)
    assert "held 3 credits ($0.0300)" in told_of[0]
    assert told_of[-1].startswith(
        "stopped at its cost limit (all that the budget of the day left): charged"
    )
    [budget] = client.budgets()
    assert budget.spent_ucredits == job.view.money.cost_ucredits
    assert budget.held_ucredits == 0
    with pytest.raises(errors.BudgetExceeded, match="leaves"):
        priced.submit(time.sleep, 60)
    client.set_budget("day", None)
    assert client.budgets() == []
    assert priced.submit(abs, -1).result(60) == 1


def test_what_is_left_inside_counts_the_hold_and_what_earlier_tries_cost(
    client: jr.Client, tmp_path: Path
) -> None:
    priced = client.with_options(machine="p5.48xlarge.od", timeout=3600, retries=1)
    began = time.monotonic()
    left = priced.submit(budget_left).result(60)
    assert left is not None
    assert 55.04 * (1 - (time.monotonic() - began) / 3600) - 0.001 < left <= 55.04
    job = priced.submit(again, str(tmp_path / "once"))
    second = job.result(60)
    cost_usd = next(t for t in texts(job) if "trying again" in t and "charged" in t)
    charged = float(cost_usd.rpartition("charged ")[2].split()[0]) / 100
    assert second is not None
    assert second <= 55.04 - charged
    assert client.submit(budget_left).result(60) is None


def waited_more(job: jr.Job) -> bool:
    """For longer than it worked."""
    view = job.view
    if view.metrics is None or view.metrics.busy_s is None or view.started_at is None:
        return False
    return view.metrics.at - view.started_at > 2 * view.metrics.busy_s + 0.5


def test_a_session_says_what_it_cost_to_wait(client: jr.Client) -> None:
    session = client.session("lab", machine="p5.48xlarge.od")
    session.restored()  # it takes calls
    began = time.monotonic()
    session.apply_sync(time.sleep, 0.7)
    took_s = time.monotonic() - began
    until(lambda: waited_more(session.job))
    session.stop()
    assert session.job.wait(60)
    view = session.job.view
    assert view.metrics is not None
    assert view.metrics.busy_s is not None
    assert 0.7 <= view.metrics.busy_s <= took_s
    last = texts(session.job)[-1]
    amounts = r"charged (\S+) credits.*; of that (\S+) credits? for calls.*, (\S+) credits? for"
    parts = re.search(amounts, last)
    assert parts is not None, last
    charged, busy, waiting = map(float, parts.groups())
    assert busy + waiting == pytest.approx(charged)
    assert waiting > busy > 0


def credits(*words: str) -> tuple[int, dict[str, Any]]:
    """What the command line says."""
    told = subprocess.run(
        [sys.executable, "-m", "jupyter_remote", "credits", *words, "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return told.returncode, json.loads(told.stdout)


def test_credits_are_granted_and_shown_on_the_command_line(client: jr.Client) -> None:
    client.info()
    before = credits("balance")[1]["credits"]
    for _ in range(2):
        assert credits("grant", "12.5", "--key", "once")[0] == 0
    assert credits("balance")[1]["credits"] == before + 12.5
    for amount in ("-1", "0", "nan", "inf", "1e30"):
        status, problem = credits("grant", amount, "--key", "odd")
        assert status == 1
        assert problem["code"] in ("usage", "invalid_request")
    assert credits("balance")[1]["credits"] == before + 12.5
