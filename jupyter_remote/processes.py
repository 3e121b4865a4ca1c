"""Which process it is: the number of one that ended may be given to another. Light."""

from __future__ import annotations

import contextlib
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def mark_of(pid: int) -> str:
    """What tells a live process from every other that has had or will have its number; "" for one
    that has ended, though its parent may not have noticed."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return "" if _BOOT.exists() else _mark_elsewhere(pid)
    except OSError:  # it ended while it was read
        return ""
    # The name of the program stands in parentheses and may hold anything.
    fields = stat.rpartition(")")[2].split()
    state, started_ticks = fields[0], fields[19]
    if state in "ZX":
        return ""
    boot = ""
    with contextlib.suppress(OSError):
        boot = _BOOT.read_text().strip()
    return f"{boot}:{started_ticks}"


def _mark_elsewhere(pid: int) -> str:
    import psutil

    try:
        process = psutil.Process(pid)
        ended = process.status() == psutil.STATUS_ZOMBIE
        return "" if ended else f"{process.create_time():.2f}"
    except psutil.Error:
        return ""
