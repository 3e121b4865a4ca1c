"""Is a machine doubled, left behind or ended too early when the server is killed at any line?

Run by hand: ``python -m benchmarks.launches``, or ``python -m benchmarks.launches 2000``. EC2 is
simulated, and lies: what it launches is seen late, some answers are lost, some calls fail. At the
end the server is killed for good while machines run their real user data.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import tempfile
import time
from pathlib import Path

from tests.cloud.backend import Backend
from tests.cloud.launches import (
    ALONE_S,
    INSTANCE,
    SETTINGS,
    SHOWN_S,
    Launches,
    all_points,
    request_for,
)
from tests.cloud.simulator import Simulator, best_mode

AT_ONCE = 6  # launches in a round, through which the server is killed once
LIES_EVERY = 7  # so many rounds
REAL = ("g5.xlarge", "g6.xlarge", "g4dn.xlarge")
REAL_ALONE_S = 30.0
REAL_BOOT_S = 90.0


def told(*marks: tuple[float, int]) -> str:
    (begin_s, before), (end_s, after) = marks[0], marks[-1]
    rate = (after - before) / (end_s - begin_s)
    return f"{after} launches after {end_s:.0f} s, {rate:.2f} in a second"


def storm(folder: Path, launches: int, minutes: float, seed: int) -> bool:
    points = all_points(random.Random(seed))
    with Launches(folder, seed) as storm:
        began = time.monotonic()
        marks = [(0.0, 0)]  # after so many seconds, so many launches
        while marks[-1][1] < launches and marks[-1][0] < 60 * minutes:
            storm.lie()
            for point in itertools.islice(points, LIES_EVERY):
                storm.round(point, AT_ONCE)
            marks.append((time.monotonic() - began, len(storm.cloud.witness.instances())))
            twins, alive = storm.cloud.twins(INSTANCE), storm.cloud.alive()
            print(f"{told(*marks[-2:])}, {len(twins)} twins, {len(alive)} alive", flush=True)
        finding = storm.settle()
    print("\n".join(finding.lines()))
    part = max(1, len(marks) // 5)
    print(f"at the beginning: {told(*marks[: part + 1])}")
    print(f"at the end: {told(*marks[-part - 1 :])}")
    faults = finding.twins or finding.alive or finding.late or finding.early
    return not faults and set(finding.jobs) == {"succeeded"}


def gone_for_good(folder: Path) -> bool:
    """Machines that run their user data, and a server that never comes back."""
    with Simulator(best_mode()) as cloud:
        alone = {"JUPYTER_REMOTE_MACHINE_ALONE_S": str(REAL_ALONE_S)}
        backend = Backend(folder, cloud.environment() | SETTINGS | alone)
        backend.environment["JUPYTER_REMOTE_WORKER_URL"] = cloud.proxy(backend.port).url
        backend.start()
        for type in REAL:
            backend.submit(request_for(type))
        ready = "SELECT count(*) FROM instance WHERE provider = 'ec2' AND state = 'ready'"
        end = time.monotonic() + REAL_BOOT_S
        while backend.rows(ready) in ([], [(0,)]) and time.monotonic() < end:
            time.sleep(0.1)  # then the others are at some step of their boot
        there = len(cloud.alive())
        backend.end()
        killed_at = time.monotonic()
        while cloud.alive() and time.monotonic() < killed_at + 4 * REAL_ALONE_S:
            time.sleep(0.1)
        print(
            f"server gone for good: {len(cloud.alive())} of {there} "
            f"machines ({cloud.mode}) are left {time.monotonic() - killed_at:.1f} s later "
            f"(scaled: they wait {REAL_ALONE_S:.0f} s for their server instead of 600)"
        )
        return there > 0 and not cloud.alive()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("launches", type=int, nargs="?", default=300)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="launches-"))
    print(
        f"state: {folder}\nscaled: machines idle for {SETTINGS['JUPYTER_REMOTE_MACHINE_IDLE_S']} s "
        f"instead of 300 are ended, they wait {ALONE_S:.0f} s for their server instead of 600, "
        f"EC2 shows those that ended for {SHOWN_S:.0f} s instead of 3600; "
        "the 120 s beyond their need are real",
        flush=True,
    )
    for name in ("storm", "gone"):
        (folder / name).mkdir()
    good = storm(folder / "storm", options.launches, options.minutes, options.seed)
    good = gone_for_good(folder / "gone") and good
    raise SystemExit(0 if good else "a promise is broken")


if __name__ == "__main__":
    main()
