"""Blobs over HTTP with the standard library alone: the agent stays small, and it is quick."""

from __future__ import annotations

import http.client
import ssl
import threading
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import urlsplit

import msgspec

from jupyter_remote import errors
from jupyter_remote.loopback import proven
from jupyter_remote.wire import Problem, error_of
from jupyter_remote.worker.link import Address

PIECE_BYTES = 1024 * 1024
TIMEOUT_S = 60.0

Body = bytes | IO[bytes] | None
T = TypeVar("T")


class Courier:
    """Carries blobs to and from the server. Thread-safe: one connection a thread.

    Raises BackendUnreachable when nothing answers, and what the server's problem document says.
    """

    def __init__(self, address: Address, token: str) -> None:
        self.address = address
        parts = urlsplit(address.url)
        self._secure = parts.scheme == "https"
        self._where = (parts.hostname or "", parts.port)
        self._prefix = parts.path.rstrip("/")
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/octet-stream",
        }
        self._local = threading.local()
        self._open: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Called when no thread uses it any more."""
        for connection in self._open:
            connection.close()

    def adopt(self, digest: str, name: str) -> None:
        """Let the server take over a file in its spool folder."""
        self._call("PUT", _of(digest), b"", {"X-Spool": name}).read()

    def put(self, digest: str, source: Path) -> None:
        """Send a file."""
        with source.open("rb") as file:
            size = str(source.stat().st_size)
            self._call("PUT", _of(digest), file, {"Content-Length": size}).read()

    def ask(self, method: str, path: str, body: object, /, *, reply: type[T]) -> T:
        """A request with JSON, see :class:`jupyter_remote.straight.Ask`."""
        sent = None if body is None else msgspec.json.encode(body)
        answer = self._piece(self._call(method, path, sent, {"Content-Type": "application/json"}))
        return msgspec.json.decode(answer, type=reply)

    def get(self, digest: str, target: Path) -> None:
        """Stream a blob into a new file."""
        reply = self._call("GET", _of(digest), None, {})
        with target.open("xb") as file:
            while piece := self._piece(reply):
                file.write(piece)
            if (size := reply.getheader("Content-Length")) and file.tell() < int(size):
                self._forget()
                raise errors.BackendUnreachable("the connection was cut")

    def _piece(self, reply: http.client.HTTPResponse) -> bytes:
        try:
            return reply.read(PIECE_BYTES)
        except (OSError, http.client.HTTPException) as error:
            self._forget()
            raise errors.BackendUnreachable(f"the connection was cut: {error}") from error

    def _call(
        self, method: str, path: str, body: Body, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        reused = getattr(self._local, "connection", None) is not None
        try:
            reply = self._try(method, path, body, headers)
        except errors.BackendUnreachable:
            if not reused:
                raise
            reply = self._try(method, path, body, headers)  # it was closed for being idle
        if reply.status >= 400:
            raise _error(reply)
        return reply

    def _try(
        self, method: str, path: str, body: Body, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        if body is not None and not isinstance(body, bytes):
            body.seek(0)
        try:
            connection = self._connection()
            connection.request(method, self._prefix + path, body, {**self._headers, **headers})
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self._forget()
            url = self.address.url
            raise errors.BackendUnreachable(f"{url} does not answer: {error}") from error

    def _connection(self) -> http.client.HTTPConnection:
        known: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if known is None:
            known = self._local.connection = self._new()
            self._open.append(known)
        return known

    def _new(self) -> http.client.HTTPConnection:
        host, port = self._where
        if not self._secure:
            plain = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
            if key := self.address.key:
                plain.sock = proven(host, port or 80, key).sock
                plain.sock.settimeout(TIMEOUT_S)
            return plain
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)

    def _forget(self) -> None:
        known: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if known is not None:
            known.close()
            self._open.remove(known)
            self._local.connection = None


def _of(digest: str) -> str:
    return f"/v1/blobs/{digest}"


def _error(reply: http.client.HTTPResponse) -> errors.JupyterRemoteError:
    body = reply.read()
    try:
        return error_of(msgspec.json.decode(body, type=Problem))
    except msgspec.DecodeError:  # a proxy's page
        return errors.BackendUnreachable(f"HTTP {reply.status} from what answers there")
