"""What the scheduler decides, without a store, a clock or a network."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_remote.model import (
    JobId,
    JobRecord,
    JobState,
    Limits,
    OwnerId,
    Reason,
    Stage,
    WorkerId,
)
from jupyter_remote.scheduler import plan as plans
from jupyter_remote.scheduler.board import Agent, Board, Instance, waiting_of
from jupyter_remote.scheduler.plan import Assign, ExpireLeases, Launch, Look, Refill, Wake, plan

LIMITS = plans.Limits()


def job(
    id: str, owner: str = "ann", state: JobState = JobState.QUEUED, **changes: Any
) -> JobRecord:
    fields = {
        "id": JobId(id),
        "owner": OwnerId(owner),
        "client": "c",
        "kind": "call",
        "state": state,
        "cancel_requested": False,
        "reason": Reason.NONE,
        "detail": "",
        "stage": Stage.WAITING,
        "description": "",
        "visibility": "private",
        "machine": "local",
        "simulated": False,
        "spec": b"",
        "limits": Limits(),
        "epoch": 0,
        "starts": 0,
        "max_attempts": 3,
        "retries": 0,
        "rate_ucredits_per_h": 0,
        "hold_ucredits": 0,
        "cost_ucredits": 0,
        "submitted_at": 0.0,
        "ready": True,
    }
    return JobRecord(**{**fields, **changes})


def board(*jobs: JobRecord, slots: int = 2, machine: str = "local") -> Board:
    made = Board()
    made.done_at = {"tidy": 0.0, "leases": 0.0}
    for one in jobs:
        made.note(one)
    if slots:
        made.connect(Agent(WorkerId("w"), "local", machine, slots))
    return made


def assigned(made: Board, limits: plans.Limits = LIMITS) -> list[str]:
    return [a.waiting.job for a in plan(1.0, made, limits) if isinstance(a, Assign)]


def test_jobs_go_out_in_order_while_slots_are_free() -> None:
    assert assigned(board(job("a"), job("b"), job("c"))) == ["a", "b"]


def test_a_worker_that_is_silent_is_suspected_once_and_until_it_is_heard() -> None:
    made = board(job("a", state=JobState.RUNNING, epoch=1, worker=WorkerId("w"), started_at=0.0))
    worker = WorkerId("w")

    def suspects(now: float) -> list[plans.Suspect]:
        return [a for a in plan(now, made, LIMITS) if isinstance(a, plans.Suspect)]

    made.heard_at[worker] = 10.0
    assert suspects(10.0 + LIMITS.suspect_s - 0.1) == []
    assert suspects(10.0 + LIMITS.suspect_s) == [plans.Suspect(worker, silent=True)]
    made.suspects.add(worker)
    assert suspects(50.0) == []
    made.heard_at[worker] = 50.0
    assert suspects(50.0) == [plans.Suspect(worker, silent=False)]
    made.suspects.clear()
    made.note(job("a", state=JobState.SUCCEEDED, epoch=1))
    assert suspects(1000.0) == []


def test_the_next_look_is_when_a_worker_will_have_been_silent_for_too_long() -> None:
    made = board(job("a", state=JobState.RUNNING, epoch=1, worker=WorkerId("w"), started_at=0.0))
    made.done_at["leases"] = 100.0
    made.heard_at[WorkerId("w")] = 101.5 - LIMITS.suspect_s
    assert plans.next_at(101.0, made, LIMITS) == 101.5


def test_a_cell_waits_where_its_sessions_machine_is_taken_away() -> None:
    at_work = {"state": JobState.RUNNING, "epoch": 1, "worker": WorkerId("w"), "started_at": 0.0}
    made = board(job("s", kind="session", **at_work), job("a", session="s"))
    assert assigned(made) == ["a"]
    made.agents[WorkerId("w")].draining = made.agents[WorkerId("w")].leaving = True
    assert assigned(made) == []
    made.note(job("s", kind="session", state=JobState.QUEUED, epoch=1))
    assert [a for a in plan(1.0, made, LIMITS) if isinstance(a, plans.Orphan)] == []


def test_planning_changes_nothing_by_itself() -> None:
    made = board(job("a"))
    assert assigned(made) == assigned(made) == ["a"]


def test_a_reserved_job_and_its_slot_are_not_given_out_again() -> None:
    made = board(job("a"), job("b"), slots=1)
    [action] = [a for a in plan(1.0, made, LIMITS) if isinstance(a, Assign)]
    made.reserve(action.waiting, action.worker)
    assert assigned(made) == []
    made.give_back(action.waiting, again=True)
    assert assigned(made) == ["a"]


def test_owners_take_turns_where_machines_are_shared() -> None:
    jobs = [job(f"a{n}") for n in range(4)] + [job(f"b{n}", "bob") for n in range(2)]
    shared = plans.Limits(shared=True)
    assert assigned(board(*jobs, slots=4), shared) == ["a0", "b0", "a1", "b1"]


def test_a_single_job_does_not_wait_for_a_batch() -> None:
    calls = [job(f"b{n}", batch="b") for n in range(10_000)]
    made = board(*calls, job("cell"), slots=1)
    assert assigned(made) == ["cell"]
    made.note(job("cell", state=JobState.SUCCEEDED))
    assert assigned(made) == ["b0"]
    made.note(job("again"))
    made.note(job("b0", state=JobState.CANCELLED, batch="b"))
    assert assigned(made) == ["again"]


def test_a_batch_of_one_owner_does_not_wait_for_single_jobs_of_another() -> None:
    jobs = [job(f"a{n}") for n in range(4)] + [job(f"b{n}", "bob", batch="b") for n in range(2)]
    shared = plans.Limits(shared=True)
    assert assigned(board(*jobs, slots=4), shared) == ["a0", "b0", "a1", "b1"]


def test_two_owners_are_never_on_one_machine() -> None:
    made = board(job("a"), job("b", "bob"))
    assert assigned(made) == ["a"]
    made.connect(Agent(WorkerId("v"), "other", "local", 2))
    assert sorted(assigned(made)) == ["a", "b"]


def test_who_waits_for_a_machine_elsewhere_holds_up_nobody_here() -> None:
    made = board(job("a", machine="g5.xlarge"))
    here = waiting_of(job("b"))
    assert plans.at_once(1.0, made, here, LIMITS) == "w"
    made.note(job("c"))
    assert plans.at_once(1.0, made, here, LIMITS) is None


def test_a_job_waits_for_its_own_kind_of_machine() -> None:
    made = board(job("a", machine="g5.xlarge"), job("b"))
    assert assigned(made) == ["b"]


def test_simulated_machines_are_played_by_this_computer() -> None:
    assert assigned(board(job("a", machine="g5.xlarge", simulated=True))) == ["a"]


def test_a_job_without_its_inputs_waits() -> None:
    made = board(job("a", ready=False))
    assert assigned(made) == []
    made.note(job("a"))
    assert assigned(made) == ["a"]


def test_draining_and_absent_workers_get_nothing() -> None:
    made = board(job("a"))
    made.agents[WorkerId("w")].draining = True
    assert assigned(made) == []
    made.disconnect(WorkerId("w"))
    assert assigned(made) == []


@pytest.mark.parametrize("state", [JobState.CANCELLED, JobState.SUCCEEDED, JobState.RETRY_WAIT])
def test_what_does_not_wait_any_more_is_not_assigned(state: JobState) -> None:
    made = board(job("a"))
    made.note(job("a", state=state, not_before_at=100.0))
    assert assigned(made) == []


def running(id: str, **changes: Any) -> JobRecord:
    return job(id, state=JobState.RUNNING, epoch=1, worker=WorkerId("w"), **changes)


def test_an_attempt_that_ended_over_its_workers_head_is_to_be_stopped() -> None:
    made = board(running("a"))
    stop = made.note(job("a", state=JobState.EXPIRED, epoch=1))
    assert stop is not None
    assert (stop.job, stop.epoch, stop.worker) == ("a", 1, "w")
    assert made.note(job("a", state=JobState.EXPIRED, epoch=1)) is None


def test_an_attempt_that_its_worker_ended_needs_no_stop() -> None:
    made = board(running("a"))
    made.active[JobId("a")].leaving = True
    assert made.note(job("a", state=JobState.SUCCEEDED, epoch=1)) is None
    assert made.agents[WorkerId("w")].free == 2


def test_a_worker_that_comes_back_has_what_the_store_says() -> None:
    made = board(running("a"), slots=0)
    agent = Agent(WorkerId("w"), "local", "local", 2)
    made.connect(agent)
    assert agent.free == 1


def test_leases_are_looked_at_only_while_something_runs() -> None:
    assert not any(isinstance(a, ExpireLeases) for a in plan(99.0, board(), LIMITS))
    assert any(isinstance(a, ExpireLeases) for a in plan(99.0, board(running("a")), LIMITS))


def test_a_retry_is_woken_when_it_is_due() -> None:
    made = board(job("a", state=JobState.RETRY_WAIT, not_before_at=50.0))
    assert not any(isinstance(a, Wake) for a in plan(49.0, made, LIMITS))
    assert plans.next_at(49.0, made, LIMITS) == 50.0
    assert any(isinstance(a, Wake) for a in plan(50.0, made, LIMITS))


def test_the_queue_is_read_again_when_only_a_part_was_read() -> None:
    made = board()
    made.partial = True
    assert any(isinstance(a, Refill) for a in plan(1.0, made, LIMITS))
    assert not made.idle


LOCAL = plans.Limits(local=True)


def test_a_worker_is_launched_when_there_is_none() -> None:
    made = board(slots=0)
    assert plan(1.0, made, LOCAL) == [Launch()]
    made.launch_at = 5.0
    assert plan(1.0, made, LOCAL) == []
    assert plans.next_at(1.0, made, LOCAL) == 5.0


def test_a_launched_worker_is_waited_for_and_looked_after() -> None:
    made = board(slots=0)
    made.instances["i"] = Instance("i", launched_at=1.0, looked_at=1.0)
    assert plan(1.5, made, LOCAL) == []
    assert plan(2.0, made, LOCAL) == [Look(("i",))]
    made.connect(Agent(WorkerId("w"), "i", "local", 1))
    assert plan(3.0, made, LOCAL) == []


def test_launches_that_fail_are_spaced_out() -> None:
    waits = [plans.backoff_s(n, LOCAL) for n in range(8)]
    assert waits == sorted(waits)
    assert waits[0] == 0.0
    assert waits[-1] == 30.0


def test_nothing_is_planned_while_the_backend_ends() -> None:
    made = board(job("a"))
    made.closing = True
    assert plan(1.0, made, LOCAL) == []


def test_a_pause_after_a_failed_claim_is_kept() -> None:
    made = board(job("a"))
    made.paused_until = 3.0
    assert assigned(made) == []
    assert plans.next_at(1.0, made, LIMITS) == 3.0


# --- sessions --------------------------------------------------------------------------------
def session(id: str, state: JobState = JobState.QUEUED, **changes: Any) -> JobRecord:
    if state is JobState.RUNNING:
        changes = {"epoch": 1, "worker": WorkerId("w"), "started_at": 0.0, **changes}
    return job(id, state=state, kind="session", session=f"name of {id}", **changes)


def orphans(made: Board) -> list[str]:
    return [a.waiting.job for a in plan(1.0, made, LIMITS) if isinstance(a, plans.Orphan)]


def test_sessions_on_this_computer_leave_its_slots_to_jobs() -> None:
    made = board(*(session(f"s{n}") for n in range(50)), job("a"), job("b"), job("c"), slots=2)
    given = assigned(made)
    assert len([id for id in given if id.startswith("s")]) == 50
    assert [id for id in given if not id.startswith("s")] == ["a", "b"]
    for action in plan(1.0, made, LIMITS):
        if isinstance(action, Assign):
            made.reserve(action.waiting, action.worker)
    assert made.agents[WorkerId("w")].free == 0
    made.note(job("a", state=JobState.SUCCEEDED))
    assert assigned(made) == ["c"]


def test_a_session_starts_though_all_slots_are_taken() -> None:
    running = {"state": JobState.RUNNING, "epoch": 1, "worker": WorkerId("w"), "started_at": 0.0}
    made = board(job("a", **running), job("b"), session("s"), slots=1)
    assert assigned(made) == ["s"]


def test_sessions_on_machines_that_cost_take_a_slot() -> None:
    made = board(session("s", machine="g5.xlarge"), job("a", machine="g5.xlarge"),
                 machine="g5.xlarge", slots=1)  # fmt: skip
    assert assigned(made) == ["s"]


def test_cells_of_a_session_go_to_its_worker_in_their_order() -> None:
    made = board(session("s", JobState.RUNNING), *(job(f"c{n}", session="s") for n in range(3)))
    made.connect(Agent(WorkerId("empty"), "other", "local", 8))
    actions = [a for a in plan(1.0, made, LIMITS) if isinstance(a, Assign)]
    assert [(a.waiting.job, a.worker) for a in actions] == [("c0", "w"), ("c1", "w"), ("c2", "w")]


def test_a_cell_waits_while_its_session_does() -> None:
    made = board(session("s"), job("c", session="s"))
    assert assigned(made) == ["s"]
    assert orphans(made) == []
    made.note(session("s", JobState.CLAIMED, epoch=1, worker=WorkerId("w")))
    assert (assigned(made), orphans(made)) == ([], [])
    made.note(session("s", JobState.RUNNING))
    assert assigned(made) == ["c"]


def test_a_cell_waits_while_the_worker_of_its_session_is_away() -> None:
    made = board(session("s", JobState.RUNNING), job("c", session="s"))
    agent = made.agents.pop(WorkerId("w"))
    assert (assigned(made), orphans(made)) == ([], [])
    made.connect(agent)
    assert assigned(made) == ["c"]


def test_a_cell_whose_session_is_over_is_an_orphan() -> None:
    made = board(session("s", JobState.RUNNING), job("c", session="s"), job("a"))
    made.note(session("s", JobState.FAILED, epoch=1))
    assert orphans(made) == ["c"]
    assert assigned(made) == ["a"]


def test_cells_wait_for_no_job_that_waits_for_a_slot() -> None:
    running = {"state": JobState.RUNNING, "epoch": 1, "worker": WorkerId("w"), "started_at": 0.0}
    jobs = [job(f"a{n}") for n in range(100)]
    made = board(*jobs, job("full", **running), session("s", JobState.RUNNING),
                 job("c", session="s"), slots=1)  # fmt: skip
    assert assigned(made) == ["c"]


def test_a_worker_that_drains_gets_no_session() -> None:
    made = board(session("s"))
    made.agents[WorkerId("w")].draining = True
    assert assigned(made) == []


def test_a_cell_runs_in_no_session_of_another_owner() -> None:
    made = board(session("s", JobState.RUNNING), job("c", session="s", owner=OwnerId("mallory")))
    assert assigned(made) == []
