"""How a handle learns of its job: events of a stream, or asking the backend."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

import msgspec

from jupyter_remote import errors
from jupyter_remote.client import describe
from jupyter_remote.client.events import Stream
from jupyter_remote.client.failures import raise_for
from jupyter_remote.client.origin import NO_CELL, Cell
from jupyter_remote.model import Status
from jupyter_remote.outputs import text_of
from jupyter_remote.wire import Done, Event, EventPage, JobView, Money, ResultsView, raw

if TYPE_CHECKING:
    from jupyter_remote.client.context import Context

FRESH_S = 0.5  # how old the status of somebody else's job may be
SETTLED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})

EventCallback = Callable[[Event], None]


class Handle(Future[Any]):
    """A future that is fed with events.

    Its own client's jobs are fed by that client's stream from their first event on. Others are
    asked for, and once someone waits for them or listens they have a stream of their own.
    """

    def __init__(
        self,
        context: Context,
        view: JobView,
        *,
        namespace: dict[str, Any] | None = None,
        own: bool = False,
    ) -> None:
        super().__init__()
        self._context = context
        self._job = view
        self._seen_at = time.monotonic()
        self._namespace = namespace
        self._own = own  # its events come with the client's stream from the first one on
        self.submitted = False
        self._ended: Done | None = None
        self._events: list[Event] = []
        self._whole = own  # are all events so far in self._events?
        self._latest: dict[str, Event] = {}  # of those that are not stored: bars, metrics
        self._cursor = 0
        self._told: list[EventCallback] = []
        self._order = threading.RLock()  # one event at a time, in order, to each callback
        self._stream: Stream | None = None

    @property
    def id(self) -> str:
        return self._job.id

    @property
    def ended(self) -> Done | None:
        """How it ended, as the backend said it; None while it goes on."""
        return self._ended

    def done(self) -> bool:
        """Has it ended, in whatever way?"""
        if not super().done() and not self._own and self._stream is None:
            self._refresh()
        return super().done()

    @property
    def events(self) -> list[Event]:
        """All stored events so far."""
        self._catch_up()
        return list(self._events)

    def on_event(self, callback: EventCallback) -> Callable[[], None]:
        """Call ``callback`` with each event: those that were, then those to come, in order.

        It runs on this thread first and on the event thread later, never on both at once. Returns
        what ends it.
        """
        if not self._own:
            self._follow()
            if super().done():
                self._catch_up()
        with self._order:
            for event in [*self._events, *self._latest.values()]:
                callback(event)
            self._told.append(callback)
        return lambda: self._told.remove(callback)

    def attach(self, after: int = 0) -> Self:
        """Follow a job of another kernel: its events from ``after`` on come to this handle."""
        with self._order:
            if self._own or self._stream is not None or self.done():
                return self
            self._whole = self._whole or after == 0
            self._stream = Stream(
                self._context.link,
                f"/v1/jobs/{self.id}/events",
                {},
                self.feed,
                lambda: not self.done(),
                after=max(after, self._cursor),
            )
            self._stream.start()
        return self

    def feed(self, event: Event) -> None:
        """Take an event in; called by event streams. What was seen before is passed over."""
        with self._order:
            if (event.cursor and event.cursor <= self._cursor) or super().done():
                return
            self._cursor = max(self._cursor, event.cursor)
            self._note(event)
            for callback in list(self._told):
                callback(event)
        if self._ended is not None:
            self._settle()

    def _note(self, event: Event) -> None:
        if event.type == "progress":
            self._latest[f"bar {describe.bar_id(event)}"] = event
        elif event.type == "metrics":
            self._latest["metrics"] = event
        else:
            self._events.append(event)
        self._job, ended = describe.moved(self._job, event)
        self._ended = ended or self._ended

    def _settle(self) -> None:
        if super().done() or self._ended is None:
            return
        error = raise_for(self._ended, self._namespace, last_output=self._tail())
        if error is not None:
            self.set_exception(error)
        else:
            self.set_result(None)  # the value is unpacked by who asks for it

    def _tail(self) -> str:
        last = [e for e in self._events[-20:] if e.epoch == self._job.attempt]
        return text_of(last, "stdout") + text_of(last, "stderr")

    def accepted(self, view: JobView) -> None:
        """The reply to the submit; what events that came before it changed since stands."""
        with self._order:
            self.submitted = True
            if self._ended is not None:  # with the whole view
                return
            for event in [*self._events, *self._latest.values()]:
                if not 0 < event.cursor <= view.cursor:
                    view, _ = describe.moved(view, event)
            self._job = view

    def stopping(self, view: JobView) -> None:
        """The reply to a cancel; an event says the same soon."""
        with self._order:
            if self._ended is None and view.status == Status.CANCELLING:
                self._job = msgspec.structs.replace(
                    self._job, status=view.status, kill_at=view.kill_at
                )

    def shared(self, view: ResultsView) -> None:
        """Who may open its result now."""
        with self._order:
            self._job = msgspec.structs.replace(
                self._job, visibility=view.visibility, results_uuid=view.results_uuid
            )

    def say(self, type: str, data: Any) -> None:
        """An event made on this side: a notice, a bar of what is being sent."""
        with self._order:
            event = Event(job=self.id, type=type, data=raw(data), at=time.time())
            if not super().done():
                self._note(event)
                for callback in list(self._told):
                    callback(event)

    def forget(self) -> None:
        """The submit was refused: there will be no events."""
        self._context.listener.forget(self.id)

    def vanished(self) -> None:
        """The backend does not know it any more."""
        with self._order:
            if not super().done():
                self._job = msgspec.structs.replace(
                    self._job, status=Status.FAILED, stage="", reason="lost"
                )
                self.set_exception(
                    errors.JobLost(
                        f"the backend knows nothing of job {self.id}",
                        hint="its state was deleted or it is another backend: submit it again",
                    )
                )

    def _follow(self) -> None:
        """See to it that its end will be heard of."""
        if super().done():
            return
        if self._own:
            self._context.listener.stream.start()
            return
        self._refresh()
        if not super().done():
            self.attach(self._cursor)

    def _refresh(self) -> None:
        """Ask the backend, if this is not a job whose events come here anyway."""
        quiet = self._own or self._stream is not None or super().done()
        if quiet or (
            time.monotonic() - self._seen_at < FRESH_S and self._job.status not in SETTLED
        ):
            return
        view = self._job
        if view.status not in SETTLED:
            view = self._context.link.call("GET", f"/v1/jobs/{self.id}", reply=JobView)
            self._seen_at = time.monotonic()
            self._job = view
        if view.status in SETTLED:
            self._fetch_end()

    def _fetch_end(self) -> None:
        """How a job ended that had ended before this handle was made."""
        path = f"/v1/jobs/{self.id}/result"
        self._ended = self._context.link.call("GET", path, reply=Done)
        self._job = self._ended.job
        self._settle()

    def _catch_up(self) -> None:
        """All stored events of a job of which only the end was read."""
        if self._whole:
            return
        events = list(self._pages(0))
        with self._order:
            if not self._whole:
                last = events[-1].cursor if events else 0
                self._events = events + [e for e in self._events if e.cursor > last]
                self._whole = super().done()

    def _pages(self, after: int) -> Iterator[Event]:
        while True:
            page = self._context.link.call(
                "GET",
                f"/v1/jobs/{self.id}/events",
                reply=EventPage,
                params={"after": after},
                headers={"accept": "application/json"},
            )
            yield from page.events
            if not page.events or page.cursor <= after:
                return
            after = page.cursor


def provisional(
    id: str, kind: str, description: str, machine: str, visibility: str, cell: Cell = NO_CELL
) -> JobView:
    """A job before the backend has answered: its card may be saved like that."""
    nothing = Money(rate_ucredits_per_h=0, hold_ucredits=0, cost_ucredits=0)
    return JobView(
        id=id,
        kind=kind,
        status=Status.QUEUED,
        stage="waiting",
        description=description,
        machine=machine or "local",
        visibility=visibility,
        cell=cell.id,
        cell_code=cell.code,
        money=nothing,
        submitted_at=time.time(),
    )
