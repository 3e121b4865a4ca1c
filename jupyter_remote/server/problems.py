"""Replies: JSON of msgspec types, and problem documents for errors."""

from __future__ import annotations

import logging
import secrets
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from jupyter_remote import errors, wire

log = logging.getLogger("jupyter_remote.server")

JSON_HEADERS = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)


class Reply:
    """A whole response: body, status, headers."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: bytes,
        status: int = 200,
        headers: tuple[tuple[bytes, bytes], ...] = JSON_HEADERS,
    ) -> None:
        self.body = body
        self.status = status
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = (b"content-length", str(len(self.body)).encode())
        start = {"type": "http.response.start", "status": self.status}
        await send({**start, "headers": [*self.headers, length]})
        body = b"" if scope.get("method") == "HEAD" else self.body
        await send({"type": "http.response.body", "body": body})


def json_reply(value: Any, status: int = 200) -> Reply:
    """``value`` (a msgspec type) as JSON."""
    return Reply(msgspec.json.encode(value), status)


def text_reply(text: bytes) -> Reply:
    """Plain text; never sniffed as something else."""
    kind = (b"content-type", b"text/plain; charset=utf-8")
    return Reply(text, 200, (kind, *JSON_HEADERS[1:]))


def problem_reply(problem: wire.Problem, *more: tuple[bytes, bytes]) -> Reply:
    """A problem document with its status; a 401 says how to authenticate."""
    kind = (b"content-type", b"application/problem+json")
    if problem.status == 401:
        more = (*more, (b"www-authenticate", b"Bearer"))
    return Reply(msgspec.json.encode(problem), problem.status, (kind, *JSON_HEADERS[1:], *more))


def error_reply(error: Exception) -> Reply:
    """The reply to an error: a problem document; the unexpected is logged under an id."""
    if isinstance(error, errors.JupyterRemoteError):
        return problem_reply(wire.problem_of(error))
    if isinstance(error, msgspec.ValidationError | msgspec.DecodeError):
        return problem_reply(wire.problem_of(errors.InvalidRequest(str(error))))
    return problem_reply(unexpected(error))


def unexpected(error: BaseException) -> wire.Problem:
    """Log an error that should not be; the client learns an id to look for, no more."""
    id = secrets.token_hex(6)
    log.error("error %s", id, exc_info=error)
    return wire.Problem(
        title="internal error",
        status=500,
        code="internal",
        detail=f"The backend failed on this request (error {id}).",
        hint="Its log has the details under this id.",
    )
