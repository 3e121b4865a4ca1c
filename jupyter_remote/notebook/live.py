"""One job's output and card in the cell that started it, live: while that cell waits, and after it.

Events come on the client's event thread and are queued. The thread that waits for the job takes
them from the queue, or, for jobs in the background, the one pump thread of this process does.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from jupyter_remote.cards import words
from jupyter_remote.cards.state import REFUSED, CardState, render, state_of
from jupyter_remote.client.jobs import Job
from jupyter_remote.errors import Conflict, JupyterRemoteError
from jupyter_remote.notebook.halfway import Halfway, errors
from jupyter_remote.notebook.interrupts import Interrupts
from jupyter_remote.notebook.meanwhile import Meanwhile, Queue
from jupyter_remote.notebook.relay import Relay
from jupyter_remote.outputs import Waits
from jupyter_remote.wire import Done, Event

log = logging.getLogger("jupyter_remote")

LEAVING_S = 0.25  # between the interrupt that begins a restart and the message that asks for it
SUBMIT_S = 0.2  # a submit that takes longer is shown while it goes on
STEP_S = 0.1  # the longest a waiting cell does not look for interrupts


class Drawn(Protocol):
    """A card: see :class:`~jupyter_remote.notebook.card.Card` and TextCard."""

    @property
    def is_shown(self) -> bool: ...

    def draw(self, state: CardState, *, force: bool = False) -> float | None: ...


class Live:
    """The view of one job. ``handle`` and ``tick`` are called from one thread at a time.

    ``ended`` is called with how it ended, before the last of its output is shown; ``force_after``
    says when a stop becomes a kill, in seconds, or None: as the backend is set.
    """

    def __init__(
        self,
        job: Job,
        relay: Relay,
        card: Drawn | None,
        ended: Callable[[Done], None] = lambda done: None,
        force_after: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._ended = ended
        self._force_after = force_after
        self.job = job
        self.relay = relay
        self.card = card
        self.state = msgspec.structs.replace(state_of(job.view), errors=errors())
        self._halfway = Halfway()
        self.done: Done | None = None
        self.question: tuple[str, bool] | None = None  # a prompt, and whether it hides the answer
        self._waits = Waits()
        self._draws_at = 0.0  # the card is not drawn before

    @property
    def is_over(self) -> bool:
        """Has the job ended, and is all of it shown?"""
        return self.done is not None and not self.relay.is_waiting

    def begin(self) -> None:
        """It is being submitted: what is refused at once gets no card."""
        self.state = msgspec.structs.replace(self.state, stage="", is_priced=False)
        self._draws_at = time.monotonic() + SUBMIT_S

    def begun(self) -> None:
        """The backend has it."""
        self._draws_at = 0.0
        if not self.state.is_priced:
            known = state_of(self.job.view)
            self.state = msgspec.structs.replace(known, errors=self.state.errors)

    def refuse(self, error: BaseException) -> None:
        """It never came to the backend whole; a card that is seen already says so."""
        if self.done is not None or self.card is None or not self.card.is_shown:
            return
        stopped = isinstance(error, KeyboardInterrupt)
        self.state = msgspec.structs.replace(
            self.state,
            status="cancelled" if stopped else "failed",
            stage="",
            reason=REFUSED,
            detail="" if stopped else str(error).split("\n")[0],
        )
        self.card.draw(self.state)

    def handle(self, event: Event) -> None:
        """Shows one event."""
        if self._draws_at:  # the first: the backend has it, and the card stands above its output
            self._draws_at = 0.0
            if self.card is not None and not self.card.is_shown:
                self.card.draw(self.state)
        self.state = render(self.state, event)
        if event.type in ("status", "notice"):
            why = self._waits.take(event.type, msgspec.json.decode(event.data))
            if why:
                self.relay.note(why)
        self.relay.event(event)
        if event.type == "progress":
            self._halfway.look(self.state, event.at or time.time())
        if event.type == "ask":
            asked = msgspec.json.decode(event.data)
            self.question = asked["prompt"], asked["password"]
        if event.type == "done":
            self.done = msgspec.json.decode(event.data, type=Done)
            self._halfway.ended(self.state)
            self._ended(self.done)
            self._look()
            self.relay.end()

    def tick(self) -> float:
        """Shows what waited long enough; seconds until it wants to be called again."""
        self.relay.flush()
        self._look()
        due = self.relay.due()
        draws = self.card is not None and time.monotonic() >= self._draws_at
        again = self.card.draw(self.state) if self.card is not None and draws else None
        return min(t for t in (due, again, STEP_S) if t is not None)

    def redraw(self) -> None:
        """Shows the card again, after its cell was cleared."""
        if self.card is not None:
            self.card.draw(self.state, force=True)

    def _look(self) -> None:
        """A card that is saved while the last output is on its way says so."""
        relaying = self.state.final and not self.is_over
        if relaying != self.state.relaying:
            self.state = msgspec.structs.replace(self.state, relaying=relaying)

    def cancel(self, force: bool) -> None:
        """For the stop button. A cell takes its session along when it is killed, so that this is
        done only by hand."""
        in_session = self.state.kind == "cell" and self.state.session
        after = None if in_session else self._force_after()
        self.job.cancel(force, force_after=after)

    def stopping(self, text: str) -> None:
        """Says on the card what a person asked for."""
        self.state = msgspec.structs.replace(self.state, stopping=text)


# None: begin; a threading.Event to set: all before it was shown; something to do
News = Event | threading.Event | Callable[[], None] | None


def wait(live: Live, events: Queue, leaving: threading.Event) -> Done | None:
    """Shows the job until it ended; None when a third interrupt gave up waiting.

    The first interrupt asks the remote code to stop, the second kills it. One that begins the end
    of this kernel (``leaving``) leaves the job alone: a later kernel attaches to it.
    """
    live.tick()
    with Interrupts(lambda: events.put(None)) as interrupts:
        answered = 0
        while not live.is_over:
            while answered < interrupts.count:
                answered += 1
                if leaving.wait(LEAVING_S) or not _interrupt(live, answered):
                    return None
            _take(live, events, live.tick())
            if live.question is not None and live.done is None:
                _answer(live, events, interrupts)
    live.tick()
    return live.done


def _answer(live: Live, events: Queue, interrupts: Interrupts) -> None:
    """Asks whoever is at the notebook what the job asks, until it needs no answer any more. An
    interrupt is one of the job's."""
    assert live.question is not None
    (prompt, hidden), live.question = live.question, None
    live.relay.flush()
    meanwhile = Meanwhile(events, interrupts.end_asking)
    refused, text = True, ""
    try:
        with meanwhile, interrupts.asking():
            text, refused = (getpass.getpass(prompt) if hidden else input(prompt)), False
    except EOFError:
        pass
    except KeyboardInterrupt:  # the loop that called counts them
        return meanwhile.handle(live.handle)
    except Exception as error:  # no front end that could ask
        live.relay.note(f"[the job asked {prompt!r}, and nobody can be asked here: {error}]")
    with contextlib.suppress(Conflict):  # it ended while somebody typed
        live.job.answer(text, refused=refused)
    meanwhile.handle(live.handle)


def _take(live: Live, events: Queue, timeout_s: float) -> None:
    until = time.monotonic() + timeout_s + STEP_S  # a flood must not keep interrupts waiting
    try:
        event = events.get(timeout=timeout_s)
        while event is not None:
            live.handle(event)
            if live.done is not None or time.monotonic() > until:
                return
            event = events.get_nowait()
    except queue.Empty:
        return


def _interrupt(live: Live, count: int) -> bool:
    """Answers the ``count``-th interrupt; False: stop waiting."""
    short = words.short(live.job.id)
    if live.done is not None:
        live.relay.drop(f"[the rest of its output is not shown: %remote logs {short}]")
        return True
    if count > 2:
        return False
    live.stopping("interrupting… (again: kill)" if count == 1 else "killing… (again: wait no more)")
    live.tick()
    try:
        live.cancel(force=count == 2)
    except JupyterRemoteError as error:
        live.relay.note(f"[could not ask job {short} to stop: {error}]")
    return True


class Pump:
    """Shows jobs in the background, all from one thread."""

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[tuple[Live, News]] = queue.SimpleQueue()
        self._lives: dict[int, tuple[Live, Callable[[], None]]] = {}
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def add(self, live: Live, ended: Callable[[], None]) -> None:
        """Shows ``live`` from now on; ``ended`` is called on the pump's thread."""
        self._lives[id(live)] = (live, ended)
        self._inbox.put((live, None))
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="jupyter-remote-relay", daemon=True
                )
                self._thread.start()

    def put(self, live: Live, event: Event) -> None:
        """One event of ``live``; from any thread."""
        self._inbox.put((live, event))

    def call(self, live: Live, action: Callable[[], None]) -> None:
        """Returns when the pump's thread has done ``action`` with ``live``."""
        done = threading.Event()

        def act() -> None:
            try:
                action()
            finally:
                done.set()

        self._inbox.put((live, act))
        done.wait()

    def remove(self, live: Live) -> None:
        """Returns when the pump has shown what came for ``live`` so far, and leaves it alone."""
        left = threading.Event()
        self._inbox.put((live, left))
        left.wait()

    def _run(self) -> None:
        due_at = time.monotonic()
        while True:
            timeout = max(0.0, due_at - time.monotonic()) if self._lives else None
            try:
                live, event = self._inbox.get(timeout=timeout)
                self._step(live, functools.partial(self._handle, live, event))
            except queue.Empty:
                pass
            if time.monotonic() >= due_at or self._inbox.empty():
                lives = [live for live, _ in list(self._lives.values())]
                steps = [self._step(live, functools.partial(self._tick, live)) for live in lives]
                due_at = time.monotonic() + min(steps, default=STEP_S)

    def _handle(self, live: Live, event: News) -> float:
        if isinstance(event, threading.Event):
            self._lives.pop(id(live), None)
            event.set()
            return STEP_S
        if callable(event):
            event()
            return 0.0
        if event is None or id(live) not in self._lives:
            return STEP_S
        live.handle(event)
        return self._tick(live) if live.done is not None else 0.0

    def _tick(self, live: Live) -> float:
        again = live.tick()
        if live.is_over:
            _, ended = self._lives.pop(id(live))
            ended()
        return again

    def _step(self, live: Live, action: Callable[[], float]) -> float:
        """``action``; a job whose cell cannot be drawn must not take the others with it."""
        try:
            return action()
        except Exception:
            log.exception("the output of job %s can no longer be shown", live.job.id)
            self._lives.pop(id(live), None)
            return STEP_S


class Route:
    """Where the event thread puts a job's events: to the cell that waits, then to the pump."""

    def __init__(self, pump: Pump, after: int = 0) -> None:
        self.after = after  # stored events up to this cursor are not shown
        self.events: Queue = queue.SimpleQueue()
        self._pump = pump
        self._live: Live | None = None
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        if 0 < event.cursor <= self.after and event.type != "done":
            return
        with self._lock:
            if self._live is None:
                self.events.put(event)
            else:
                self._pump.put(self._live, event)

    def to_background(self, live: Live, ended: Callable[[], None]) -> None:
        """From now on the pump shows the job; what waits in the queue goes first."""
        with self._lock:
            self._pump.add(live, ended)
            while not self.events.empty():
                if (event := self.events.get()) is not None:
                    self._pump.put(live, event)
            self._live = live

    def do(self, action: Callable[[], None]) -> None:
        """Does ``action`` with the job in the one thread that shows it now."""
        with self._lock:
            live = self._live
        if live is None:
            action()
        else:
            self._pump.call(live, action)

    def to_front(self) -> None:
        """From now on events wait in the queue for this thread."""
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            self._pump.remove(live)
