"""The one line of what jobs cost now."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_remote.client.account import line_of
from jupyter_remote.wire import AccountSummary

QUIET: dict[str, Any] = {
    "running": 0,
    "sessions": 0,
    "queued": 0,
    "rate_ucredits_per_h": 0,
    "usd_per_h": 0.0,
    "simulated": False,
    "spent_today_ucredits": 0,
    "since_at": 0.0,
    "available_ucredits": 812_000_000,
    "held_ucredits": 0,
    "at": 0.0,
}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "nothing runs; $0 spent today; 812 credits left"),
        (
            {"running": 2, "usd_per_h": 1.46, "spent_today_ucredits": 320_000_000},
            "2 jobs running at $1.46/h; $3.20 spent today; 812 credits left",
        ),
        (
            {"running": 1, "sessions": 1, "queued": 3, "usd_per_h": 1.006, "simulated": True},
            "1 job and 1 session running at $1.006/h (simulated), 3 queued; $0 spent today; "
            "812 credits left",
        ),
        (
            {"machines": 1, "machines_usd_per_h": 0.4426},
            "nothing runs; 1 machine rented at $0.4426/h; $0 spent today; 812 credits left",
        ),
        (
            {"running": 1, "usd_per_h": 1.0, "machines": 2, "machines_usd_per_h": 2.0},
            "1 job running at $1/h; 2 machines rented at $2/h; $0 spent today; 812 credits left",
        ),
        ({"sessions": 2}, "2 sessions running; $0 spent today; 812 credits left"),
        ({"available_ucredits": 12_346_000}, "nothing runs; $0 spent today; 12.35 credits left"),
        (
            {"queued": 1, "available_ucredits": 999_999_123_456},
            "nothing runs, 1 queued; $0 spent today; 999,999 credits left",
        ),
    ],
)
def test_the_line_says_what_there_is_and_no_more(changes: dict[str, Any], line: str) -> None:
    assert line_of(AccountSummary(**(QUIET | changes))) == line
