"""``jupyter remote status`` and ``client.summary()`` say the same."""

from __future__ import annotations

import json
import subprocess
import sys

import jupyter_remote as jr
from jupyter_remote.money.meter import text_of


def status(*options: str) -> str:
    command = [sys.executable, "-m", "jupyter_remote", "status", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_command_line_says_what_the_client_says(client: jr.Client) -> None:
    client.with_options(machine="g5.xlarge.od", timeout=60).submit(abs, -1).result(60)
    mine = client.summary()
    assert (mine.running, mine.queued, mine.rate_ucredits_per_h) == (0, 0, 0)
    assert mine.spent_today_ucredits == client.balance().spent_ucredits > 0
    told = json.loads(status("--json"))
    assert told["version"] == jr.__version__
    assert told["account"]["spent_today_ucredits"] == mine.spent_today_ucredits
    assert f"yours: nothing runs; {text_of(mine.spent_today_ucredits)} spent today" in status()
