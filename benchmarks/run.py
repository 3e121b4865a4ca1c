"""All systems side by side: ``python benchmarks/run.py [--peers a,b] [--workloads w1,w2]``.

Rounds are interleaved, so that noise of the machine meets all alike; medians are printed as a
table with the ratio of ours to the best peer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

from adapters import PEERS

HERE = Path(__file__).parent
Figures = dict[tuple[str, str], dict[str, list[float]]]


def one_round(peer: str, workload: str, limit_s: float) -> list[dict[str, object]]:
    """The JSON lines of a round in a fresh process tree; what failed is said on stderr."""
    env = {**os.environ, "BENCH_T0": str(time.time())}
    argv = [sys.executable, str(HERE / "round.py"), peer, workload]
    try:
        done = subprocess.run(
            argv, env=env, capture_output=True, text=True, timeout=limit_s, cwd=HERE
        )
    except subprocess.TimeoutExpired:
        print(f"{peer} {workload}: more than {limit_s} s", file=sys.stderr)
        return []
    if done.returncode:
        print(f"{peer} {workload}:\n{done.stderr[-2000:]}", file=sys.stderr)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def measure(peers: list[str], workloads: list[str], rounds: int, limit_s: float) -> Figures:
    figures: Figures = defaultdict(lambda: defaultdict(list))
    for workload in workloads:
        for _ in range(rounds):
            for peer in peers:
                for row in one_round(peer, workload, limit_s):
                    key = (str(row["metric"]), str(row["unit"]))
                    figures[key][peer].append(float(row["value"]))  # type: ignore[arg-type]
    return figures


def table(figures: Figures, peers: list[str]) -> str:
    """Markdown: medians, and ours against the best of the others."""
    own = [p for p in peers if p.startswith("jupyter_remote")]
    others = [p for p in peers if p not in own]
    heads = [*peers, *(f"{p} / best peer" for p in own)]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for (metric, unit), by_peer in figures.items():
        medians = {p: statistics.median(v) for p, v in by_peer.items()}
        best = (max if unit in ("tasks/s", "%") else min)(
            (medians[p] for p in others if p in medians), default=None
        )
        cells = [f"{medians[p]:,.3g}" if p in medians else "–" for p in peers]
        cells += [f"{medians[p] / best:.2f}" if best and p in medians else "" for p in own]
        lines.append(f"| {metric}, {unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--workloads", default="w1,w2,w3,w4,w5,w6,w7")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=300, help="seconds for a round")
    args = parser.parse_args()
    peers = args.peers.split(",")
    print(table(measure(peers, args.workloads.split(","), args.rounds, args.limit), peers))
    versions = [f"{n} {version(n)}" for p in peers for n in PEERS[p].packages]
    print(f"\nMedians of {args.rounds} rounds on {os.cpu_count()} cores; {', '.join(versions)}.")


if __name__ == "__main__":
    main()
