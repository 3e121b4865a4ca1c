"""Which process it is: the number of one that ended may be given to another. Light."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def mark_of(pid: int) -> str:
    """What tells a live process from every other that has had or will have its number; "" for one
    that has ended, though its parent may not have noticed."""
    try:
        fields = _fields(pid)
    except FileNotFoundError:
        return "" if _BOOT.exists() else _mark_elsewhere(pid)
    except OSError:  # it ended while it was read
        return ""
    state, started_ticks = fields[0], fields[19]
    if state in "ZX":
        return ""
    boot = ""
    with contextlib.suppress(OSError):
        boot = _BOOT.read_text().strip()
    return f"{boot}:{started_ticks}"


def _fields(pid: int) -> list[str]:
    """What the kernel says of a process after its name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def began_at() -> float:
    """When this process began, in seconds since 1970. psutil knows on Linux only the second."""
    try:
        started_s = int(_fields(os.getpid())[19]) / os.sysconf("SC_CLK_TCK")
    except OSError:
        import psutil

        return float(psutil.Process().create_time())
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - started_s)


def _mark_elsewhere(pid: int) -> str:
    import psutil

    try:
        process = psutil.Process(pid)
        ended = process.status() == psutil.STATUS_ZOMBIE
        return "" if ended else f"{process.create_time():.2f}"
    except psutil.Error:
        return ""
