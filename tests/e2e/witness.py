"""A witness outside the system: jobs on a priced machine write down when they begin and end, while
backend and workers are killed; then the ledger has to say the same.

``python -m benchmarks.witness --kills 200`` makes a large one.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

import jupyter_remote as jr
from jupyter_remote.model import OwnerId
from jupyter_remote.money.meter import MS_PER_H
from jupyter_remote.store.session import connect
from jupyter_remote.store.sqlite import open_sqlite
from tests.conftest import stop_backend
from tests.e2e.chaos import Chaos

CLOCK_S = 0.01  # the server's clock and the witness's may drift apart meanwhile
OVERHEAD_S = 1.0  # from the server's word to the code's first line, and from its last line back
DEATH_S = 1.0  # until it is seen that a process was killed

UNDER_WAY = 4  # jobs of one submitter
LAST = re.compile(r"^end .*\n\Z", re.MULTILINE)
ENDS_S = 60.0  # for attempts to come to their end after the last kill

SUBMITTER = """
import sys
from pathlib import Path
from tests.e2e.witness import submit_for_ever, work
work.__module__ = "__main__"  # it goes along, and need not be imported while the meter runs
submit_for_ever(Path(sys.argv[1]), int(sys.argv[2]))
"""

# What was charged for each attempt. Read from the tables, not through the store.
ATTEMPTS = """
    SELECT j.id, a.epoch, a.state, j.state, j.rate_ucredits_per_h, a.started_at, a.ended_at,
           (SELECT sum(p.amount_ucredits) FROM posting AS p
            WHERE p.job = j.id AND p.epoch = a.epoch AND p.kind = 'capture'),
           (SELECT count(*) FROM history AS h WHERE h.job = a.job AND h.event = 'lose_cancelling')
    FROM attempt AS a JOIN job AS j ON j.seq = a.job ORDER BY j.seq, a.epoch"""


def work(journal: str, seconds: float, kind: str) -> None:
    """Tells the witness of its begin, that it is alive, and of its end."""
    import time

    import jupyter_remote as jr

    end = time.time() + seconds
    with open(f"{journal}/{jr.job.id}.{jr.job.attempt}", "a", buffering=1) as witness:
        witness.write(f"begin {time.time()}\n")
        try:
            while time.time() < end:
                time.sleep(0.02)
                witness.write(f"alive {time.time()}\n")
            if kind == "raise":
                raise ValueError(kind)
        finally:
            witness.write(f"end {time.time()}\n")


def submit_for_ever(folder: Path, seed: int) -> None:
    """Keeps a few jobs under way, and cancels some."""
    chance = random.Random(seed)
    mine: list[jr.Job] = []
    with jr.Client() as client:
        while True:
            while len(mine := [job for job in mine if not job.done()]) >= UNDER_WAY:
                time.sleep(0.02)
            priced = client.with_options(
                machine=chance.choice(("g5.xlarge.od", "p4d.24xlarge.od")),
                timeout=60,
                retries=chance.choice((0, 0, 1)),
            )
            kind = chance.choices(("fine", "raise"), (5, 1))[0]
            job = priced.submit(work, str(folder / "journal"), chance.uniform(0.2, 2.5), kind)
            mine.append(job)
            time.sleep(chance.uniform(0.05, 0.6))
            if chance.random() < 0.2:
                chance.choice(mine).cancel(force=chance.random() < 0.3)


class Seen(NamedTuple):
    """What the witness wrote of one attempt."""

    began_at: float
    last_at: float
    ended: bool  # by itself: it was not killed


class Charged(NamedTuple):
    """What the ledger says of one attempt."""

    job: str
    epoch: int
    state: str
    job_state: str
    rate_ucredits_per_h: int
    started_at: float | None
    ended_at: float | None
    ucredits: int | None
    lost_cancelling: int  # its worker died while it was being cancelled

    @property
    def seconds(self) -> float:
        return (self.ucredits or 0) * MS_PER_H / self.rate_ucredits_per_h / 1000


class Finding(NamedTuple):
    """How far ledger and witness are apart."""

    overheads_s: list[float]  # of completed attempts: charged, and not seen
    ends: Counter[str]
    charged_s: float
    seen_s: float
    uncharged_s: float  # seen of lost attempts


class Witnessed(Chaos):
    """Kills a number of times."""

    submitter = SUBMITTER
    victims: ClassVar = {"backend": 2, "agent": 1, "kernel": 2}

    def storm_of(self, kills: int, pause_s: tuple[float, float]) -> None:
        """Kill so often, each time something that is there; then let as many attempts come to
        their end in all."""
        while self.kills.total() < kills:
            self._keep_submitting()
            time.sleep(self.chance.uniform(*pause_s))
            self._kill_one()
        deadline = time.monotonic() + ENDS_S
        while self._ended() < kills:
            assert time.monotonic() < deadline, "nothing comes to its end"
            self._keep_submitting()
            time.sleep(0.1)
        for client in self._running:
            client.kill()
            client.wait()

    def _ended(self) -> int:
        files = (self.folder / "journal").iterdir()
        return sum(bool(LAST.search(file.read_text())) for file in files)

    def compared(self) -> Finding:
        """Raises AssertionError."""
        stop_backend(self.environment)
        assert self.processes() == []
        path = self.state / "db.sqlite"
        store = open_sqlite(path)
        try:
            assert store.audit() == []
            balance = store.balance(self._owner(path))
        finally:
            store.close()
        charged = list(self._charged(path))
        assert balance.held_ucredits == 0
        assert balance.spent_ucredits == sum(one.ucredits or 0 for one in charged)
        return compare(charged, self._seen())

    def _owner(self, path: Path) -> OwnerId:
        connection = connect(path, read_only=True)
        [(owner,)] = connection.execute("SELECT DISTINCT owner FROM job").fetchall()
        connection.close()
        return OwnerId(owner)

    def _charged(self, path: Path) -> Iterator[Charged]:
        connection = connect(path, read_only=True)
        yield from (Charged(*row) for row in connection.execute(ATTEMPTS))
        connection.close()

    def _seen(self) -> dict[tuple[str, int], Seen]:
        found = {}
        for file in (self.folder / "journal").iterdir():
            job, _, epoch = file.name.rpartition(".")
            lines = [line.split() for line in file.read_text().splitlines(True) if line[-1] == "\n"]
            if lines:
                times = [float(at) for _, at in lines]
                found[job, int(epoch)] = Seen(times[0], times[-1], lines[-1][0] == "end")
        return found


def compare(charged: list[Charged], seen: dict[tuple[str, int], Seen]) -> Finding:
    """Every attempt by itself. Raises AssertionError, naming all that differ."""
    wrong: list[str] = []
    finding = Finding([], Counter(), 0.0, 0.0, 0.0)
    overheads, ends = finding.overheads_s, finding.ends
    charged_s = seen_s = uncharged_s = 0.0
    for one in charged:
        witness = seen.pop((one.job, one.epoch), None)
        least, most = bounds_s(one, witness)
        ran_s = witness.last_at - witness.began_at if witness else 0.0
        if not least - CLOCK_S <= one.seconds <= most + CLOCK_S:
            what = f"charged {one.seconds:.3f} s, not {least:.3f}…{most:.3f}"
            wrong.append(f"{what}: {one}, {witness}")
        ends[one.state] += 1
        charged_s += one.seconds
        seen_s += ran_s
        if one.state == "done":
            overheads.append(one.seconds - ran_s)
        if one.state == "lost":
            uncharged_s += ran_s
    wrong += [f"ran, and no attempt says so: {key}" for key in seen]
    assert not wrong, "\n".join(wrong)
    return finding._replace(charged_s=charged_s, seen_s=seen_s, uncharged_s=uncharged_s)


def bounds_s(one: Charged, witness: Seen | None) -> tuple[float, float]:
    """What may be charged for this attempt, seconds, by what was seen of it."""
    if one.started_at is None or one.state in ("lost", "revoked"):
        return 0.0, 0.0
    if witness is None:  # killed or cancelled before its first line
        return 0.0, OVERHEAD_S + DEATH_S
    ran_s = witness.last_at - witness.began_at
    if witness.ended and one.state != "cancelled":
        return ran_s, ran_s + OVERHEAD_S
    if one.lost_cancelling:  # up to where its worker was last heard of
        return 0.0, ran_s + OVERHEAD_S
    if one.state == "cancelled":
        return max(0.0, ran_s - DEATH_S), ran_s + OVERHEAD_S + DEATH_S
    return ran_s, ran_s + OVERHEAD_S + DEATH_S


def run(
    folder: Path, kills: int, seed: int, pause_s: tuple[float, float]
) -> tuple[Finding, Counter[str]]:
    """What was found, and what was killed."""
    with Witnessed(folder, seed) as chaos:
        chaos.storm_of(kills, pause_s)
        chaos.settle()
        return chaos.compared(), chaos.kills
