"""What a store must do, said once more: small, pure, in whole seconds, without a database.

Written from the table of transitions alone and kept apart from the code that it checks. Rates are
micro-credits a second. A verb that is not allowed raises :class:`Refused` and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

TERMINAL = {"succeeded", "failed", "cancelled", "expired"}
ACTIVE = {"claimed", "running"}
LEASE_S = 45
GRACE_S = 5
MOST_PREEMPTIONS = 100
DAY_S = 86_400


class Refused(Exception):
    pass


@dataclass
class Attempt:
    epoch: int
    worker: str
    claimed: int
    lease: int
    started: int | None = None
    beat: int | None = None
    end: str = ""  # "", done, error, cancelled, revoked, preempted, lost
    signal: str = ""
    seqs: set[int] = field(default_factory=set)


@dataclass
class Job:
    owner: str
    body: str
    rate: int
    max_run: float
    max_attempts: int
    retries: int
    ready: bool
    state: str = "queued"
    reason: str = ""
    cost: int = 0
    cancel: bool = False
    due: int = 0
    attempts: list[Attempt] = field(default_factory=list)
    notebook: str = ""
    asks: str = ""  # for a result that is kept under this key
    given: str = ""  # the job whose result it was given
    fuse: str = ""
    cut: int | None = None  # what a budget left for its hold

    @property
    def hold(self) -> int:
        return int(self.rate * self.max_run) if self.cut is None else self.cut

    @property
    def epoch(self) -> int:
        return len(self.attempts)

    @property
    def starts(self) -> int:
        return sum(a.started is not None for a in self.attempts)

    def count(self, end: str) -> int:
        return sum(a.end == end for a in self.attempts)

    def held(self) -> int:
        return 0 if self.state in TERMINAL else self.hold - self.cost


@dataclass
class Budget:
    limit: int
    day: int = 0  # scope day: the latest on which money moved, and what was spent since it began
    spent: int = 0


class Model:
    def __init__(self) -> None:
        self.budgets: dict[tuple[str, str, str], Budget] = {}  # by owner, scope, name
        self.grants: set[tuple[str, str]] = set()  # by owner, key
        self.charges: list[tuple[str, int, int]] = []  # to whom, when, how much
        self.now = 0
        self.jobs: dict[str, Job] = {}
        self.granted: dict[str, int] = {}
        self.senders: set[str] = set()  # who sent the blob
        self.kept: dict[tuple[str, str], str] = {}  # by owner and key the job with the result

    # -- money follows from the jobs
    def spent(self, owner: str) -> int:
        return sum(j.cost for j in self.jobs.values() if j.owner == owner)

    def held(self, owner: str) -> int:
        return sum(j.held() for j in self.jobs.values() if j.owner == owner)

    def available(self, owner: str) -> int:
        return self.granted.get(owner, 0) - self.spent(owner) - self.held(owner)

    def grant(self, owner: str, amount: int, key: str) -> None:
        if (owner, key) not in self.grants:
            self.grants.add((owner, key))
            self.granted[owner] = self.granted.get(owner, 0) + amount

    # -- budgets follow from the jobs, too
    def set_budget(self, owner: str, scope: str, name: str, limit: int, now: int) -> None:
        today = now // DAY_S
        spent = sum(n for who, at, n in self.charges if who == owner and at >= today * DAY_S)
        self.budgets[owner, scope, name] = Budget(limit, today, spent)

    def _moved(self, owner: str, charged: int, at: int) -> None:
        """Money of this owner moved."""
        if charged:
            self.charges.append((owner, at, charged))
        if (budget := self.budgets.get((owner, "day", ""))) is not None:
            if budget.day < at // DAY_S:
                budget.day, budget.spent = at // DAY_S, 0
            budget.spent += charged

    def clear_budget(self, owner: str, scope: str, name: str) -> bool:
        return self.budgets.pop((owner, scope, name), None) is not None

    def used(self, owner: str, scope: str, name: str, now: int) -> tuple[int, int]:
        """Spent, held."""
        budget = self.budgets[owner, scope, name]
        mine = [
            job
            for job in self.jobs.values()
            if job.owner == owner and (scope != "notebook" or job.notebook == name)
        ]
        spent = sum(job.cost for job in mine)
        if scope == "day":
            spent = 0 if budget.day < now // DAY_S else budget.spent
        return spent, sum(job.held() for job in mine)

    def left(self, owner: str, scope: str, name: str, now: int) -> int:
        spent, held = self.used(owner, scope, name, now)
        return max(0, self.budgets[owner, scope, name].limit - spent - held)

    def _cut(self, job: Job, now: int) -> None:
        """To what the tightest budget leaves."""
        concerned = [
            (self.left(owner, scope, name, now), scope)
            for owner, scope, name in sorted(self.budgets)
            if owner == job.owner and (scope != "notebook" or name == job.notebook)
        ]
        left, scope = min(concerned, key=lambda one: one[0], default=(job.hold, ""))
        if job.hold > left:
            if left < job.rate:
                raise Refused
            job.cut, job.max_run, job.fuse = left, left / job.rate, f"budget {scope}"

    # -- verbs
    def submit(self, key: str, job: Job, now: int) -> bool:
        known = self.jobs.get(key)
        if known is not None:
            if (known.body, known.owner) != (job.body, job.owner):
                raise Refused
            return False
        if job.asks and (source := self.kept.get((job.owner, job.asks))):
            job.given, job.rate, job.cut, job.ready, job.state = source, 0, 0, True, "succeeded"
            self.jobs[key] = job
            return True
        self._cut(job, now)
        if job.hold > self.available(job.owner):
            raise Refused
        self.jobs[key] = job
        if job.hold:
            self._moved(job.owner, 0, now)
        return True

    def upload(self, owner: str) -> None:
        self.senders.add(owner)
        for job in self.jobs.values():
            if job.state == "queued" and job.owner == owner:
                job.ready = True

    def claim(self, key: str, worker: str, now: int) -> int | None:
        job = self.jobs[key]
        if job.state != "queued" or not job.ready:
            return None
        job.attempts.append(Attempt(job.epoch + 1, worker, now, now + LEASE_S))
        job.state = "claimed"
        return job.epoch

    def _fenced(self, key: str, epoch: int) -> tuple[Job, Attempt]:
        job = self.jobs[key]
        if job.epoch != epoch or job.state not in ACTIVE:
            raise Refused
        return job, job.attempts[-1]

    def start(self, key: str, epoch: int, now: int) -> None:
        job, attempt = self._fenced(key, epoch)
        if job.cancel:
            raise Refused
        if job.state == "claimed":
            job.state, attempt.started = "running", now

    def beat(self, key: str, epoch: int, now: int, seqs: set[int]) -> None:
        _, attempt = self._fenced(key, epoch)
        attempt.lease, attempt.beat = now + LEASE_S, now
        attempt.seqs |= seqs

    def resume(self, key: str, epoch: int, worker: str, now: int) -> bool:
        try:
            _, attempt = self._fenced(key, epoch)
        except Refused:
            return False
        if attempt.worker != worker:
            return False
        attempt.lease, attempt.beat = now + LEASE_S, now
        return True

    def release(self, key: str, epoch: int) -> None:
        job, attempt = self._fenced(key, epoch)
        if job.state != "claimed":
            raise Refused
        job.state, attempt.end = "queued", "revoked"

    def finish(self, key: str, epoch: int, kind: str, signal: str, now: int) -> None:
        job, attempt = self._fenced(key, epoch)
        if job.state == "claimed" and kind == "preempted":
            return self.release(key, epoch)
        if job.state == "claimed" and kind not in {"failed", "died"}:
            raise Refused
        if kind == "succeeded":
            self._charge(job, now)
            self._end(job, "done", "succeeded", "finished_before_cancel" if job.cancel else "")
            if job.asks:
                self.kept[job.owner, job.asks] = key
        elif job.cancel or kind == "cancelled":
            heard = attempt.beat or attempt.started or now
            self._charge(job, heard if kind == "died" else now)
            self._end(job, "cancelled", "cancelled", "cancelled")
        elif kind == "preempted":
            if job.count("preempted") == MOST_PREEMPTIONS:
                self._end(job, "preempted", "failed", "lost")
            else:
                attempt.end, job.state = "preempted", "queued"
        elif kind == "expired":
            self._charge(job, now)
            self._end(job, "error", "expired", "time_limit")
        elif kind == "died":
            self._lose(job, signal, now)
        else:
            self._fail(job, attempt, now)

    def _fail(self, job: Job, attempt: Attempt, now: int) -> None:
        running = job.state == "running"
        errors = job.count("error") + 1
        self._charge(job, now)
        money_left = job.cost < job.hold or not job.rate
        if running and errors <= job.retries and money_left:
            attempt.end, job.state, job.due = "error", "retry_wait", now + _wait(errors)
        else:
            self._end(job, "error", "failed", "user_error" if running else "environment")

    def _lose(self, job: Job, signal: str, now: int) -> None:
        attempt = job.attempts[-1]
        poison = bool(signal) and any(
            a.end == "lost" and a.signal == signal and a.worker != attempt.worker
            for a in job.attempts
        )
        attempt.signal = signal
        losses = job.count("lost") + 1
        if poison or losses >= job.max_attempts:
            self._end(job, "lost", "failed", "poison" if poison else "lost")
        else:
            attempt.end, job.state, job.due = "lost", "retry_wait", now + _wait(losses)

    def _charge(self, job: Job, until: int) -> None:
        started = job.attempts[-1].started
        if started is not None:
            seconds = max(0, min(until - started, job.max_run))
            amount = min(ceil(job.rate * seconds - 1e-9), job.hold - job.cost)
            job.cost += amount
            if amount:
                self._moved(job.owner, amount, self.now)

    def _end(self, job: Job, attempt: str, state: str, reason: str) -> None:
        job.attempts[-1].end, job.state, job.reason = attempt, state, reason
        self._given_back(job)

    def _given_back(self, job: Job) -> None:
        if job.hold > job.cost:
            self._moved(job.owner, 0, self.now)

    def cancel(self, key: str, owner: str) -> None:
        job = self.jobs[key]
        if job.owner != owner or job.state in TERMINAL:
            raise Refused
        if job.state == "claimed":
            job.attempts[-1].end = "revoked"
        job.cancel = True
        if job.state != "running":
            job.state, job.reason = "cancelled", "cancelled"
            self._given_back(job)

    def sweep_leases(self, now: int) -> int:
        swept = 0
        for job in self.jobs.values():
            if job.state in ACTIVE and job.attempts[-1].lease <= now:
                swept += 1
                attempt = job.attempts[-1]
                if job.cancel:
                    self._charge(job, attempt.beat or attempt.started or now)
                    self._end(job, "cancelled", "cancelled", "cancelled")
                else:
                    self._lose(job, "", now)
        return swept

    def sweep_limits(self, now: int) -> int:
        swept = 0
        for job in self.jobs.values():
            started = job.attempts[-1].started if job.state == "running" else None
            if started is None:
                continue
            paid = (job.hold - job.cost) / job.rate if job.rate else job.max_run
            if now - started > min(job.max_run, paid) + GRACE_S:
                swept += 1
                reason = "cost_limit" if job.fuse or paid < job.max_run else "time_limit"
                self._charge(job, now)
                if job.cancel:
                    self._end(job, "cancelled", "cancelled", "cancelled")
                else:
                    self._end(job, "error", "expired", reason)
        return swept

    def wake(self, now: int) -> int:
        due = [j for j in self.jobs.values() if j.state == "retry_wait" and j.due <= now]
        for job in due:
            job.state = "queued"
        return len(due)


def _wait(failures: int) -> int:
    return min(300, 2**failures)
