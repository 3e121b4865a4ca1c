"""When an attempt is interrupted, killed or given up: decided with time as an argument."""

from __future__ import annotations

import os

from msgspec.structs import replace

from jupyter_remote.model import Reason
from jupyter_remote.wire import GpuMetrics
from jupyter_remote.worker.busy import Busy
from jupyter_remote.worker.gpu_idle import GpuIdle
from jupyter_remote.worker.metrics import Meter, Process, Use, own_bytes, processes, use_of
from jupyter_remote.worker.supervise import CANCELLED, PREEMPTED, Action, Stop, Supervisor


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


def test_a_cancel_kills_when_it_says_and_asked_again_the_later_word_holds():
    it = supervisor()
    assert it.cancel("interrupt", 5.0, 3.0) is Action.INTERRUPT
    assert it.tick(7.9) is Action.NOTHING
    assert it.cancel("interrupt", 7.9, 60.0) is Action.NOTHING
    assert it.cancel("interrupt", 8.0) is Action.NOTHING
    assert it.tick(67.8) is Action.NOTHING
    assert it.tick(67.9) is Action.KILL
    assert it.stop is not None
    assert it.stop.detail == "killed after 1 min 03 s"


def test_a_cancel_may_leave_the_code_all_the_time_it_wants():
    it = supervisor()
    assert it.cancel("interrupt", 5.0, 0) is Action.INTERRUPT
    assert it.tick(800.0) is Action.NOTHING
    assert it.cancel("interrupt", 800.0, 1.0) is Action.NOTHING
    assert it.tick(801.0) is Action.KILL


def test_the_time_of_a_cancel_is_none_of_a_limits_nor_of_code_that_ended():
    it = supervisor(timeout_s=1.0)
    assert it.tick(1.0) is Action.INTERRUPT
    assert it.cancel("interrupt", 2.0, 0) is Action.NOTHING
    assert it.tick(11.0) is Action.KILL
    assert it.stop is not None
    assert it.stop.reason is Reason.TIME_LIMIT
    it = supervisor()
    it.cancel("interrupt", 5.0, 3.0)
    it.finished()
    it.cancel("interrupt", 6.0, 1.0)
    assert it.tick(7.0) is Action.NOTHING


def test_the_time_of_a_cancel_with_a_checkpoint_is_from_when_it_was_asked():
    it = supervisor()
    assert it.cancel("checkpoint", 5.0, 40.0) is Action.SAVE
    assert it.saved(8.0) is Action.INTERRUPT
    assert it.tick(44.9) is Action.NOTHING
    assert it.tick(45.0) is Action.KILL
    assert it.stop is not None
    assert it.stop.detail == "killed after 37 s"


def test_a_kill_at_once_says_that_nothing_went_before():
    it = supervisor()
    assert it.cancel("kill", 5.0) is Action.KILL
    assert it.stop is not None
    assert it.stop.detail == "killed"


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


def test_code_that_asks_for_it_saves_again_and_again():
    it = supervisor()
    it.saves_every(10.0, 5.0)
    it.saves_every(60.0, 5.0)  # of another function
    assert it.tick(14.9) is Action.NOTHING
    assert it.tick(15.0) is Action.SAVE
    assert it.saves_for == "periodic"
    assert it.tick(20.0) is Action.NOTHING
    assert it.saved(22.0, kept=True) is Action.NOTHING
    assert it.tick(31.9) is Action.NOTHING  # counted from its end: it may take long
    assert it.tick(32.0) is Action.SAVE
    assert it.tick(62.0) is Action.GIVE_UP
    it.saved(62.0)
    it.saving(70.0)
    assert it.tick(100.0) is Action.NOTHING


def test_at_notice_it_goes_when_a_checkpoint_is_kept():
    it = supervisor()
    assert it.taken_away(100.0, 5.0) is Action.SAVE
    assert it.saves_for == "preempted"
    assert it.saved(20.0, kept=True) is Action.INTERRUPT
    assert it.stop is PREEMPTED
    assert it.tick(25.0) is Action.KILL


def test_at_notice_it_stays_without_a_checkpoint_until_it_must_go():
    it = supervisor()
    it.taken_away(100.0, 5.0)
    assert it.saved(20.0) is Action.NOTHING
    assert it.tick(99.9) is Action.NOTHING
    assert it.tick(100.0) is Action.INTERRUPT
    assert it.tick(105.0) is Action.KILL
    assert it.stop is PREEMPTED


def test_a_checkpoint_for_another_reason_is_as_good_at_notice():
    it = supervisor()
    it.save(5.0, "budget")
    assert it.taken_away(100.0, 5.0) is Action.SAVE
    assert it.saved(6.0, kept=True) is Action.INTERRUPT


def test_a_stop_that_is_under_way_at_notice_is_cut_to_its_time():
    it = supervisor()
    it.cancel("interrupt", 5.0)
    assert it.taken_away(12.0, 5.0) is Action.NOTHING
    assert it.tick(12.0) is Action.KILL
    assert it.stop is not None
    assert it.stop.reason is Reason.CANCELLED


def test_code_that_came_to_its_end_at_notice_is_packed_as_long_as_there_is_time():
    it = supervisor()
    it.saving(5.0)
    assert it.taken_away(100.0, 5.0) is Action.NOTHING
    assert it.tick(99.0) is Action.NOTHING
    assert it.tick(100.0) is Action.KILL
    assert it.stop is PREEMPTED


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


def test_code_that_ended_at_its_interrupt_is_packed_and_not_said_to_be_killed():
    it = supervisor()
    it.cancel("interrupt", 5.0, 3.0)
    it.saving(6.0)
    assert it.cancel("interrupt", 8.0, 0.001) is Action.NOTHING  # as its backend counts
    assert it.tick(65.9) is Action.NOTHING
    assert it.stop is CANCELLED
    assert it.tick(66.0) is Action.KILL
    assert it.stop.detail == "stopped by KeyboardInterrupt, killed while its result was saved"


def test_whoever_kills_waits_for_no_packing_nor_does_a_machine_that_is_taken_away():
    it = supervisor()
    it.cancel("interrupt", 5.0, 3.0)
    it.saving(6.0)
    assert it.cancel("kill", 7.0) is Action.KILL
    it = supervisor()
    it.taken_away(100.0, 5.0)
    assert it.saved(8.0, kept=True) is Action.INTERRUPT
    it.saving(9.0)
    assert it.tick(13.0) is Action.KILL
    assert it.stop is PREEMPTED


def test_a_cancel_of_what_is_packed_already_kills_when_it_says():
    it = supervisor()
    it.saving(5.0)
    assert it.cancel("interrupt", 6.0, 3.0) is Action.INTERRUPT
    assert it.tick(9.0) is Action.KILL
    assert it.stop is not None
    assert it.stop.detail == "killed after 3.0 s"


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


def test_means_are_over_time_and_peaks_are_of_all_samples():
    meter = Meter(None)
    gpu = GpuMetrics("L4", 0.0, 1_000, 24_000)
    readings = [(0.0, 0.0, 80.0, 5_000), (1.0, 1.0, 40.0, 9_000), (1.0, 4.0, 0.0, 2_000)]
    for cpu_s, now, use_percent, memory in readings:
        now_at = replace(gpu, use_percent=use_percent, memory_bytes=memory)
        meter.sample(Use([1], cpu_s, 1), at=now, now=now, gpus=[now_at])
    final = meter.final()
    assert final is not None
    # a second of 100 %, then three of none
    assert (final.mean_cpu_percent, final.peak_cpu_percent, final.measured_s) == (25.0, 100.0, 4.0)
    (seen,) = final.gpus
    assert (seen.mean_percent, seen.peak_percent, seen.peak_memory_bytes) == (10.0, 80.0, 9_000)


def test_a_single_look_is_its_own_mean():
    meter = Meter(None)
    seen = meter.sample(Use([1], 1.0, 1), 0.0, 0.0, [GpuMetrics("L4", use_percent=30.0)]).gpus[0]
    assert (seen.mean_percent, seen.peak_percent) == (30.0, 30.0)


def test_this_process_is_in_the_table_with_its_memory():
    me = next(p for p in processes() if p.pid == os.getpid())
    assert me.parent == os.getppid()
    assert me.memory_bytes > 10_000_000
    assert 5_000_000 < own_bytes([me.pid], fallback=0) <= me.memory_bytes


def test_a_time_limit_is_announced_once_and_in_time():
    it = supervisor(timeout_s=600.0)
    assert it.notice(539.9) == ""
    assert it.notice(540.0) == "it is stopped in 1 min 00 s, at its time limit of 10 min 00 s"
    assert it.notice(541.0) == ""
    assert it.tick(600.0) is Action.INTERRUPT


def test_of_a_long_run_the_end_is_announced_some_minutes_before():
    it = Supervisor(grace_s=10, dead_man_s=30, now=0.0)
    it.started(0.0, timeout_s=86_400.0, max_run_s=86_400.0)
    assert it.notice(86_099.0) == ""
    assert it.notice(86_100.0) == "it is stopped in 5 min 00 s, at its time limit of 24 h"


def test_what_is_short_paid_for_stopped_or_done_is_not_announced():
    short, paid, done = supervisor(timeout_s=59.0), supervisor(), supervisor(timeout_s=600.0)
    done.finished()
    stopped = supervisor(timeout_s=600.0)
    stopped.cancel("interrupt", 1.0)
    for it in (short, paid, done, stopped):
        assert [it.notice(at) for at in (58.0, 590.0, 999.0)] == ["", "", ""]


def test_what_was_found_elsewhere_interrupts_and_then_kills():
    it = supervisor()
    stop = Stop("expired", Reason.GPU_IDLE, "no GPU was used for 10 min 00 s")
    assert it.give_up(stop, 5.0) is Action.INTERRUPT
    assert it.give_up(stop, 6.0) is Action.NOTHING
    assert it.tick(15.0) is Action.KILL
    assert it.stop == stop


# --- GPUs that nobody uses --------------------------------------------------------------------
IDLE, USED = [GpuMetrics("T4", 1.0)], [GpuMetrics("T4", 1.0), GpuMetrics("T4", 60.0)]


def test_a_job_that_uses_no_gpu_is_told_and_then_stopped():
    it = GpuIdle(600.0)
    assert [it.saw(IDLE, at) for at in range(540)] == [None] * 540
    said = it.saw(IDLE, 540)
    assert said == (
        "no GPU was used for 9 min 00 s: the job is stopped in 1 min 00 s unless it uses one "
        "(--gpu-idle)"
    )
    assert it.saw(IDLE, 599) is None
    stop = it.saw(IDLE, 600)
    assert stop == Stop("expired", Reason.GPU_IDLE, "no GPU was used for 10 min 00 s")


def test_a_gpu_that_is_used_again_lets_the_job_go_on():
    it = GpuIdle(40.0)
    assert it.saw(USED, 29.0) is None
    assert it.saw(IDLE, 58.0) is None
    assert "is stopped in 10 s" in str(it.saw(IDLE, 59.0))
    assert it.saw(USED, 68.0) == "a GPU is used again: the job goes on"
    assert it.saw(USED, 69.0) is None
    assert it.saw(IDLE, 98.0) is None
    assert "is stopped in 10 s" in str(it.saw(IDLE, 99.0))


def test_also_after_a_gap_it_is_announced_before_it_acts():
    it = GpuIdle(600.0)
    assert it.saw(IDLE, 0.0) is None
    assert "is stopped in 1 min 00 s" in str(it.saw(IDLE, 5000.0))
    assert it.saw(IDLE, 5059.0) is None
    assert isinstance(it.saw(IDLE, 5060.0), Stop)


def test_the_time_before_user_code_began_does_not_count():
    it = GpuIdle(600.0)
    assert it.saw(IDLE, 5000.0) is None  # its inputs took long
    assert "no GPU was used for 9 min 00 s" in str(it.saw(IDLE, 5540.0))


def test_where_there_is_no_gpu_that_is_told_once():
    it = GpuIdle(600.0)
    assert "no effect" in str(it.saw([], 1.0))
    assert [it.saw([], at) for at in (2.0, 10_000.0)] == [None, None]


def test_it_is_off_unless_it_was_asked_for():
    for limit in (None, 0.0):
        it = GpuIdle(limit)
        assert [it.saw(gpus, 1e9) for gpus in (IDLE, [], USED)] == [None, None, None]


# --- sessions that wait -----------------------------------------------------------------------
def test_the_time_of_calls_adds_up_and_is_told_now_and_then():
    now, told = 0.0, []
    busy = Busy(lambda *said: told.append(said), lambda: now)
    assert busy.wait_s() == float("inf")
    busy.begin()
    assert told == [(0.0, True)]
    now = 0.4
    busy.end()
    assert busy.wait_s() == 0.6
    busy.tell_if_due()
    assert told == [(0.0, True)]
    now = 1.0
    busy.tell_if_due()
    assert told == [(0.0, True), (0.4, False)]
    assert busy.wait_s() == float("inf")
    now = 5.0
    busy.begin()
    now = 7.0
    busy.tell_now()
    assert told[2:] == [(0.4, True), (2.4, True)]
    busy.end()
    busy.end()
    busy.tell_now()
    assert told[-1] == (2.4, False)
