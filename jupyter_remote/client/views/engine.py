"""The workers of views: each is a session, which is a job, with a connection to its kernel."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jupyter_remote import calls, errors, shared, values
from jupyter_remote.calls import INLINE_BYTES
from jupyter_remote.client import transfer
from jupyter_remote.client.failures import exception_of
from jupyter_remote.client.views.exchange import Connection, Exchange, Request
from jupyter_remote.client.views.functions import Functions, Shipped, segments_beside
from jupyter_remote.client.views.record import Record
from jupyter_remote.mapping import blob_path, map_blob
from jupyter_remote.model import Status
from jupyter_remote.pickling.versions import MAGIC, PYTHON
from jupyter_remote.values import Packed
from jupyter_remote.wire import EstimateRequest, Parcel, PlanReply, Segment, SessionView

if TYPE_CHECKING:
    from jupyter_remote.client.context import Context
    from jupyter_remote.client.job import Job

STARTS_S = 600.0  # a session may wait for its machine
ASKS_S = 30.0
TOLD_S = 15.0  # within which a dead worker is told as dead
SETTLED = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


class Space:
    """What the views of one client share."""

    def __init__(self, context: Context, namespace: dict[str, Any], about: str = "") -> None:
        self.context = context
        self.namespace = namespace
        self.about = about
        self.exchange = Exchange()
        self.shared = shared.Folder()
        self.functions = Functions(namespace)
        self.record = Record()
        self._sent: set[str] = set()  # digests that the backend was given

    def greeting(self, key: str) -> calls.Hi:
        """The first message to a kernel on this computer."""
        return calls.Hi(
            key=key,
            client=self.context.client,
            about=self.about,
            shared=self.shared.path,
            python=PYTHON,
            magic=MAGIC,
        )

    def close(self) -> None:
        self.exchange.close()
        self.shared.close()

    def packed_arguments(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[bytes, Parcel | None]:
        """Small ones as bytes; others are sent to the backend, and named. Raises CaptureError."""
        packed = values.dumps((args, kwargs), self.namespace, INLINE_BYTES)
        if isinstance(packed, bytes):
            return packed, None
        self.send_beside(packed.parcel, packed.contents)
        return b"", packed.parcel

    def send_beside(self, parcel: Parcel, contents: dict[str, memoryview]) -> None:
        """See to it that the workers can have what is not inside of the parcel."""
        new = [s for s in segments_beside(parcel) if not self._is_there(s.digest)]
        there = self.shared.put({s.digest: contents[s.digest] for s in new})
        new = [s for s in new if s.digest not in there]
        if not new:
            return
        link = self.context.link
        request = EstimateRequest(segments=new)
        missing = link.call("POST", "/v1/plans", request, reply=PlanReply).missing
        outgoing = transfer.Outgoing()
        packed = Packed(parcel, contents)
        if transfer.spool_of(link) is None:
            packed = values.with_chunks(packed)
        outgoing.add(packed.parcel.segments, packed.contents)
        transfer.send(link, missing, outgoing)
        self._sent.update(segment.digest for segment in new)

    def _is_there(self, digest: str) -> bool:
        if self.shared.has(digest):
            return True
        blobs = self.context.link.info.blobs
        return blob_path(blobs, digest).exists() if blobs else digest in self._sent

    def value_of(self, request: Request) -> Any:
        """What a call gave back. Raises what it raised, EngineError, TaskAborted."""
        reply = request.reply
        if reply is None:
            assert request.error is not None
            raise request.error
        if reply.dropped:
            raise errors.TaskAborted("the call was stopped before it began")
        if reply.error is not None:
            raise exception_of(reply.error, self.namespace)
        if reply.value is not None:
            return values.unpack(
                reply.value,
                self._fetch,
                namespace=self.namespace,
                at_home=True,
            )
        return values.loads(reply.plain, self.namespace, at_home=True) if reply.plain else None

    def _fetch(self, segment: Segment) -> Any:
        if (path := shared.find(self.shared.path, segment.digest)) is not None:
            view = map_blob(path, segment.digest, segment.size_bytes)
            self.shared.adopt(segment.digest, segment.size_bytes)
            return view
        return transfer.fetch(self.context.link, segment)


class Engine:
    """One worker, with a namespace of its own."""

    def __init__(self, space: Space, id: int, job: Job) -> None:
        self.id = id
        self.job = job
        self.completed = 0
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
        while time.monotonic() < until:
            view = self._look(ASKS_S)
            if view.job.status in SETTLED:
                self._ended = _ended(view, self.id)
                raise self._ended
            if view.listening and not view.address:
                raise errors.BackendUnreachable(
                    f"the session {view.name!r} runs where this client cannot call it",
                    hint="sessions need the embedded backend for now",
                )
            if view.listening:
                try:
                    hi = self._space.greeting(view.key)
                    return self._space.exchange.connect(view.address, hi, self._lost)
                except (OSError, EOFError):
                    time.sleep(0.05)  # it died just now: the next answer says so
        raise errors.BackendUnreachable(
            f"session {self.name!r} did not start within {STARTS_S:.0f} s",
            hint=f"its job {self.job.id[:8]} says why; it goes on waiting",
        )

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
        connection = self.connection
        if function.number in connection.known:
            return calls.packed(calls.Call(request.id, function.number, None, plain, inputs))
        self._space.send_beside(function.parcel, function.contents)
        connection.known[function.number] = True
        return calls.packed(
            calls.Call(
                request.id,
                function.number,
                function.parcel,
                plain,
                inputs,
                function.files,
                function.sources,
                function.source_names,
            )
        )

    def execute(self, request: Request, code: str, name: str = "", filename: str = "") -> None:
        self.send([request], [calls.packed(calls.Execute(request.id, code, name, filename))])

    def send(self, requests: Sequence[Request], messages: Sequence[bytes]) -> None:
        self.connection.send(list(requests), b"".join(messages))

    def close(self) -> None:
        """Let go of the connection; the session goes on."""
        if self._connection is not None:
            self._connection.close()

    def _lost(self, connection: Connection) -> None:
        """In the exchange's thread, or in one that calls: the truth has to be asked for."""
        threading.Thread(
            target=self._tell, args=(connection,), name="jupyter-remote-lost", daemon=True
        ).start()

    def _tell(self, connection: Connection) -> None:
        error = errors.EngineError(
            f"the connection to worker {self.id} broke",
            hint="whether what was under way was done is not known; call again",
        )
        try:
            until = time.monotonic() + TOLD_S
            while time.monotonic() < until:
                view = self._look(1.0)
                if view.job.status in SETTLED:
                    self._ended = error = _ended(view, self.id)
                    break
                time.sleep(0.05)
        except errors.JupyterRemoteError as away:
            error.__cause__ = away
        connection.fail(error)


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
