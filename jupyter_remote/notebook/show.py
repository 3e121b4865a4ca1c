"""Puts a job into the cell that runs now: its outputs, its card, its end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from jupyter_remote.client.failures import raise_for
from jupyter_remote.client.homecoming import left_alone
from jupyter_remote.client.jobs import Job
from jupyter_remote.client.receipts import metadata
from jupyter_remote.client.tracebacks import lines_of
from jupyter_remote.model import Status
from jupyter_remote.notebook.advice import advise
from jupyter_remote.notebook.card import Card
from jupyter_remote.notebook.comms import OfJob
from jupyter_remote.notebook.live import Drawn, Live, Route, wait
from jupyter_remote.notebook.relay import Relay
from jupyter_remote.notebook.sinks import (
    KernelSink,
    LocalSink,
    Sink,
    front_of,
    kernel_of,
    parent_of,
    sink_for,
)
from jupyter_remote.notebook.textcard import TextCard
from jupyter_remote.wire import LAST_OUTPUT, Done

if TYPE_CHECKING:
    from jupyter_remote.client.submitting import OnJob
    from jupyter_remote.notebook.context import Context


class Shown:
    """A job in its cell. Made in the cell, before the job's first event is taken.

    Parameters
    ----------
    blocking: the cell waits; else the pump shows the job.
    card: show its state.
    outputs: show what it prints and draws.
    results: show the value of its last expression.
    after: show only what it stored after this cursor.
    """

    def __init__(
        self,
        context: Context,
        job: Job,
        *,
        blocking: bool,
        card: bool = True,
        outputs: bool = True,
        results: bool = True,
        after: int = 0,
    ) -> None:
        self.context = context
        self.job = job
        self._followed = False
        self.route = Route(context.pump, after)
        self.raises = blocking or not outputs  # who waits gets what it ends with
        place = sink_for(context.shell, blocking=blocking)
        drawn = self._card(place) if card else None
        self.relay = Relay(
            self._below(place, blocking) if outputs else _Silent(),
            results=results,
            signed=not card,  # no card holds the receipt
            cleared=(lambda: self.live.redraw()) if isinstance(drawn, Card) else None,
            comms=self._comms() if outputs else None,
        )
        self.live = Live(job, self.relay, drawn, self._ended, lambda: context.force_after)

    def _card(self, sink: Sink) -> Drawn | None:
        if isinstance(sink, KernelSink):
            front = front_of(self.context.shell)
            return Card(
                sink.display,
                lambda force, after: self.job.cancel(force, force_after=after),
                front=front,
                job=self.job.id,
                busy=sink.busy,
            )
        if kernel_of(self.context.shell) is None and self.context.shell is not None:
            return TextCard(lambda line: print(line, file=sys.stderr, flush=True))
        return None  # captured, or a script: only what the code itself shows

    def _comms(self) -> OfJob | None:
        comms = self.context.comms
        if comms is None:
            return None
        return OfJob(comms, self.job, parent_of(self.context.shell.kernel))

    def _below(self, place: Sink, blocking: bool) -> Sink:
        """Where the output goes: into its cell also when another one runs."""
        if not isinstance(place, KernelSink) or front_of(self.context.shell) != "still" or blocking:
            return place
        from jupyter_remote.notebook.collected import CollectedSink

        return CollectedSink(place)

    def begin(self) -> None:
        """Takes the job's events while it is being submitted. If that takes a moment the card
        appears: it says that inputs are sent, and how many."""
        self.live.begin()
        self._follow()
        self._followed = True
        if self.live.card is not None:
            self.route.to_background(self.live, lambda: None)

    def submitted(self) -> None:
        """The backend has it: this thread shows it again."""
        self.route.to_front()
        self.live.begun()

    def refused(self, error: BaseException) -> None:
        """The submit failed: a card that was shown says so."""
        self.route.to_front()
        self.live.refuse(error)

    def wait(self) -> Done:
        """Shows the job until it ended. Raises KeyboardInterrupt when told to stop waiting; the
        job's output then still lands in this cell."""
        self._follow()
        done = wait(self.live, self.route.events, self.context.leaving)
        if done is not None:
            return done
        self.live.stopping("")
        self.relay.note(left_alone(self.job.id))
        self.raises = False
        self.route.to_background(self.live, self.context.arrived)
        raise KeyboardInterrupt

    def _ended(self, done: Done) -> None:
        """Signs the result; shows what it failed with where that is not raised."""
        self.relay.sign(metadata(done.receipt) if done.receipt is not None else {})
        if self.raises or done.job.status != Status.FAILED:
            return
        if (error := error_of(self.context, done)) is not None:
            name, message = getattr(error, "ename", ""), getattr(error, "evalue", str(error))
            self.relay.error(name or type(error).__name__, message, lines_of(error))

    def settle(self) -> None:
        """Returns when all that came of the job so far is seen; not on the thread that shows it."""
        self.route.do(lambda: None)

    def note(self, text: str) -> None:
        """A line of ours in its cell; from any thread but the one that shows it."""
        self.route.do(lambda: self.relay.note(text))

    def leave(self) -> None:
        """Shows the job in the background."""
        self.live.tick()  # the card is shown while its cell still runs
        self.route.to_background(self.live, self.context.arrived)
        self._follow()

    def _follow(self) -> None:
        """All events of the job, those that were and those to come, go to the route."""
        if self._followed:
            return
        if self.job.done():
            for event in self.job.events:
                self.route(event)
            return
        self.job.on_event(self.route)
        self.job.attach(self.route.after)


def submit(context: Context, send: Callable[[OnJob], Job], **how: Any) -> Shown:
    """A job in its cell from the moment it exists; ``how`` as for :class:`Shown`.

    ``send`` submits it and calls what it is given with its handle before anything is sent.
    """
    begun: list[Shown] = []

    def begin(job: Job) -> None:
        begun.append(Shown(context, job, **how))
        begun[0].begin()

    try:
        send(begin)
    except BaseException as error:
        for shown in begun:
            shown.refused(error)
        raise
    begun[0].submitted()
    return begun[0]


def raise_end(context: Context, done: Done) -> None:
    """Raises what the job ended with, if it did not complete."""
    if (error := error_of(context, done)) is not None:
        raise error


def error_of(context: Context, done: Done) -> Exception | None:
    """The same, not raised. The last output is above it."""
    detail, _, _ = done.job.detail.partition(LAST_OUTPUT)
    job = msgspec.structs.replace(done.job, detail=detail)
    error = raise_for(msgspec.structs.replace(done, job=job), context.namespace)
    if error is not None:
        advise(error)
    return error


class _Silent(LocalSink):
    """For views of a job that show its card alone."""

    def stream(self, name: str, text: str) -> None: ...

    def display(self, data: Any, metadata: Any, **how: Any) -> None: ...

    def result(self, data: Any, metadata: Any) -> None: ...

    def clear(self, wait: bool) -> None: ...
