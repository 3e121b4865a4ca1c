"""Would another machine have done? From what a job used and what can be had. Pure.

Nothing is said where it would be a guess: of short runs, without figures, and of GPUs that nobody
measured (those of simulated machines). A machine fits only with room to spare above the peaks.
"""

from __future__ import annotations

from collections.abc import Sequence

from jupyter_remote.amounts import size
from jupyter_remote.model import MachineType
from jupyter_remote.wire import Advice, GpuMetrics, Metrics

SHORTEST_S = 60.0  # a shorter run shows its start more than itself
HEAD_ROOM = 1.25  # above a peak
LEAST_SAVING = 0.1
BUSY_PERCENT = 50.0  # a GPU that is used more is replaced only by its like
IDLE_PERCENT = 2.0  # a GPU whose peak stays below did nothing
IDLE_BYTES = 1024**3  # and held no more than its driver does


def advise(
    machine: MachineType, use: Metrics | None, machines: Sequence[MachineType]
) -> Advice | None:
    """The cheapest of ``machines`` that would have done instead of ``machine``, if that saves much.

    ``use`` are the figures of the whole run. An on-demand machine is not exchanged for a spot one.
    """
    if not _is_told_by(machine, use) or use is None:
        return None
    used = [gpu for gpu in use.gpus if not _is_idle(gpu)]
    fit = [
        other
        for other in machines
        if other.id != machine.id
        and (machine.spot or not other.spot)
        and _fits(other, machine, use, used)
    ]
    best = min(fit, key=lambda m: (m.usd_per_h, m.gpu_count, m.id), default=None)
    if best is None or best.usd_per_h > machine.usd_per_h * (1 - LEAST_SAVING):
        return None
    percent = round(100 * (1 - best.usd_per_h / machine.usd_per_h))
    return Advice(best.id, _text(best, machine, use, used, percent), percent)


def _is_told_by(machine: MachineType, use: Metrics | None) -> bool:
    """Are there figures that say what the job needs?"""
    if not machine.usd_per_h or use is None or not use.peak_memory_bytes:
        return False
    return use.measured_s >= SHORTEST_S and bool(use.gpus or not machine.gpu_count)


def _is_idle(gpu: GpuMetrics) -> bool:
    return gpu.peak_percent < IDLE_PERCENT and gpu.peak_memory_bytes <= IDLE_BYTES


def _fits(
    other: MachineType, machine: MachineType, use: Metrics, used: Sequence[GpuMetrics]
) -> bool:
    """Room to spare above each peak; where it ran, as much as there was."""
    return (
        _room(other.memory_bytes, machine.memory_bytes, use.peak_memory_bytes)
        and _room(other.cpus, machine.cpus, use.peak_cpu_percent / 100)
        and (not used or _gpus_fit(other, machine, used))
    )


def _room(there: float, here: float, peak: float) -> bool:
    return there >= peak * HEAD_ROOM or there >= here >= peak


def _gpus_fit(other: MachineType, machine: MachineType, used: Sequence[GpuMetrics]) -> bool:
    busy = any(gpu.mean_percent > BUSY_PERCENT for gpu in used)
    memory = max(gpu.peak_memory_bytes for gpu in used)
    return (
        other.gpu_count >= len(used)
        and _room(other.gpu_memory_bytes, machine.gpu_memory_bytes, memory)
        and (other.gpu == machine.gpu or not busy)
    )


def _text(
    best: MachineType,
    machine: MachineType,
    use: Metrics,
    used: Sequence[GpuMetrics],
    percent: int,
) -> str:
    saving = f"−{percent} %" if best.usd_per_h else "for nothing"
    same = best.gpu == machine.gpu and best.cpus >= machine.cpus and bool(used)
    condition = "" if same else ", if it runs as fast there"
    return f"{_figures(machine, use, used)}: {best.id} would have done, {saving}{condition}"


def _figures(machine: MachineType, use: Metrics, used: Sequence[GpuMetrics]) -> str:
    """What shows it: of the GPUs if some were used, else that they were not."""
    if used:
        peak = max(gpu.peak_memory_bytes for gpu in used)
        mean = max(gpu.mean_percent for gpu in used)
        many = f"{len(used)} of {machine.gpu_count} GPUs used, " if machine.gpu_count > 1 else ""
        return f"{many}peak {_of(peak, machine.gpu_memory_bytes)}, GPU use {mean:.0f} %"
    figures = f"peak memory {_of(use.peak_memory_bytes, machine.memory_bytes)}"
    if machine.gpu_count:
        what = "the GPU was" if machine.gpu_count == 1 else f"none of {machine.gpu_count} GPUs was"
        return f"{figures}, {what}{' not' if machine.gpu_count == 1 else ''} used"
    return f"{figures}, {use.peak_cpu_percent / 100:.1f} of {machine.cpus:g} cores"


def _of(part: int, whole: int) -> str:
    """``3.1 of 24 GB``; in units of its own where the part is small."""
    mine, all_ = size(part), size(whole)
    same = mine.split(" ")[1] == all_.split(" ")[1]
    return f"{mine.split(' ')[0] if same else mine} of {all_}"
