"""When an attempt is interrupted, killed or given up: decided with time as an argument."""

from __future__ import annotations

import os

from jupyter_remote.model import Reason
from jupyter_remote.worker.metrics import Meter, Process, Use, own_bytes, processes, use_of
from jupyter_remote.worker.supervise import Action, Supervisor


def supervisor(**limits: object) -> Supervisor:
    it = Supervisor(grace_s=10, dead_man_s=30, now=0.0)
    it.started(0.0, **{"timeout_s": None, "max_run_s": 1000.0, **limits})  # type: ignore[arg-type]
    it.acknowledged(900.0)
    return it


def test_an_interrupt_is_followed_by_a_kill_after_the_grace():
    it = supervisor()
    assert it.cancel("interrupt", 5.0) is Action.INTERRUPT
    assert it.cancel("interrupt", 6.0) is Action.NOTHING
    assert it.tick(14.9) is Action.NOTHING
    assert it.tick(15.0) is Action.KILL
    assert it.tick(15.1) is Action.NOTHING
    assert it.stop is not None
    assert it.stop.reason is Reason.CANCELLED


def test_a_kill_overtakes_an_interrupt_and_the_first_reason_stands():
    it = supervisor(timeout_s=1.0)
    assert it.tick(1.0) is Action.INTERRUPT
    assert it.cancel("kill", 1.5) is Action.KILL
    assert it.stop is not None
    assert it.stop.reason is Reason.TIME_LIMIT


def test_what_was_asked_and_what_is_paid_for_are_told_apart():
    for limits, reason in (
        ({"timeout_s": 5.0, "max_run_s": 5.0}, Reason.TIME_LIMIT),
        ({"timeout_s": 9.0, "max_run_s": 5.0}, Reason.COST_LIMIT),
        ({"timeout_s": None, "max_run_s": 5.0}, Reason.COST_LIMIT),
        ({"timeout_s": None, "max_run_s": 5.0, "free": True}, Reason.TIME_LIMIT),
    ):
        it = supervisor(**limits)
        assert it.tick(4.9) is Action.NOTHING
        assert it.tick(5.0) is Action.INTERRUPT
        assert it.stop is not None
        assert it.stop.reason is reason


def test_that_most_of_the_money_is_spent_is_said_once():
    it = supervisor(warn_s=4.0, max_run_s=5.0)
    assert it.tick(3.9) is Action.NOTHING
    assert it.tick(4.0) is Action.WARN
    assert it.tick(4.1) is Action.NOTHING
    assert it.tick(5.0) is Action.INTERRUPT


def test_a_late_look_at_the_time_still_warns_before_it_stops():
    it = supervisor(warn_s=4.0, max_run_s=5.0)
    assert it.tick(7.0) is Action.WARN
    assert it.tick(7.1) is Action.INTERRUPT


def test_a_checkpoint_is_asked_for_once_at_a_time_and_given_up_on():
    it = supervisor(max_run_s=100.0)
    assert it.save(1.0, "budget") is Action.SAVE
    assert it.saves_for == "budget"
    assert it.save(2.0, "preempted") is Action.NOTHING
    assert it.tick(30.9) is Action.NOTHING
    assert it.tick(31.0) is Action.GIVE_UP
    assert it.saved(31.0) is Action.NOTHING
    assert it.save(32.0, "preempted") is Action.SAVE
    assert it.saved(33.0) is Action.NOTHING
    assert it.tick(99.0) is Action.NOTHING


def test_a_cancel_with_a_checkpoint_interrupts_when_that_is_saved():
    it = supervisor()
    assert it.cancel("checkpoint", 5.0) is Action.SAVE
    assert it.cancel("checkpoint", 6.0) is Action.NOTHING
    assert it.cancel("interrupt", 7.0) is Action.NOTHING  # it will be
    assert it.stop is None
    assert it.saved(8.0) is Action.INTERRUPT
    assert it.stop is not None
    assert it.stop.reason is Reason.CANCELLED
    assert it.tick(18.0) is Action.KILL


def test_a_cancel_waits_for_a_checkpoint_that_was_asked_for_before():
    it = supervisor()
    assert it.save(1.0, "budget") is Action.SAVE
    assert it.cancel("checkpoint", 5.0) is Action.NOTHING
    assert it.saved(6.0) is Action.INTERRUPT


def test_a_checkpoint_that_does_not_come_holds_up_no_cancel_for_long():
    it = supervisor()
    it.cancel("checkpoint", 5.0)
    assert it.tick(35.0) is Action.GIVE_UP
    assert it.saved(35.0) is Action.INTERRUPT


def test_a_kill_waits_for_no_checkpoint_and_a_limit_for_none_either():
    it = supervisor()
    it.cancel("checkpoint", 5.0)
    assert it.cancel("kill", 6.0) is Action.KILL
    assert it.saved(7.0) is Action.NOTHING
    it = supervisor(max_run_s=6.0)
    it.cancel("checkpoint", 5.0)
    assert it.tick(6.0) is Action.INTERRUPT
    assert it.stop is not None
    assert it.stop.reason is Reason.COST_LIMIT
    assert it.saved(7.0) is Action.NOTHING


def test_an_interrupted_attempt_is_asked_for_no_checkpoint():
    it = supervisor()
    it.cancel("interrupt", 5.0)
    assert it.cancel("checkpoint", 6.0) is Action.NOTHING
    assert it.save(6.0, "preempted") is Action.NOTHING
    assert it.tick(15.0) is Action.KILL


def test_what_code_made_that_came_to_its_end_is_packed_beyond_the_limit():
    it = supervisor(max_run_s=5.0, warn_s=4.0)
    it.saving(3.0)
    assert it.tick(5.0) is Action.NOTHING
    assert it.tick(62.9) is Action.NOTHING
    assert it.tick(63.0) is Action.INTERRUPT


def test_packing_holds_up_no_cancel_for_ever():
    it = supervisor()
    it.cancel("checkpoint", 5.0)
    it.saving(6.0)
    assert it.tick(35.0) is Action.GIVE_UP
    assert it.saved(35.0) is Action.INTERRUPT


def test_the_dead_man_counts_from_when_the_acknowledged_beat_was_sent():
    it = Supervisor(grace_s=10, dead_man_s=30, now=0.0)
    it.acknowledged(20.0)
    it.acknowledged(10.0)  # answers may come late
    assert it.tick(50.0) is Action.NOTHING
    assert it.tick(50.1) is Action.ABANDON
    assert it.tick(60.0) is Action.NOTHING


def test_code_that_is_over_is_not_stopped_any_more():
    it = supervisor(timeout_s=5.0, memory_bytes=100)
    it.finished()
    assert it.tick(1e9) is Action.NOTHING
    assert it.memory(1000) is Action.NOTHING


def test_memory_above_the_limit_is_killed_once_with_both_figures():
    it = supervisor(memory_bytes=2_000_000_000)
    assert it.memory(2_000_000_000) is Action.NOTHING
    assert it.memory(2_100_000_000) is Action.KILL
    assert it.memory(2_200_000_000) is Action.NOTHING
    assert it.stop is not None
    assert it.stop.detail == "used 2 GB, limit 1.9 GB"


def test_a_jobs_processes_are_its_session_its_group_and_their_descendants():
    table = [
        Process(1, 0, 1, 1, 9.0, 9),
        Process(10, 1, 10, 10, 1.0, 100),
        Process(11, 10, 10, 10, 0.5, 10),
        Process(12, 1, 12, 10, 0.0, 1),  # another group of the session
        Process(13, 11, 13, 13, 0.0, 1000),  # a session of its own, but a descendant
        Process(20, 1, 20, 20, 7.0, 7),
    ]
    use = use_of(10, table)
    assert (sorted(use.pids), use.cpu_s, use.memory_bytes) == ([10, 11, 12, 13], 1.5, 1111)


def test_figures_are_differences_and_the_peak_stays():
    meter = Meter(None)
    meter.sample(Use([1], 1.0, 500), at=0.0, now=0.0, gpus=[])
    meter.saw(900)
    meter.sample(Use([1], 1.5, 300), at=1.0, now=1.0, gpus=[])
    final = meter.final()
    assert final is not None
    assert (final.cpu_percent, final.memory_bytes, final.peak_memory_bytes) == (50.0, 300, 900)


def test_this_process_is_in_the_table_with_its_memory():
    me = next(p for p in processes() if p.pid == os.getpid())
    assert me.parent == os.getppid()
    assert me.memory_bytes > 10_000_000
    assert 5_000_000 < own_bytes([me.pid], fallback=0) <= me.memory_bytes
