"""``python -m jupyter_remote.worker.enrolled``: the agent's configuration, from what the server
replied to a machine that enrolled. The last step of its bootstrap before the agent.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import msgspec

from jupyter_remote.wire import Enrolled

MARGIN, MARGIN_S = 0.05, 60.0  # of the machine's life, at most: for handing jobs back at its end


def configuration(
    enrolled: Enrolled, *, url: str, instance: str, home: str, user: str, left_s: float
) -> dict[str, Any]:
    """Of the agent of this machine, which has so long to live."""
    return {
        **enrolled.config,
        "url": url,
        "token": enrolled.token,
        "instance": instance,
        "home": f"{home}/work",
        "alive_file": f"{home}/alive",
        "user": user,
        "life_s": max(1.0, left_s - min(MARGIN_S, MARGIN * left_s)),
        "once": True,
    }


def uptime_s() -> float:
    """By the clock that the machine's timer goes by, seconds."""
    return float(Path("/proc/uptime").read_text().split()[0])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The configuration of a machine's agent.")
    for name in ("reply", "config", "url", "instance", "home", "user"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--longest", type=float, required=True, help="hundredths of a second")
    parser.add_argument("--began", type=float, required=True, help="seconds after boot")
    given = parser.parse_args(arguments)
    reply = Path(given.reply)
    enrolled = msgspec.json.decode(reply.read_bytes(), type=Enrolled)
    config = configuration(
        enrolled,
        url=given.url,
        instance=given.instance,
        home=given.home,
        user=given.user,
        left_s=given.longest / 100 - (uptime_s() - given.began),
    )
    descriptor = os.open(given.config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(msgspec.json.encode(config))
    reply.unlink()


if __name__ == "__main__":
    main()
