"""Microseconds of each verb of the store: called directly, and through the writer.

Run by hand: ``python benchmarks/store.py [rows]``; ``rows`` jobs that ended lie there beforehand.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from jupyter_remote.model import JobId, Limits, OwnerId, WorkerId
from jupyter_remote.store.base_parts import AttemptUpdate, NewJob, Outcome
from jupyter_remote.store.sqlite import SqliteStore, open_sqlite
from jupyter_remote.store.writer import Writer
from jupyter_remote.wire import WorkerEvent, encode

ROUNDS = 500
OUTPUT = WorkerEvent("stream", encode({"name": "stdout", "text": "x" * 60}), 1, 1.0)


def new_job(number: int, rate: int = 0) -> NewJob:
    """A small call."""
    return NewJob(
        id=JobId(f"job-{number:09}"),
        owner=OwnerId("ada"),
        body_digest="b",
        client="notebook",
        kind="call",
        description="",
        visibility="private",
        machine="local",
        simulated=False,
        spec=b'{"kind":"call"}' + b" " * 1000,
        segments=[],
        limits=Limits(max_run_s=3600),
        max_attempts=3,
        retries=0,
        rate_ucredits_per_h=rate,
        hold_ucredits=rate,
    )


def steps(store: SqliteStore, number: int, rate: int) -> list[tuple[str, tuple[object, ...]]]:
    """What happens to one job, in order."""
    job, worker = JobId(f"job-{number:09}"), WorkerId("w")
    update = AttemptUpdate(job=job, epoch=1, events=[OUTPUT], stage=None)
    return [
        ("submit", ([new_job(number, rate)], 1.0)),
        ("claim", (job, worker, 2.0, 45.0)),
        ("start", (job, 1, 3.0)),
        ("beat", (update, 4.0, 45.0)),
        ("finish", (job, 1, Outcome(kind="succeeded", result=b"{}"), 5.0)),
    ]


def fill(store: SqliteStore, rows: int) -> None:
    """Jobs that ended, written in large groups."""
    for first in range(0, rows, 1000):
        numbers = range(10**8 + first, 10**8 + min(first + 1000, rows))
        store.run_group(
            [
                lambda n=n, s=s, a=a: getattr(store, s)(*a)
                for n in numbers
                for s, a in steps(store, n, 0)
            ]
        )


def show(title: str, taken: dict[str, list[float]]) -> None:
    """Median and 99th percentile of each."""
    print(title)
    for verb, times in taken.items():
        times.sort()
        p50, p99 = statistics.median(times), times[int(len(times) * 0.99)]
        print(f"  {verb:10} p50 {p50 * 1e6:7.0f} µs   p99 {p99 * 1e6:7.0f} µs")


async def through_writer(store: SqliteStore, first: int) -> None:
    """One call at a time, then many at once."""
    writer, taken = Writer(store), defaultdict[str, list[float]](list)
    for number in range(first, first + ROUNDS):
        for verb, arguments in steps(store, number, 0):
            began = time.perf_counter()
            await writer.call(getattr(store, verb), *arguments)
            taken[verb].append(time.perf_counter() - began)
    show("through the writer, one at a time", taken)
    began = time.perf_counter()
    numbers = range(first + ROUNDS, first + 5 * ROUNDS)
    await asyncio.gather(*(writer.call(store.submit, [new_job(n)], 1.0) for n in numbers))
    each = (time.perf_counter() - began) / len(numbers)
    print(f"  submit, {len(numbers)} at once: {each * 1e6:.0f} µs each")
    writer.close()


def main(rows: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_sqlite(Path(folder) / "db.sqlite")
        fill(store, rows)
        store.grant(OwnerId("ada"), 10**12, "start", 0.0)
        for rate, title in ((0, "direct, free"), (360_000, "direct, with money")):
            taken = defaultdict[str, list[float]](list)
            for number in range(rate * 10, rate * 10 + ROUNDS):
                for verb, arguments in steps(store, number, rate):
                    began = time.perf_counter()
                    getattr(store, verb)(*arguments)
                    taken[verb].append(time.perf_counter() - began)
            show(title, taken)
        asyncio.run(through_writer(store, 50_000_000))
        reads = defaultdict[str, list[float]](list)
        for _ in range(ROUNDS):
            for verb, call in {
                "job": lambda: store.job(JobId("job-000000001")),
                "events": lambda: store.events(after=0, client="notebook", limit=100),
                "wake": lambda: store.wake(1.0),
                "balance": lambda: store.balance(OwnerId("ada")),
                "jobs": lambda: store.jobs(OwnerId("ada"), limit=50),
            }.items():
                began = time.perf_counter()
                call()
                reads[verb].append(time.perf_counter() - began)
        show("reads", reads)
        print("audit:", store.audit() if rows < 10_000 else "skipped")
        store.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
