"""The workers of views: each is a session, which is a job, with a connection to its kernel."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jupyter_remote import calls, errors
from jupyter_remote.client.views.dialing import here
from jupyter_remote.client.views.exchange import Connection, Request
from jupyter_remote.client.views.functions import Shipped
from jupyter_remote.client.views.relay import Line
from jupyter_remote.client.views.space import Space
from jupyter_remote.model import Status
from jupyter_remote.wire import Parcel, SessionView

if TYPE_CHECKING:
    from jupyter_remote.client.job import Job

STARTS_S = 600.0  # a session may wait for its machine
ASKS_S = 30.0
TOLD_S = 15.0  # within which a dead worker is told as dead
AWAY_S = 60.0  # a worker that is not connected may come back: longer than its lease
PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0  # between two tries to connect
SETTLED = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


class Engine:
    """One worker, with a namespace of its own."""

    def __init__(self, space: Space, id: int, job: Job) -> None:
        self.id = id
        self.job = job
        self.completed = 0
        self.attempt = 0  # of its job, that was connected to last
        self._space = space
        self._connection: Connection | None = None
        self._connecting = threading.Lock()
        self._ended: errors.EngineError | None = None

    def __repr__(self) -> str:
        return f"<engine {self.id}: session {self.name!r}, {self.job.status}>"

    @property
    def name(self) -> str:
        """Of its session."""
        return self.job.view.session

    @property
    def uuid(self) -> str:
        return self.job.id

    @property
    def alive(self) -> bool:
        """Can it take calls, as far as is known here?"""
        return self._ended is None and not self.job.done()

    @property
    def connected(self) -> bool:
        """Is there a connection to its kernel?"""
        return self._connection is not None and not self._connection.lost

    @property
    def outstanding(self) -> list[str]:
        """Ids of the calls that are not done."""
        return [] if self._connection is None else list(map(str, self._connection.pending))

    @property
    def connection(self) -> Connection:
        """Made at first use. Raises EngineError when the session is over."""
        connection = self._connection
        if connection is not None and not connection.lost:
            return connection
        with self._connecting:
            if self._connection is None or self._connection.lost:
                self._connection = self._connect()
        return self._connection

    def _connect(self) -> Connection:
        if self._ended is not None:
            raise self._ended
        until = time.monotonic() + STARTS_S
        refused_at, pause_s = 0.0, PAUSE_S
        while time.monotonic() < until:
            view = self._look(ASKS_S)
            if view.job.status in SETTLED:
                self._ended = _ended(view, self.id)
                raise self._ended
            if not view.listening:
                continue
            try:
                connection = self._reach(view)
                self.attempt = view.job.attempt
                return connection
            except (OSError, EOFError) as error:  # it died just now: the next answer says so
                refused_at = refused_at or time.monotonic()
                if time.monotonic() - refused_at > AWAY_S:
                    raise _unreached(view, error) from error
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        raise errors.BackendUnreachable(
            f"session {self.name!r} did not start within {STARTS_S:.0f} s",
            hint=f"its job {self.job.id[:8]} says why; it goes on waiting",
        )

    def _reach(self, view: SessionView) -> Connection:
        """Connect directly, or through the backend where there is no other way. Raises OSError,
        EOFError when nothing answers."""
        space = self._space
        if not view.key:
            raise errors.NotAuthorized(
                "This token does not allow calls of sessions.",
                hint="Use a token with the scope submit.",
            )
        if view.address:
            hi = space.greeting(view.key, here=True)
            with contextlib.suppress(OSError, EOFError):  # or the kernel runs on another computer
                connection = space.exchange.connect(here(view.address), hi, self._lost)
                connection.on_value = space.arrived
                return connection
        lines: list[Line] = []

        def dial() -> socket.socket:
            lines.append(space.relay.dial(self.job.id))
            return lines[-1].sock

        def lost(connection: Connection) -> None:
            self._lost(connection, lines[0])

        try:
            hi = space.greeting(view.key, here=False)
            connection = space.exchange.connect(dial, hi, lost)
        except EOFError:
            raise ConnectionError(lines[-1].why or "the connection broke") from None
        space.keep_apart()
        return connection

    def _look(self, wait_s: float) -> SessionView:
        return self._space.context.link.call(
            "GET", f"/v1/sessions/{self.job.id}", reply=SessionView, params={"wait_s": wait_s}
        )

    # -- calls
    def call(
        self, request: Request, function: Shipped, plain: bytes, inputs: Parcel | None
    ) -> None:
        """Send a call. A worker that is gone ends it at once."""
        with self.connection.sending:  # nobody's call overtakes the one that brings the function
            self.send([request], [self.message(request, function, plain, inputs)])

    def message(
        self, request: Request, function: Shipped, plain: bytes, inputs: Parcel | None
    ) -> bytes:
        """The bytes of a call; with the function, if the kernel does not have it yet.

        Raises EngineError.
        """
        request.inputs, request.function = inputs, function
        given, belongings = self.connection.given, self._space.belongings
        paths = (*belongings.files, *function.files)  # before contents: another thread may add some
        contents = self._space.files.contents
        wanted = {path: contents[path] for path in paths}
        files, sources = given.new(wanted), given.new(belongings.sources)
        given.outdate(files)
        code: Parcel | None = None
        if not given.has(function):
            self._space.send_beside(function.parcel, function.contents)
            code = function.parcel
            sources |= function.sources
        message = calls.packed(
            calls.Call(
                request.id,
                function.number,
                code,
                plain,
                inputs,
                list(files.items()),
                sources,
                {**belongings.names_of(sources), **function.source_names} if sources else {},
                given.take_gone(),
            )
        )
        if code is not None:
            given.brought(function)
        if given.globals and self._space.bring_globals(plain, inputs):
            given.globals.clear()
        given.told(files, sources)
        return message

    def execute(self, request: Request, code: str, name: str = "", filename: str = "") -> None:
        self.send([request], [calls.packed(calls.Execute(request.id, code, name, filename))])

    def send(self, requests: Sequence[Request], messages: Sequence[bytes]) -> None:
        self.connection.send(list(requests), b"".join(messages))

    def busy_with(self) -> str:
        """In words, the call of somebody else that those of this client wait for."""
        busy = None if self._connection is None else self._connection.busy
        return "" if busy is None else f" with {busy.what} of {busy.who}"

    def close(self) -> None:
        """Let go of the connection; the session goes on."""
        if self._connection is not None:
            self._connection.close()

    def _lost(self, connection: Connection, line: Line | None = None) -> None:
        """In the exchange's thread, or in one that calls: the truth has to be asked for."""
        if line is not None and not line.hung_up:  # the session may go on: nobody knows
            connection.fail(_broken(self.id, line.why))
            return
        threading.Thread(
            target=self._tell, args=(connection,), name="jupyter-remote-lost", daemon=True
        ).start()

    def _tell(self, connection: Connection) -> None:
        error = _broken(self.id)
        try:
            until = time.monotonic() + TOLD_S
            while time.monotonic() < until:
                view = self._look(1.0)
                if view.job.status in SETTLED:
                    self._ended = error = _ended(view, self.id)
                    break
                if view.job.status == Status.QUEUED or view.job.attempt > self.attempt:
                    error = _moved(view)
                    break
                time.sleep(0.05)
        except errors.JupyterRemoteError as away:
            error.__cause__ = away
        connection.fail(error)


def _broken(id: int, why: str = "") -> errors.EngineError:
    return errors.EngineError(
        f"the connection to worker {id} broke" + (f": {why}" if why else ""),
        hint="whether what was under way was done is not known; call again",
    )


def _moved(view: SessionView) -> errors.EngineError:
    """Its machine was taken away, and it goes on on another one."""
    how = f": {view.job.detail}" if view.job.detail else ""
    return errors.EngineError(
        f"session {view.name!r} moved to another machine while this was under way{how}",
        hint="call again: it waits until the session is there, with what was saved of its "
        "variables; whether this call was done before is not known",
    )


def _unreached(view: SessionView, error: Exception) -> errors.BackendUnreachable:
    return errors.BackendUnreachable(
        f"the session {view.name!r} cannot be called: {error}",
        hint="its worker may come back: call again; `%remote doctor` finds out more",
    )


def _ended(view: SessionView, id: int) -> errors.EngineError:
    """How a session ended, as an error for calls to it."""
    job = view.job
    how = job.detail or (job.reason or job.status).replace("_", " ")
    if job.status == Status.CANCELLED:
        how = "it was stopped"
    return errors.EngineError(
        f"worker {id} (session {view.name!r}) is gone: {how}",
        hint="its variables are lost; a new session starts empty (revive=True, or --revive)",
    )


def connect(engines: Sequence[Engine]) -> None:
    """Side by side, to those that were not called before."""
    fresh = [engine for engine in engines if engine.alive and engine._connection is None]
    if len(fresh) > 1:
        threads = [threading.Thread(target=_try, args=(engine,)) for engine in fresh]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _try(engine: Engine) -> None:
    try:
        _ = engine.connection
    except errors.JupyterRemoteError:
        return  # whoever calls hears of it
