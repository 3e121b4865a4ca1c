"""How a browser signs in: a link that is good once and for minutes, then a cookie.

A link holds a code behind its ``#``, which no browser sends: who only looks at it, as programs for
chats do, uses nothing up and learns nothing. The code is kept as a hash and in memory, so that one
that is taken is gone, and so are all when the backend ends. The cookie is a token with the scopes
``page`` and, if whoever made the link may cancel, ``cancel``: only routes whose policy takes one of
these look at it, and a change is made only if the browser says that our own page asks for it.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

import msgspec

from jupyter_remote import errors
from jupyter_remote.clock import Clock
from jupyter_remote.model import OwnerId
from jupyter_remote.server.gate import LOOPBACK

if TYPE_CHECKING:
    from jupyter_remote.server.auth import Caller, Policy
    from jupyter_remote.server.routing import Call

LINK_S = 600.0
SESSION_S = 7 * 86_400.0
MOST_LINKS = 20  # of one owner that were not used
LOOK, CANCEL = "page", "cancel"
PREFIX = f"jr_{LOOK[0]}_"
SAFE = ("GET", "HEAD")


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """What whoever opens a link may do, and until when."""

    owner: OwnerId
    scopes: tuple[str, ...]
    made_with: str  # id of the token
    expires_at: float
    ends_at: float  # of the session at the latest


class SignIns:
    """The links that were made and not used. Only of the event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._links: dict[str, Link] = {}  # by the hash of the code, the oldest first

    def make(self, caller: Caller) -> tuple[str, Link]:
        """A new code, and what it is good for."""
        now = self._clock.now()
        self._links = {h: link for h, link in self._links.items() if link.expires_at > now}
        mine = [h for h, link in self._links.items() if link.owner == caller.owner]
        for oldest in mine[: max(0, len(mine) - MOST_LINKS + 1)]:
            del self._links[oldest]
        ends_at = float("inf") if caller.expires_at is None else caller.expires_at
        code = secrets.token_urlsafe(32)
        link = self._links[_hash_of(code)] = Link(
            owner=caller.owner,
            scopes=(LOOK, CANCEL) if "submit" in caller.scopes else (LOOK,),
            made_with=caller.token_id,
            expires_at=min(now + LINK_S, ends_at),
            ends_at=min(now + LINK_S + SESSION_S, ends_at),
        )
        return code, link

    def take(self, code: str) -> Link:
        """What a code is good for; it is good no more. Raises NotAuthenticated."""
        link = self._links.pop(_hash_of(code), None)
        if link is None or link.expires_at <= self._clock.now():
            raise too_late()
        return link

    def put_back(self, code: str, link: Link) -> None:
        """Nobody could be signed in with it."""
        self._links[_hash_of(code)] = link

    def forget(self, token_id: str) -> None:
        """A token was revoked: what was made with it is good no more."""
        self._links = {h: link for h, link in self._links.items() if link.made_with != token_id}


def too_late() -> errors.NotAuthenticated:
    """A link that is good no more, whatever the reason."""
    return errors.NotAuthenticated(
        "This link was used already, or is too old.",
        hint="Make another one: `jupyter remote page`, or `%remote page` in a notebook.",
    )


def _hash_of(code: str) -> str:
    return hashlib.sha256(f"link {code}".encode()).hexdigest()


def new_id(made_with: str) -> str:
    """Id of a session's token: it says with which token its link was made."""
    return f"{LOOK}-{made_with}.{secrets.token_hex(8)}"


def is_made_with(id: str, token_id: str) -> bool:
    """Was the session ``id`` opened by a link of the token ``token_id``?"""
    return id.startswith(f"{LOOK}-{token_id}.")


def _host(call: Call) -> str:
    return call.header(b"host").lower()  # one of those that this server answers to


def scheme_of(call: Call) -> str:
    """Under which the browser that asks sees this server: a proxy or a tunnel may have TLS."""
    facts, host = call.backend.facts, _host(call)
    if host.rpartition(":")[0] in LOOPBACK:
        return facts.own_scheme
    scheme, _, name = facts.public.partition("://")
    return scheme if name.lower() == host else facts.scheme


def address_for_browsers(call: Call) -> str:
    """Of this server: as the caller knows it, unless only this computer does."""
    host = _host(call)
    if host.rpartition(":")[0] in LOOPBACK and call.backend.facts.public:
        return call.backend.facts.public
    return f"{scheme_of(call)}://{host}"


def cookie_name(scheme: str, host: str) -> str:
    """Cookies do not know ports: backends of one computer each have a name of their own."""
    is_safe = scheme == "https"
    port = host.rpartition(":")[2]
    port = port if port.isdigit() else "443" if is_safe else "80"
    return f"{'__Host-' if is_safe else ''}jupyter-remote-{port}"


def cookie(call: Call, token: str, lives_s: float) -> tuple[bytes, bytes]:
    """The header that sets it; with no token, the one that takes it back."""
    scheme = scheme_of(call)
    name = cookie_name(scheme, _host(call))
    secure = "; Secure" if scheme == "https" else ""
    text = f"{name}={token}; Path=/; Max-Age={lives_s:.0f}; HttpOnly; SameSite=Strict{secure}"
    return b"set-cookie", text.encode()


def authorization(call: Call, policy: Policy) -> str:
    """The ``Authorization`` header, or what a cookie stands for where the page may ask.

    Raises NotAuthorized, UnsupportedMediaType for a change that another page asks for.
    """
    given = call.header(b"authorization")
    if given or not policy.scopes & {LOOK, CANCEL}:
        return given
    name = cookie_name(scheme_of(call), _host(call))
    pairs = (part.strip().partition("=") for part in call.header(b"cookie").split(";"))
    token = next((value for key, _, value in pairs if key == name), "")
    if not token.startswith(PREFIX):
        return ""
    if call.method not in SAFE:
        require_own_page(call)
    return f"Bearer {token}"


def require_own_page(call: Call) -> None:
    """No form and no other page can send this. ``Origin``, if there is one, is ours already."""
    site = call.header(b"sec-fetch-site")
    if site != "same-origin" and (site or not call.header(b"origin")):
        raise errors.NotAuthorized("Only the page of this backend may ask that.")
    if call.header(b"content-type").partition(";")[0].strip().lower() != "application/json":
        raise errors.UnsupportedMediaType("The page sends application/json.")
