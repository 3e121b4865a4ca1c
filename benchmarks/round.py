"""One round: one system, one workload, in a process tree of its own. Prints JSON lines.

``python round.py PEER WORKLOAD`` with the start time of the process in ``BENCH_T0``. The task
functions stand here, in ``__main__``, so that every system ships them by value.
"""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE
from typing import Any

from adapters import PEERS, Adapter

MIB = 2**20
BIG = 32 * MIB  # float64 elements: 256 MiB
CALLS = int(os.environ.get("BENCH_CALLS", "500"))
TASKS = int(os.environ.get("BENCH_TASKS", "10000"))


def noop() -> None:
    return None


def increment(x: int) -> int:
    return x + 1


def increment_all(xs: list[int]) -> list[int]:
    return [x + 1 for x in xs]


def sleep_10_ms(x: int) -> int:
    import time

    time.sleep(0.01)
    return x


def identity(a: Any) -> Any:
    return a


def touch(a: Any) -> float:
    return float(a[::512].sum())


def printer(count: int, gap_s: float, flush: bool, via: str = "builtins") -> None:
    import importlib
    import time

    say = importlib.import_module(via).print
    for i in range(count):
        say(f"T {i} {time.time():.6f}", flush=flush)
        time.sleep(gap_s * (0.5 + i * 0.618 % 1))  # in step with no timer


class Sink:
    """Stands for ``sys.stdout`` and stamps what arrives."""

    encoding = "utf-8"
    line = re.compile(r"T (\d+) (\d+\.\d+)")

    def __init__(self, want: int) -> None:
        self.want = want
        self.seen: dict[int, tuple[float, float]] = {}

    def write(self, text: str) -> int:
        now = time.time()
        for found in self.line.finditer(text):
            self.seen.setdefault(int(found[1]), (float(found[2]), now))
        return len(text)

    def write_event(self, event: Any) -> None:
        if event.type == "stream":
            self.write(bytes(event.data).decode().replace("\\n", "\n"))

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False

    def complete(self) -> bool:
        return len(self.seen) >= self.want

    def settle(self, limit_s: float = 8) -> None:
        end = time.monotonic() + limit_s
        while not self.complete() and time.monotonic() < end:
            time.sleep(0.002)


def quantile(xs: list[float], q: float) -> float:
    return sorted(xs)[min(len(xs) - 1, int(q * len(xs)))]


def emit(metric: str, value: float, unit: str) -> None:
    print(json.dumps({"metric": metric, "value": value, "unit": unit}), file=sys.__stdout__)


def timed(adapter: Adapter, function: Any, *args: Any) -> tuple[float, Any]:
    begin = time.perf_counter()
    value = adapter.result(adapter.submit(function, *args))
    return time.perf_counter() - begin, value


def w1(adapter: Adapter) -> None:
    """From the start of the process to the first result."""
    adapter.start()
    adapter.result(adapter.submit(noop))
    emit("cold start to the first result", time.time() - float(os.environ["BENCH_T0"]), "s")
    if adapter.joining:
        begin = time.perf_counter()
        with subprocess.Popen([sys.executable, "-c", adapter.joining], stdout=PIPE) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"0\n"
            emit("the same in a second process", time.perf_counter() - begin, "s")


def w2(adapter: Adapter) -> None:
    """A no-op, one call at a time."""
    for _ in range(50):
        timed(adapter, noop)
    times = [timed(adapter, noop)[0] * 1e3 for _ in range(CALLS)]
    emit("no-op call, p50", quantile(times, 0.5), "ms")
    emit("no-op call, p99", quantile(times, 0.99), "ms")


def w3(adapter: Adapter) -> None:
    """Many tiny tasks, and a thousand of 10 ms on two workers."""
    adapter.map(increment, range(100))
    want = [x + 1 for x in range(TASKS)]
    begin = time.perf_counter()
    assert adapter.map(increment, range(TASKS)) == want
    emit("tiny tasks by map", TASKS / (time.perf_counter() - begin), "tasks/s")
    count = min(TASKS, adapter.one_by_one)
    begin = time.perf_counter()
    handles = [adapter.submit(increment, x) for x in range(count)]
    assert [adapter.result(handle) for handle in handles] == want[:count]
    emit("tiny tasks one by one", count / (time.perf_counter() - begin), "tasks/s")
    begin = time.perf_counter()
    chunks = adapter.map(increment_all, [list(range(i, i + 100)) for i in range(0, TASKS, 100)])
    assert [y for ys in chunks for y in ys] == want
    emit("tiny tasks in chunks of 100", TASKS / (time.perf_counter() - begin), "tasks/s")
    begin = time.perf_counter()
    adapter.map(sleep_10_ms, range(1000))
    emit("1,000 tasks of 10 ms, efficiency", 500 / (time.perf_counter() - begin), "%")


def w4(adapter: Adapter) -> None:
    """256 MB of random floats there and back, and there only."""
    import numpy as np

    array = np.random.default_rng(0).random(BIG)
    timed(adapter, noop)
    for time_of in ("first", "second", "third"):
        took, back = timed(adapter, identity, array)
        assert np.array_equal(back[::4096], array[::4096])
        del back
        emit(f"256 MB there and back, {time_of} time", took, "s")
    fresh = np.random.default_rng(1).random(BIG)
    for time_of in ("first", "second"):
        took, total = timed(adapter, touch, fresh)
        assert abs(total - float(fresh[::512].sum())) < 1
        emit(f"256 MB there only, {time_of} time", took, "s")


def w7(adapter: Adapter) -> None:
    """A DataFrame of 100 MB there and back, with strings in it."""
    import numpy as np
    import pandas as pd

    generator = np.random.default_rng(0)
    rows = 1_500_000
    words = np.array([f"word {i}" for i in range(1000)], dtype=object)
    frame = pd.DataFrame(
        {
            "key": pd.array(words[generator.integers(0, 1000, rows)], dtype="string[pyarrow]"),
            **{f"x{i}": generator.random(rows) for i in range(7)},
        }
    )
    timed(adapter, noop)
    for time_of in ("first", "second"):
        took, back = timed(adapter, identity, frame)
        assert len(back) == rows
        del back
        emit(f"100 MB DataFrame there and back, {time_of} time", took, "s")


def daemon_memory_mb() -> float:
    """Proportional set size of all descendants of this process."""
    import psutil

    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])  # type: ignore[index]
    return total / 1024


def w5(adapter: Adapter) -> None:
    """Memory of the daemons with two workers."""
    adapter.map(noop_of, range(4))
    gc.collect()
    time.sleep(3)
    emit("daemons idle, PSS", daemon_memory_mb(), "MB")


def noop_of(x: int) -> int:
    return x


def w6(adapter: Adapter) -> None:
    """How long a print takes to be seen by the caller."""
    timed(adapter, noop)
    for name, flush in (("plain print", False), ("print with flush", True)):
        sink = Sink(60)
        adapter.live(printer, (60, 0.0937, flush), sink)
        delays = [(seen - said) * 1e3 for said, seen in sink.seen.values()]
        assert delays, "no print was seen"
        emit(f"{name} seen, p50", quantile(delays, 0.5), "ms")
        emit(f"{name} seen, p90", quantile(delays, 0.9), "ms")


def main() -> None:
    peer, workload = sys.argv[1:3]
    adapter = PEERS[peer]()
    if workload != "w1":
        adapter.start()
    globals()[workload](adapter)
    sys.stdout.flush()
    adapter.close()


if __name__ == "__main__":
    main()
