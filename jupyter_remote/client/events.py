"""Event streams of a backend: read in a thread, resumed where they broke off."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from jupyter_remote import errors
from jupyter_remote.client.link import Link
from jupyter_remote.http import Events, Http
from jupyter_remote.wire import Event

log = logging.getLogger("jupyter_remote")

PAUSES_S = (0.0, 0.1, 0.3, 1.0, 2.0, 5.0)
"""Before the first, second, … attempt to reconnect in a row; the last one repeats."""


class Stream:
    """One event stream in a thread of its own: no gap and no repeat over any disconnect.

    Parameters
    ----------
    path, params: of the request; ``after`` is added.
    feed: called with each event, on the thread.
    wanted: is anyone waiting for events? If not, a broken stream is not opened again (which would
        start an embedded backend that nobody needs) until :meth:`start` is called.
    reconnected: called after the stream was opened again.
    """

    def __init__(
        self,
        link: Link,
        path: str,
        params: dict[str, object],
        feed: Callable[[Event], None],
        wanted: Callable[[], bool],
        *,
        after: int = 0,
        reconnected: Callable[[], None] | None = None,
    ) -> None:
        self.cursor = after
        self._link = link
        self._path = path
        self._params = params
        self._feed = feed
        self._wanted = wanted
        self._reconnected = reconnected
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._open: Events | None = None
        self._closed = threading.Event()
        self._trouble: tuple[float, errors.JupyterRemoteError] | None = None
        self._failures = 0

    def start(self) -> None:
        """Read from now on, if it does not do so already."""
        with self._lock:
            if self._closed.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            self._trouble, self._failures = None, 0
            self._thread = threading.Thread(
                target=self._run, name="jupyter_remote events", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """End the thread, also while it waits for the next event."""
        self._closed.set()
        if (stream := self._open) is not None:
            stream.close()

    def trouble(self, patience_s: float) -> errors.JupyterRemoteError | None:
        """What keeps events away since ``patience_s`` or longer; at once if it will not pass."""
        if self._closed.is_set():
            return errors.BackendUnreachable(
                "this client was closed", hint="the job goes on: find it with another client"
            )
        if (trouble := self._trouble) is None:
            return None
        since, error = trouble
        passing = isinstance(error, errors.BackendUnreachable)
        return error if not passing or time.monotonic() - since >= patience_s else None

    def _run(self) -> None:
        while not self._closed.is_set():
            http: Http | None = None
            try:
                http = self._link.http
                self._read(http)
            except errors.JupyterRemoteError as error:
                self._note(error)
                if http is not None:
                    self._mend(http)
            except msgspec.MsgspecError as error:
                self._note(errors.ProtocolMismatch(f"an event could not be read: {error}"))
            except Exception as error:  # whoever waits must hear of it, whatever it is
                log.exception("the event stream broke")
                self._note(errors.BackendUnreachable(f"the event stream broke: {error!r}"))
            if not self._goes_on():
                return
            self._failures += 1
            self._closed.wait(PAUSES_S[min(self._failures, len(PAUSES_S)) - 1])

    def _goes_on(self) -> bool:
        """Under the lock that `start` takes: a thread that ends is seen to have ended."""
        with self._lock:
            passing = self._trouble is None or isinstance(
                self._trouble[1], errors.BackendUnreachable
            )
            if not self._closed.is_set() and self._wanted() and passing:
                return True
            self._thread = None
            return False

    def _mend(self, http: Http) -> None:
        try:
            if self._link.embedded and self._wanted() and not self._closed.is_set():
                self._link.mend(http)
                self._soften()
        except errors.JupyterRemoteError as error:
            self._note(error)

    def _soften(self) -> None:
        """A token that an earlier backend knew: the way is mended, so it is no lasting trouble."""
        if self._trouble and isinstance(self._trouble[1], errors.NotAuthenticated):
            self._trouble = None

    def _note(self, error: errors.JupyterRemoteError) -> None:
        since = self._trouble[0] if self._trouble else time.monotonic()
        self._trouble = (since, error)

    def _read(self, http: Http) -> None:
        stream = http.events(self._path, {**self._params, "after": self.cursor})
        self._open = stream
        try:
            self._trouble = None
            if self._closed.is_set():
                return
            if self._failures and self._reconnected is not None:
                self._reconnected()
            for event in stream:
                self._failures = 0
                self._take(event)
                if self._closed.is_set():
                    return
        finally:
            self._open = None
            stream.release()

    def _take(self, event: Event) -> None:
        if event.cursor:
            if event.cursor <= self.cursor:
                return
            self.cursor = event.cursor
        try:
            self._feed(event)
        except Exception:  # a callback of somebody else must not end everybody's events
            log.exception("while handling an event of job %s", event.job)


class Feeds(Protocol):
    """What the listener needs of a job."""

    submitted: bool

    @property
    def id(self) -> str: ...

    def done(self) -> bool: ...
    def feed(self, event: Event) -> None: ...
    def vanished(self) -> None: ...


class Listener:
    """Hands the events of all jobs that this client submitted to those jobs."""

    def __init__(self, link: Link, client: str) -> None:
        self._link = link
        self._live: dict[str, Feeds] = {}
        self._callbacks: list[Callable[[Event], None]] = []
        self.stream = Stream(
            link,
            "/v1/events",
            {"client": client},
            self._feed,
            lambda: bool(self._live),
            reconnected=self._look_after,
        )

    def watch(self, job: Feeds) -> None:
        """Called before the submit is sent, so that no event is missed."""
        self._live[job.id] = job
        self.stream.start()

    def forget(self, id: str) -> None:
        """The submit was refused."""
        self._live.pop(id, None)

    def live(self, id: str) -> Feeds | None:
        """The job of this client with that id, until it is done."""
        return self._live.get(id)

    def ids(self) -> list[str]:
        """Jobs that are not done."""
        return list(self._live)

    def listen(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call ``callback`` with every event, on the event thread; returns what ends that."""
        self._callbacks.append(callback)
        self.stream.start()
        return lambda: self._callbacks.remove(callback)

    def close(self) -> None:
        """End the stream."""
        self.stream.close()

    def _feed(self, event: Event) -> None:
        job = self._live.get(event.job)
        try:
            if job is not None:
                job.feed(event)
            for callback in list(self._callbacks):
                callback(event)
        finally:
            if job is not None and job.done():
                self._live.pop(event.job, None)

    def _look_after(self) -> None:
        """After a reconnect: does the backend still know the jobs that we wait for?"""
        for id, job in list(self._live.items()):
            if not job.submitted:
                continue
            try:
                self._link.http.call("GET", f"/v1/jobs/{id}")
            except errors.NotFound:
                self._live.pop(id, None)
                job.vanished()
