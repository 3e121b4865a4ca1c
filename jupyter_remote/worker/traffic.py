"""What goes to and from disk and network: counters of the system, and what they say a second."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

LINUX = sys.platform == "linux"
VIRTUAL = ("lo", "docker", "veth", "br-", "virbr", "cni", "flannel")  # what they carry counts twice


class Counters(msgspec.Struct, frozen=True):
    """Bytes since some moment, which only grow; and the disk as it is."""

    read_bytes: int = 0
    written_bytes: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    disk_bytes: int = 0
    disk_total_bytes: int = 0


class Traffic:
    """Of one job: what its processes read and write on disks, the disk of its folder, and what the
    whole machine receives and sends: nobody counts that for each process."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, int]] = {}
        self._read = self._written = 0

    def look(self, pids: Iterable[int], folder: Path | None) -> Counters:
        """What a process did between the last look and its end is not seen."""
        now = {pid: io for pid in pids if (io := _io(pid)) is not None}
        for pid, (read, written) in now.items():
            before = self._last.get(pid, (0, 0))
            self._read += max(0, read - before[0])
            self._written += max(0, written - before[1])
        self._last = now
        return Counters(self._read, self._written, *_network(), *_disk(folder))


def _io(pid: int) -> tuple[int, int] | None:
    """Bytes that a process had read from disks and written to them."""
    try:
        with open(f"/proc/{pid}/io", "rb", buffering=0) as file:
            lines = file.read().split(b"\n")
    except OSError:  # it ended, is not ours to look at, or this is no Linux
        return None
    found = dict(line.split(b": ") for line in lines if b": " in line)
    return int(found.get(b"read_bytes", 0)), int(found.get(b"write_bytes", 0))


def _disk(folder: Path | None) -> tuple[int, int]:
    """Bytes in use, and in all."""
    try:
        found = shutil.disk_usage(folder or os.curdir)
    except OSError:
        return 0, 0
    return found.total - found.free, found.total


def _network() -> tuple[int, int]:
    """Bytes received and sent by the machine's interfaces."""
    if not LINUX:
        import psutil

        counted = psutil.net_io_counters()
        return (counted.bytes_recv, counted.bytes_sent) if counted else (0, 0)
    try:
        with open("/proc/net/dev", "rb", buffering=0) as file:
            lines = file.read().decode(errors="replace").split("\n")[2:]
    except OSError:
        return 0, 0
    received = sent = 0
    for line in lines:
        name, colon, rest = line.partition(":")
        if colon and not name.strip().startswith(VIRTUAL):
            fields = rest.split()
            received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent
