"""Figures of disk, network and GPUs: from counters to what is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from jupyter_remote.wire import GpuMetrics, Metrics
from jupyter_remote.worker import traffic
from jupyter_remote.worker.metrics import Gpus, Meter, Use
from jupyter_remote.worker.traffic import Counters, Traffic

MB = 1_000_000


def sampled(*readings: tuple[float, Counters]) -> Metrics:
    meter = Meter(None)
    for now, counters in readings:
        meter.sample(Use([1], 0.0, 1), now, now, [], counters=counters)
    final = meter.final()
    assert final is not None
    return final


def test_counters_become_rates_and_their_peaks_stay() -> None:
    one = Counters(10 * MB, 0, 5 * MB, 0, disk_bytes=70, disk_total_bytes=100)
    two = replace(one, read_bytes=30 * MB, sent_bytes=4 * MB, disk_bytes=90)
    last = sampled((0.0, one), (2.0, two), (4.0, replace(two, disk_bytes=80)))
    assert (last.read_bytes_per_s, last.peak_read_bytes_per_s) == (0.0, 10.0 * MB)
    assert (last.sent_bytes_per_s, last.peak_sent_bytes_per_s) == (0.0, 2.0 * MB)
    assert last.peak_received_bytes_per_s == 0.0
    assert (last.disk_bytes, last.peak_disk_bytes, last.disk_total_bytes) == (80, 90, 100)


def test_an_interface_that_goes_away_is_no_negative_rate() -> None:
    last = sampled((0.0, Counters(received_bytes=9 * MB)), (1.0, Counters(received_bytes=MB)))
    assert last.received_bytes_per_s == 0.0


def test_nothing_that_is_not_measured_is_told() -> None:
    meter = Meter(None)
    seen = meter.sample(Use([1], 0.0, 1), 0.0, 0.0, [])
    assert (seen.gpus, seen.disk_total_bytes) == ([], 0)


def test_what_a_process_writes_is_counted_also_when_another_one_ended(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfd = os.open('data', os.O_CREAT | os.O_WRONLY)\n"
        "os.write(fd, bytes(3_000_000))\nos.fsync(fd)\nprint('done', flush=True)\ninput()"
    )
    seen, total = Traffic(), []
    for _ in range(2):
        child = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"done\n"
        total.append(seen.look([child.pid], tmp_path).written_bytes)
        child.communicate(b"\n")
    assert total[0] >= 3 * MB
    assert total[1] >= 2 * total[0] - 200_000
    assert seen.look([], tmp_path).written_bytes == total[1]


def test_the_disk_is_that_of_the_jobs_folder(tmp_path: Path) -> None:
    found = Traffic().look([], tmp_path)
    assert 0 < found.disk_bytes < found.disk_total_bytes
    assert Traffic().look([], tmp_path / "absent").disk_total_bytes == 0


def test_only_real_interfaces_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = (
        "Inter-|   Receive                            |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n"
        "    lo: 999 0 0 0 0 0 0 0 999 0 0 0 0 0 0 0\n"
        "  eth0: 100 0 0 0 0 0 0 0 30 0 0 0 0 0 0 0\n"
        "  ens5:  20 0 0 0 0 0 0 0  4 0 0 0 0 0 0 0\n"
        "docker0: 500 0 0 0 0 0 0 0 500 0 0 0 0 0 0 0\n"
    )
    (tmp_path / "dev").write_text(table)
    opened = open
    monkeypatch.setattr(
        "builtins.open",
        lambda path, *how, **more: opened(
            tmp_path / "dev" if path == "/proc/net/dev" else path, *how, **more
        ),
    )
    assert traffic._network() == (120, 34)


class FakeNvml:
    """Two GPUs; the second measures neither power nor temperature. A third one has failed."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return 3

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        self._alive(handle)
        return SimpleNamespace(used=handle * 1000 + 1, total=24_000)

    def nvmlDeviceGetName(self, handle: int) -> str:
        return f"L4 number {handle}"

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        self._alive(handle)
        return SimpleNamespace(gpu=50 + handle)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return self._measured(handle, 71_000)

    def nvmlDeviceGetTemperature(self, handle: int, kind: int) -> int:
        return self._measured(handle, 61)

    def _measured(self, handle: int, figure: int) -> int:
        if handle >= 1:
            raise self.NVMLError
        return figure

    def _alive(self, handle: int) -> None:
        if handle == 2:
            raise self.NVMLError


def test_a_gpu_that_fails_ends_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    [failed] = Gpus().read([2])
    assert (failed.name, failed.index, failed.memory_total_bytes) == ("L4 number 2", 2, 0)


def test_only_the_jobs_own_gpus_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    gpus = Gpus()
    assert [gpu.index for gpu in gpus.read()] == [0, 1, 2]
    [own] = gpus.read([1])
    assert (own.name, own.index, own.use_percent, own.power_w) == ("L4 number 1", 1, 51.0, 0.0)


def test_power_and_temperature_have_peaks_for_each_gpu() -> None:
    meter = Meter(None)
    hot = GpuMetrics("L4", power_w=72.0, temperature_c=80.0, index=3)
    cool = GpuMetrics("L4", power_w=20.0, temperature_c=40.0, index=5)
    meter.sample(Use([1], 0.0, 1), 0.0, 0.0, [hot, cool])
    swapped = [replace(cool, index=3), replace(cool, power_w=30.0)]
    last = meter.sample(Use([1], 0.0, 1), 1.0, 1.0, swapped)
    assert [(g.peak_power_w, g.peak_temperature_c) for g in last.gpus] == [
        (72.0, 80.0),
        (30.0, 40.0),
    ]


def test_this_process_may_be_looked_at() -> None:
    counted = Traffic().look([os.getpid(), 2**22 + 1], Path.cwd())
    assert counted.written_bytes >= 0
