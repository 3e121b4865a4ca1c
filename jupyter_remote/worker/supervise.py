"""When an attempt is interrupted, killed or given up. Pure: time and figures are arguments."""

from __future__ import annotations

from enum import Enum

import msgspec

from jupyter_remote.amounts import duration, size
from jupyter_remote.model import Reason
from jupyter_remote.worker.channel import PERIODIC

NOTICE = 0.1  # of a time limit before its end that is announced,
NOTICE_S = 300.0  # but not earlier than that
LEAST_NOTICED_S = 60.0  # of a shorter limit nobody needs to be told


class Action(Enum):
    """What to do to the kernel now."""

    NOTHING = ""
    WARN = "warn"  # most of the money is spent: say so, and ask for a checkpoint
    SAVE = "save"  # ask for a checkpoint
    GIVE_UP = "give up"  # the code does not come to where it could be asked
    INTERRUPT = "interrupt"
    KILL = "kill"
    ABANDON = "abandon"  # kill, and tell nobody: the lease may be another's by now


class Stop(msgspec.Struct, frozen=True):
    """Why an attempt is being stopped: what it will be completed as."""

    outcome: str  # cancelled, expired, failed, died: as in wire.Complete
    reason: Reason
    detail: str


CANCELLED = Stop("cancelled", Reason.CANCELLED, "stopped by KeyboardInterrupt")
NEVER = float("inf")
SAVING_S = 60.0  # for packing what code made that came to its end just at its limit
STOPPED = Stop("died", Reason.LOST, "the worker was told to stop")
PREEMPTED = Stop("preempted", Reason.NONE, "its machine is taken away")


class Supervisor:
    """Watches one attempt. The first reason to stop it stands; a kill overtakes an interrupt."""

    def __init__(
        self, *, grace_s: float, dead_man_s: float, now: float, checkpoint_s: float = 30.0
    ) -> None:
        """``checkpoint_s``: how long a checkpoint is waited for."""
        self.stop: Stop | None = None
        self.abandoned = False
        self.grace_s = grace_s
        self.saves_for = ""  # why a checkpoint is wanted
        self._checkpoint_s = checkpoint_s
        self._warn_at: float | None = None
        self._save_until: float | None = None  # a checkpoint was asked for
        self._then: Stop | None = None  # what follows it
        self._dead_man_s = dead_man_s
        self._alive_at = now  # when the last beat that was acknowledged was sent
        self._began_at = now
        self._limit_at: float | None = None
        self._notice_at: float | None = None  # a limit of time is announced
        self._limit = CANCELLED
        self._memory_bytes: int | None = None
        self._interrupted_at: float | None = None
        self._killed = False
        self._kill_at: float | None = None
        self._cancelled_until: float | None = None  # a cancel kills then; None: after the grace
        self._every_s = float("inf")  # between checkpoints
        self._due_at = float("inf")
        self._leave_at: float | None = None  # its machine is taken away soon after
        self._packing = False  # user code came to its end
        self._packs_until = float("-inf")  # where that was because it was interrupted

    def started(
        self,
        now: float,
        *,
        timeout_s: float | None,
        max_run_s: float,
        memory_bytes: int | None = None,
        free: bool = False,
        warn_s: float | None = None,
    ) -> None:
        """User code begins. ``max_run_s`` is what the hold pays for, ``timeout_s`` was asked.

        ``free``: the machine costs nothing, so that only time can run out.
        ``warn_s``: most of the money is spent then.
        """
        self._warn_at = None if warn_s is None else now + warn_s
        self._memory_bytes = memory_bytes
        limit_s = max_run_s if timeout_s is None else min(max_run_s, timeout_s)
        if free or limit_s == timeout_s:
            detail = f"reached its time limit of {limit_s:g} s"
            self._limit = Stop("expired", Reason.TIME_LIMIT, detail)
        else:
            detail = f"reached its cost limit, which pays for {limit_s:g} s"
            self._limit = Stop("expired", Reason.COST_LIMIT, detail)
        self._began_at, self._limit_at = now, now + limit_s
        if self._limit.reason is Reason.TIME_LIMIT and limit_s >= LEAST_NOTICED_S:
            self._notice_at = self._limit_at - min(NOTICE_S, NOTICE * limit_s)

    def acknowledged(self, sent_at: float) -> None:
        """A message that was sent at ``sent_at`` was answered: the lease stands."""
        self._alive_at = max(self._alive_at, sent_at)

    def saving(self, now: float) -> None:
        """User code came to its end: what it made may be packed, beyond its limit if need be."""
        self._warn_at, self._packing = None, True
        if self._then is None:  # else there is an end to waiting for it
            self._save_until = None
        if self._interrupted and self.stop is not PREEMPTED:
            self._packs_until = now + SAVING_S
        if self._limit_at is not None:
            self._limit_at = max(self._limit_at, now + SAVING_S)

    def finished(self) -> None:
        """User code is over: limits and the dead man concern it no more."""
        self._limit_at = self._kill_at = self._memory_bytes = None
        self._warn_at = self._save_until = self._leave_at = None
        self._due_at = float("inf")
        self._alive_at = float("inf")

    def cancel(self, how: str, now: float, kill_in_s: float | None = None) -> Action:
        """The server says so: ``checkpoint``, ``interrupt`` or ``kill``. Said again it changes no
        more than when it is killed (``kill_in_s``; 0: never); a checkpoint that was asked for is
        waited for before an interrupt."""
        if how == "kill":
            return self._kill_cancelled(now)
        if kill_in_s is not None:
            self._cancelled_until = now + kill_in_s if kill_in_s else NEVER
            if self.stop is CANCELLED and self._kill_at is not None:
                self._kill_at = self._cancelled_until
        if how == "checkpoint" and self._then is None:
            self._then = CANCELLED
            return self.save(now, "cancel")
        return Action.NOTHING if self._then else self._interrupt(CANCELLED, now)

    def save(self, now: float, why: str) -> Action:
        """A checkpoint is wanted. Nothing if it is being stopped, or is asked for one already."""
        if self._interrupted or self._killed or self._save_until is not None:
            return Action.NOTHING
        self.saves_for, self._save_until = why, now + self._checkpoint_s
        return Action.SAVE

    def saves_every(self, every_s: float, now: float) -> None:
        """The code is to be asked for a checkpoint so often; the least of several holds."""
        self._every_s = min(every_s, self._every_s)
        self._due_at = min(now + every_s, self._due_at)

    def saved(self, now: float, kept: bool = False) -> Action:
        """The checkpoint is there, or (not ``kept``) there will be none."""
        self._save_until, self._due_at = None, now + self._every_s
        if self._then is not None:
            return self._interrupt(self._then, now)
        leaves = kept and self._leave_at is not None and not self._packing
        return self._interrupt(PREEMPTED, now) if leaves else Action.NOTHING

    def taken_away(self, until: float, grace_s: float) -> Action:
        """Its machine is: it is over by then. It goes as soon as there is a checkpoint; without
        one it goes on as long as it may, for it may come to its end."""
        self._leave_at, self.grace_s = until, min(grace_s, self.grace_s)
        if self._interrupted or self._killed or self._packing:
            return Action.NOTHING
        self.saves_for, self._save_until = PREEMPTED.outcome, until
        return Action.SAVE

    def hand_back(self) -> Action:
        """Its worker ends; after a notice that is because its machine is taken away."""
        return self.kill(self.stop or (STOPPED if self._leave_at is None else PREEMPTED))

    def notice(self, now: float) -> str:
        """Once, before a limit of time: that it comes. Too late to be of use where it is near."""
        if self._limit_at is None or self._notice_at is None or now < self._notice_at:
            return ""
        self._notice_at = None
        if self._interrupted or self._killed:
            return ""
        left, limit = duration(self._limit_at - now), duration(self._limit_at - self._began_at)
        return f"it is stopped in {left}, at its time limit of {limit}"

    def give_up(self, stop: Stop, now: float) -> Action:
        """For a reason that was found elsewhere: interrupted, then killed."""
        return self._interrupt(stop, now)

    def memory(self, used_bytes: int) -> Action:
        """The process group uses this much."""
        limit = self._memory_bytes
        if limit is None or used_bytes <= limit or self._killed:
            return Action.NOTHING
        detail = f"used {size(used_bytes)}, limit {size(limit)}"
        return self.kill(Stop("failed", Reason.OUT_OF_MEMORY, detail))

    def over_memory(self, used_bytes: int) -> bool:
        """Is it worth a closer look?"""
        return self._memory_bytes is not None and used_bytes > self._memory_bytes

    def tick(self, now: float) -> Action:
        """Time has passed."""
        if now - self._alive_at > self._dead_man_s and not self.abandoned:
            return self.abandon()
        if self._kill_at is not None and now >= max(self._kill_at, self._packs_until):
            return self._kill_cancelled(now)
        if self._leave_at is not None and now >= self._leave_at:
            self._leave_at = None
            over = self._interrupted or self._packing
            return self.kill(self.stop or PREEMPTED) if over else self._interrupt(PREEMPTED, now)
        if self._warn_at is not None and now >= self._warn_at:
            self._warn_at = None
            return Action.WARN  # before the limit, however late it is
        if self._limit_at is not None and now >= self._limit_at:
            return self._interrupt(self._limit, now)
        if self._save_until is not None and now >= self._save_until:
            self._save_until = None
            return Action.GIVE_UP
        if now >= self._due_at and not self._packing:
            self._due_at = float("inf")
            return self.save(now, PERIODIC)
        return Action.NOTHING

    def abandon(self) -> Action:
        """The attempt is not ours any more, or may not be."""
        self.abandoned = self._killed = True
        return Action.ABANDON

    @property
    def killed(self) -> bool:
        return self._killed

    @property
    def _interrupted(self) -> bool:
        return self._interrupted_at is not None

    def _interrupt(self, stop: Stop, now: float) -> Action:
        if self._interrupted or self._killed:
            return Action.NOTHING
        self.stop, self._interrupted_at = stop, now
        until = self._cancelled_until if stop is CANCELLED else None
        self._kill_at = now + self.grace_s if until is None else until
        return Action.INTERRUPT

    def _kill_cancelled(self, now: float) -> Action:
        """A cancel says how it ended; any other reason to stop it stands as it is."""
        stop = self.stop or CANCELLED
        if stop is CANCELLED:
            stop = msgspec.structs.replace(CANCELLED, detail=self._how_killed(now))
        return self.kill(stop)

    def _how_killed(self, now: float) -> str:
        if self._interrupted_at is None:
            return "killed"
        if self._packs_until > self._interrupted_at:
            return f"{CANCELLED.detail}, killed while its result was saved"
        return f"killed after {duration(now - self._interrupted_at)}"

    def kill(self, stop: Stop) -> Action:
        """At once, for this reason."""
        self._kill_at = None
        if self._killed:
            return Action.NOTHING
        self.stop, self._killed = stop, True
        return Action.KILL
