"""Does to a store and to the reference model the same, and compares all that can be seen."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeVar

from jupyter_remote.errors import JupyterRemoteError
from jupyter_remote.model import TERMINAL, JobId, Limits, OwnerId, WorkerId
from jupyter_remote.store.base import Store
from jupyter_remote.store.base_parts import AttemptUpdate, NewJob, Outcome
from jupyter_remote.wire import CacheAsk, Segment, WorkerEvent
from tests.reference_model import ACTIVE, GRACE_S, LEASE_S, Job, Model, Refused

T = TypeVar("T")
BLOB = Segment("ab" * 32, 7)
OWNERS, KEYS, WORKERS = ("ada", "bob"), ("j1", "j2", "j3", "j4"), ("w1", "w2")
NOTEBOOKS, BUDGETS = ("", "n1"), (("account", ""), ("day", ""), ("notebook", "n1"))
ASKED = ("", "", "1" * 64, "2" * 64)  # keys of results that are kept
KINDS = ("succeeded", "failed", "cancelled", "expired", "died", "preempted")
SIGNALS = ("", "SIGSEGV")


class Checker:
    """One store, its model, and every token that was ever handed out."""

    def __init__(self, store: Store, grant: int = 1500, *, budgets: bool = False) -> None:
        """``budgets``: a walk sets and lifts some, too, and lets days pass."""
        self.store, self.model, self.now = store, Model(), 1000
        self._budgets = budgets
        self.tokens: list[tuple[str, int]] = []
        self.settled: set[str] = set()  # jobs that were compared after their end
        for owner in OWNERS:
            self.model.grant(owner, grant, "start")
            store.grant(OwnerId(owner), grant, "start", 0.0)

    def same(self, real: Callable[[], T], expected: Callable[[], Any]) -> tuple[T | None, Any]:
        """Both do it, or both refuse."""
        self.model.now = self.now
        try:
            told: Any = ("did", expected())
        except Refused:
            told = ("refused", None)
        try:
            got: Any = ("did", real())
        except JupyterRemoteError:
            got = ("refused", None)
        assert got[0] == told[0], f"the store {got[0]}, the model {told[0]}"
        return got[1], told[1]

    # -- verbs
    def submit(
        self, key: str, owner: str, body: str, rate: int, max_run: int,
        max_attempts: int, retries: int, needs_blob: bool, notebook: str = "", asks: str = "",
    ) -> None:  # fmt: skip
        body = f"{body} {rate} {max_run} {max_attempts} {retries} {notebook} {asks} {needs_blob}"
        ready = not needs_blob or owner in self.model.senders
        new = NewJob(
            id=JobId(key), owner=OwnerId(owner), body_digest=body, client="k", kind="call",
            description="", visibility="private", machine="local", simulated=False, spec=b"{}",
            segments=[BLOB] if needs_blob else [], limits=Limits(max_run_s=max_run),
            max_attempts=max_attempts, retries=retries, rate_ucredits_per_h=rate * 3600,
            hold_ucredits=rate * max_run, notebook=notebook,
            cache=CacheAsk(key=asks, name="f", parts=[]) if asks else None,
        )  # fmt: skip
        job = Job(
            owner, body, rate, max_run, max_attempts, retries, ready, notebook=notebook, asks=asks
        )
        got, created = self.same(
            lambda: self.store.submit([new], self.now),
            lambda: self.model.submit(key, job, self.now),
        )
        assert got is None or got[0].created == created

    def upload(self, owner: str) -> None:
        self.model.upload(owner)
        self.store.blob_present(BLOB.digest, BLOB.size_bytes, self.now, [OwnerId(owner)])

    def claim(self, key: str, worker: str) -> None:
        got, epoch = self.same(
            lambda: self.store.claim(JobId(key), WorkerId(worker), self.now, LEASE_S),
            lambda: self.model.claim(key, worker, self.now) if key in self.model.jobs else None,
        )
        assert (got[1].epoch if got else None) == epoch
        if epoch is not None:
            self.tokens.append((key, epoch))

    def start(self, key: str, epoch: int) -> None:
        self.same(
            lambda: self.store.start(JobId(key), epoch, self.now),
            lambda: self.model.start(key, epoch, self.now),
        )

    def beat(self, key: str, epoch: int, seqs: set[int]) -> None:
        events = [WorkerEvent("stream", b"{}", seq, self.now) for seq in sorted(seqs)]
        update = AttemptUpdate(job=JobId(key), epoch=epoch, events=events, stage=None)
        self.same(
            lambda: self.store.beat(update, self.now, LEASE_S),
            lambda: self.model.beat(key, epoch, self.now, seqs),
        )

    def resume(self, key: str, epoch: int, worker: str) -> None:
        got, expected = self.same(
            lambda: self.store.resume(WorkerId(worker), JobId(key), epoch, self.now, LEASE_S),
            lambda: self.model.resume(key, epoch, worker, self.now),
        )
        assert got == expected

    def release(self, key: str, epoch: int) -> None:
        self.same(
            lambda: self.store.release(JobId(key), epoch, self.now, "draining"),
            lambda: self.model.release(key, epoch),
        )

    def finish(self, key: str, epoch: int, kind: str, signal: str) -> None:
        outcome = Outcome(kind=kind, signal=signal)
        self.same(
            lambda: self.store.finish(JobId(key), epoch, outcome, self.now),
            lambda: self.model.finish(key, epoch, kind, signal, self.now),
        )

    def cancel(self, key: str, owner: str) -> None:
        if key in self.model.jobs:
            self.same(
                lambda: self.store.cancel(JobId(key), OwnerId(owner), self.now),
                lambda: self.model.cancel(key, owner),
            )

    def grant(self, owner: str, amount: int, key: str) -> None:
        self.model.grant(owner, amount, key)
        self.store.grant(OwnerId(owner), amount, key, self.now)

    def set_budget(self, owner: str, scope: str, name: str, limit: int) -> None:
        self.model.set_budget(owner, scope, name, limit, self.now)
        self.store.set_budget(OwnerId(owner), scope, name, limit, self.now)

    def clear_budget(self, owner: str, scope: str, name: str) -> None:
        there = self.model.clear_budget(owner, scope, name)
        assert self.store.clear_budget(OwnerId(owner), scope, name) == there

    def sweep(self) -> None:
        self.model.now = self.now
        limits = self.store.expire_limits(self.now, GRACE_S)
        assert len(limits) == self.model.sweep_limits(self.now)
        leases = self.store.expire_leases(self.now)
        assert len(leases) == self.model.sweep_leases(self.now)

    def wake(self) -> None:
        assert len(self.store.wake(self.now)) == self.model.wake(self.now)

    # -- what is seen
    def compare(self, whole: bool = False) -> None:
        """``whole``: once more the jobs that ended long ago."""
        for key, job in self.model.jobs.items():
            if whole or key not in self.settled:
                self._compare_job(JobId(key), job)
            if job.state in TERMINAL:
                self.settled.add(key)
        for owner in OWNERS:
            balance = self.store.balance(OwnerId(owner))
            assert balance.available_ucredits == self.model.available(owner), owner
            assert balance.held_ucredits == self.model.held(owner), owner
            assert balance.spent_ucredits == self.model.spent(owner), owner
            assert balance.available_ucredits >= 0, owner
            self._compare_budgets(owner)
        assert self.store.audit() == []

    def _compare_budgets(self, owner: str) -> None:
        seen = {
            (b.scope, b.name): (b.limit_ucredits, b.spent_ucredits, b.held_ucredits)
            for b in self.store.budgets(OwnerId(owner), self.now)
        }
        told = {
            (scope, name): (budget.limit, *self.model.used(owner, scope, name, self.now))
            for (who, scope, name), budget in self.model.budgets.items()
            if who == owner
        }
        assert seen == told, owner

    def _compare_job(self, key: JobId, job: Job) -> None:
        record = self.store.job(key)
        seen = (record.state, record.reason, record.epoch, record.starts, record.cost_ucredits)
        assert seen == (job.state, job.reason, job.epoch, job.starts, job.cost), key
        assert (record.cancel_requested, record.ready) == (job.cancel, job.ready), key
        assert (record.hold_ucredits, record.fuse) == (job.hold, job.fuse), key
        assert (record.cached_from or "") == job.given, key
        assert record.preemptions == job.count("preempted"), key
        assert abs(record.limits.max_run_s - job.max_run) < 0.001, key
        events = self.store.events(after=0, job=key)
        numbered = sorted((e.epoch, e.seq) for e in events if e.seq)
        assert numbered == self._shown(job), key
        assert [e.type == "done" for e in events].count(True) == (record.state in TERMINAL), key
        history = self.store.history(key)
        statuses = [e for e in events if e.type == "status"]
        assert len(history) == len(statuses) > 0, key

    def _shown(self, job: Job) -> list[tuple[int, int]]:
        """Epoch and number of each output: of its attempts, or of the one that gave the result."""
        if job.given:
            return [(0, seq) for seq in sorted(self.model.jobs[job.given].attempts[-1].seqs)]
        return [(a.epoch, seq) for a in job.attempts for seq in sorted(a.seqs)]

    # -- a walk by chance
    def walk(self, chance: random.Random, steps: int) -> None:
        """Raises AssertionError, or whatever the store raises, where the two differ."""
        for _ in range(steps):
            self.step(chance)
            self.compare()
        self.compare(whole=True)

    def step(self, chance: random.Random) -> None:
        """Mostly what moves a few jobs on; now and then what nobody should try."""
        live = self._live()
        at = chance.random()
        if at < 0.45 and live:
            self._as_worker(chance, *chance.choice(live))
        elif at < 0.53 and self.tokens:
            self._as_worker(chance, *chance.choice(self.tokens))  # a zombie
        else:
            ops = [self._claim, self._submit, self._cancel, self._tick, self._sweeps]
            weights = [28, 12, 10, 20, 30]
            if self._budgets:
                ops.append(self._money)
                weights.append(20)
            chance.choices(ops, weights)[0](chance)

    def _live(self) -> list[tuple[str, int]]:
        jobs = self.model.jobs
        return [t for t in self.tokens if jobs[t[0]].epoch == t[1] and jobs[t[0]].state in ACTIVE]

    def _key(self, chance: random.Random) -> str:
        open_ = [k for k, j in self.model.jobs.items() if j.state not in TERMINAL]
        some = open_ if chance.random() < 0.8 else list(self.model.jobs)
        return chance.choice(some or ["none"])

    def _submit(self, chance: random.Random) -> None:
        open_ = sum(job.state not in TERMINAL for job in self.model.jobs.values())
        again = self.model.jobs and (open_ > 2 or chance.random() < 0.2)
        key = self._key(chance) if again else f"j{len(self.model.jobs)}"
        known = self.model.jobs.get(key)
        if known is not None and chance.random() < 0.5:
            body, owner = known.body[0], known.owner
            rate, asked = map(int, known.body.split()[1:3])  # it may have been cut since
            self.submit(
                key, owner, body, rate, asked, known.max_attempts, known.retries,
                known.body.endswith("True"), known.notebook, known.asks,
            )  # fmt: skip
            return
        self.submit(
            key, chance.choice(OWNERS), chance.choice("pq"), chance.choice((0, 1, 1, 3)),
            chance.choice((30, 400)), chance.choice((1, 2, 3, 3)), chance.choice((0, 0, 1)),
            chance.random() < 0.15, chance.choice(NOTEBOOKS) if self._budgets else "",
            chance.choice(ASKED) if self._budgets else "",
        )  # fmt: skip

    def _money(self, chance: random.Random) -> None:
        """Budgets are set and lifted, money is granted again; the clock jumps to another day."""
        owner, budget = chance.choice(OWNERS), chance.choice(BUDGETS)
        match chance.choice(("set", "set", "clear", "grant", "jump")):
            case "set":
                self.set_budget(owner, *budget, chance.choice((0, 100, 800)))
            case "clear":
                self.clear_budget(owner, *budget)
            case "grant":
                self.grant(owner, 50, chance.choice(("start", "more")))
            case _:
                self.now = max(1000, self.now + chance.choice((-86_400, 86_400)))

    def _claim(self, chance: random.Random) -> None:
        queued = [k for k, j in self.model.jobs.items() if j.state == "queued"]
        self.claim(chance.choice(queued or [self._key(chance)]), chance.choice(WORKERS))

    def _cancel(self, chance: random.Random) -> None:
        key = self._key(chance)
        if key in self.model.jobs:
            stranger = chance.random() < 0.2
            self.cancel(key, chance.choice(OWNERS) if stranger else self.model.jobs[key].owner)
            if self.model.jobs[key].state == "running" and chance.random() < 0.4:
                self.now += LEASE_S + 1  # its worker dies of it
                self.sweep()

    def _tick(self, chance: random.Random) -> None:
        self.now += chance.choice((1, 3, 10, 20, 46))

    def _sweeps(self, chance: random.Random) -> None:
        def upload(chance: random.Random) -> None:
            self.upload(chance.choice(OWNERS))

        ops = (self._one_silent, self._again, lambda _: self.sweep(), upload)
        chance.choices(ops, (8, 12, 4, 1))[0](chance)

    def _one_silent(self, chance: random.Random) -> None:
        """Mostly some attempts are heard of in time, and the others are not."""
        self.now += 30
        for key, epoch in self._live():
            if chance.random() < 0.4:
                self.beat(key, epoch, set())
        self.now += 20
        self.sweep()

    def _again(self, chance: random.Random) -> None:
        """What is due is woken and claimed."""
        self.now += chance.choice((1, 5, 9))
        self.wake()
        for key in [k for k, j in self.model.jobs.items() if j.state == "queued" and j.epoch]:
            self.claim(key, chance.choice(WORKERS))

    def _as_worker(self, chance: random.Random, key: str, epoch: int) -> None:
        claimed = self.model.jobs[key].state == "claimed"
        weights = (65, 8, 15, 6, 6) if claimed else (5, 50, 30, 5, 10)
        match chance.choices(("start", "beat", "finish", "release", "resume"), weights)[0]:
            case "start":
                self.start(key, epoch)
            case "beat":
                self.beat(key, epoch, set(chance.sample(range(1, 6), chance.randint(0, 3))))
            case "finish":
                late = self.model.jobs[key].cancel
                kind = chance.choices(KINDS, (5, 1, 2, 1, 1, 2) if late else (2, 3, 1, 1, 5, 2))[0]
                self.finish(key, epoch, kind, chance.choice((*SIGNALS, SIGNALS[-1])))
            case "release":
                self.release(key, epoch)
            case _:
                self.resume(key, epoch, chance.choice(WORKERS))
