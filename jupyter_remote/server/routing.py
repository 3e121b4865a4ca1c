"""The route table and how a request passes through it: policy, content type, body, handler.

Everything about a route is in one :class:`Endpoint`: the router, the OpenAPI document and the
table test are made from it. A route without a policy is refused when the router is built.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec
from starlette.routing import BaseRoute, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from jupyter_remote import errors, wire
from jupyter_remote.server import signin
from jupyter_remote.server.auth import NOBODY, Caller, Policy
from jupyter_remote.server.problems import error_reply, json_reply, problem_reply

if TYPE_CHECKING:
    from jupyter_remote.server.backend import Backend

JSON_TYPE = "application/json"
HTML_TYPE = "text/html"
BYTES_TYPES = ("application/octet-stream", wire.FRAME_TYPE)


class NoQuery(msgspec.Struct, frozen=True):
    """A route without query parameters."""


class Call:
    """One request on its way through a handler."""

    __slots__ = ("_receive", "backend", "body", "caller", "headers", "method", "path", "query")

    def __init__(self, backend: Backend, caller: Caller, scope: Scope, receive: Receive) -> None:
        self.backend = backend
        self.caller = caller
        self.method: str = scope["method"]
        self.path: dict[str, str] = scope["path_params"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.query: Any = None
        self.body: Any = None
        self._receive = receive

    def header(self, name: bytes) -> str:
        """A header's value, empty when absent."""
        return self.headers.get(name, b"").decode("latin-1")

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises ConnectionResetError when the client goes away."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client went away while sending")
            more = message.get("more_body", False)
            if part := message.get("body", b""):
                yield part

    async def disconnected(self) -> None:
        """Returns when the client has gone away."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


Handler = Callable[[Call], Awaitable[Any]]
SocketHandler = Callable[["Backend", Caller, WebSocket], Awaitable[None]]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path. ``handler`` returns a msgspec type, or an ASGI response."""

    method: str
    path: str
    handler: Handler
    summary: str
    policy: Policy | None = None
    query: type[msgspec.Struct] = NoQuery
    body: type[msgspec.Struct] | None = None
    body_bytes: int | None = None  # it has no more, where that is less than the server's limit
    takes_bytes: bool = False  # the body is streamed to the handler as it is
    reply: type[msgspec.Struct] | None = None
    reply_type: str = JSON_TYPE  # content type of the reply
    status: int = 200
    refusal: Callable[[Exception], ASGIApp] = error_reply  # what is said instead


class Socket(msgspec.Struct, frozen=True, kw_only=True):
    """A WebSocket endpoint."""

    path: str
    handler: SocketHandler
    policy: Policy | None = None


class Method:
    """An endpoint bound to a backend: what runs once the route is found."""

    def __init__(self, endpoint: Endpoint, backend: Backend) -> None:
        assert endpoint.policy is not None
        self._endpoint = endpoint
        self._policy = endpoint.policy
        self._backend = backend
        self._decoder = msgspec.json.Decoder(endpoint.body) if endpoint.body else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._response(scope, receive)
        await response(scope, receive, send)

    async def _response(self, scope: Scope, receive: Receive) -> ASGIApp:
        try:
            call = Call(self._backend, NOBODY, scope, receive)
            tokens = self._backend.tokens
            presented = signin.authorization(call, self._policy)
            call.caller = await tokens.caller(presented, self._policy)
            if call.caller is not NOBODY:
                self._backend.used_at = self._backend.clock.monotonic()
            call.query = self._query(scope["query_string"])
            await self._read(call)
            result = await self._endpoint.handler(call)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            return self._endpoint.refusal(error)
        if isinstance(result, msgspec.Struct):
            return json_reply(result, self._endpoint.status)
        return result  # type: ignore[no-any-return]

    def _query(self, query: bytes) -> msgspec.Struct:
        try:
            pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=50)
        except ValueError as error:
            raise errors.InvalidRequest(f"The query cannot be read: {error}.") from error
        return msgspec.convert(dict(pairs), self._endpoint.query, strict=False)

    async def _read(self, call: Call) -> None:
        if self._endpoint.takes_bytes:
            if call.header(b"content-length") != "0":
                _require_type(call, BYTES_TYPES)
            return
        if self._decoder is None:
            return
        _require_type(call, (JSON_TYPE,))
        most_bytes = self._backend.settings.max_body_bytes
        body = await read_body(call, min(most_bytes, self._endpoint.body_bytes or most_bytes))
        call.body = self._decoder.decode(body)


def _require_type(call: Call, types: Sequence[str]) -> None:
    given = call.header(b"content-type").partition(";")[0].strip().lower()
    if given not in types:
        raise errors.UnsupportedMediaType(
            f"The content type {given or '(none)'} is not taken here.",
            hint=f"Send {' or '.join(types)}.",
        )


async def read_body(call: Call, limit_bytes: int) -> bytes:
    """The whole body. Raises TooLarge as soon as it is known to be above the limit."""
    announced = call.header(b"content-length")
    too_large = errors.TooLarge(
        f"The body is larger than {limit_bytes} bytes.", hint="Upload large values as blobs."
    )
    if announced.isdigit() and int(announced) > limit_bytes:
        raise too_large
    parts, size = [], 0
    async for part in call.stream():
        size += len(part)
        if size > limit_bytes:
            raise too_large
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Path:
    """All methods of one path; the others are 405."""

    def __init__(self, methods: dict[str, Method]) -> None:
        self._methods = methods
        self._allow = ", ".join(sorted(methods)).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = self._methods.get(scope["method"])
        if method is None:
            problem = wire.Problem(title="method not allowed", status=405, code="invalid_request")
            await problem_reply(problem, (b"allow", self._allow))(scope, receive, send)
        else:
            await method(scope, receive, send)


class SocketPath:
    """A WebSocket endpoint bound to a backend; refused before it is accepted."""

    def __init__(self, socket: Socket, backend: Backend) -> None:
        assert socket.policy is not None
        self._socket = socket
        self._policy = socket.policy
        self._backend = backend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        authorization = websocket.headers.get("authorization", "")
        try:
            caller = await self._backend.tokens.caller(authorization, self._policy)
        except errors.JupyterRemoteError:
            await websocket.close(1008)
            return
        await self._socket.handler(self._backend, caller, websocket)


async def _absent(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).close(1008)
        return
    problem = wire.Problem(title="not found", status=404, code="not_found", detail="No such path.")
    await problem_reply(problem)(scope, receive, send)


def build(endpoints: Sequence[Endpoint], sockets: Sequence[Socket], backend: Backend) -> Router:
    """The router of a table. Raises ValueError for a route without a policy or given twice."""
    paths: dict[str, dict[str, Method]] = {}
    every: list[Endpoint | Socket] = [*endpoints, *sockets]
    for each in every:
        if each.policy is None:
            raise ValueError(f"{each.path} has no policy: say who may use it")
    for endpoint in endpoints:
        methods = paths.setdefault(endpoint.path, {})
        if endpoint.method in methods:
            raise ValueError(f"{endpoint.method} {endpoint.path} is given twice")
        methods[endpoint.method] = Method(endpoint, backend)
    routes: list[BaseRoute] = [Route(path, Path(methods)) for path, methods in paths.items()]
    routes += [WebSocketRoute(s.path, SocketPath(s, backend)) for s in sockets]
    return Router(routes, redirect_slashes=False, default=_absent)
