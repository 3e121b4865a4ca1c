"""What every store does for machines elsewhere. A suite derives from :class:`FleetConformance`."""

from __future__ import annotations

import msgspec
import pytest

from jupyter_remote.errors import Conflict, NotFound
from jupyter_remote.model import (
    InstanceRecord,
    InstanceState,
    JobId,
    JobState,
    OwnerId,
    Reason,
    Stage,
)
from jupyter_remote.store.base import Store
from jupyter_remote.wire import Done
from tests.conformance.store import ADA, LEASE_S, W1, W2, WORKER, claimed, new_job

BOB = OwnerId("bob")


def machine(id: str, **changes: object) -> InstanceRecord:
    fields = {"provider": "fake", "machine": "g5.xlarge", "state": InstanceState.INTENT}
    return InstanceRecord(id=id, **{**fields, **changes})  # type: ignore[arg-type]


class FleetConformance:
    """Names say what holds."""

    def test_all_that_is_known_of_an_instance_comes_back(self, store: Store) -> None:
        intent = machine(
            "i1", owner=ADA, job="job-1", zone="a", spot=True, rate_ucredits_per_h=7, created_at=1.0
        )
        store.put_instance(intent)
        assert store.instance("i1") == intent
        assert store.instance("i2") is None

    def test_an_instance_is_ready_since_it_was_so_first(self, store: Store) -> None:
        store.put_instance(machine("i1"))
        store.move_instance("i1", InstanceState.PENDING, 2.0, "p-1", zone="b")
        store.move_instance("i1", InstanceState.READY, 3.0)
        moved = store.move_instance("i1", InstanceState.READY, 9.0, detail="again")
        assert (moved.ready_at, moved.changed_at) == (3.0, 9.0)
        assert (moved.provider_id, moved.zone, moved.detail) == ("p-1", "b", "again")

    def test_an_instance_that_is_being_ended_never_comes_back(self, store: Store) -> None:
        store.put_instance(machine("i1"))
        store.move_instance("i1", InstanceState.TERMINATING, 2.0)
        for state in (InstanceState.PENDING, InstanceState.READY, InstanceState.DRAINING):
            with pytest.raises(Conflict):
                store.move_instance("i1", state, 3.0)
        store.move_instance("i1", InstanceState.TERMINATED, 4.0)
        with pytest.raises(Conflict):
            store.move_instance("i1", InstanceState.TERMINATING, 5.0)

    def test_workers_of_a_machine_that_ended_are_gone_though_nobody_heard_them_go(
        self, store: Store
    ) -> None:
        for id, worker in (("i1", W1), ("i2", W2)):
            store.put_instance(machine(id))
            store.put_worker(
                msgspec.structs.replace(WORKER, id=worker, instance=id, seen_at=1.0, token="t")
            )
        store.move_instance("i1", InstanceState.TERMINATING, 2.0)
        assert [w.id for w in store.snapshot().workers] == [W1, W2]
        store.move_instance("i1", InstanceState.TERMINATED, 3.0)
        assert [w.id for w in store.snapshot().workers] == [W2]
        store.forget_fleet(4.0)
        assert (store.token_of_worker(W1), store.token_of_worker(W2)) == ("", "t")

    def test_how_far_a_bootstrap_came_is_kept_with_the_end_of_its_log(self, store: Store) -> None:
        store.put_instance(machine("i1"))
        store.report_boot("i1", "installing", b"one\n")
        found = store.report_boot("i1", "connecting")
        assert (found.step, found.boot_log) == ("connecting", b"one\n")
        with pytest.raises(NotFound):
            store.report_boot("i9", "connecting")

    def test_instances_are_listed_newest_first_by_owner_and_by_job(self, store: Store) -> None:
        for at, (id, owner) in enumerate([("i1", ADA), ("i2", BOB), ("i3", ADA)]):
            store.put_instance(machine(id, owner=owner, job=f"for {id}", created_at=float(at)))
        store.move_instance("i1", InstanceState.TERMINATED, 9.0)
        assert [i.id for i in store.instances()] == ["i3", "i2", "i1"]
        assert [i.id for i in store.instances(ADA)] == ["i3", "i1"]
        assert [i.id for i in store.instances(job="for i2")] == ["i2"]
        assert [i.id for i in store.instances(limit=1)] == ["i3"]

    # -- jobs that wait for one
    def test_what_is_done_for_jobs_that_wait_is_in_their_history_and_their_events(
        self, store: Store
    ) -> None:
        store.submit([new_job("waits"), new_job("runs")], 0.0)
        claimed(store, "runs")
        jobs = [JobId("waits"), JobId("runs"), JobId("absent")]
        [changed] = store.note_waiting(
            jobs, "machine requested", 2.0, Stage.REQUESTING_MACHINE, "usually 70 s"
        )
        assert (changed.job.id, changed.job.state) == ("waits", JobState.QUEUED)
        assert (changed.job.stage, changed.job.detail) == (Stage.REQUESTING_MACHINE, "usually 70 s")
        assert [e.type for e in changed.events] == ["status"]
        last = store.history(JobId("waits"))[-1]
        assert (last.event, last.text, last.at) == ("machine", "machine requested", 2.0)
        [again] = store.note_waiting(jobs, "machine ready", 3.0)
        assert again.job.detail == "usually 70 s"

    def test_jobs_for_which_there_is_no_machine_fail_for_nothing(self, store: Store) -> None:
        store.grant(ADA, 1000, "play", 0.0)
        store.submit([new_job("waits", hold_ucredits=600), new_job("runs")], 0.0)
        epoch = claimed(store, "runs")
        jobs = [JobId("waits"), JobId("runs"), JobId("absent")]
        [changed] = store.refuse_waiting(jobs, "no room", b'{"ename":"X","evalue":"y"}', 2.0)
        job = store.job(JobId("waits"))
        assert (job.state, job.reason, job.detail) == (
            JobState.FAILED,
            Reason.NO_MACHINE,
            "no room",
        )
        assert (job.cost_ucredits, store.balance(ADA).available_ucredits) == (0, 1000)
        done = msgspec.json.decode(bytes(changed.events[-1].data), type=Done)
        assert done.error is not None
        assert done.error.ename == "X"
        assert store.start(JobId("runs"), epoch, 3.0).job.state is JobState.RUNNING

    def test_a_job_that_waits_to_be_tried_again_can_be_refused_too(self, store: Store) -> None:
        store.submit([new_job("a", max_attempts=3)], 0.0)
        claimed(store, "a")
        store.expire_leases(1000.0)
        assert store.job(JobId("a")).state is JobState.RETRY_WAIT
        store.refuse_waiting([JobId("a")], "no room", b"{}", 1001.0)
        assert store.job(JobId("a")).state is JobState.FAILED
        assert store.wake(5000.0) == []

    def test_a_claim_says_which_gpus_it_is_given(self, store: Store) -> None:
        store.submit([new_job("a")], 0.0)
        found = store.claim(JobId("a"), W1, 1.0, LEASE_S, "0,3")
        assert found is not None
        assert store.job(JobId("a")).devices == "0,3"
