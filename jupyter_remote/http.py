"""HTTP to a backend: the only file with httpx.

Requests go straight through an ``httpx`` transport, which is the seam for tests. That leaves out
what ``httpx.Client`` adds (redirects, cookies, its own logging) and 0.15 of its 0.5 ms a request.
No redirects also means that the token goes to the address that was given and nowhere else.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TypeVar, overload
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
import msgspec

from jupyter_remote import errors
from jupyter_remote.wire import Event, Problem, error_of

T = TypeVar("T")
Params = Mapping[str, object]

SILENCE_S = 30.0  # an event stream without even a keep-alive comment for this long is dead
PIECE_BYTES = 1 << 20  # of a body that is sent as a stream

_EVENT = msgspec.json.Decoder(Event)
_PROBLEM = msgspec.json.Decoder(Problem)


def _transport(url: str, trust_env: bool) -> httpx.BaseTransport:
    limits = httpx.Limits(max_connections=32, max_keepalive_connections=16, keepalive_expiry=60.0)
    proxy = None
    if trust_env and not proxy_bypass(urlsplit(url).hostname or ""):
        proxy = getproxies().get(urlsplit(url).scheme)
    return httpx.HTTPTransport(limits=limits, trust_env=trust_env, proxy=proxy)


class Http:
    """One backend at one address, with one token. Thread-safe; connections are kept alive.

    Every method raises :func:`wire.error_of` the backend's problem document, and
    BackendUnreachable when nothing answers or the connection breaks. The latter says nothing
    about whether a request was carried out: send it again with the same id.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float = 30.0,
        trust_env: bool = False,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        try:
            parts = urlsplit(url)
            _ = parts.port  # raises if it is no number
        except ValueError as error:
            raise _bad_url(url) from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise _bad_url(url)
        if not (token.isascii() and token.isprintable()):
            raise errors.NotAuthenticated(
                "the token has characters that no token has",
                hint="copy it again, or unset JUPYTER_REMOTE_TOKEN",
            )
        netloc = parts.netloc
        self.url = f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"
        self._closed = False
        self._transport = transport or _transport(url, trust_env)
        self._base = httpx.URL(self.url)
        self._headers: list[tuple[bytes, bytes]] = [
            (b"host", netloc.encode("ascii" if netloc.isascii() else "idna")),
            (b"authorization", f"Bearer {token}".encode("ascii")),
        ]
        self._timeout = {"connect": 5.0, "read": timeout_s, "write": timeout_s, "pool": timeout_s}

    def __repr__(self) -> str:
        return f"Http({self.url!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a connection to a backend holds its token and cannot be pickled")

    @overload
    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        reply: None = None,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None: ...
    @overload
    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        reply: type[T] = ...,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T: ...
    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        reply: type[T] | None = None,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T | None:
        """One request and its whole reply. ``body`` becomes JSON; bytes go as they are."""
        content = b"" if body is None else body
        sent = dict(headers or {})
        if not isinstance(content, bytes):
            content = msgspec.json.encode(content)
        if body is not None:
            sent.setdefault("content-type", "application/json")
        with self._send(method, path, params, sent, content) as response:
            data = b"".join(response.stream)  # type: ignore[arg-type]
        return None if reply is None else self._decode(data, reply)

    def _decode(self, data: bytes, reply: type[T]) -> T:
        try:
            return msgspec.json.decode(data, type=reply)
        except msgspec.MsgspecError as error:
            raise errors.ProtocolMismatch(
                f"{self.url} answered something that is not a {reply.__name__}: {error}",
                hint="client and backend may differ in version: upgrade the older one",
            ) from error

    def upload(self, path: str, content: Any, headers: Mapping[str, str] | None = None) -> None:
        """``PUT`` a buffer, streamed without a copy of the whole."""
        view = memoryview(content).cast("B")
        sent = {"content-type": "application/octet-stream", **(headers or {})}
        with self._send("PUT", path, None, sent, _Pieces(view), view.nbytes) as response:
            for _ in response.stream:  # type: ignore[union-attr]
                pass

    def download(self, path: str) -> Iterator[bytes]:
        """``GET`` a body, piece by piece."""
        with self._send("GET", path, None, {"accept": "*/*"}, b"") as response:
            yield from response.stream  # type: ignore[misc]

    def events(self, path: str, params: Params | None = None) -> Events:
        """An open event stream. Close it, also from another thread, to end its iteration."""
        sent = {"accept": "text/event-stream", "cache-control": "no-store"}
        return Events(self, self._open("GET", path, params, sent, b"", read_s=SILENCE_S))

    def close(self) -> None:
        """Close the kept connections. Calls still under way fail as unreachable."""
        self._closed = True
        self._transport.close()

    # -- below this line: one request
    @contextmanager
    def _send(
        self,
        method: str,
        path: str,
        params: Params | None,
        headers: Mapping[str, str],
        content: bytes | _Pieces,
        size: int | None = None,
    ) -> Iterator[httpx.Response]:
        response = self._open(method, path, params, headers, content, size)
        try:
            yield response
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        finally:
            response.stream.close()  # type: ignore[union-attr]
            if self._closed:  # meanwhile: this connection went back to nobody
                self._transport.close()

    def _open(
        self,
        method: str,
        path: str,
        params: Params | None,
        headers: Mapping[str, str],
        content: bytes | _Pieces,
        size: int | None = None,
        read_s: float | None = None,
    ) -> httpx.Response:
        """Send, read the reply's head, and raise if it is an error."""
        if self._closed:
            raise self._unreachable(RuntimeError("this connection was closed"))
        lines = [*self._headers, *((k.encode(), v.encode()) for k, v in headers.items())]
        if method not in ("GET", "HEAD"):
            length = len(content) if isinstance(content, bytes) else size
            lines.append((b"content-length", b"%d" % (length or 0)))
        timeout = self._timeout if read_s is None else {**self._timeout, "read": read_s}
        request = httpx.Request(
            method,
            self._target(path, params),
            headers=lines,
            stream=httpx.ByteStream(content) if isinstance(content, bytes) else content,
            extensions={"timeout": timeout},
        )
        try:
            response = self._transport.handle_request(request)
            if response.status_code >= 300:
                self._raise(response)
        except httpx.TransportError as error:
            # `from None`: the request, with its headers, must not hang on the traceback.
            raise self._unreachable(error) from None
        return response

    def _target(self, path: str, params: Params | None) -> httpx.URL:
        raw = self._base.raw_path.rstrip(b"/") + quote(path, safe="/:~").encode()
        given = {k: v for k, v in (params or {}).items() if v is not None}
        if given:
            raw += b"?" + urlencode(given).encode()
        return self._base.copy_with(raw_path=raw)

    def _raise(self, response: httpx.Response) -> NoReturn:
        try:
            data = b"".join(response.stream)  # type: ignore[arg-type]
        finally:
            response.stream.close()  # type: ignore[union-attr]
        try:
            problem = _PROBLEM.decode(data)
        except msgspec.MsgspecError:
            raise _foreign(self.url, response.status_code) from None
        raise error_of(problem)

    def _unreachable(self, error: Exception) -> errors.BackendUnreachable:
        why = str(error) or type(error).__name__
        return errors.BackendUnreachable(
            f"no backend answers at {self.url} ({why})",
            hint="check the address (JUPYTER_REMOTE_URL) and that the backend runs; "
            "`%remote doctor` finds out more",
        )


class Events:
    """The events of one open stream, in order. Ends when the server ends it.

    Raises BackendUnreachable when the connection breaks or is silent for ``SILENCE_S``; an event
    that was cut in two by that is not given out.
    """

    def __init__(self, http: Http, response: httpx.Response) -> None:
        self._http = http
        self._response = response
        self._closed = False

    def __iter__(self) -> Iterator[Event]:
        rest = b""
        try:
            for piece in self._response.stream:  # type: ignore[union-attr]
                blocks = (rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
                rest = blocks.pop()
                yield from _events_of(blocks)
        except httpx.TransportError as error:
            if not self._closed:
                raise self._http._unreachable(error) from None
        finally:
            self.release()

    def release(self) -> None:
        """Give the connection back; for the thread that iterates."""
        self._response.stream.close()  # type: ignore[union-attr]

    def close(self) -> None:
        """Wake whoever waits for the next event; the iteration ends."""
        self._closed = True
        stream = self._response.extensions.get("network_stream")
        sock = stream.get_extra_info("socket") if stream is not None else None
        if sock is not None:
            with suppress(OSError):  # it ended by itself
                sock.shutdown(socket.SHUT_RDWR)


def _events_of(blocks: Iterable[bytes]) -> Iterator[Event]:
    for block in blocks:
        data = [line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:")]
        if data:
            yield _EVENT.decode(b"\n".join(data))


class _Pieces(httpx.SyncByteStream):
    """A buffer as the body of a request, without a copy of the whole."""

    def __init__(self, view: memoryview) -> None:
        self._view = view

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, self._view.nbytes, PIECE_BYTES):
            yield bytes(self._view[at : at + PIECE_BYTES])


def _bad_url(url: str) -> errors.UsageError:
    shown = url.rpartition("@")[2]  # whatever stands before an @ may be a password
    return errors.UsageError(
        f"{shown!r} is not the address of a backend",
        hint="give one such as http://127.0.0.1:8000 or https://remote.example.org",
    )


def _foreign(url: str, status: int) -> errors.JupyterRemoteError:
    """The error for a reply that is not a problem document: a proxy, or another server."""
    match status:
        case 401:
            return errors.NotAuthenticated(f"{url} refused the token", hint="check your token")
        case 403:
            return errors.NotAuthorized(f"{url} does not allow this", hint="check your token")
        case 426:
            return errors.ProtocolMismatch(
                f"{url} speaks another version of the protocol",
                hint="upgrade the older of client and backend",
            )
        case 502 | 503 | 504:
            return errors.BackendUnreachable(
                f"no backend answers behind {url} (HTTP {status})",
                hint="the proxy in front of it is up, the backend is not: wait, or restart it",
            )
        case _:
            return errors.ProtocolMismatch(
                f"{url} answered HTTP {status} in words that no backend uses",
                hint="check that the address is that of a jupyter_remote backend",
            )
