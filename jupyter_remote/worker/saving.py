"""The agent's part of checkpoints: what a kernel saved goes to the server, and the user is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from jupyter_remote import wire
from jupyter_remote.amounts import duration, size
from jupyter_remote.money.fuse import MOST_IS_SPENT
from jupyter_remote.worker import channel
from jupyter_remote.worker.channel import PERIODIC
from jupyter_remote.worker.link import Make
from jupyter_remote.worker.transfer import BadInput, Transfer

BUDGET, CANCEL, PREEMPTED = "budget", "cancel", "preempted"
Send = Callable[[Make], Awaitable[wire.Answer]]

OCCASIONS = {
    BUDGET: MOST_IS_SPENT,
    CANCEL: "cancel requested",
    PREEMPTED: "its machine is about to be taken away",
    PERIODIC: "a checkpoint is due",
}


class Saving:
    """Of one attempt.

    Parameters
    ----------
    send: returns when the server has granted a message, or refused it for good.
    told: shows a line below the cell.
    over: called when a checkpoint that was asked for is saved (true), or will not be.
    """

    def __init__(
        self,
        key: tuple[str, int],
        transfer: Transfer,
        send: Send,
        told: Callable[[str], None],
        over: Callable[[bool], None],
    ) -> None:
        self._key = key
        self._transfer = transfer
        self._send = send
        self._told = told
        self._over = over
        self._tasks: set[asyncio.Task[Any]] = set()
        self._last: asyncio.Task[Any] | None = None
        self.asked = ""  # why, until there is an answer
        self._wrong = False  # with a periodic one, and told

    def warn(self) -> None:
        """Let the server know that most of the money is spent."""
        job, epoch = self._key
        self._keep(self._send(lambda req: wire.Warned(req=req, job=job, epoch=epoch)))

    def ask(self, why: str) -> None:
        """The kernel was asked."""
        self.asked = why

    def give_up(self, after_s: float) -> None:
        """No answer came. One that comes later is taken all the same, and one that is on its way
        to the server arrives whatever becomes of the code."""
        if not self.asked:
            return
        self._tell(
            self.asked,
            f"{OCCASIONS[self.asked]}; there is no checkpoint after {duration(after_s)}: the code "
            "is in something that is not Python's, or its checkpoint function takes long",
        )

    def heard(self, saved: channel.Saved) -> None:
        """The kernel's answer. One after the other: the latest stands."""
        self.asked = self.asked if saved.more else ""
        before, why = self._last, OCCASIONS.get(saved.why, saved.why)
        if saved.value is None:
            self._tell(saved.why, f"{why}; nothing is saved: {saved.problem}")
            self._over(False)
            return
        self._last = self._keep(self._save(saved.value, saved, before))

    @property
    def busy(self) -> bool:
        return bool(self._tasks)

    async def settled(self, limit_s: float | None = None) -> None:
        """All that was said is with the server, or was given up after so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self._tasks:
                    await asyncio.wait(set(self._tasks))
        self.drop()

    def drop(self) -> None:
        """The attempt does not stand any more."""
        for task in self._tasks:
            task.cancel()

    def _tell(self, why: str, text: str) -> None:
        """What is wrong with each of many is said once."""
        if why == PERIODIC:
            if self._wrong:
                return
            self._wrong = True
        self._told(text)

    def _keep(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _save(
        self, value: wire.Parcel, saved: channel.Saved, before: asyncio.Task[Any] | None
    ) -> None:
        if before is not None:
            await asyncio.wait({before})
        why, kept = OCCASIONS.get(saved.why, saved.why), False
        try:
            for spooled in saved.spooled:
                await self._transfer.give(spooled)
            job, epoch = self._key
            answer = await self._send(
                lambda req: wire.Saved(req=req, job=job, epoch=epoch, value=value, why=saved.why)
            )
            kept = answer.ok
            if kept and saved.more:
                return
            if not kept:
                self._tell(
                    saved.why, f"{why}; the server did not take the checkpoint ({answer.code})"
                )
            else:
                told = f"{why}; a checkpoint is saved: {size(value.size_bytes)}"
                if saved.problem or saved.why != PERIODIC:
                    self._tell(saved.why, f"{told}; {saved.problem}" if saved.problem else told)
        except BadInput as error:
            self._tell(saved.why, f"{why}; the checkpoint could not be kept: {error}")
        finally:
            if not saved.more:
                self._over(kept)
