"""Does the ledger say what a witness outside saw, after many kills of backend and workers?

Run by hand: ``python -m benchmarks.witness --kills 200``. It stops with what differs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from tests.e2e.witness import Finding, run


def report(finding: Finding) -> list[str]:
    """In words."""
    ends = ", ".join(f"{count} {state}" for state, count in finding.ends.most_common())
    overheads = sorted(1000 * s for s in finding.overheads_s)
    middle = statistics.median(overheads)
    high = overheads[int(0.99 * (len(overheads) - 1))]
    return [
        f"attempts: {ends}",
        f"charged {finding.charged_s:.3f} s in all; the witness saw {finding.seen_s:.3f} s, "
        f"{finding.uncharged_s:.3f} s of them in lost attempts, which are not charged",
        f"charged beyond what was seen, of attempts that completed: "
        f"median {middle:.0f} ms, 99 % below {high:.0f} ms, at most {overheads[-1]:.0f} ms, "
        f"at least {overheads[0]:.0f} ms",
        "every hold is released, the entries add up to zero, the balances are their entries",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="witness-"))
    print(f"journal and state: {folder}", flush=True)
    began = time.monotonic()
    finding, kills = run(folder, options.kills, options.seed, (0.5, 2.0))
    print(f"{kills.total()} kills ({dict(kills)}) in {time.monotonic() - began:.0f} s")
    print("\n".join(report(finding)))


if __name__ == "__main__":
    main()
