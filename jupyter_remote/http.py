"""HTTP to a backend: the only file with httpx.

A backend on this computer is asked by :mod:`jupyter_remote.loopback`. Other requests go straight
through an ``httpx`` transport, which is the seam for tests. That leaves out what ``httpx.Client``
adds (redirects, cookies, its own logging) and 0.15 of its 0.5 ms a request. No redirects also
means that the token goes to the address that was given and nowhere else.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, overload
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import msgspec

from jupyter_remote import errors
from jupyter_remote.loopback import Loopback
from jupyter_remote.sse import Events as Events
from jupyter_remote.sse import Reply
from jupyter_remote.wire import Problem, error_of

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
Params = Mapping[str, object]

CONNECT_S = 5.0
SILENCE_S = 30.0  # an event stream without even a keep-alive comment for this long is dead
PIECE_BYTES = 1 << 20  # of a body that is sent as a stream

_PROBLEM = msgspec.json.Decoder(Problem)


class _Way(Protocol):
    """How requests get there. Raises OSError when nothing answers or the connection breaks."""

    def request(
        self,
        method: str,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        content: bytes | _Pieces,
        read_s: float,
    ) -> Reply: ...

    def close(self) -> None: ...


HERE = frozenset({"127.0.0.1", "localhost", "::1"})


class _Anywhere:
    """Over TLS, through proxies."""

    def __init__(self, base: str, transport: httpx.BaseTransport) -> None:
        import httpx

        self._httpx = httpx
        self._base = httpx.URL(base)
        self._transport = transport

    def request(
        self,
        method: str,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        content: bytes | _Pieces,
        read_s: float,
    ) -> Reply:
        timeout = {"connect": CONNECT_S, "read": read_s, "write": read_s, "pool": read_s}
        request = self._httpx.Request(
            method,
            self._base.copy_with(raw_path=target),
            headers=headers,
            stream=self._httpx.ByteStream(content) if isinstance(content, bytes) else content,  # type: ignore[arg-type]
            extensions={"timeout": timeout},
        )
        with self.breaking():
            return _General(self, self._transport.handle_request(request))

    @contextmanager
    def breaking(self) -> Iterator[None]:
        """Errors of the transport become OSError."""
        try:
            yield
        except self._httpx.TransportError as error:
            # `from None`: the request, with its headers, must not hang on the traceback.
            raise ConnectionError(str(error) or type(error).__name__) from None

    def close(self) -> None:
        self._transport.close()


class _General:
    """A reply of httpx."""

    def __init__(self, way: _Anywhere, response: httpx.Response) -> None:
        self._way = way
        self._response = response
        self.status = response.status_code

    @property
    def sock(self) -> socket.socket | None:
        stream = self._response.extensions.get("network_stream")
        return stream.get_extra_info("socket") if stream is not None else None

    def __iter__(self) -> Iterator[bytes]:
        with self._way.breaking():
            yield from self._response.stream  # type: ignore[misc]

    def close(self) -> None:
        self._response.stream.close()  # type: ignore[union-attr]


def _way(parts: SplitResult, base: str, trust_env: bool, key: str) -> _Way:
    if parts.scheme == "http" and parts.hostname in HERE:
        return Loopback(parts.hostname or "", parts.port or 80, key)
    return _Anywhere(base, _transport(base, trust_env))


def _transport(url: str, trust_env: bool) -> httpx.BaseTransport:
    from urllib.request import getproxies, proxy_bypass

    import httpx

    limits = httpx.Limits(max_connections=32, max_keepalive_connections=16, keepalive_expiry=60.0)
    proxy = None
    if trust_env and not proxy_bypass(urlsplit(url).hostname or ""):
        proxy = getproxies().get(urlsplit(url).scheme)
    return httpx.HTTPTransport(limits=limits, trust_env=trust_env, proxy=proxy)


class Http:
    """One backend at one address, with one token. Thread-safe; connections are kept alive.

    With a ``key`` (of the embedded backend) it has to prove who it is before it hears the token.

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
        key: str = "",
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
        self._way: _Way = (
            _way(parts, self.url, trust_env, key)
            if transport is None
            else _Anywhere(self.url, transport)
        )
        self._prefix = quote(parts.path.rstrip("/"), safe="/:~%").encode()
        self._headers: list[tuple[bytes, bytes]] = [
            (b"host", netloc.encode("ascii" if netloc.isascii() else "idna")),
            (b"authorization", f"Bearer {token}".encode("ascii")),
        ]
        self._timeout_s = timeout_s

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
            data = b"".join(response)
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
            for _ in response:
                pass

    def download(self, path: str, params: Params | None = None) -> Iterator[bytes]:
        """``GET`` a body, piece by piece."""
        with self._send("GET", path, params, {"accept": "*/*"}, b"") as response:
            yield from response

    def events(self, path: str, params: Params | None = None) -> Events:
        """An open event stream. Close it, also from another thread, to end its iteration."""
        sent = {"accept": "text/event-stream", "cache-control": "no-store"}
        reply = self._open("GET", path, params, sent, b"", read_s=SILENCE_S)
        return Events(reply, self._unreachable)

    def close(self) -> None:
        """Close the kept connections. Calls still under way fail as unreachable."""
        self._closed = True
        self._way.close()

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
    ) -> Iterator[Reply]:
        response = self._open(method, path, params, headers, content, size)
        try:
            yield response
        except OSError as error:
            raise self._unreachable(error) from None
        finally:
            response.close()
            if self._closed:  # meanwhile: this connection went back to nobody
                self._way.close()

    def _open(
        self,
        method: str,
        path: str,
        params: Params | None,
        headers: Mapping[str, str],
        content: bytes | _Pieces,
        size: int | None = None,
        read_s: float | None = None,
    ) -> Reply:
        """Send, read the reply's head, and raise if it is an error."""
        if self._closed:
            raise self._unreachable(OSError("this connection was closed"))
        lines = [*self._headers, *((k.encode(), v.encode()) for k, v in headers.items())]
        if method not in ("GET", "HEAD"):
            length = len(content) if isinstance(content, bytes) else size
            lines.append((b"content-length", b"%d" % (length or 0)))
        target = self._target(path, params)
        try:
            response = self._way.request(method, target, lines, content, read_s or self._timeout_s)
            if response.status >= 300:
                self._raise(response)
        except OSError as error:
            raise self._unreachable(error) from None
        return response

    def _target(self, path: str, params: Params | None) -> bytes:
        raw = self._prefix + quote(path, safe="/:~").encode()
        given = {k: v for k, v in (params or {}).items() if v is not None}
        if given:
            raw += b"?" + urlencode(given).encode()
        return raw

    def _raise(self, response: Reply) -> NoReturn:
        try:
            data = b"".join(response)
        finally:
            response.close()
        try:
            problem = _PROBLEM.decode(data)
        except msgspec.MsgspecError:
            raise _foreign(self.url, response.status) from None
        raise error_of(problem)

    def _unreachable(self, error: Exception) -> errors.BackendUnreachable:
        why = str(error) or type(error).__name__
        return errors.BackendUnreachable(
            f"no backend answers at {self.url} ({why})",
            hint="check the address (JUPYTER_REMOTE_URL) and that the backend runs; "
            "`%remote doctor` finds out more",
        )


class _Pieces:
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
