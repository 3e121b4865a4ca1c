"""What a run costs beside its own time: starts, transfers, disks, rework. Pure."""

from __future__ import annotations

import math

import msgspec

from jupyter_remote.money.meter import cost_ucredits, ucredits_of_usd

GIB = 1024**3
S_PER_H = 3600.0
LEAST_RUN_S = 1.0  # a limit that does not pay for this is a slip
MOST_INTERRUPTIONS = 20.0  # expected in one run; whoever plans that needs no exact figure


class Billing(msgspec.Struct, frozen=True, kw_only=True):
    """How a machine type is billed. By default only the run itself is, as an embedded backend
    does: its meter starts with the user's code and ends with it."""

    minimum_s: float = 0.0  # the least that is billed for one machine
    start_s: float = 0.0  # from the request to the worker
    environment_s: float = 0.0
    bytes_per_s: float = math.inf  # of what is sent and fetched
    idle_tail_s: float = 0.0  # that the machine stays after its last job
    disk_usd_per_h: float = 0.0
    egress_usd_per_gib: float = 0.0
    interruptions_per_h: float = 0.0  # of spot, by the zone's own history


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """A price by its parts, micro-credits."""

    machine: int
    disk: int = 0
    egress: int = 0
    rework: int = 0

    @property
    def total(self) -> int:
        return self.machine + self.disk + self.egress + self.rework


def cost_of(
    run_s: float,
    rate_ucredits_per_h: int,
    billing: Billing,
    *,
    sent_bytes: int = 0,
    fetched_bytes: int = 0,
) -> Cost:
    """Rate × max(minimum, start + environment + transfer + run + idle tail) + disk + egress +
    expected rework.

    ``sent_bytes`` go to the machine while it is paid for, ``fetched_bytes`` come from it.
    """
    before_s = billing.start_s + billing.environment_s + sent_bytes / billing.bytes_per_s
    after_s = fetched_bytes / billing.bytes_per_s + billing.idle_tail_s
    billed_s = max(billing.minimum_s, before_s + run_s + after_s)
    rework_s = rework(run_s, billing.interruptions_per_h, before_s)
    disk_rate = ucredits_of_usd(billing.disk_usd_per_h)
    return Cost(
        machine=cost_ucredits(rate_ucredits_per_h, billed_s),
        disk=cost_ucredits(disk_rate, billed_s + rework_s),
        egress=ucredits_of_usd(billing.egress_usd_per_gib * fetched_bytes / GIB),
        rework=cost_ucredits(rate_ucredits_per_h, rework_s),
    )


def least_ucredits(rate_ucredits_per_h: int, billing: Billing) -> int:
    """What a job costs at least: the minimum that is billed, and one second of run."""
    return cost_of(LEAST_RUN_S, rate_ucredits_per_h, billing).total


def rework(run_s: float, interruptions_per_h: float, again_s: float) -> float:
    """Seconds that are expected to be run for nothing when each interruption begins the job anew.

    Interruptions that come at a constant rate λ let a run of T take (e^λT - 1) / λ in the mean,
    with e^λT - 1 interruptions on the way, each of which costs ``again_s`` until code runs again.
    """
    interruptions = min(interruptions_per_h * run_s / S_PER_H, math.log1p(MOST_INTERRUPTIONS))
    if interruptions <= 0:
        return 0.0
    again = math.expm1(interruptions)
    return run_s * (again / interruptions - 1) + again * again_s
