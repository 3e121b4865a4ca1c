"""When an attempt is interrupted, killed or given up: decided with time as an argument."""

from __future__ import annotations

import os

from msgspec.structs import replace

from jupyter_remote.model import Reason
from jupyter_remote.wire import GpuMetrics
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
