"""Calls in sessions whose workers are killed at random; each ends with a value or a named error.

python -m tests.e2e.session_chaos --calls 1000 --seed 7
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import jupyter_remote as jr
from tests.conftest import isolate, stop_backend
from tests.e2e.waiting import gone, until

LIMIT_S = 60.0  # for a call to end, whatever happens
EVERY = 20  # calls: then a worker is killed
NAMES = ("one", "two")


def work(n: int, seconds: float) -> int:
    import time

    print(n)
    time.sleep(seconds)
    return n * n


class Storm:
    """Sessions that are started again when they died, and what became of the calls."""

    def __init__(self, client: jr.Client, seed: int) -> None:
        self._client = client
        self._random = random.Random(seed)
        self._sessions: dict[str, jr.Session] = {}
        self.pids: dict[str, int] = {}
        self.all_pids: set[int] = set()
        self.ends: Counter[str] = Counter()
        self.slowest_s = 0.0

    def call(self, n: int) -> None:
        """One call that is under way when, now and then, its worker dies."""
        name = self._random.choice(NAMES)
        with contextlib.suppress(jr.EngineError):
            session = self._alive(name)
            result = session.apply_async(work, n, self._random.uniform(0, 0.004))
            if n % EVERY == EVERY - 1:
                self._kill(name)
            self._wait(result, n, name)
            return
        self._sessions.pop(name, None)
        self.ends["not sent"] += 1

    def _alive(self, name: str) -> jr.Session:
        if name not in self._sessions:
            session = self._sessions[name] = self._client.session(name, revive=True)
            self.pids[name] = session.apply_sync(os.getpid)
            self.all_pids.add(self.pids[name])
        return self._sessions[name]

    def _kill(self, name: str) -> None:
        pid, delay_s = self.pids[name], self._random.uniform(0, 0.01)

        def kill() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

        threading.Timer(delay_s, kill).start()

    def _wait(self, result: jr.AsyncResult, n: int, name: str) -> None:
        begun = time.monotonic()
        try:
            assert result.get(timeout=LIMIT_S) == n * n
            self.ends["value"] += 1
        except jr.EngineError as error:
            said = str(error)
            named = "is gone: killed by SIGKILL" in said or "broke" in said
            self.ends["named error" if named else said] += 1
            del self._sessions[name]
        self.slowest_s = max(self.slowest_s, time.monotonic() - begun)

    def stop(self) -> None:
        for name in NAMES:
            with contextlib.suppress(jr.JupyterRemoteError):
                self._client.session(name).stop()


def left_in_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob(f"jupyter-remote-*-{os.getpid()}-*")}


def run(calls: int, seed: int) -> Storm:
    """Raises AssertionError where a call hangs, lies, or something is left."""
    with jr.Client() as client:
        storm = Storm(client, seed)
        for n in range(calls):
            storm.call(n)
        storm.stop()
    assert storm.ends.keys() <= {"value", "named error", "not sent"}
    assert sum(storm.ends.values()) == calls
    assert storm.slowest_s < LIMIT_S
    until(lambda: all(map(gone, storm.all_pids)))
    assert left_in_memory() == set()
    return storm


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    env = isolate(Path(tempfile.mkdtemp(prefix="session-chaos-")))
    os.environ.update(env)
    try:
        begun = time.monotonic()
        storm = run(options.calls, options.seed)
        print(
            dict(storm.ends), f"slowest {storm.slowest_s:.2f} s of {time.monotonic() - begun:.0f}"
        )
    finally:
        stop_backend(env)
