"""How many machines, and what becomes of each, decided without any I/O."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_remote.model import InstanceState, JobId, JobState, OwnerId, WorkerId
from jupyter_remote.scheduler import actions, pools
from jupyter_remote.scheduler import plan as plans
from jupyter_remote.scheduler.actions import Ask, Describe, Drain, End, Refuse, Rent, Rest, Survey
from jupyter_remote.scheduler.board import Agent, Board
from jupyter_remote.scheduler.machines import Machine, Search

from .cloud import TYPES
from .test_plan import job

ANN = OwnerId("ann")
POOL = (ANN, "g5.12xlarge")
LIMITS = pools.Limits(most=5, idle_s=100.0, longest_s=10_000.0, boot_s=600.0)
READY, PENDING, INTENT = InstanceState.READY, InstanceState.PENDING, InstanceState.INTENT


def board(*gpus: int, machines: tuple[Machine, ...] = ()) -> Board:
    """One whose jobs wait for so many GPUs each, of machines that have four."""
    made = Board()
    made.types = {t.id: t for t in TYPES}
    made.done_at = {"survey fake": 0.0}
    for number, count in enumerate(gpus):
        made.note(job(f"j{number}", machine="g5.12xlarge", gpus=count))
        made.told.add(JobId(f"j{number}"))
    made.machines = {m.id: m for m in machines}
    return made


def machine(id: str = "m", state: InstanceState = PENDING, **changes: Any) -> Machine:
    fields = {"slots": 4, "created_at": 0.0, "look_at": 1e9, "job": JobId("j0"), **changes}
    return Machine(id=id, provider="fake", owner=ANN, type=POOL[1], state=state, **fields)


def connected(made: Board, id: str = "m", **changes: Any) -> Agent:
    made.machines[id].connected = True
    agent = Agent(WorkerId(f"w-{id}"), id, POOL[1], 4, owner=ANN, **changes)
    made.connect(agent)
    made.homes[agent.id] = id
    return agent


def plan(made: Board, now: float = 10.0, limits: pools.Limits = LIMITS) -> list[actions.Action]:
    return pools.plan(now, made, limits, ("fake",))


@pytest.mark.parametrize(
    ("gpus", "coming", "rented"),
    [
        ([], 0, []),
        ([0], 0, ["j0"]),
        ([0, 0], 0, ["j0", "j1"]),
        ([0], 1, []),
        ([0, 0], 1, ["j1"]),
        ([1, 1, 1, 1], 0, ["j0"]),
        ([1, 1, 1, 1, 1], 0, ["j0", "j4"]),
        ([3, 2, 1], 0, ["j0", "j1"]),
        ([3, 0, 1], 0, ["j0", "j1"]),
        ([0] * 9, 0, ["j0", "j1", "j2", "j3", "j4"]),
        ([0] * 9, 3, ["j3", "j4"]),
    ],
)
def test_a_machine_is_rented_for_what_neither_is_there_nor_coming(
    gpus: list[int], coming: int, rented: list[str]
) -> None:
    made = board(*gpus, machines=tuple(machine(f"m{n}") for n in range(coming)))
    assert [a.job for a in plan(made) if isinstance(a, Rent)] == rented


def test_slots_that_are_free_on_a_machine_count() -> None:
    made = board(1, 1, machines=(machine(state=READY),))
    connected(made)
    assert not any(isinstance(a, Rent) for a in plan(made))
    made.agents[WorkerId("w-m")].draining = True
    assert [a.job for a in plan(made) if isinstance(a, Rent)] == ["j0"]


def test_other_owners_and_types_do_not_count() -> None:
    his = machine("his")
    his.owner = OwnerId("bob")
    other = machine("other")
    other.type = "g5.xlarge"
    made = board(0, machines=(his, other))
    assert [a.job for a in plan(made) if isinstance(a, Rent)] == ["j0"]


def test_while_there_is_trouble_one_machine_is_asked_for_at_a_time() -> None:
    made = board(0, 0, 0)
    made.searches[POOL] = Search(since=0.0, problem="none free")
    assert len([a for a in plan(made) if isinstance(a, Rent)]) == 1
    made.machines["m"] = machine()
    assert not any(isinstance(a, Rent) for a in plan(made))


@pytest.mark.parametrize(
    ("search", "now", "refused"),
    [
        (Search(since=0.0, problem="none free"), 599.0, False),
        (Search(since=0.0, problem="none free"), 600.0, True),
        (Search(since=5.0, problem="quota", final=True), 6.0, True),
        (Search(problem="no boot", boots=1), 6.0, False),
        (Search(problem="no boot", boots=2), 6.0, True),
        (Search(since=0.0, problem="quota", final=True, refusing=True), 6.0, False),
        (Search(since=0.0, problem="none free", not_before=700.0), 650.0, False),
    ],
)
def test_a_search_is_given_up_when_it_is_hopeless(
    search: Search, now: float, refused: bool
) -> None:
    made = board(0)
    made.searches[POOL] = search
    assert (Refuse(*POOL) in plan(made, now)) is refused


@pytest.mark.parametrize(
    ("one", "now", "action"),
    [
        (machine(state=INTENT, act_at=9.0), 10.0, Ask("m")),
        (machine(state=INTENT, act_at=11.0), 10.0, None),
        (machine(state=INTENT), 600.0, End("m", "its provider did not answer within 10 min")),
        (machine(step="pip"), 600.0, End("m", "it did not connect within 10 min: its bootstrap"
                                              " came as far as 'pip'")),
        (machine(busy=True), 600.0, None),
        (machine(ends="quota"), 10.0, End("m", "quota")),
        (machine(state=InstanceState.TERMINATING, ends="x", act_at=9.0), 10.0, End("m", "x")),
        (machine(state=InstanceState.TERMINATING, ends="x", act_at=11.0), 10.0, None),
        (machine(look_at=9.0), 10.0, Describe("fake", ("m",))),
    ],
)  # fmt: skip
def test_what_is_done_about_a_machine_that_is_wanted(
    one: Machine, now: float, action: actions.Action | None
) -> None:
    made = board(0, machines=(one,))
    found = [a for a in plan(made, now) if not isinstance(a, Rent | Survey)]
    assert found == ([] if action is None else [action])


def test_an_intent_that_nobody_waits_for_is_ended() -> None:
    made = board(machines=(machine(state=INTENT),))
    assert plan(made) == [End("m", "nobody waits for it any more")]


def test_a_machine_rests_when_its_last_job_is_over_and_is_ended_after_the_idle_time() -> None:
    made = board(machines=(machine(state=READY),))
    connected(made)
    made.done_at["survey fake"] = 1e9
    assert plan(made) == [Rest("m", True)]
    made.machines["m"].idle_since = 10.0
    assert plan(made, 109.0) == []
    assert plan(made, 110.0)[0] == End("m", "it had nothing to do for 100 s")
    made.agents[WorkerId("w-m")].jobs[JobId("x")] = (0,)
    assert plan(made, 50.0) == [Rest("m", False)]


def test_a_machine_is_drained_before_its_longest_life_and_ended_then() -> None:
    made = board(machines=(machine(state=READY, idle_since=8999.0),))
    connected(made)
    made.done_at["survey fake"] = 1e9
    assert plan(made, 9000.0) == [Drain("m", "it is there for 2 h")]
    assert plan(made, 10_000.0) == [End("m", "it was there for 3 h")]


def test_all_machines_are_listed_at_the_start_and_every_minute() -> None:
    made = board()
    made.done_at.clear()
    assert plan(made) == [Survey("fake")]
    made.done_at["survey fake"] = 10.0
    assert plan(made, 69.0) == []
    assert pools.next_at(69.0, made, LIMITS, ("fake",)) == [70.0]


def test_without_providers_there_is_nothing_to_be_done() -> None:
    assert pools.plan(10.0, board(0), LIMITS, ()) == []


# --- whose turn it is ------------------------------------------------------------------------
def assigned(made: Board) -> list[str]:
    actions = plans.plan(1.0, made, plans.Limits(fleet=LIMITS, providers=("fake",)))
    return [a.waiting.job for a in actions if isinstance(a, plans.Assign)]


def crowded(*machines: Machine) -> Board:
    """A machine with one of four GPUs free; who waits needs all, and smaller ones are behind."""
    made = board(0, 1, machines=(machine(state=READY), *machines))
    made.note(job("call", machine="g5.12xlarge", gpus=1, batch="b"))
    busy = {"state": JobState.RUNNING, "epoch": 1, "worker": WorkerId("w-m"), "started_at": 0.0}
    made.note(job("busy", machine="g5.12xlarge", gpus=3, devices="0,1,2", **busy))
    connected(made)
    return made


def test_small_jobs_and_calls_do_not_keep_a_large_one_waiting_for_ever() -> None:
    made = crowded()
    assert assigned(made) == []
    made.note(job("busy", machine="g5.12xlarge", gpus=3, state=JobState.SUCCEEDED, epoch=1))
    assert assigned(made) == ["j0"]


def test_small_jobs_use_what_is_free_while_a_machine_for_the_large_one_is_coming() -> None:
    assert assigned(crowded(machine("new"))) == ["j1"]
