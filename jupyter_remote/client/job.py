"""The handle of a job: a future that knows its status, its output and what it costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from jupyter_remote import errors
from jupyter_remote.client import describe
from jupyter_remote.client.events import Stream
from jupyter_remote.client.failures import raise_for
from jupyter_remote.client.outputs import Output, outputs_of, text_of
from jupyter_remote.model import History, Status
from jupyter_remote.wire import (
    Bar,
    CancelRequest,
    Done,
    Event,
    EventPage,
    HistoryReply,
    JobView,
    Metrics,
    Money,
    raw,
)

if TYPE_CHECKING:
    from jupyter_remote.client.context import Context

STEP_S = 0.1  # of waiting: how soon Ctrl-C and a lost backend are noticed
PATIENCE_S = 30.0  # that a backend may be away while someone waits for a result
FRESH_S = 0.5  # how old the status of somebody else's job may be
SETTLED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})

EventCallback = Callable[[Event], None]
View = Callable[["Job"], Any]
_NOTHING = object()
_view: View | None = None


def set_view(view: View | None) -> None:
    """How a displayed job looks: a function from a job to a MIME bundle (or None: text only)."""
    global _view
    _view = view


class Job(Future[Any]):
    """One thing that runs or ran remotely.

    A :class:`concurrent.futures.Future`, awaitable too. ``result()`` raises what the remote code
    raised (RemoteError and the exception's own type), JobCancelled, JobLost, JobTimedOut or
    BudgetExceeded; BackendUnreachable when the backend is away for long (the job is not affected:
    ask again).
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
        self._value: Any = _NOTHING
        self._events: list[Event] = []
        self._whole = own  # are all events so far in self._events?
        self._latest: dict[str, Event] = {}  # of those that are not stored: bars, metrics
        self._cursor = 0
        self._told: list[EventCallback] = []
        self._order = threading.RLock()  # one event at a time, in order, to each callback
        self._values = threading.Lock()
        self._stream: Stream | None = None

    def __repr__(self) -> str:
        return describe.line(self._job, self.cost)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"job {self.id} is a handle of this process; send its result() or its id instead"
        )

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Any:
        bundle = None if _view is None else _view(self)
        return {"text/plain": repr(self)} if bundle is None else bundle

    # -- what it is
    @property
    def id(self) -> str:
        return self._job.id

    @property
    def view(self) -> JobView:
        """Everything the backend says of it, as far as it is known here."""
        self._refresh()
        return self._job

    @property
    def status(self) -> str:
        """queued, running, completed, failed, cancelling or cancelled."""
        return self.view.status

    @property
    def stage(self) -> str:
        """What it does now, in plain words; empty when it has ended."""
        return self.view.stage

    @property
    def reason(self) -> str:
        """Why it ended as it did, in one word; empty while it goes on or if all went well."""
        return self.view.reason

    @property
    def description(self) -> str:
        return self._job.description

    @property
    def visibility(self) -> str:
        return self._job.visibility

    @property
    def machine(self) -> str:
        return self._job.machine

    @property
    def cost(self) -> float:
        """USD: so far, or in the end."""
        return describe.cost_usd(self._job, time.time())

    @property
    def estimate(self) -> describe.Estimate:
        """What it may cost."""
        return describe.estimate(self._job)

    @property
    def progress(self) -> list[Bar]:
        """Its bars as they stand, those that are open first opened."""
        return list(self.view.progress)

    @property
    def metrics(self) -> Metrics | None:
        """The latest figures of CPU, memory and GPU."""
        return self.view.metrics

    @property
    def history(self) -> list[History]:
        """What happened to it, in order, in plain words."""
        path = f"/v1/jobs/{self.id}/history"
        return self._context.link.call("GET", path, reply=HistoryReply).history

    @property
    def receipt(self) -> dict[str, Any]:
        """What it was, where it ran and what it cost."""
        return describe.receipt(self.view)

    @property
    def metadata(self) -> dict[str, Any]:
        """``submitted``, ``started``, ``completed`` (aware times), ``status``, ``engine_id``, …"""
        return describe.metadata(self.view) | {"stdout": self.stdout, "stderr": self.stderr}

    # -- what it said
    @property
    def events(self) -> list[Event]:
        """All stored events so far."""
        self._catch_up()
        return list(self._events)

    @property
    def outputs(self) -> list[Output]:
        """What it printed and displayed so far, as the outputs of a notebook cell."""
        return outputs_of(self.events)

    @property
    def stdout(self) -> str:
        return text_of(self.events, "stdout")

    @property
    def stderr(self) -> str:
        return text_of(self.events, "stderr")

    def logs(self) -> str:
        """All that it wrote, also what was folded in the live output."""
        return self._context.log_of(self.id)

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

    def attach(self, after: int = 0) -> Job:
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

    # -- its end
    def done(self) -> bool:
        """Has it ended, in whatever way?"""
        if not super().done() and not self._own and self._stream is None:
            self._refresh()
        return super().done()

    def running(self) -> bool:
        return self.status in (Status.RUNNING, Status.CANCELLING)

    def cancelled(self) -> bool:
        return self.done() and self._job.status == Status.CANCELLED

    def cancel(self, force: bool = False) -> bool:
        """Ask it to stop; ``force`` kills at once. False: it had ended already.

        Before it started this is free; after, what ran is charged.
        """
        try:
            path = f"/v1/jobs/{self.id}/cancel"
            self._context.link.call("POST", path, CancelRequest(force=force), reply=JobView)
        except errors.Conflict:
            return self.status == Status.CANCELLED
        return True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it ended, ``timeout`` seconds at most. Returns whether it has."""
        self._follow()
        until = None if timeout is None else time.monotonic() + timeout
        with self._condition:
            while not super().done():
                left = STEP_S if until is None else min(STEP_S, until - time.monotonic())
                if left <= 0:
                    return False
                self._condition.wait(left)
                self._check_stream()
        return True

    def result(self, timeout: float | None = None) -> Any:
        """Its value. Raises TimeoutError if it has not ended after ``timeout`` seconds."""
        self._wait(timeout)
        if self._exception is not None:
            try:
                raise self._exception.with_traceback(None)
            finally:
                self = None  # type: ignore[assignment]  # no cycle through the traceback
        return self._unpacked()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What it raised; None if it completed."""
        self._wait(timeout)
        return self._exception

    def __await__(self) -> Generator[Any, None, Any]:
        return self._awaited().__await__()

    @property
    def ended(self) -> Done | None:
        """How it ended, as the backend said it; None while it goes on."""
        return self._ended

    def value_now(self) -> Any:
        """What came back even from a job that failed (an executed notebook); else None."""
        ended = self._ended
        has_value = ended is not None and ended.result is not None and ended.result.value
        return self._unpacked() if has_value else None

    def _wait(self, timeout: float | None) -> None:
        if not super().done() and not self.wait(timeout):
            raise TimeoutError(f"job {self.id[:8]} is still {self._job.status} after {timeout:g} s")

    async def _awaited(self) -> Any:
        import asyncio

        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def wake(_: Future[Any]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_set_once, ended)

        await loop.run_in_executor(None, self._follow)
        self.add_done_callback(wake)
        try:
            await ended
        except asyncio.CancelledError:
            await loop.run_in_executor(None, self.cancel)
            raise
        if self._exception is not None:
            harmless = self._ended and raise_for(self._ended, self._namespace, interrupts=False)
            raise harmless or self._exception
        return await loop.run_in_executor(None, self._unpacked)

    def _unpacked(self) -> Any:
        with self._values:
            if self._value is _NOTHING:
                assert self._ended is not None
                self._value = self._context.value_of(self._ended, self._namespace)
            return self._value

    # -- how it learns of things
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
        """The reply to the submit; events may have come before it."""
        with self._order:
            self.submitted = True
            if view.cursor >= self._cursor and self._ended is None:
                self._job = view

    def say(self, type: str, data: Any) -> None:
        """An event made on this side: a notice, a bar of what is being sent."""
        with self._order:
            event = Event(job=self.id, type=type, data=raw(data), at=time.time())
            if not super().done():
                self._note(event)
                for callback in list(self._told):
                    callback(event)

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

    def _check_stream(self) -> None:
        stream = self._context.listener.stream if self._own else self._stream
        if stream is not None and not super().done() and (away := stream.trouble(PATIENCE_S)):
            raise away


def _set_once(future: Any) -> None:
    if not future.done():
        future.set_result(None)


def provisional(id: str, kind: str, description: str, machine: str, visibility: str) -> JobView:
    """A job before the backend has answered."""
    nothing = Money(rate_ucredits_per_h=0, hold_ucredits=0, cost_ucredits=0)
    return JobView(
        id=id,
        kind=kind,
        status=Status.QUEUED,
        stage="waiting",
        description=description,
        machine=machine or "local",
        visibility=visibility,
        money=nothing,
        submitted_at=time.time(),
    )
