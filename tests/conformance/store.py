"""What every implementation of ``jupyter_remote.store.base.Store`` does.

Subclass it and give a fixture ``store``, empty, whose retries wait without jitter.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from jupyter_remote.errors import (
    Conflict,
    InsufficientFunds,
    KeyReused,
    NotAuthorized,
    NotFound,
)
from jupyter_remote.model import (
    AttemptState,
    InstanceRecord,
    InstanceState,
    JobId,
    JobState,
    Limits,
    MachineType,
    OwnerId,
    Reason,
    Stage,
    Status,
    TokenRecord,
    WorkerId,
    WorkerRecord,
)
from jupyter_remote.store import lifecycle
from jupyter_remote.store.base import Store
from jupyter_remote.store.base_parts import AttemptUpdate, Changed, NewJob, Outcome
from jupyter_remote.wire import (
    Bar,
    Checkpoint,
    Done,
    JobSpec,
    JobView,
    Metrics,
    Parcel,
    Receipt,
    Segment,
    WorkerEvent,
    encode,
)

ADA, BOB = OwnerId("ada"), OwnerId("bob")
W1, W2 = WorkerId("w1"), WorkerId("w2")
LEASE_S = 45.0
A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def new_job(job: str = "job-1", **changes: Any) -> NewJob:
    rate = changes.pop("credits_per_h", 0) * 1_000_000
    hold = changes.pop("hold_credits", 0) * 1_000_000
    values: dict[str, Any] = {
        "id": JobId(job),
        "owner": ADA,
        "body_digest": "body",
        "client": "notebook",
        "kind": "call",
        "description": "a test",
        "visibility": "private",
        "machine": "local",
        "simulated": False,
        "spec": b'{"kind":"call"}',
        "segments": [],
        "limits": Limits(max_run_s=3600.0),
        "max_attempts": 3,
        "retries": 0,
        "rate_ucredits_per_h": rate,
        "hold_ucredits": hold,
    }
    return NewJob(**(values | changes))


def new_session(job: str, name: str, **changes: Any) -> NewJob:
    return new_job(job, **{"kind": "session", "session": name, "max_attempts": 1, **changes})


def output(seq: int, text: str = "x") -> WorkerEvent:
    return WorkerEvent("stream", encode({"name": "stdout", "text": text}), seq, 1.0)


def beat(job: str, epoch: int, *events: WorkerEvent, **more: Any) -> AttemptUpdate:
    return AttemptUpdate(
        job=JobId(job), epoch=epoch, events=list(events), **({"stage": None} | more)
    )


def claimed(store: Store, job: str = "job-1", worker: WorkerId = W1, now: float = 10.0) -> int:
    got = store.claim(JobId(job), worker, now, LEASE_S)
    assert got is not None
    return got[1].epoch


def running(store: Store, new: NewJob | None = None, now: float = 10.0) -> JobId:
    """Submitted at 0, claimed and started at ``now``."""
    new = new or new_job()
    store.submit([new], 0.0)
    store.start(new.id, claimed(store, new.id, now=now), now)
    return new.id


def checkpoint(*digests: str, at: float = 12.0) -> Checkpoint:
    value = Parcel([Segment(digest, 5) for digest in digests])
    return Checkpoint(value=value, at=at, epoch=1, why="budget")


def types(changed: Changed) -> list[str]:
    return [event.type for event in changed.events]


WORKER = WorkerRecord(
    id=W1,
    instance="local",
    machine="local",
    slots=2,
    connected=True,
    draining=False,
    seen_at=0.0,
    python="3.11.7",
    platform="Linux",
)


def receipt_of(store: Store, job: JobId) -> Receipt:
    stored = store.job(job).receipt
    assert stored is not None
    return msgspec.json.decode(stored, type=Receipt)


class StoreConformance:
    """Names say what holds."""

    # -- sessions
    def test_of_one_name_there_is_one_session_at_a_time(self, store: Store) -> None:
        store.submit([new_session("a", "lab")], 0.0)
        with pytest.raises(Conflict, match="'lab' already: job a"):
            store.submit([new_session("b", "lab")], 1.0)
        store.submit([new_session("c", "other")], 1.0)
        store.submit([new_session("d", "lab", owner=BOB)], 1.0)
        store.submit([new_session("a", "lab")], 2.0)  # sent again
        store.submit([new_job("cell", kind="cell", session="a")], 2.0)
        assert [job.id for job in store.sessions(ADA)] == ["c", "a"]
        assert [job.id for job in store.sessions(ADA, "lab")] == ["a"]
        assert store.sessions(ADA, "none") == []

    @pytest.mark.parametrize("outcome", ["succeeded", "failed", "died", "expired", "cancelled"])
    def test_a_name_is_free_when_its_session_is_over(self, store: Store, outcome: str) -> None:
        job = running(store, new_session("a", "lab"))
        store.finish(job, 1, Outcome(kind=outcome, detail="how it was"), 20.0)
        assert store.job(job).detail == "how it was"
        assert store.sessions(ADA) == []
        assert [job.id for job in store.sessions(ADA, "lab")] == ["a"]
        store.submit([new_session("b", "lab")], 30.0)
        assert [job.id for job in store.sessions(ADA, "lab")] == ["b"]

    def test_a_session_that_was_cancelled_before_it_began_frees_its_name(
        self, store: Store
    ) -> None:
        store.submit([new_session("a", "lab")], 0.0)
        store.cancel(JobId("a"), ADA, 1.0)
        store.submit([new_session("b", "lab")], 2.0)

    def test_a_cancel_says_by_whom(self, store: Store) -> None:
        store.submit([new_job("cell", kind="cell", session="a")], 0.0)
        store.cancel(JobId("cell"), ADA, 1.0, False, "because its session is over")
        told = store.history(JobId("cell"))[-1].text
        assert told.startswith("cancelled because its session is over before it started")

    # -- submit
    def test_a_submitted_job_is_queued_and_told(self, store: Store) -> None:
        written = store.submit([new_job()], 5.0)[0]
        assert written.created
        assert store.job(JobId("job-1"), ADA).status is Status.QUEUED
        assert written.event is not None
        assert msgspec.json.decode(written.event.data, type=JobView).status == "queued"
        assert store.events(after=0, client="notebook") == [written.event]
        assert [h.event for h in store.history(JobId("job-1"))] == ["submit"]

    def test_submitting_twice_is_submitting_once(self, store: Store) -> None:
        store.grant(ADA, 10**7, "start", 0.0)
        new = new_job(credits_per_h=1, hold_credits=1)
        store.submit([new], 5.0)
        again = store.submit([new], 6.0)[0]
        assert not again.created
        assert again.job.submitted_at == 5.0
        assert store.balance(ADA).held_ucredits == 10**6
        assert len(store.jobs(ADA)) == 1

    def test_the_same_id_with_another_body_or_owner_is_refused(self, store: Store) -> None:
        store.submit([new_job()], 5.0)
        for other in (new_job(body_digest="other"), new_job(owner=BOB)):
            with pytest.raises(KeyReused):
                store.submit([other], 6.0)

    def test_a_batch_is_written_whole_or_not_at_all(self, store: Store) -> None:
        store.grant(ADA, 2_500_000, "start", 0.0)
        jobs = [new_job(f"job-{n}", credits_per_h=1, hold_credits=1) for n in range(3)]
        with pytest.raises(InsufficientFunds, match=r"0\.5 credits \(\$0\.0050\) are missing"):
            store.submit(jobs, 1.0)
        assert store.jobs(ADA) == []
        assert store.balance(ADA).available_ucredits == 2_500_000

    def test_a_job_is_claimable_when_all_its_inputs_are_there(self, store: Store) -> None:
        store.blob_present(A, 1, 0.0, [ADA])
        segments = [Segment(d, 1) for d in (A, B, C)]
        written = store.submit([new_job(segments=segments)], 1.0)[0]
        assert [m.digest for m in written.missing] == [B, C]
        assert store.claim(JobId("job-1"), W1, 2.0, LEASE_S) is None
        assert store.snapshot().queued == []
        assert store.blob_present(B, 1, 3.0, [ADA]) == []
        ready = store.blob_present(C, 1, 4.0, [ADA])
        assert [changed.job.id for changed in ready] == ["job-1"]
        assert [job.id for job in store.snapshot().queued] == ["job-1"]
        assert claimed(store) == 1

    # -- finding
    def test_jobs_are_found_by_the_beginning_of_their_id(self, store: Store) -> None:
        store.submit([new_job("abc1"), new_job("abc2"), new_job("abd", owner=BOB)], 1.0)
        assert [j.id for j in store.find("ab", ADA)] == ["abc2", "abc1"]
        assert store.find("abd", ADA) == []

    def test_jobs_of_some_ids_are_the_owners(self, store: Store) -> None:
        store.submit([new_job("a"), new_job("b"), new_job("c"), new_job("d", owner=BOB)], 1.0)
        asked = [JobId(id) for id in ("a", "c", "d", "nobody's")]
        assert [j.id for j in store.jobs(ADA, ids=asked)] == ["c", "a"]
        assert store.jobs(ADA, ids=[]) == []

    def test_jobs_are_listed_newest_first_in_pages(self, store: Store) -> None:
        store.submit([new_job(f"job-{n}", batch="b" if n % 2 else None) for n in range(5)], 1.0)
        page = store.jobs(ADA, limit=2)
        assert [j.id for j in page] == ["job-4", "job-3"]
        assert [j.id for j in store.jobs(ADA, before=page[-1].id)] == ["job-2", "job-1", "job-0"]
        assert [j.id for j in store.jobs(ADA, batch="b")] == ["job-3", "job-1"]
        store.cancel(JobId("job-1"), ADA, 2.0)
        assert [j.id for j in store.jobs(ADA, states=[JobState.CANCELLED])] == ["job-1"]
        assert store.jobs(BOB) == []

    def test_somebody_elses_job_looks_like_an_absent_one(self, store: Store) -> None:
        store.submit([new_job()], 1.0)
        with pytest.raises(NotFound) as absent:
            store.job(JobId("job-2"), BOB)
        with pytest.raises(NotFound) as foreign:
            store.job(JobId("job-1"), BOB)
        assert str(absent.value).replace("job-2", "job-1") == str(foreign.value)
        with pytest.raises(NotFound):
            store.cancel(JobId("job-1"), BOB, 2.0)

    # -- earlier runs
    def test_earlier_runs_are_those_that_succeeded_newest_first(self, store: Store) -> None:
        for number, outcome in enumerate(("succeeded", "failed", "succeeded")):
            new = new_job(f"job-{number}", code_key=A, notebook="a.ipynb", inputs_bytes=7)
            job = running(store, new, now=100.0 * number)
            metrics = encode(Metrics(at=1.0, cpu_percent=0.0, memory_bytes=1, peak_memory_bytes=9))
            ended = Outcome(kind=outcome, metrics=metrics)
            store.finish(job, 1, ended, 100.0 * number + number + 1)
        newest, oldest = store.past_runs(ADA, code_key=A)
        assert (newest.run_s, oldest.run_s) == (3.0, 1.0)
        assert (newest.machine, newest.kind, newest.notebook) == ("local", "call", "a.ipynb")
        assert (newest.inputs_bytes, newest.peak_memory_bytes, newest.code_key) == (7, 9, A)
        assert store.past_runs(ADA, code_key=A, limit=1) == [newest]

    def test_what_went_on_from_a_checkpoint_is_no_earlier_run(self, store: Store) -> None:
        store.blob_present(A, 5, 0.0, [ADA])
        job = running(store, new_job(code_key=A))
        store.checkpoint(job, 1, checkpoint(A), 12.0)
        resumed = running(store, new_job("resumed", code_key=A, resumes=job))
        store.finish(resumed, 1, Outcome(kind="succeeded"), 11.0)
        store.finish(job, 1, Outcome(kind="died", signal="SIGKILL"), 20.0)
        store.wake(100.0)
        store.start(job, claimed(store, job, W2, 100.0), 100.0)
        store.finish(job, 2, Outcome(kind="succeeded"), 101.0)
        assert store.past_runs(ADA, code_key=A) == []
        whole = running(store, new_job("whole", code_key=A))
        store.checkpoint(whole, 1, checkpoint(A), 12.0)
        store.finish(whole, 1, Outcome(kind="succeeded"), 20.0)
        assert [run.run_s for run in store.past_runs(ADA, code_key=A)] == [10.0]

    def test_earlier_runs_are_found_by_code_notebook_or_kind(self, store: Store) -> None:
        for number, changes in enumerate(
            (
                {"code_key": A},
                {"code_key": B, "notebook": "b.ipynb"},
                {"kind": "cell", "notebook": "b.ipynb"},
                {"batch": "many"},
                {"owner": BOB, "code_key": A, "notebook": "b.ipynb"},
            )
        ):
            job = running(store, new_job(f"job-{number}", **changes))
            store.finish(job, 1, Outcome(kind="succeeded"), 11.0 + number)
        assert [r.run_s for r in store.past_runs(ADA, code_key=A)] == [1.0]
        assert [r.run_s for r in store.past_runs(ADA, notebook="b.ipynb")] == [3.0, 2.0]
        assert [r.run_s for r in store.past_runs(ADA, kind="call")] == [2.0, 1.0]
        assert store.past_runs(ADA) == store.past_runs(ADA, code_key=C) == []

    # -- the life of a job
    def test_a_job_runs_to_its_result(self, store: Store) -> None:
        job = running(store)
        done = store.finish(job, 1, Outcome(kind="succeeded", result=b"{}"), 12.0)
        assert done.job.status is Status.COMPLETED
        assert types(done) == ["status", "done"]
        told = msgspec.json.decode(done.events[-1].data, type=Done)
        assert (told.job.status, told.result is not None) == ("completed", True)
        events = [h.event for h in store.history(job)]
        assert events == ["submit", "claim", "start", "complete"]
        assert [e.cursor for e in store.events(after=0)] == sorted(
            e.cursor for e in store.events(after=0)
        )

    def test_a_start_sent_twice_is_one_start(self, store: Store) -> None:
        job = running(store)
        again = store.start(job, 1, 11.0)
        assert (again.job.starts, again.job.started_at, again.events) == (1, 10.0, [])

    def test_a_stale_epoch_changes_nothing(self, store: Store) -> None:
        job = running(store)
        store.expire_leases(100.0)
        store.wake(1000.0)
        epoch = claimed(store, worker=W2, now=1000.0)
        before = store.events(after=0)
        for write in (
            lambda: store.start(job, 1, 1001.0),
            lambda: store.beat(beat(job, 1, output(1)), 1001.0, LEASE_S),
            lambda: store.finish(job, 1, Outcome(kind="succeeded"), 1001.0),
            lambda: store.release(job, 1, 1001.0, ""),
        ):
            with pytest.raises(Conflict):
                write()
        assert not store.resume(W1, job, 1, 1001.0, LEASE_S)
        assert store.events(after=0) == before
        assert store.job(job).epoch == epoch == 2

    def test_a_terminal_job_stays_as_it_is(self, store: Store) -> None:
        job = running(store)
        store.finish(job, 1, Outcome(kind="succeeded"), 12.0)
        before = store.job(job)
        for write in (
            lambda: store.finish(job, 1, Outcome(kind="failed"), 13.0),
            lambda: store.cancel(job, ADA, 13.0),
            lambda: store.beat(beat(job, 1, output(1)), 13.0, LEASE_S),
        ):
            with pytest.raises(Conflict):
                write()
        assert store.job(job) == before

    def test_a_released_job_is_queued_again_and_lost_no_attempt(self, store: Store) -> None:
        store.submit([new_job(max_attempts=1)], 0.0)
        store.release(JobId("job-1"), claimed(store), 11.0, "draining")
        assert store.job(JobId("job-1")).state is JobState.QUEUED
        assert claimed(store) == 2

    def test_a_result_whose_parts_are_not_there_is_refused(self, store: Store) -> None:
        job = running(store)
        outcome = Outcome(kind="succeeded", segments=[Segment(A, 1)])
        with pytest.raises(Conflict):
            store.finish(job, 1, outcome, 12.0)
        store.blob_present(A, 1, 13.0, [ADA])
        assert store.finish(job, 1, outcome, 14.0).job.state is JobState.SUCCEEDED

    # -- fuses and checkpoints
    def test_that_most_is_spent_is_told_once_for_each_attempt(self, store: Store) -> None:
        store.grant(ADA, 10**8, "start", 0.0)
        fused = new_job(credits_per_h=3600, hold_credits=10, fuse="max_cost")
        job = running(store, fused)
        warned = store.warn(job, 1, 18.0)
        assert (warned.job.warned_at, types(warned)) == (18.0, ["status"])
        again = store.warn(job, 1, 19.0)
        assert (again.job.warned_at, again.events) == (18.0, [])
        told = [h.text for h in store.history(job) if h.event == "warn"]
        assert told == ["warning at 80 %: 8 of 10 credits are spent"]
        store.expire_leases(100.0)  # what the first attempt cost is not the owner's loss
        store.wake(200.0)
        store.start(job, claimed(store, now=200.0), 200.0)
        assert store.job(job).warned_at is None
        assert store.warn(job, 2, 208.0).job.warned_at == 208.0

    def test_only_the_attempt_that_runs_may_warn_or_save(self, store: Store) -> None:
        store.submit([new_job()], 0.0)
        epoch = claimed(store)
        for _ in ("claimed", "stale", "ended"):
            with pytest.raises(Conflict):
                store.warn(JobId("job-1"), epoch, 11.0)
            with pytest.raises(Conflict):
                store.checkpoint(JobId("job-1"), epoch, checkpoint(A), 11.0)
            if store.job(JobId("job-1")).epoch == 1:
                store.release(JobId("job-1"), 1, 12.0, "")
                store.start(JobId("job-1"), claimed(store, now=13.0), 13.0)
            elif epoch == 1:
                store.finish(JobId("job-1"), 2, Outcome(kind="succeeded"), 14.0)
                epoch = 2
        assert store.job(JobId("job-1")).checkpoint is None

    def test_a_checkpoint_takes_the_place_of_the_one_before(self, store: Store) -> None:
        job = running(store)
        with pytest.raises(Conflict, match="1 parts of the checkpoint"):
            store.checkpoint(job, 1, checkpoint(A), 11.0)
        for digest in (A, B, C):
            store.blob_present(digest, 5, 10.0, [ADA])
        saved = store.checkpoint(job, 1, checkpoint(A, B), 12.0)
        assert types(saved) == ["status"]
        view = msgspec.json.decode(saved.events[0].data, type=JobView)
        assert (view.checkpoint_at, view.checkpoint_bytes) == (12.0, 10)
        assert store.checkpoint(job, 1, checkpoint(A, B, at=13.0), 13.0).events == []
        store.checkpoint(job, 1, checkpoint(B, C), 14.0)
        assert store.collect(1000.0, 1.0) == [A]
        told = [h.text for h in store.history(job) if h.event == "checkpoint"]
        assert told == ["checkpoint saved: 10 B", "checkpoint saved: 10 B"]

    def test_a_checkpoint_is_kept_for_who_goes_on_from_it(self, store: Store) -> None:
        job = running(store)
        store.blob_present(A, 5, 10.0, [ADA])
        store.checkpoint(job, 1, checkpoint(A), 12.0)
        store.finish(job, 1, Outcome(kind="expired", reason="cost_limit"), 13.0)
        assert store.job(job).checkpoint is not None
        follower = new_job("job-2", segments=[Segment(A, 5)], resumes=job, note="goes on")
        assert store.submit([follower], 20.0)[0].missing == []
        assert store.job(JobId("job-2")).resumes == job
        assert store.history(JobId("job-2"))[0].text == "queued; goes on"
        assert store.forget_jobs(1000.0) == 1
        assert store.collect(5000.0, 1.0) == []
        stranger = new_job("job-3", owner=BOB, segments=[Segment(A, 5)])
        assert len(store.submit([stranger], 21.0)[0].missing) == 1

    def test_an_attempt_after_a_loss_still_has_the_checkpoint(self, store: Store) -> None:
        job = running(store)
        store.blob_present(A, 5, 10.0, [ADA])
        store.checkpoint(job, 1, checkpoint(A), 12.0)
        store.expire_leases(100.0)
        store.wake(200.0)
        got = store.claim(job, W2, 200.0, LEASE_S)
        assert got is not None
        assert got[0].job.checkpoint is not None

    def test_a_cancel_may_ask_for_a_checkpoint_first(self, store: Store) -> None:
        job = running(store)
        asked = store.cancel(job, ADA, 11.0, saves=True).job
        assert (asked.cancel_requested, asked.cancel_saves, asked.cancel_forced) == (1, 1, 0)
        assert store.history(job)[-1].text == "cancel requested (after a checkpoint)"
        assert store.cancel(job, ADA, 12.0).job.cancel_saves  # a plain one after it changes nothing
        forced = store.cancel(job, ADA, 13.0, True).job
        assert (forced.cancel_saves, forced.cancel_forced) == (False, True)

    def test_a_result_on_its_way_at_the_limit_is_waited_for(self, store: Store) -> None:
        store.grant(ADA, 10**8, "start", 0.0)
        limits = Limits(max_run_s=10.0)
        job = running(store, new_job(credits_per_h=3600, hold_credits=10, limits=limits))
        store.beat(beat(job, 1, stage=Stage.SAVING_RESULT), 19.0, LEASE_S)
        assert store.expire_limits(60.0, 15.0) == []
        done = store.finish(job, 1, Outcome(kind="succeeded"), 61.0).job
        assert (done.state, done.cost_ucredits) == (JobState.SUCCEEDED, done.hold_ucredits)
        other = running(store, new_job("job-2", limits=limits), now=100.0)
        store.beat(beat(other, 1, stage=Stage.SAVING_RESULT), 109.0, LEASE_S)
        assert len(store.expire_limits(1000.0, 15.0)) == 1

    # -- what goes wrong
    def test_a_lost_job_waits_longer_each_time_and_then_fails(self, store: Store) -> None:
        store.submit([new_job()], 0.0)
        now = 0.0
        for wait_s in (2.0, 4.0):
            claimed(store, now=now)
            assert store.expire_leases(now + LEASE_S - 1) == []
            now += LEASE_S
            (lost,) = store.expire_leases(now)
            assert lost.job.not_before_at == now + wait_s
            assert store.wake(now + wait_s - 0.1) == []
            now += wait_s
            assert len(store.wake(now)) == 1
        claimed(store, now=now)
        (last,) = store.expire_leases(now + LEASE_S)
        assert (last.job.state, last.job.reason) == (JobState.FAILED, Reason.LOST)
        assert types(last) == ["status", "done"]

    def test_a_job_that_kills_two_workers_is_not_given_to_a_third(self, store: Store) -> None:
        job = running(store)
        died = Outcome(kind="died", signal="SIGSEGV", detail="killed by SIGSEGV")
        store.finish(job, 1, died, 11.0)
        store.wake(100.0)
        store.start(job, claimed(store, worker=W2, now=100.0), 100.0)
        poison = store.finish(job, 2, died, 101.0).job
        assert (poison.state, poison.reason) == (JobState.FAILED, Reason.POISON)

    def test_a_preempted_job_waits_again_at_once_and_is_charged_for_its_last_run_alone(
        self, store: Store
    ) -> None:
        store.grant(ADA, 10**7, "start", 0.0)
        job = running(store, new_job(credits_per_h=3600, hold_credits=9, max_attempts=1))
        put = store.finish(job, 1, Outcome(kind="preempted", ran_s=3.0), 14.0)
        assert (put.job.state, put.job.preemptions) == (JobState.QUEUED, 1)
        assert types(put) == ["notice", "status"]
        assert "preempted after 3.0 s" in put.job.detail
        assert put.job.detail.endswith("begins anew on another one")
        assert (put.job.cost_ucredits, store.balance(ADA).held_ucredits) == (0, 9 * 10**6)
        store.start(job, claimed(store, now=20.0), 20.0)
        done = store.finish(job, 2, Outcome(kind="succeeded"), 22.0).job
        assert done.cost_ucredits == 2 * 10**6
        receipt = msgspec.json.decode(done.receipt or b"", type=Receipt)
        assert [a.how for a in receipt.attempts] == ["preempted", "done"]
        assert [a.lost_ucredits for a in receipt.attempts] == [3 * 10**6, 0]
        assert receipt.cost.total_ucredits == 2 * 10**6
        assert store.audit() == []

    def test_a_preempted_job_goes_on_from_its_checkpoint(self, store: Store) -> None:
        job = running(store)
        store.checkpoint(job, 1, Checkpoint(value=Parcel([]), at=12.0, epoch=1), 12.0)
        put = store.finish(job, 1, Outcome(kind="preempted"), 14.0).job
        assert put.detail.endswith("goes on from its checkpoint on another one")
        with pytest.raises(Conflict):  # said again, too late
            store.finish(job, 1, Outcome(kind="preempted"), 15.0)
        attempt = claimed(store, now=20.0)
        assert store.job(job).checkpoint is not None
        again = store.finish(job, attempt, Outcome(kind="preempted"), 21.0).job
        assert (again.state, again.preemptions) == (JobState.QUEUED, 1)  # it had not begun

    def test_of_checkpoints_on_a_beat_the_first_alone_is_told(self, store: Store) -> None:
        job, parcel = running(store), Parcel([])
        on_beat = [Checkpoint(value=parcel, at=at, epoch=1, why="periodic") for at in (11.0, 12.0)]
        assert types(store.checkpoint(job, 1, on_beat[0], 11.0)) == ["status"]
        other = msgspec.structs.replace(on_beat[1], value=Parcel([], python="3.11"))
        assert types(store.checkpoint(job, 1, other, 12.0)) == []
        assert msgspec.json.decode(store.job(job).checkpoint or b"", type=Checkpoint) == other
        assert [h.event for h in store.history(job)].count("checkpoint") == 1

    def test_a_job_that_was_to_be_cancelled_is_not_preempted(self, store: Store) -> None:
        store.grant(ADA, 10**7, "start", 0.0)
        job = running(store, new_job(credits_per_h=3600, hold_credits=9))
        store.cancel(job, ADA, 11.0)
        ended = store.finish(job, 1, Outcome(kind="preempted"), 12.0).job
        assert (ended.state, ended.cost_ucredits) == (JobState.CANCELLED, 2 * 10**6)

    def test_there_is_an_end_to_being_preempted(self, store: Store) -> None:
        job, preempted = running(store), Outcome(kind="preempted")
        for epoch in range(1, lifecycle.MOST_PREEMPTIONS + 1):
            assert store.finish(job, epoch, preempted, 20.0).job.state is JobState.QUEUED
            store.start(job, claimed(store, now=20.0), 20.0)
        last = store.finish(job, lifecycle.MOST_PREEMPTIONS + 1, preempted, 21.0).job
        assert (last.state, last.reason) == (JobState.FAILED, Reason.LOST)
        assert last.detail == "its machine was taken away 101 times"

    def test_a_crash_of_the_users_own_code_is_not_tried_again_unasked(self, store: Store) -> None:
        crash = Outcome(kind="died", signal="SIGSEGV", reason="kernel_died", detail="SIGSEGV")
        once = store.finish(running(store), 1, crash, 11.0).job
        assert (once.state, once.reason) == (JobState.FAILED, Reason.KERNEL_DIED)
        again = store.finish(running(store, new_job("job-2", retries=1)), 1, crash, 11.0).job
        assert again.state is JobState.RETRY_WAIT

    def test_what_a_failed_job_had_made_is_kept(self, store: Store) -> None:
        failed = Outcome(kind="failed", error=b"{}", result=b'{"deleted":["x"]}')
        assert store.finish(running(store), 1, failed, 11.0).job.result == failed.result

    def test_an_error_of_the_user_is_tried_again_only_when_asked(self, store: Store) -> None:
        failed = Outcome(kind="failed", error=b"{}")
        first = store.finish(running(store), 1, failed, 11.0).job
        assert (first.state, first.reason) == (JobState.FAILED, Reason.USER_ERROR)
        job = running(store, new_job("job-2", retries=1))
        assert store.finish(job, 1, failed, 11.0).job.state is JobState.RETRY_WAIT
        store.wake(100.0)
        store.start(job, claimed(store, "job-2", now=100.0), 100.0)
        assert store.finish(job, 2, failed, 101.0).job.state is JobState.FAILED

    def test_a_job_that_waits_for_its_next_try_says_why_and_when(self, store: Store) -> None:
        failed = Outcome(kind="failed", error=b"{}", detail="ValueError: no")
        job = running(store, new_job(retries=2))
        said = store.finish(job, 1, failed, 11.0).job.detail
        assert said.startswith("ValueError: no; trying again in 2.")
        store.wake(100.0)
        assert store.job(job).detail == said
        claimed(store, now=100.0)
        assert store.job(job).detail == ""
        store.start(job, 2, 100.0)
        (lost,) = store.expire_leases(100.0 + LEASE_S)
        assert "trying again" in lost.job.detail
        assert store.cancel(job, ADA, 100.0 + LEASE_S).job.detail == ""

    def test_a_run_past_its_limit_is_stopped_and_charged_up_to_it(self, store: Store) -> None:
        store.grant(ADA, 10**7, "start", 0.0)
        limits = Limits(max_run_s=60.0, timeout_s=60.0)
        job = running(store, new_job(credits_per_h=60, hold_credits=1, limits=limits))
        assert store.expire_limits(75.0, 10.0) == []
        (expired,) = store.expire_limits(1000.0, 10.0)
        assert (expired.job.id, expired.job.reason) == (job, Reason.TIME_LIMIT)
        assert expired.job.cost_ucredits == 10**6

    # -- cancel
    def test_a_cancel_before_the_start_is_free(self, store: Store) -> None:
        store.grant(ADA, 10**7, "start", 0.0)
        store.submit([new_job(credits_per_h=1, hold_credits=1)], 0.0)
        epoch = claimed(store)
        cancelled = store.cancel(JobId("job-1"), ADA, 11.0)
        assert types(cancelled) == ["status", "done"]
        assert store.balance(ADA).available_ucredits == 10**7
        with pytest.raises(Conflict):
            store.start(JobId("job-1"), epoch, 12.0)
        assert "not charged" in store.history(JobId("job-1"))[-1].text

    @pytest.mark.parametrize("kind", ["succeeded", "failed", "cancelled", "expired"])
    @pytest.mark.parametrize(
        ("ran_s", "charged_s"), [(5.0, 5), (500.0, 10), (0.0, 0), (-1.0, 10), (float("nan"), 10)]
    )
    def test_only_what_ran_is_charged_however_late_its_worker_could_say_so(
        self, store: Store, kind: str, ran_s: float, charged_s: int
    ) -> None:
        store.grant(ADA, 100_000_000, "start", 0.0)
        job = running(store, new_job(credits_per_h=3600, hold_credits=60))
        done = store.finish(job, 1, Outcome(kind=kind, ran_s=ran_s), 20.0).job
        assert done.cost_ucredits == charged_s * 1_000_000
        assert store.audit() == []

    def test_a_cancel_of_a_running_job_is_charged_to_the_stop(self, store: Store) -> None:
        store.grant(ADA, 10**7, "start", 0.0)
        job = running(store, new_job(credits_per_h=3600, hold_credits=8))
        assert store.cancel(job, ADA, 11.0).job.status is Status.CANCELLING
        assert store.cancel(job, ADA, 11.5).events == []
        assert store.beat(beat(job, 1), 12.0, LEASE_S).job.cancel_requested
        done = store.finish(job, 1, Outcome(kind="cancelled"), 14.0).job
        assert (done.status, done.cost_ucredits) == (Status.CANCELLED, 4 * 10**6)
        assert store.history(job)[-1].text == (
            "cancelled by the user after start: charged 4 credits, 4 credits given back"
        )

    def test_a_kill_stays_one_however_often_it_is_asked(self, store: Store) -> None:
        job = running(store)
        assert not store.cancel(job, ADA, 11.0).job.cancel_forced
        forced = store.cancel(job, ADA, 12.0, force=True)
        assert (forced.job.cancel_forced, types(forced)) == (True, ["status"])
        again = store.cancel(job, ADA, 13.0)
        assert (again.job.cancel_forced, again.events) == (True, [])
        assert store.job(job).cancel_requested_at == 11.0
        assert [j.cancel_forced for j in store.snapshot().active] == [True]

    def test_a_cancel_says_when_it_kills_and_asked_again_the_later_word_holds(
        self, store: Store
    ) -> None:
        job = running(store)
        assert store.cancel(job, ADA, 11.0, kill_at=21.0).job.kill_at == 21.0
        assert store.cancel(job, ADA, 12.0, kill_at=21.0).events == []
        later = store.cancel(job, ADA, 13.0, kill_at=73.0)
        assert (later.job.kill_at, types(later)) == (73.0, ["status"])
        assert store.cancel(job, ADA, 14.0, kill_at=None).job.kill_at is None
        assert [j.kill_at for j in store.snapshot().active] == [None]
        forced = store.cancel(job, ADA, 15.0, True, kill_at=None).job
        assert (forced.cancel_forced, forced.kill_at) == (True, 15.0)
        assert store.cancel(job, ADA, 16.0, kill_at=99.0).events == []
        assert [h.text for h in store.history(job)][-4:] == [
            "cancel requested (killed after 10 s)",
            "now killed after 1 min 00 s",
            "now not killed",
            "now killed at once",
        ]

    def test_a_checkpoint_that_a_cancel_asked_for_is_still_awaited_at_another_time(
        self, store: Store
    ) -> None:
        job = running(store)
        store.cancel(job, ADA, 11.0, saves=True, kill_at=51.0)
        assert store.history(job)[-1].text == (
            "cancel requested (after a checkpoint, killed after 40 s)"
        )
        assert store.cancel(job, ADA, 12.0, kill_at=99.0).job.cancel_saves

    def test_how_a_cancelled_job_ended_is_in_its_history(self, store: Store) -> None:
        job = running(store)
        store.cancel(job, ADA, 11.0, kill_at=12.0)
        end = Outcome(kind="cancelled", detail="killed after 1.0 s")
        assert store.finish(job, 1, end, 13.0).job.detail == "killed after 1.0 s"
        assert store.history(job)[-1].text == (
            "cancelled by the user after start, killed after 1.0 s"
        )

    def test_a_job_that_finished_before_its_cancel_is_completed(self, store: Store) -> None:
        job = running(store)
        store.cancel(job, ADA, 11.0)
        done = store.finish(job, 1, Outcome(kind="succeeded"), 12.0).job
        assert (done.status, done.reason) == (Status.COMPLETED, Reason.FINISHED_BEFORE_CANCEL)

    def test_a_lost_job_that_was_to_be_cancelled_is_charged_to_its_last_beat(
        self, store: Store
    ) -> None:
        store.grant(ADA, 10**8, "start", 0.0)
        job = running(store, new_job(credits_per_h=3600, hold_credits=50))
        store.beat(beat(job, 1), 13.0, LEASE_S)
        store.cancel(job, ADA, 14.0)
        (lost,) = store.expire_leases(500.0)
        assert (lost.job.state, lost.job.cost_ucredits) == (JobState.CANCELLED, 3 * 10**6)

    # -- money
    def test_a_worker_that_is_found_dead_ends_a_cancel_as_of_its_last_beat(
        self, store: Store
    ) -> None:
        store.grant(ADA, 100_000_000, "start", 0.0)
        job = running(store, new_job(credits_per_h=3600, hold_credits=60))
        store.beat(beat(job, 1), 14.0, LEASE_S)
        store.cancel(job, ADA, 15.0)
        found_dead = Outcome(kind="died", reason=Reason.LOST, detail="its process died")
        done = store.finish(job, 1, found_dead, 30.0).job
        assert (done.state, done.cost_ucredits) == (JobState.CANCELLED, 4_000_000)
        assert done.detail == "its process died"
        assert store.audit() == []

    def test_a_kernel_that_died_while_it_was_cancelled_is_charged_to_its_end(
        self, store: Store
    ) -> None:
        store.grant(ADA, 100_000_000, "start", 0.0)
        job = running(store, new_job(credits_per_h=3600, hold_credits=60))
        store.cancel(job, ADA, 15.0)
        died = Outcome(kind="died", reason=Reason.KERNEL_DIED, signal="SIGKILL", ran_s=6.0)
        done = store.finish(job, 1, died, 30.0).job
        assert (done.state, done.cost_ucredits) == (JobState.CANCELLED, 6_000_000)

    def test_money_is_held_then_captured_and_the_rest_released(self, store: Store) -> None:
        store.grant(ADA, 10**7, "start", 0.0)
        assert store.grant(ADA, 10**7, "start", 1.0).available_ucredits == 10**7
        job = running(store, new_job(credits_per_h=3600, hold_credits=8))
        assert store.balance(ADA).held_ucredits == 8 * 10**6
        store.finish(job, 1, Outcome(kind="succeeded"), 12.5)
        balance = store.balance(ADA)
        assert (balance.available_ucredits, balance.held_ucredits) == (7_500_000, 0)
        assert balance.spent_ucredits == 2_500_000
        kinds = [entry.kind for entry in store.entries(ADA)]
        assert kinds == ["release", "release", "capture", "hold", "hold", "grant"]
        assert sum(entry.amount_ucredits for entry in store.entries(ADA)) == 7_500_000

    def test_what_was_held_is_all_there_is_for_all_tries(self, store: Store) -> None:
        store.grant(ADA, 10**8, "start", 0.0)
        limits = Limits(max_run_s=8.0)
        new = new_job(credits_per_h=3600, hold_credits=8, retries=5, limits=limits)
        job = running(store, new)
        store.finish(job, 1, Outcome(kind="failed", detail="ValueError: no"), 15.0)
        assert store.history(job)[-1].text.endswith("(retry 1 of 5); charged 5 credits")
        store.wake(100.0)
        store.start(job, claimed(store, job, now=100.0), 100.0)
        [stopped] = store.expire_limits(104.0, 0.5)
        assert (stopped.job.state, stopped.job.reason) == (JobState.EXPIRED, Reason.COST_LIMIT)
        assert stopped.job.cost_ucredits == 8 * 10**6
        assert store.balance(ADA).available_ucredits == 92 * 10**6

    def test_a_job_whose_hold_is_spent_is_not_tried_again_and_says_why(self, store: Store) -> None:
        store.grant(ADA, 10**8, "start", 0.0)
        limits = Limits(max_run_s=8.0)
        new = new_job(credits_per_h=3600, hold_credits=8, retries=5, limits=limits)
        job = running(store, new)
        done = store.finish(job, 1, Outcome(kind="failed", detail="ValueError: no"), 18.5).job
        assert (done.state, done.cost_ucredits) == (JobState.FAILED, 8 * 10**6)
        assert "not tried again: all that was held for it is spent" in done.detail
        assert store.history(job)[-1].text == f"failed: {done.detail}; charged 8 credits"

    def test_the_history_says_what_a_session_cost_to_wait(self, store: Store) -> None:
        store.grant(ADA, 10**8, "start", 0.0)
        new = new_session("job-1", "lab", rate_ucredits_per_h=3600 * 10**6, hold_ucredits=10**8)
        job = running(store, new)
        metrics = encode(Metrics(at=0.0, cpu_percent=0.0, memory_bytes=1, busy_s=3.0))
        store.finish(job, 1, Outcome(kind="succeeded", metrics=metrics), 22.0)
        assert store.history(job)[-1].text == (
            "completed: charged 12 credits, 88 credits given back; of that 3 credits for calls "
            "and cells (3.0 s), 9 credits for waiting (9.0 s)"
        )

    def test_the_ledger_says_what_there_was_after_each_entry(self, store: Store) -> None:
        store.grant(ADA, 10**7, "start", 0.0)
        job = running(store, new_job(credits_per_h=3600, hold_credits=8))
        store.finish(job, 1, Outcome(kind="succeeded"), 12.5)
        entries = store.entries(ADA)
        assert [(e.account[:4], e.balance_ucredits) for e in entries] == [
            ("avai", 7_500_000),
            ("held", 0),
            ("held", 5_500_000),
            ("held", 8_000_000),
            ("avai", 2_000_000),
            ("avai", 10_000_000),
        ]
        assert [e.description for e in entries] == ["a test"] * 5 + [""]
        assert store.entries(ADA, 2) == entries[:2]

    def test_what_is_lost_is_the_platforms_loss(self, store: Store) -> None:
        store.grant(ADA, 10**8, "start", 0.0)
        job = running(store, new_job(credits_per_h=3600, hold_credits=50, max_attempts=1))
        store.expire_leases(500.0)
        assert store.job(job).cost_ucredits == 0
        assert store.balance(ADA).available_ucredits == 10**8
        assert store.audit() == []

    # -- events
    def test_each_output_is_stored_once_in_order(self, store: Store) -> None:
        job = running(store)
        first = store.beat(beat(job, 1, output(1), output(2)), 11.0, LEASE_S)
        assert [e.seq for e in first.events] == [1, 2]
        again = store.beat(beat(job, 1, output(2), output(3)), 12.0, LEASE_S)
        assert [e.seq for e in again.events] == [3]
        done = store.finish(job, 1, Outcome(kind="succeeded", events=[output(4)]), 13.0)
        assert types(done) == ["stream", "status", "done"]
        events = store.events(after=0, job=job)
        assert [e.seq for e in events if e.seq] == [1, 2, 3, 4]
        assert store.events(after=events[-2].cursor, client="notebook") == events[-1:]
        assert store.last_cursor() == events[-1].cursor
        assert store.events(after=0, job=job, owner=BOB) == []

    def test_progress_and_metrics_are_kept_as_the_latest_only(self, store: Store) -> None:
        job = running(store)
        bars = [WorkerEvent("progress", encode(Bar(id="b", n=n))) for n in (1.0, 2.0)]
        metrics = WorkerEvent("metrics", encode(Metrics(at=1.0, cpu_percent=5, memory_bytes=9)))
        changed = store.beat(beat(job, 1, *bars, metrics), 11.0, LEASE_S)
        assert changed.events == []
        record = store.job(job)
        assert [b.n for b in msgspec.json.decode(record.progress or b"", type=list[Bar])] == [2.0]
        assert record.metrics == metrics.data

    def test_a_new_stage_is_told(self, store: Store) -> None:
        job = running(store)
        changed = store.beat(beat(job, 1, stage=Stage.SAVING_RESULT), 11.0, LEASE_S)
        assert (types(changed), changed.job.stage) == (["status"], Stage.SAVING_RESULT)
        assert store.snapshot().attempts[0].state is AttemptState.FINALIZING
        assert store.beat(beat(job, 1, stage=Stage.SAVING_RESULT), 12.0, LEASE_S).events == []

    # -- blobs
    def test_a_chunk_is_found_in_any_segment_that_is_there(self, store: Store) -> None:
        store.blob_present(A, 30, 0.0, [ADA])
        store.add_chunks(A, [("c1", 10), ("c2", 20)])
        store.add_chunks(A, [("c1", 10), ("c2", 20)])
        assert store.chunk_places(["c2", "c3"], ADA) == {"c2": (A, 10, 20)}
        assert store.chunk_places(["c2", "c3"], BOB) == {}
        wanted = Segment(B, 30, chunks=[("c2", 20), ("c3", 10)])
        (missing,) = store.missing([wanted, Segment(A, 30)], ADA)
        assert (missing.digest, missing.chunks) == (B, ["c3"])
        store.blob_present("c3", 10, 1.0, [ADA])
        assert store.missing([wanted], ADA)[0].chunks == []
        assert store.missing([wanted], BOB)[0].chunks == ["c2", "c3"]

    def test_blobs_are_kept_while_a_job_needs_them(self, store: Store) -> None:
        store.blob_present(A, 1, 0.0, [ADA])
        store.blob_present(B, 1, 0.0, [ADA])
        job = running(store, new_job(segments=[Segment(A, 1)]))
        assert store.collect(1000.0, 500.0) == [B]
        assert store.missing([Segment(B, 1)], ADA) != []
        store.finish(job, 1, Outcome(kind="succeeded"), 1000.0)
        assert store.collect(10_000.0, 500.0) == []
        assert store.forget_jobs(999.0) == 0
        assert store.forget_jobs(2000.0) == 1
        assert store.events(after=0, job=job) == []
        with pytest.raises(NotFound):
            store.job(job)
        assert store.collect(10_000.0, 500.0) == [A]
        assert store.audit() == []

    def test_bytes_that_were_lost_are_asked_for_again(self, store: Store) -> None:
        store.blob_present(A, 1, 0.0, [ADA])
        store.blob_lost(A)
        store.blob_lost(B)
        assert [m.digest for m in store.missing([Segment(A, 1)], ADA)] == [A]
        waiting = new_job(segments=[Segment(A, 1)])
        assert [m.digest for m in store.submit([waiting], 1.0)[0].missing] == [A]
        assert store.claim(waiting.id, W1, 2.0, LEASE_S) is None
        [ready] = store.blob_present(A, 1, 3.0, [ADA])
        assert ready.job.id == waiting.id
        assert store.audit() == []

    def test_a_blob_is_read_by_who_sent_it_or_has_a_job_with_it(self, store: Store) -> None:
        store.blob_present(A, 1, 0.0, [ADA])
        store.blob_present(A, 1, 1.0, [ADA])
        assert store.may_read_blob(A, ADA)
        assert not store.may_read_blob(A, BOB)

    def test_a_digest_alone_gives_nobody_the_bytes(self, store: Store) -> None:
        store.blob_present(A, 1, 0.0, [ADA])
        theft = new_job(owner=BOB, segments=[Segment(A, 1)])
        for _ in range(2):
            assert [m.digest for m in store.submit([theft], 1.0)[0].missing] == [A]
        assert store.claim(theft.id, W1, 2.0, LEASE_S) is None
        assert not store.may_read_blob(A, BOB)
        assert store.blob_present(A, 1, 3.0, [ADA]) == []
        [ready] = store.blob_present(A, 1, 4.0, [BOB])
        assert ready.job.id == theft.id
        assert store.may_read_blob(A, BOB)

    def test_a_result_is_made_only_of_what_its_owner_has(self, store: Store) -> None:
        store.blob_present(A, 1, 0.0, [ADA])
        job = running(store, new_job(owner=BOB))
        for theft in (
            Outcome(kind="succeeded", segments=[Segment(A, 1)]),
            Outcome(kind="failed", log=Segment(A, 1)),
        ):
            with pytest.raises(Conflict):
                store.finish(job, 1, theft, 11.0)
        assert not store.may_read_blob(A, BOB)
        store.blob_present(A, 1, 12.0, [BOB])
        store.finish(job, 1, Outcome(kind="succeeded", segments=[Segment(A, 1)]), 13.0)

    def test_what_a_job_made_may_go_into_the_next(self, store: Store) -> None:
        store.blob_present(A, 1, 0.0, [ADA])
        job = running(store)
        store.finish(job, 1, Outcome(kind="succeeded", segments=[Segment(A, 1)]), 11.0)
        assert store.submit([new_job("job-2", segments=[Segment(A, 1)])], 12.0)[0].job.ready

    # -- workers, instances, tokens
    def test_the_snapshot_holds_what_the_scheduler_needs(self, store: Store) -> None:
        worker = WorkerRecord(
            id=W1, instance="local", machine="local", slots=2, connected=True, draining=False,
            seen_at=1.0,
        )  # fmt: skip
        store.put_worker(worker)
        store.put_worker(worker)
        instance = InstanceRecord(
            id="i1", provider="local", machine="local", state=InstanceState.INTENT
        )
        store.put_instance(instance)
        store.submit([new_job(f"job-{n}") for n in range(4)], 0.0)
        claimed(store, "job-0")
        snapshot = store.snapshot(limit=2)
        assert [j.id for j in snapshot.queued] == ["job-1", "job-2"]
        assert [j.id for j in snapshot.active] == ["job-0"]
        assert [(a.job, a.epoch) for a in snapshot.attempts] == [("job-0", 1)]
        assert (snapshot.workers, snapshot.instances) == ([worker], [instance])
        store.worker_gone(W1, 2.0)
        store.move_instance("i1", InstanceState.TERMINATED, 3.0, "provider-1")
        after = store.snapshot()
        assert (after.workers, after.instances) == ([], [])
        assert [a.job for a in after.attempts] == ["job-0"]
        with pytest.raises(Conflict):
            store.move_instance("i1", InstanceState.READY, 4.0)

    def test_a_fleet_that_is_long_gone_is_forgotten(self, store: Store) -> None:
        for id, connected in ((W1, True), (W2, False)):
            store.put_worker(
                WorkerRecord(
                    id=id,
                    instance="i",
                    machine="local",
                    slots=2,
                    connected=connected,
                    draining=False,
                    seen_at=1.0,
                    token="t",
                )
            )
        for id in ("i1", "i2"):
            store.put_instance(
                InstanceRecord(id=id, provider="local", machine="local", state=InstanceState.READY)
            )
        store.move_instance("i2", InstanceState.TERMINATED, 5.0)
        for id, expires_at in (("t1", None), ("t2", None), ("t3", 6.0)):
            token = TokenRecord(id=id, owner=ADA, scopes=("read",), expires_at=expires_at)
            store.add_token(token, f"hash of {id}")
        store.revoke_token("t2", ADA, 5.0)
        store.forget_fleet(1.0)
        assert [t.id for t in store.tokens(ADA)] == ["t1", "t2", "t3"]
        store.forget_fleet(100.0)
        assert [t.id for t in store.tokens(ADA)] == ["t1"]
        assert [i.id for i in store.snapshot().instances] == ["i1"]
        assert (store.token_of_worker(W1), store.token_of_worker(W2)) == ("t", "")

    # -- receipts
    @pytest.mark.parametrize("outcome", ["succeeded", "failed", "expired", "cancelled"])
    def test_a_job_that_ends_gets_its_receipt_in_the_same_step(
        self, store: Store, outcome: str
    ) -> None:
        store.grant(ADA, 100_000_000, "play", 0.0)
        store.put_worker(WORKER)
        spec = encode(JobSpec(kind="cell", inputs=Parcel([Segment(A, 3, b"abc")])))
        new = new_job(spec=spec, credits_per_h=36, hold_credits=36)
        job = running(store, new)
        assert store.job(job).receipt is None
        changed = store.finish(job, 1, Outcome(kind=outcome), 110.0)
        stored = receipt_of(store, job)
        done = msgspec.json.decode(changed.events[-1].data, type=Done)
        assert done.receipt == stored
        assert (stored.id, stored.status) == (job, changed.job.status)
        assert (stored.worker, stored.provider) == (W1, "local")
        assert (stored.environment.python, stored.environment.platform) == ("3.11.7", "Linux")
        assert [(a.epoch, a.charged_ucredits) for a in stored.attempts] == [(1, 1_000_000)]
        assert stored.cost.total_ucredits == changed.job.cost_ucredits == 1_000_000
        assert stored.segments == [(A, 3)]
        assert stored.end_text == store.history(job)[-1].text

    def test_a_receipt_tells_of_all_attempts_and_of_what_was_not_charged(
        self, store: Store
    ) -> None:
        store.grant(ADA, 100_000_000, "play", 0.0)
        job = running(store, new_job(credits_per_h=36, hold_credits=36))
        store.finish(job, 1, Outcome(kind="died", signal="SIGKILL"), 60.0)
        store.wake(100.0)
        store.start(job, claimed(store, job, W2, 100.0), 100.0)
        store.finish(job, 2, Outcome(kind="succeeded"), 200.0)
        made = receipt_of(store, job)
        assert [(a.how, a.signal, a.charged_ucredits, a.lost_ucredits) for a in made.attempts] == [
            ("lost", "SIGKILL", 0, 500_000),
            ("done", "", 1_000_000, 0),
        ]
        assert (made.cost.run_ucredits, made.cost.lost_ucredits) == (1_000_000, 500_000)
        assert (made.ran_s, made.waited_s) == (150.0, 10.0)

    def test_a_job_that_never_ran_has_a_receipt_too(self, store: Store) -> None:
        store.submit([new_job()], 0.0)
        store.cancel(JobId("job-1"), ADA, 5.0)
        made = receipt_of(store, JobId("job-1"))
        assert (made.status, made.ended_by, made.attempts) == ("cancelled", "user", [])

    @pytest.mark.parametrize(
        ("outcome", "by"),
        [
            (Outcome(kind="failed"), "code"),
            (Outcome(kind="failed", reason="out_of_memory"), "system"),
            (Outcome(kind="died", reason="kernel_died", signal="SIGSEGV"), "system"),
            (Outcome(kind="expired", reason="cost_limit"), "cost limit"),
            (Outcome(kind="expired", reason="gpu_idle"), "idle limit"),
            (Outcome(kind="cancelled"), "code"),
        ],
    )
    def test_a_receipt_says_by_whom_it_ended_and_has_the_charge(
        self, store: Store, outcome: Outcome, by: str
    ) -> None:
        store.grant(ADA, 100_000_000, "play", 0.0)
        job = running(store, new_job(credits_per_h=36, hold_credits=36, fuse="max_cost"))
        store.finish(job, 1, outcome, 60.0)
        made = receipt_of(store, job)
        assert (made.ended_by, made.ran_s, made.cost.run_ucredits) == (by, 50.0, 500_000)
        assert made.end_text == store.history(job)[-1].text

    def test_a_receipt_names_the_budget_that_stopped_the_job(self, store: Store) -> None:
        store.grant(ADA, 100_000_000, "play", 0.0)
        store.set_budget(ADA, "account", "", 1_000_000, 0.0)
        job = running(store, new_job(credits_per_h=36, hold_credits=36))
        store.finish(job, 1, Outcome(kind="expired", reason="cost_limit"), 500.0)
        made = receipt_of(store, job)
        assert (made.ended_by, made.cost.total_ucredits) == ("budget account", 1_000_000)

    def test_a_cancel_between_two_tries_does_not_say_that_it_never_started(
        self, store: Store
    ) -> None:
        job = running(store, new_job(retries=1))
        store.finish(job, 1, Outcome(kind="failed"), 20.0)
        store.cancel(job, ADA, 21.0)
        assert store.history(job)[-1].text == "cancelled by the user before it started again"

    def test_a_lost_job_and_one_past_its_limit_have_receipts(self, store: Store) -> None:
        lost = running(store, new_job("lost", max_attempts=1))
        late = running(store, new_job("late", limits=Limits(max_run_s=20.0)))
        store.expire_limits(40.0, 5.0)
        store.expire_leases(10.0 + LEASE_S + 1)
        assert receipt_of(store, late).ended_by == "time limit"
        assert receipt_of(store, lost).ended_by == "platform"

    def test_receipts_of_a_batch_are_kept_but_not_sent_with_each_end(self, store: Store) -> None:
        job = running(store, new_job(batch="b"))
        changed = store.finish(job, 1, Outcome(kind="succeeded"), 20.0)
        assert msgspec.json.decode(changed.events[-1].data, type=Done).receipt is None
        assert receipt_of(store, job).batch == "b"

    def test_a_receipt_advises_on_what_could_be_had_when_the_job_ended(self, store: Store) -> None:
        store.grant(ADA, 100_000_000, "play", 0.0)
        offer = MachineType(id="large", cpus=8, memory_bytes=64 << 30, usd_per_h=1.0)
        small = MachineType(id="small", cpus=4, memory_bytes=8 << 30, usd_per_h=0.25)
        new = new_job(machine="large", credits_per_h=100, hold_credits=50, offer=offer)
        job = running(store, new)
        metrics = Metrics(
            at=1.0,
            cpu_percent=90.0,
            memory_bytes=1 << 30,
            peak_memory_bytes=1 << 30,
            measured_s=90.0,
            peak_cpu_percent=100.0,
        )
        outcome = Outcome(kind="succeeded", metrics=encode(metrics), machines=[offer, small])
        store.finish(job, 1, outcome, 110.0)
        made = receipt_of(store, job)
        assert made.offer == offer
        assert made.advice is not None
        assert (made.advice.machine, made.advice.saves_percent) == ("small", 75)

    def test_the_id_of_a_job_that_was_forgotten_is_not_charged_again(self, store: Store) -> None:
        store.grant(ADA, 100_000_000, "play", 0.0)
        priced = new_job(credits_per_h=1, hold_credits=1)
        job = running(store, priced)
        store.finish(job, 1, Outcome(kind="succeeded"), 11.0)
        assert store.forget_jobs(100.0) == 1
        with pytest.raises(KeyReused, match="forgotten"):
            store.submit([priced], 200.0)
        assert store.audit() == []

    def test_single_jobs_are_read_before_calls_of_batches(self, store: Store) -> None:
        calls = [new_job(f"call-{n}", batch="b") for n in range(5)]
        store.submit([*calls, new_job("cell")], 0.0)
        read = [j.id for j in store.snapshot(limit=3).queued]
        assert read == ["cell", "call-0", "call-1"]
        assert len(store.snapshot(limit=1).queued) == 1

    def test_a_worker_that_comes_back_resumes_its_attempt(self, store: Store) -> None:
        job = running(store)
        assert store.resume(W1, job, 1, 54.0, LEASE_S)
        assert store.expire_leases(56.0) == []
        assert not store.resume(W2, job, 1, 54.0, LEASE_S)
        assert not store.resume(W1, JobId("none"), 1, 54.0, LEASE_S)

    def test_a_workers_id_belongs_to_the_token_that_said_hello_first(self, store: Store) -> None:
        worker = WorkerRecord(
            id=W1, instance="i", machine="local", slots=2, connected=True, draining=False,
            seen_at=1.0, token="t1",
        )  # fmt: skip
        store.put_worker(worker)
        store.put_worker(worker)
        store.worker_gone(W1, 2.0)
        assert (store.token_of_worker(W1), store.token_of_worker(W2)) == ("t1", "")
        with pytest.raises(NotAuthorized):
            store.put_worker(msgspec.structs.replace(worker, token="t2"))

    def test_tokens_are_found_by_their_hash_and_revoked_once(self, store: Store) -> None:
        token = TokenRecord(id="t1", owner=ADA, scopes=("submit", "read"), created_at=1.0)
        store.add_token(token, "hash")
        assert store.token("hash") == token
        assert store.token("other") is None
        with pytest.raises(NotFound):
            store.revoke_token("t1", BOB, 2.0)
        store.revoke_token("t1", ADA, 2.0)
        store.revoke_token("t1", ADA, 3.0)
        assert [t.revoked_at for t in store.tokens(ADA)] == [2.0]
