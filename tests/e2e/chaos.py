"""Jobs are submitted and cancelled while all who take part are killed at random; then all is told.

python -m tests.e2e.chaos --seconds 120 --seed 7
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import ClassVar

import psutil

import jupyter_remote as jr
from jupyter_remote import connection
from jupyter_remote.model import TERMINAL, JobId, JobRecord, JobState, OwnerId
from jupyter_remote.settings import load
from jupyter_remote.store.sqlite import open_sqlite
from tests.conftest import isolate, stop_backend

QUICK = {
    "JUPYTER_REMOTE_HEARTBEAT_S": "0.4",
    "JUPYTER_REMOTE_LEASE_S": "4",
    "JUPYTER_REMOTE_DEAD_MAN_S": "2",
    "JUPYTER_REMOTE_INTERRUPT_GRACE_S": "1",
    "JUPYTER_REMOTE_SLOTS": "4",
}
SETTLE_S = 90.0
LEAST_JOBS, LEAST_KILLS = 20, 3  # of a storm

SUBMITTER = """
import sys
from pathlib import Path
from tests.e2e.chaos import submit_for_ever
submit_for_ever(Path(sys.argv[1]), int(sys.argv[2]))
"""


def work(journal: str, key: str, kind: str, size: int) -> bytes:
    """What a job does; it tells of its start in a file of its own."""
    import os
    import random
    import time

    with open(f"{journal}/{key}", "a") as file:
        file.write(f"{os.getpid()}\n")
    for n in range(random.randrange(6)):
        print(key, n)
        time.sleep(random.uniform(0, 0.1))
    if kind == "raise":
        raise ValueError(key)
    if kind == "exit":
        os._exit(3)
    return key.encode() * size


def submit_for_ever(folder: Path, seed: int) -> None:
    """Submits, and cancels some; ``acknowledged`` has a line for each job that was."""
    chance = random.Random(seed)
    with jr.Client() as client, (folder / f"acknowledged-{seed}").open("a", buffering=1) as told:
        for n in range(10**6):
            key = f"{seed}.{n}"
            kind = chance.choices(("fine", "raise", "exit"), (8, 1, 1))[0]
            priced = client.with_options(
                machine=chance.choice(("local", "g5.xlarge.od")),
                timeout=60,
                retries=chance.choice((0, 0, 1)),
            )
            size = chance.choice((1, 1, 30_000))
            job = priced.submit(work, str(folder / "journal"), key, kind, size)
            told.write(json.dumps([job.id, key, kind, size]) + "\n")
            time.sleep(chance.uniform(0, 0.3))
            if chance.random() < 0.2:
                job.cancel(force=chance.random() < 0.5)


class Chaos:
    """One run; ``environment`` isolates it."""

    submitter = SUBMITTER  # a program that gets the folder and a seed
    victims: ClassVar = {"backend": 2, "agent": 1, "kernel": 4, "client": 3}  # how often each

    def __init__(self, folder: Path, seed: int, submitters: int = 2) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.environment = {**isolate(folder / "home"), **QUICK}
        self.kills: Counter[str] = Counter()
        self._running: list[subprocess.Popen[bytes]] = []
        self._submitters = submitters
        self._seeds = iter(range(1, 10**6))
        (folder / "journal").mkdir()

    def __enter__(self) -> Chaos:
        os.environ.update(self.environment)
        self.state = connection.home_of(load())
        return self

    def __exit__(self, *failure: object) -> None:
        for client in self._running:
            client.kill()
            client.wait()
        stop_backend(self.environment)
        for name in self.environment:
            os.environ.pop(name, None)

    # -- the storm
    def storm(self, seconds: float, pause_s: tuple[float, float] = (0.1, 1.5)) -> None:
        """Submit and kill for so long; for longer where the machine is too busy to do much."""
        end, before = time.monotonic() + seconds, 0
        while time.monotonic() < end or before < LEAST_JOBS or self.kills.total() < LEAST_KILLS:
            self._keep_submitting()
            time.sleep(self.chance.uniform(*pause_s))
            if (submitted := len(self.acknowledged())) > before:  # else nobody might ever get to it
                before = submitted
                self._kill_one()
        for client in self._running:
            client.kill()
            client.wait()

    def _keep_submitting(self) -> None:
        self._running = [c for c in self._running if c.poll() is None]
        while len(self._running) < self._submitters:
            words = [self.submitter, str(self.folder), str(next(self._seeds))]
            command = [sys.executable, "-c", *words]
            with (self.folder / "submitters.log").open("ab") as log:
                self._running.append(subprocess.Popen(command, stderr=log))

    def _kill_one(self) -> None:
        what = self.chance.choices(list(self.victims), list(self.victims.values()))[0]
        victims = getattr(self, f"_{what}s")()
        if victims:
            self.kills[what] += 1
            try:
                self.chance.choice(victims).send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                self.kills[what] -= 1

    def _backends(self) -> list[psutil.Process]:
        found = connection.read(connection.path_of(load()))
        alive = found is not None and psutil.pid_exists(found.pid)
        return [psutil.Process(found.pid)] if found is not None and alive else []

    def _agents(self) -> list[psutil.Process]:
        return [p for p in psutil.process_iter() if str(self.state) in _command(p)]

    def _kernels(self) -> list[psutil.Process]:
        return [k for agent in self._agents() for k in _descendants(agent)]

    def _clients(self) -> list[psutil.Process]:
        return [psutil.Process(c.pid) for c in self._running if c.poll() is None]

    def processes(self) -> list[psutil.Process]:
        """All that belong to the backend."""
        return [*self._backends(), *self._agents(), *self._kernels()]

    # -- the calm after it
    def settle(self) -> None:
        """Wait until every job has ended. Raises TimeoutError with those that hang."""
        end = time.monotonic() + SETTLE_S
        with jr.Client() as client:
            while open_jobs := [j for j in client.jobs(limit=500) if not j.done()]:
                if time.monotonic() > end:
                    told = [(j.id, j.status, j.stage) for j in open_jobs]
                    raise TimeoutError(f"{len(told)} jobs hang: {told[:5]}")
                time.sleep(0.3)

    def acknowledged(self) -> list[tuple[str, str, str, int]]:
        lines = "".join(f.read_text() for f in self.folder.glob("acknowledged-*")).splitlines(True)
        return [tuple(json.loads(line)) for line in lines if line.endswith("\n")]

    def check(self) -> Counter[str]:
        """Raises AssertionError. Returns how the jobs ended."""
        self._check_values()
        stop_backend(self.environment)
        left = self.processes()
        assert left == [], f"still there after the stop: {left}"
        store = open_sqlite(self.state / "db.sqlite")
        try:
            assert store.audit() == []
            ends: Counter[str] = Counter()
            for id, key, kind, _ in self.acknowledged():
                job = store.job(JobId(id))  # NotFound: an acknowledged job was lost
                self._check_job(job, key, kind)
                ends[f"{job.state} {job.reason}".strip()] += 1
            assert store.balance(OwnerId(job.owner)).held_ucredits == 0
            return ends
        finally:
            store.close()

    def _check_job(self, job: JobRecord, key: str, kind: str) -> None:
        assert job.state in TERMINAL, job
        journal = self.folder / "journal" / key
        started = len(journal.read_text().splitlines()) if journal.exists() else 0
        assert started <= job.starts <= job.max_attempts + job.retries, (started, job)
        if job.state is JobState.FAILED:
            assert job.reason, job
            assert job.detail or job.error, job
        if job.state is JobState.SUCCEEDED:
            assert kind == "fine", job
            assert started >= 1, job

    def _check_values(self) -> None:
        with jr.Client() as client:
            for id, key, kind, size in self.acknowledged():
                job = client.job(id)
                assert job.done(), id
                if job.status == "completed":
                    assert job.result(30) == key.encode() * size
                    assert kind == "fine"


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()) if process.status() != psutil.STATUS_ZOMBIE else ""
    except psutil.Error:
        return ""


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def run(folder: Path, seconds: float, seed: int) -> tuple[Counter[str], Counter[str]]:
    """Kills, and how the jobs ended."""
    with Chaos(folder, seed) as chaos:
        chaos.storm(seconds)
        chaos.settle()
        return chaos.kills, chaos.check()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(folder, flush=True)
    kills, ends = run(folder, options.seconds, options.seed)
    print("killed", dict(kills))
    print("ended", dict(ends))
