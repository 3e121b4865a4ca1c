"""The backend's time, kept over its restarts: leases, waits and prices compare stored times."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from jupyter_remote.clock import Clock, SteadyClock

log = logging.getLogger("jupyter_remote.clock")

FILE_NAME = "clock.json"
BOOT = Path("/proc/sys/kernel/random/boot_id")


class Reading(msgspec.Struct, frozen=True):
    """The wall time at which the clock that counts from boot was 0, as it was first read."""

    boot: str
    offset_s: float


def steady_clock(clock: Clock, home: Path, *, busy: bool) -> SteadyClock:
    """A clock for a backend on the state in ``home``.

    While jobs are under way (``busy``) it goes on as that of the backend before it, if the
    machine was not started anew since. With nothing under way the wall clock is believed again.
    """
    boot, before = _boot(), _read(home / FILE_NAME)
    if busy and before is not None and boot and before.boot == boot:
        return SteadyClock(clock, before.offset_s)
    steady = SteadyClock(clock)
    try:
        reading = Reading(boot, steady.offset_s)
        (home / FILE_NAME).write_bytes(msgspec.json.encode(reading))
    except OSError as error:
        log.warning("the time could not be written down: %s", error)
    return steady


def _boot() -> str:
    """Which start of this machine it is; empty where the system does not tell."""
    try:
        return BOOT.read_text().strip()
    except OSError:
        return ""


def _read(path: Path) -> Reading | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Reading)
    except (OSError, msgspec.DecodeError):
        return None
