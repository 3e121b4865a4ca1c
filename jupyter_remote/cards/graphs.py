"""The latest figures of a job as small graphs: lines with a text each. Pure."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from jupyter_remote.amounts import size
from jupyter_remote.wire import GpuMetrics, Metrics

SAMPLES = 60  # kept and drawn
WIDTH, HEIGHT = 72, 18  # of a graph, pixels
FEW = 15  # steps that fill the width at least: a line that has just begun is short
LEAST_BYTES_PER_S = 1_000_000.0  # a graph of less is not stretched to its full height

_DISK, _NETWORK = ("read", "written"), ("received", "sent")

Value = Callable[[Metrics], float]


class Graph(msgspec.Struct, frozen=True):
    """One line. ``most``: what its full height stands for; 0: the highest of its values."""

    name: str
    text: str
    values: list[float]
    most: float = 0.0
    least: float = 0.0  # the full height stands for this much at least


def kept(samples: tuple[Metrics, ...], new: Metrics) -> tuple[Metrics, ...]:
    """The latest samples with another one. The last one comes again at the end, with the peaks."""
    if samples and new.at < samples[-1].at:
        return samples
    before = samples[:-1] if samples and new.at == samples[-1].at else samples
    return (*before[-SAMPLES + 1 :], new)


def graphs_of(samples: Sequence[Metrics], *, final: bool) -> list[Graph]:
    """What was measured: without a GPU there is nothing of one."""
    if not samples:
        return []
    last = samples[-1]

    def line(name: str, text: str, value: Value, most: float = 0, least: float = 0) -> Graph:
        return Graph(name, text, [round(value(each), 1) for each in samples], most, least)

    cpu, memory = load_parts(last, final=final)
    found = [
        line("CPU", cpu, lambda m: m.cpu_percent, least=100.0),
        line("memory", memory, lambda m: m.memory_bytes, last.memory_limit_bytes),
    ]
    for disk, name, rate in ((True, "disk", _disk_rate), (False, "network", _network_rate)):
        if last.disk_total_bytes and not _stood_still(last, disk=disk):
            text = flows(last, final=final, disk=disk)
            found.append(line(name, text, rate, least=LEAST_BYTES_PER_S))
    for gpu in last.gpus:
        found += _of_gpu(gpu, samples, final=final)
    return found


def load_parts(metrics: Metrics, *, final: bool) -> list[str]:
    """CPU and memory in words."""
    if final:
        peak = metrics.peak_memory_bytes or metrics.memory_bytes
        return [f"CPU {metrics.peak_cpu_percent:.0f} % at most", f"peak memory {size(peak)}"]
    limit = f" of {size(metrics.memory_limit_bytes)}" if metrics.memory_limit_bytes else ""
    return [f"CPU {metrics.cpu_percent:.0f} %", f"memory {size(metrics.memory_bytes)}{limit}"]


def flows(metrics: Metrics, *, final: bool, disk: bool) -> str:
    """``disk 3 MB/s read, 1 MB/s written``; of the network ``received`` and ``sent``."""
    names = _DISK if disk else _NETWORK
    rates = _rates(metrics, names, "peak_" if final else "")
    text = ", ".join(f"{size(rate)}/s {name}" for rate, name in zip(rates, names, strict=True))
    return f"{'disk' if disk else 'network'} {text}{' at most' if final else ''}"


def _stood_still(metrics: Metrics, *, disk: bool) -> bool:
    """Has nothing moved so far?"""
    return not any(_rates(metrics, _DISK if disk else _NETWORK, "peak_"))


def _rates(metrics: Metrics, names: Sequence[str], prefix: str) -> list[int]:
    return [int(getattr(metrics, f"{prefix}{name}_bytes_per_s")) for name in names]


def gpu_text(gpu: GpuMetrics, *, final: bool) -> str:
    """``80 %, 62 °C, 70 W``; what the model does not measure is left out."""
    use, heat, power = gpu.use_percent, gpu.temperature_c, gpu.power_w
    if final:
        use, heat, power = gpu.peak_percent, gpu.peak_temperature_c, gpu.peak_power_w
    parts = [f"{use:.0f} %"]
    parts += [f"{heat:.0f} °C"] if heat else []
    parts += [f"{power:.0f} W"] if power else []
    return ", ".join(parts) + (" at most" if final else "")


def _of_gpu(gpu: GpuMetrics, samples: Sequence[Metrics], *, final: bool) -> Iterator[Graph]:
    of = [next((g for g in m.gpus if g.index == gpu.index), GpuMetrics("")) for m in samples]
    name = f"GPU {gpu.index}"
    uses = [each.use_percent for each in of]
    shown = gpu.name if len(samples[-1].gpus) < 2 else f"{gpu.index}: {gpu.name}"
    yield Graph(name, f"{shown} {gpu_text(gpu, final=final)}", uses, 100.0)
    held = gpu.peak_memory_bytes if final else gpu.memory_bytes
    text = f"GPU memory {size(held)} of {size(gpu.memory_total_bytes)}"
    memory = [float(each.memory_bytes) for each in of]
    yield Graph(f"{name} memory", text + " at most" * final, memory, float(gpu.memory_total_bytes))


def _disk_rate(metrics: Metrics) -> float:
    return metrics.read_bytes_per_s + metrics.written_bytes_per_s


def _network_rate(metrics: Metrics) -> float:
    return metrics.received_bytes_per_s + metrics.sent_bytes_per_s


def heights(graph: Graph) -> list[float]:
    """0 to 1."""
    most = graph.most or max(*graph.values, graph.least, 1.0)
    return [min(1.0, max(0.0, value / most)) for value in graph.values]


def json_of(samples: Sequence[Metrics], *, final: bool) -> dict[str, Any]:
    """For the live card, which keeps what it heard and draws it."""
    lines = msgspec.to_builtins(graphs_of(samples, final=final))
    return {"at": [round(each.at, 3) for each in samples], "lines": lines}


def html_of(samples: Sequence[Metrics], *, final: bool) -> str:
    """All of them in a row, as pictures with their texts; empty as long as there is no line."""
    if len(samples) < 2:
        return ""
    every = "".join(map(_picture, graphs_of(samples, final=final)))
    return f'<div style="{_GRID}">{every}</div>'


def _picture(graph: Graph) -> str:
    step = WIDTH / max(FEW, len(graph.values) - 1)
    points = [(i * step, 1 + (HEIGHT - 2) * (1 - high)) for i, high in enumerate(heights(graph))]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    text = html.escape(graph.text)
    return (
        f'<span title="{text}" style="display:flex;gap:6px;align-items:center">'
        f'<svg role="img" aria-label="{text}" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" style="{_BACK}"><polyline points="{line}" fill="none" '
        'stroke="currentColor" stroke-width="1.2"></polyline></svg>'
        f'<span style="font-size:11px;line-height:1.3;{_FAINT}">{text}</span></span>'
    )


_GRID = "display:grid;grid-template-columns:repeat(auto-fill,minmax(210px,1fr));gap:2px 12px"
_BACK = "flex:none;border-radius:2px;background:var(--jp-layout-color2, rgba(128,128,128,.15))"
_FAINT = "color:var(--jp-ui-font-color2, #757575)"
