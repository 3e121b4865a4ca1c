"""What every request passes before its route is even looked for: Host, Origin, fetch metadata.

Loopback is no boundary: any web page can make a browser send requests here, and can point a
name of its own at 127.0.0.1.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from jupyter_remote import wire
from jupyter_remote.server.problems import problem_reply

RESULTS = "/results/"  # pages for anybody
DOORS = ("/jobs", "/login")  # the same for everybody: who is not signed in sees nothing there
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def hosts_of(port: int, names: Iterable[str] = ()) -> frozenset[str]:
    """``Host`` headers to accept: loopback with this port, and configured names as they are."""
    return frozenset({f"{name}:{port}" for name in LOOPBACK} | {n.lower() for n in names})


class Gate:
    """Wraps the whole application, WebSockets included."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await problem_reply(refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> wire.Problem | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        hosts = [v for k, v in scope["headers"] if k == b"host"]
        if len(hosts) != 1 or host not in self._hosts:
            return _refused(421, "This backend does not answer to this Host.")
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower() not in self._origins(host):
            return _refused(403, "Requests from other origins are refused.")
        site = headers.get(b"sec-fetch-site", b"none")
        if site not in (b"none", b"same-origin") and not _follows_a_link(scope, headers):
            return _refused(403, "Requests from other sites are refused.")
        return None

    @staticmethod
    def _origins(host: str) -> tuple[str, str]:
        return f"http://{host}", f"https://{host}"


def _follows_a_link(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """Somebody opens the page of a result, or that of jobs, from elsewhere: it can neither be put
    into another page nor be read by one."""
    opens = headers.get(b"sec-fetch-mode"), headers.get(b"sec-fetch-dest")
    asks = scope["type"] == "http" and scope["method"] == "GET"
    is_page = scope["path"].startswith(RESULTS) or scope["path"] in DOORS
    return asks and is_page and opens == (b"navigate", b"document")


def _refused(status: int, detail: str) -> wire.Problem:
    return wire.Problem(title="refused", status=status, code="not_authorized", detail=detail)
