"""A job that checkpoints has its machine taken away again and again, with notice or without.

python -m tests.e2e.spot --times 50
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil

import jupyter_remote as jr
from jupyter_remote.model import JobId
from jupyter_remote.wire import Receipt
from jupyter_remote.worker.notices import ENDPOINT
from tests.conftest import isolate
from tests.e2e.waiting import until
from tests.server.conftest import Running
from tests.worker.metadata import Metadata, metadata

PAUSE_S = 0.02  # of a step
EVERY_S = 1.0  # between checkpoints
NOTICE_S = 4.0
LIMIT_S = 60.0
CENTS = "g5.xlarge.od"  # priced as that, run here


def count(journal: str, gate: str) -> int:
    """Takes steps until there is a gate; how many. Each is told in a file, with its attempt."""
    import os
    import time

    import jupyter_remote as jr

    n = jr.job.checkpoint or 0

    @jr.on_checkpoint(every=1.0)
    def save() -> int:
        return n

    print(f"attempt {jr.job.attempt} goes on at {n}")
    while not os.path.exists(gate):
        with open(journal, "a") as file:
            file.write(f"{n} {jr.job.attempt}\n")
        n += 1
        time.sleep(0.02)
    return n


class Machine:
    """An agent with a metadata service of its own."""

    def __init__(self, process: subprocess.Popen[bytes], service: Metadata) -> None:
        self.process = process
        self.service = service

    def vanish(self) -> None:
        """With all that runs on it, and without notice."""
        there = psutil.Process(self.process.pid)
        for each in [there, *there.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(signal.SIGKILL)
        self.process.wait(LIMIT_S)


class Machines:
    """They come up one after the other."""

    def __init__(self, server: Running, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._numbers = itertools.count()
        self._stack = ExitStack()
        self.all: list[Machine] = []

    def boot(self, **config: Any) -> Machine:
        """One more; returns when its worker is connected."""
        number = next(self._numbers)
        service = self._stack.enter_context(metadata())
        file = self._folder / f"agent-{number}.json"
        token, home = self._server.make_token("worker"), str(self._folder / f"home-{number}")
        fields = {"url": self._server.url, "token": token, "instance": f"i{number}", "home": home}
        fields |= {"spot": True, "notice_every_s": 0.05, "slots": 2, **config}
        file.write_bytes(msgspec.json.encode(fields))
        command = [sys.executable, "-m", "jupyter_remote", "worker", "--config", str(file)]
        environment = {**os.environ, ENDPOINT: service.url}
        with (self._folder / f"agent-{number}.log").open("wb") as log:
            process = subprocess.Popen(command, stderr=log, env=environment)
        machine = Machine(process, service)
        self.all.append(machine)
        agents = self._server.backend.scheduler.board.agents
        until(lambda: any(a.instance == f"i{number}" for a in agents.values()), LIMIT_S)
        return machine

    def close(self) -> None:
        for machine in self.all:
            if machine.process.poll() is None:
                machine.vanish()
        self._stack.close()


@contextmanager
def machines(server: Running, folder: Path) -> Iterator[Machines]:
    made = Machines(server, folder)
    try:
        yield made
    finally:
        made.close()


class Told:
    """What the journal of a job says."""

    def __init__(self, journal: Path) -> None:
        lines = journal.read_text().splitlines() if journal.exists() else []
        self.steps = [(int(n), int(attempt)) for n, attempt in (line.split() for line in lines)]

    def of(self, attempt: int) -> int:
        """How many steps it took."""
        return sum(a == attempt for _, a in self.steps)

    @property
    def is_ahead(self) -> bool:
        """The last attempt has taken again what others took after their last checkpoint."""
        return self.steps[-1][0] == max(n for n, _ in self.steps)

    @property
    def repeated(self) -> list[int]:
        """By attempt, how many steps it took that another had taken already."""
        firsts = {attempt: n for n, attempt in reversed(self.steps)}
        lasts = {attempt: n for n, attempt in self.steps}
        later = [attempt for attempt in sorted(firsts) if attempt - 1 in lasts]
        return [lasts[attempt - 1] + 1 - firsts[attempt] for attempt in later]


def taken_away(
    server: Running, client: jr.Client, folder: Path, times: int, *, notice: bool = True
) -> tuple[jr.Job, Told]:
    """A job that goes on to its end although its machine is taken away so often."""
    journal, gate = folder / "journal", folder / "gate"
    store, least = server.backend.store, 5 if notice else 60
    with machines(server, folder) as made:
        here = made.boot()
        job = client.with_options(machine=CENTS).submit(count, str(journal), str(gate))
        for attempt in range(1, times + 1):
            following = made.boot()
            until(lambda attempt=attempt: Told(journal).of(attempt) >= least, LIMIT_S)
            if notice:
                here.service.notice(NOTICE_S)
            else:
                here.vanish()
            after = attempt + 1
            until(lambda after=after: store.job(JobId(job.id)).epoch == after, LIMIT_S)
            here.process.wait(LIMIT_S)
            here = following
        until(lambda: Told(journal).of(times + 1) >= least and Told(journal).is_ahead, LIMIT_S)
        gate.touch()
        job.wait(LIMIT_S)
    return job, Told(journal)


def check(
    server: Running, client: jr.Client, job: jr.Job, told: Told, times: int, how: str
) -> None:
    """Raises AssertionError: it ended once, was charged once, and did nothing twice for long."""
    record, store = server.backend.store.job(JobId(job.id)), server.backend.store
    assert job.result(LIMIT_S) == len({n for n, _ in told.steps})
    assert sorted({n for n, _ in told.steps}) == list(range(job.result()))
    assert (record.starts, record.epoch) == (times + 1, times + 1)
    receipt = msgspec.json.decode(record.receipt or b"", type=Receipt)
    assert Counter(a.how for a in receipt.attempts) == {how: times, "done": 1}
    assert [a.charged_ucredits > 0 for a in receipt.attempts] == [False] * times + [True]
    assert receipt.attempts[-1].charged_ucredits == record.cost_ucredits
    captures = [e for e in client.ledger() if e.kind == "capture" and e.job == job.id]
    assert len({e.epoch for e in captures}) == 1
    assert client.balance().held_ucredits == 0
    assert max(told.repeated) * PAUSE_S <= EVERY_S + 0.5
    assert store.audit() == []


def run(folder: Path, times: int) -> Told:
    """With notice; what was repeated."""
    os.environ.update(isolate(folder / "home"))
    server = Running(folder)
    try:
        with jr.Client(server.url, server.token) as client:
            job, told = taken_away(server, client, folder, times)
            check(server, client, job, told, times, "preempted")
            return told
    finally:
        server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=50)
    options = parser.parse_args()
    began = time.monotonic()
    told = run(Path(tempfile.mkdtemp(prefix="spot-")), options.times)
    steps, again = len({n for n, _ in told.steps}), told.repeated
    print(
        f"{options.times} preemptions in {time.monotonic() - began:.0f} s: {steps} steps, of which"
    )
    print(f"{sum(again)} were taken twice, {max(again)} at most after one preemption")
