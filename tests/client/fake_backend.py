"""The HTTP API at protocol level, in a thread: enough of it to misbehave on command.

Calls run here at once, in a thread of their own; what they print is their events.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from jupyter_remote import errors, values, wire
from jupyter_remote.model import MachineType

TOKEN = "jr_s_" + "t" * 43


class FakeJob:
    def __init__(self, request: wire.SubmitRequest) -> None:
        self.request = request
        self.events: list[wire.Event] = []
        self.status, self.stage, self.reason = "queued", "waiting", ""
        self.done: wire.Done | None = None
        self.needs: set[str] = set()
        self.cancelled = threading.Event()

    def view(self, cursor: int = 0) -> wire.JobView:
        return wire.JobView(
            id=self.request.id,
            kind=self.request.spec.kind,
            status=self.status,
            stage=self.stage,
            reason=self.reason,
            description=self.request.description,
            machine=self.request.need.machine or "local",
            client=self.request.client,
            money=wire.Money(rate_ucredits_per_h=0, hold_ucredits=0, cost_ucredits=0),
            submitted_at=1.0,
            cursor=cursor,
        )


class State:
    """What outlives a kill of the backend: jobs, events, blobs."""

    def __init__(self) -> None:
        self.jobs: dict[str, FakeJob] = {}
        self.submits: list[str] = []
        self.blobs: dict[str, bytes] = {}
        self.cursor = 0
        self.lock = threading.Lock()
        self.run: Callable[[FakeJob, FakeBackend], None] = run_call
        self.hold = threading.Event()  # set: jobs may end
        self.hold.set()


class FakeBackend:
    """One server process, so to speak. ``state`` may be that of one that was killed."""

    def __init__(self, state: State | None = None, token: str = TOKEN) -> None:
        self.state = state or State()
        self.token = token
        self.protocol = wire.PROTOCOL
        self.blobs = self.spool = self.key = ""
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.swallow: set[str] = set()  # paths whose reply is lost after the work was done
        self.cut_streams_after: int | None = None  # bytes
        self.cuts = 0
        self.silent = False  # no reply to a stream but the first comment
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(self._app(), log_level="critical", timeout_graceful_shutdown=0)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        until = time.monotonic() + 10
        while not self._server.started and time.monotonic() < until:
            time.sleep(0.005)

    def kill(self) -> None:
        """End at once; connections break."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])

    def _app(self) -> Starlette:
        routes = [
            ("/v1/server", "GET", self._server_info),
            ("/v1/plans", "POST", self._plan),
            ("/v1/jobs", "POST", self._submit),
            ("/v1/jobs", "GET", self._jobs),
            ("/v1/batches", "POST", self._submit_batch),
            ("/v1/jobs/{id}", "GET", self._job),
            ("/v1/jobs/{id}/result", "GET", self._result),
            ("/v1/jobs/{id}/cancel", "POST", self._cancel),
            ("/v1/jobs/{id}/events", "GET", self._job_events),
            ("/v1/events", "GET", self._events),
            ("/v1/blobs/{digest}", "PUT", self._put),
            ("/v1/blobs/{digest}", "POST", self._assemble),
            ("/v1/blobs/{digest}", "GET", self._get_blob),
        ]
        return Starlette(routes=[Route(p, self._guarded(f), methods=[m]) for p, m, f in routes])

    def _guarded(self, handler: Any) -> Any:
        async def answer(request: Request) -> Response:
            self.requests.append((request.method, request.url.path, dict(request.query_params)))
            try:
                if request.headers.get("authorization") != f"Bearer {self.token}":
                    raise errors.NotAuthenticated("wrong token", hint="check your token")
                reply = await handler(request)
            except errors.JupyterRemoteError as error:
                problem = wire.problem_of(error)
                return Response(wire.encode(problem), problem.status)
            if request.method + request.url.path in self.swallow:
                self.swallow.discard(request.method + request.url.path)
                raise ConnectionAbortedError("the reply is lost")
            return reply if isinstance(reply, Response) else Response(wire.encode(reply))

        async def endpoint(request: Request) -> Response:
            try:
                return await answer(request)
            except ConnectionAbortedError:
                return _Broken()

        return endpoint

    # -- routes
    async def _server_info(self, request: Request) -> Any:
        return wire.ServerInfo(
            version="0",
            protocol=self.protocol,
            embedded=True,
            blobs=self.blobs,
            spool=self.spool,
        )

    async def _plan(self, request: Request) -> Any:
        """It runs everything right here."""
        machine = MachineType(id="local", cpus=1, memory_bytes=1 << 30)
        return wire.PlanReply(
            machine=machine,
            rate_ucredits_per_h=0,
            hold_ucredits=0,
            max_run_s=60.0,
            same_python=True,
        )

    async def _submit(self, request: Request) -> Any:
        body = msgspec.json.decode(await request.body(), type=wire.SubmitRequest)
        self.state.submits.append(body.id)
        job = self._accept(body)
        return wire.Submitted(job.view(), self._missing(job))

    async def _submit_batch(self, request: Request) -> Any:
        batch = msgspec.json.decode(await request.body(), type=wire.BatchRequest)
        missing: dict[str, wire.MissingSegment] = {}
        for id, inputs in zip(batch.ids, batch.inputs, strict=True):
            spec = msgspec.structs.replace(batch.template.spec, inputs=inputs)
            one = msgspec.structs.replace(batch.template, id=id, spec=spec)
            missing |= {m.digest: m for m in self._missing(self._accept(one))}
        return wire.BatchSubmitted(batch.ids, list(missing.values()))

    def _accept(self, body: wire.SubmitRequest) -> FakeJob:
        if body.id in self.state.jobs:
            return self.state.jobs[body.id]
        job = self.state.jobs[body.id] = FakeJob(body)
        self.add(job, "status", job.view())
        self._missing(job)
        self._run_if_ready(job)
        return job

    def _missing(self, job: FakeJob) -> list[wire.MissingSegment]:
        spec = job.request.spec
        segments = [s for p in (spec.function, spec.inputs) if p for s in p.segments]
        segments += [f.content for f in spec.files if not f.module]  # those are many, here
        lacking = [s for s in segments if s.data is None and s.digest not in self.state.blobs]
        job.needs = {s.digest for s in lacking}
        have = self.state.blobs
        return [
            wire.MissingSegment(s.digest, [d for d, _ in s.chunks if d not in have])
            for s in lacking
        ]

    def _run_if_ready(self, job: FakeJob) -> None:
        job.needs -= set(self.state.blobs)
        if not job.needs and job.status == "queued":
            job.status, job.stage = "running", "executing"
            threading.Thread(target=self.state.run, args=(job, self), daemon=True).start()

    async def _jobs(self, request: Request) -> Any:
        query = request.query_params
        limit = int(query.get("limit", "50"))
        if not 1 <= limit <= 500:
            raise errors.InvalidRequest(f"limit={limit}")
        newest_first = list(reversed(self.state.jobs.values()))
        ids = [job.request.id for job in newest_first]
        begin = ids.index(query["before"]) + 1 if query.get("before") else 0
        found = [
            job.view()
            for job in newest_first[begin:]
            if job.request.id.startswith(query.get("prefix", ""))
            and query.get("status", job.status) == job.status
        ][:limit]
        return wire.JobList(found, found[-1].id if len(found) == limit else "")

    def _find(self, request: Request) -> FakeJob:
        job = self.state.jobs.get(request.path_params["id"])
        if job is None:
            raise errors.NotFound("There is no such job.")
        return job

    async def _job(self, request: Request) -> Any:
        return self._find(request).view(self.state.cursor)

    async def _result(self, request: Request) -> Any:
        job = self._find(request)
        if job.done is None:
            raise errors.Conflict("it has no result yet")
        return job.done

    async def _cancel(self, request: Request) -> Any:
        job = self._find(request)
        if job.done is not None:
            raise errors.Conflict("the job has ended")
        job.cancelled.set()
        return job.view()

    async def _job_events(self, request: Request) -> Any:
        job = self._find(request)
        return self._reply(request, lambda: job.events, until_done=True)

    async def _events(self, request: Request) -> Any:
        client = request.query_params["client"]
        mine = [j for j in self.state.jobs.values() if j.request.client == client]
        del mine

        def events() -> list[wire.Event]:
            jobs = [j for j in self.state.jobs.values() if j.request.client == client]
            return sorted((e for j in jobs for e in list(j.events)), key=lambda e: e.cursor)

        return self._reply(request, events)

    def _reply(
        self, request: Request, events: Callable[[], list[wire.Event]], until_done: bool = False
    ) -> Any:
        after = int(request.query_params["after"])
        if "event-stream" in request.headers["accept"]:
            return StreamingResponse(self._sse(events, after, until_done))
        page = [e for e in events() if e.cursor > after][:2]  # small, so that pages are many
        return wire.EventPage(page, page[-1].cursor if page else after)

    async def _sse(
        self, events: Callable[[], list[wire.Event]], after: int, until_done: bool
    ) -> AsyncIterator[bytes]:
        yield b": hello\n\n"
        left = self.cut_streams_after
        while not self._server.should_exit:
            fresh = [] if self.silent else [e for e in events() if e.cursor > after]
            for event in fresh:
                after = event.cursor
                frame = b"id: %d\ndata: %s\n\n" % (event.cursor, wire.encode(event))
                if left is not None and len(frame) > left:
                    yield frame[:left]
                    self.cut_streams_after = None if self.cuts == 2 else left + 200
                    self.cuts += 1
                    return
                left = None if left is None else left - len(frame)
                yield frame
                if until_done and event.type == "done":
                    return
            await asyncio.sleep(0.002)

    async def _put(self, request: Request) -> Any:
        digest = request.path_params["digest"]
        if spooled := request.headers.get("x-spool"):
            with open(f"{self.spool}/{spooled}", "rb") as file:
                data = file.read()
        else:
            data = await request.body()
        return self._present(digest, data)

    def _present(self, digest: str, data: bytes) -> wire.BlobView:
        if values.digest_of(data) != digest:
            raise errors.DigestMismatch("other bytes")
        self.state.blobs[digest] = data
        for job in self.state.jobs.values():
            self._run_if_ready(job)
        return wire.BlobView(digest, len(data))

    async def _assemble(self, request: Request) -> Any:
        body = msgspec.json.decode(await request.body(), type=wire.Assemble)
        whole = b"".join(self.state.blobs[chunk] for chunk, _ in body.chunks)
        return self._present(request.path_params["digest"], whole)

    async def _get_blob(self, request: Request) -> Any:
        data = self.state.blobs[request.path_params["digest"]]
        return Response(data, headers={"content-length": str(len(data))})

    # -- what happens in jobs
    def add(self, job: FakeJob, type: str, data: Any) -> None:
        """A stored event."""
        with self.state.lock:
            self.state.cursor += 1
            event = wire.Event(
                job=job.request.id, type=type, data=wire.raw(data), cursor=self.state.cursor
            )
            job.events.append(event)

    def finish(self, job: FakeJob, status: str, **outcome: Any) -> None:
        """The last event."""
        job.status, job.stage, job.reason = status, "", outcome.pop("reason", "")
        job.done = wire.Done(job=job.view(), **outcome)
        self.add(job, "done", job.done)


class _Broken(Response):
    """Closes the connection without a word."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]}
        )
        await send({"type": "http.response.body", "body": b""})


def run_call(job: FakeJob, backend: FakeBackend) -> None:
    """Run a call here."""
    spec, blobs = job.request.spec, backend.state.blobs
    backend.add(job, "status", job.view())
    printed = io.StringIO()
    try:
        assert spec.function is not None
        assert spec.inputs is not None
        function = values.unpack(spec.function, lambda s: blobs[s.digest], namespace={})
        args, kwargs = values.unpack(spec.inputs, lambda s: blobs[s.digest])
        with contextlib.redirect_stdout(printed):
            value = function(*args, **kwargs)
        for line in printed.getvalue().splitlines(keepends=True):
            backend.add(job, "stream", {"name": "stdout", "text": line})
        packed = values.pack(value)
        blobs.update({d: bytes(v) for d, v in packed.contents.items()})
        outcome: dict[str, Any] = {"result": wire.Result(value=packed.parcel)}
        status = "completed"
    except BaseException as error:
        failure = wire.RemoteFailure(
            ename=type(error).__name__,
            evalue=str(error),
            module=type(error).__module__,
            qualname=type(error).__qualname__,
        )
        status, outcome = "failed", {"error": failure, "reason": "user_error"}
    while not backend.state.hold.wait(0.01):
        if job.cancelled.is_set():
            return backend.finish(job, "cancelled", reason="cancelled")
    return backend.finish(job, status, **outcome)
