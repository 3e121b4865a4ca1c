"""The way to a backend: one at an address that was given, or the embedded one.

The embedded backend is found or started at first use, and again when it has died meanwhile.
Every call may be sent twice: all calls of the API that change something carry an id or a digest.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple, NoReturn, Protocol, TypeVar

from jupyter_remote import errors
from jupyter_remote.http import Http
from jupyter_remote.settings import Settings
from jupyter_remote.wire import PROTOCOL, ServerInfo

T = TypeVar("T")


class Address(Protocol):
    """What :class:`jupyter_remote.connection.Connection` says."""

    @property
    def url(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def key(self) -> str: ...


Ensure = Callable[[Settings], Address]


class _Given(NamedTuple):
    url: str
    token: str
    key: str = ""


def _given(settings: Settings) -> Address:
    return _Given(settings.url, settings.token)


def _embedded(settings: Settings) -> Address:
    from jupyter_remote.client.embedded import ensure

    return ensure(settings)


class Link:
    """Calls that mend the way to the backend once before they fail. Thread-safe."""

    def __init__(self, settings: Settings, *, ensure: Ensure | None = None) -> None:
        self.settings = settings
        self.embedded = not settings.url
        self._address = ensure or (_embedded if self.embedded else _given)
        self._lock = threading.Lock()
        self._http: Http | None = None
        self._found: Address = _Given("", "")
        self._info: ServerInfo | None = None
        self._pid = os.getpid()
        self._closed = False

    def __repr__(self) -> str:
        return f"Link({self.settings.url or 'embedded'!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds a token and cannot be pickled; make one over there")

    @property
    def http(self) -> Http:
        """The connection as it is; made at first use, and again in a forked process."""
        if self._http is None or self._pid != os.getpid():
            self._connect(None)
        assert self._http is not None
        return self._http

    @property
    def address(self) -> Address:
        """Where the backend is, for what is no request."""
        _ = self.http
        return self._found

    @property
    def info(self) -> ServerInfo:
        """What answers, asked once a connection. Raises ProtocolMismatch."""
        info = self._info
        if info is None:
            info = self.call("GET", "/v1/server", reply=ServerInfo)
            if info.protocol != PROTOCOL:
                raise errors.ProtocolMismatch(
                    f"{self.http.url} speaks protocol {info.protocol} (version {info.version}), "
                    f"this client {PROTOCOL}",
                    hint="upgrade jupyter-remote-run on the "
                    + ("backend" if info.protocol < PROTOCOL else "client"),
                )
            self._info = info
        return info

    def check(self) -> None:
        """Raises ProtocolMismatch. Costs nothing after the first time."""
        _ = self.info

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        reply: type[T],
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """:meth:`Http.call`, tried a second time over a mended way."""
        return self.twice(
            lambda http: http.call(method, path, body, reply, params=params, headers=headers)
        )

    def twice(self, request: Callable[[Http], T]) -> T:
        """``request``, and once more over a mended way when the first broke."""
        http = self.http
        try:
            return request(http)
        except errors.BackendUnreachable:
            return request(self.mend(http))
        except errors.NotAuthenticated:
            if not self.embedded:
                raise
            return request(self.mend(http))  # another backend took over that address

    def mend(self, broken: Http) -> Http:
        """A way to the backend that is not ``broken``; the same one if nothing else is known.

        Raises BackendUnreachable when the embedded backend cannot be started.
        """
        self._connect(broken)
        return self.http

    def _connect(self, broken: Http | None) -> None:
        with self._lock:
            forked = self._pid != os.getpid()
            if self._http is not broken and not forked:
                return  # another thread did it meanwhile
            if self._closed:
                raise errors.BackendUnreachable(
                    "this client is closed", hint="make another one: jr.Client()"
                )
            address = self._address(self.settings)
            token = self._found.token
            if broken is not None and (address.url, address.token) == (broken.url, token):
                return
            trusted = self.settings.trust_env
            self._http = Http(address.url, address.token, trust_env=trusted, key=address.key)
            self._found, self._info, self._pid = address, None, os.getpid()
            if broken is not None and not forked:
                broken.close()

    def close(self) -> None:
        """Close the connections; what is sent later fails as unreachable."""
        with self._lock:
            self._closed = True
            if self._http is not None:
                self._http.close()
