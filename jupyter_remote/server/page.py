"""The page of jobs: its files, how one signs in, and results for their owner.

The page itself tells nothing: what it shows comes from the API, by the cookie that signing in gave.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from starlette.types import ASGIApp

from jupyter_remote import errors, wire
from jupyter_remote.cards.render import card_json
from jupyter_remote.cards.state import state_of
from jupyter_remote.model import TokenRecord
from jupyter_remote.server import signin
from jupyter_remote.server.auth import OPEN, allow, hash_of, new_token
from jupyter_remote.server.jobs import own_job, view
from jupyter_remote.server.problems import Reply, json_reply, unexpected
from jupyter_remote.server.result_page import notice_page, page_of
from jupyter_remote.server.results import (
    ALONE_HEADERS,
    NOTEBOOK_TYPE,
    PAGE_HEADERS,
    notebook_reply,
    results_of,
)
from jupyter_remote.server.routing import HTML_TYPE, Call, Endpoint

BUILT = Path(__file__).with_name("page_files")
TYPES = {".js": b"text/javascript", ".css": b"text/css", ".svg": b"image/svg+xml"}
LABEL = "page of jobs"

SHELL_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        b"require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    *ALONE_HEADERS,
)
_SHELL = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Remote jobs</title>
<link rel="icon" href="page/{icon}">
<link rel="stylesheet" href="page/{style}">
<script type="module" src="page/{script}"></script>
</head>
<body><noscript>This page needs JavaScript.</noscript></body>
</html>
"""


# --- its files -------------------------------------------------------------------------------
@cache
def files(folder: Path) -> dict[str, bytes]:
    """What was built, by name; empty: nothing was. A name has the digest of what it names."""
    if not folder.is_dir():
        return {}
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in TYPES}


def _shell(folder: Path) -> bytes | None:
    names = {Path(name).suffix[1:]: name for name in files(folder)}
    if not names.keys() >= {"js", "css", "svg"}:
        return None
    return _SHELL.format(icon=names["svg"], style=names["css"], script=names["js"]).encode()


async def shell(call: Call) -> ASGIApp:
    """The same for jobs and for signing in: the script sees which address it is."""
    if (page := _shell(BUILT)) is not None:
        return Reply(page, 200, SHELL_HEADERS)
    text = (
        "The page of jobs is not part of this installation: it was built without npm. Install "
        "jupyter-remote-run from a wheel, or with Node.js; until then `jupyter remote jobs` and "
        "the panel of JupyterLab show the same."
    )
    return Reply(notice_page("There is no page here", text), 200, PAGE_HEADERS)


async def sign_in_shell(call: Call) -> ASGIApp:
    return await shell(call)


async def page_file(call: Call) -> ASGIApp:
    name = call.path["name"]
    content = files(BUILT).get(name)
    if content is None:
        raise errors.NotFound("There is no such file.")
    headers = (
        (b"content-type", TYPES[Path(name).suffix] + b"; charset=utf-8"),
        (b"cache-control", b"public, max-age=31536000, immutable"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"x-content-type-options", b"nosniff"),
    )
    return Reply(content, 200, headers)


# --- signing in ------------------------------------------------------------------------------
async def make_link(call: Call) -> wire.PageLink:
    code, link = call.backend.sign_ins.make(call.caller)
    return wire.PageLink(f"{signin.address_for_browsers(call)}/login#{code}", link.expires_at)


async def sign_in(call: Call) -> ASGIApp:
    signin.require_own_page(call)
    backend, now = call.backend, call.backend.clock.now()
    link = backend.sign_ins.take(call.body.code)
    token = new_token(link.scopes)
    record = TokenRecord(
        id=signin.new_id(link.made_with),
        owner=link.owner,
        scopes=link.scopes,
        label=LABEL,
        created_at=now,
        expires_at=min(link.ends_at, now + signin.SESSION_S),
    )
    try:
        await backend.commit(backend.store.add_token, record, hash_of(token))
    except errors.JupyterRemoteError:
        backend.sign_ins.put_back(call.body.code, link)
        raise
    await _check_maker(call, link, record)
    assert record.expires_at is not None
    told = wire.PageSession(
        record.owner, list(record.scopes), record.expires_at, backend.facts.embedded
    )
    return _with_cookie(call, told, token, record.expires_at - now)


async def _check_maker(call: Call, link: signin.Link, record: TokenRecord) -> None:
    """Raises NotAuthenticated where the token of the link was revoked meanwhile: who did that may
    have looked for its sessions before this one was there."""
    backend = call.backend
    known = await backend.read(backend.store.tokens, link.owner)
    if not any(t.id == link.made_with and t.revoked_at is None for t in known):
        await backend.commit(backend.store.revoke_token, record.id, link.owner, backend.clock.now())
        raise signin.too_late()


async def signed_in(call: Call) -> wire.PageSession:
    caller = call.caller
    ends_at = caller.expires_at or 0.0
    embedded = call.backend.facts.embedded
    return wire.PageSession(caller.owner, sorted(caller.scopes), ends_at, embedded)


async def sign_out(call: Call) -> ASGIApp:
    backend, caller = call.backend, call.caller
    await backend.commit(
        backend.store.revoke_token, caller.token_id, caller.owner, backend.clock.now()
    )
    backend.tokens.forget(caller.token_id)
    return _with_cookie(call, await signed_in(call), "", 0)


def _with_cookie(call: Call, told: wire.PageSession, token: str, lives_s: float) -> Reply:
    reply = json_reply(told)
    return Reply(reply.body, 200, (*reply.headers, signin.cookie(call, token, lives_s)))


# --- results ---------------------------------------------------------------------------------
async def owners_result(call: Call) -> ASGIApp:
    return Reply(page_of(await results_of(call, await own_job(call))), 200, PAGE_HEADERS)


async def card(call: Call) -> ASGIApp:
    """As Jupyter Server makes it for its pages: what is drawn is decided in one place."""
    shown = view(call, await own_job(call))
    return json_reply(card_json(state_of(shown), call.backend.clock.now()))


async def owners_notebook(call: Call) -> ASGIApp:
    return await notebook_reply(call, await own_job(call))


def refusal(error: Exception) -> ASGIApp:
    """A refusal for people; whoever has no session is told how to sign in."""
    if not isinstance(error, errors.JupyterRemoteError):
        problem = unexpected(error)
    else:
        problem = wire.problem_of(error)
    if problem.status == 401:
        return Reply(notice_page("You are not signed in", HOW), 401, PAGE_HEADERS)
    text = f"{problem.detail} {problem.hint}"
    return Reply(notice_page("This cannot be shown", text), problem.status, PAGE_HEADERS)


HOW = (
    "`jupyter remote page` on the computer of your notebooks, or `%remote page` in a notebook, "
    "gives a link that signs you in."
)
LOOK = allow("read", "submit", "page")

ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/jobs",
        handler=shell,
        summary="The page of jobs; it shows nothing to whoever is not signed in",
        policy=OPEN,
        reply_type=HTML_TYPE,
    ),
    Endpoint(
        method="GET",
        path="/login",
        handler=sign_in_shell,
        summary="Where a link that signs in leads; looking at it uses nothing up",
        policy=OPEN,
        reply_type=HTML_TYPE,
    ),
    Endpoint(
        method="GET",
        path="/page/{name}",
        handler=page_file,
        summary="A file of the page",
        policy=OPEN,
        reply_type="*/*",
    ),
    Endpoint(
        method="POST",
        path="/v1/page/links",
        handler=make_link,
        summary="A link that signs a browser in, once, to see and cancel your jobs",
        policy=allow("read", "submit"),
        reply=wire.PageLink,
    ),
    Endpoint(
        method="POST",
        path="/v1/page/session",
        handler=sign_in,
        summary="Sign in with what a link had behind its #; only the page itself may",
        policy=OPEN,
        body=wire.SignInRequest,
        body_bytes=1024,
        reply=wire.PageSession,
    ),
    Endpoint(
        method="GET",
        path="/v1/page/session",
        handler=signed_in,
        summary="Who is signed in",
        policy=allow("page"),
        reply=wire.PageSession,
    ),
    Endpoint(
        method="DELETE",
        path="/v1/page/session",
        handler=sign_out,
        summary="Sign out: the cookie is good no more",
        policy=allow("page"),
        reply=wire.PageSession,
    ),
    Endpoint(
        method="GET",
        path="/v1/jobs/{id}/card",
        handler=card,
        summary="What the card of a job shows now",
        policy=LOOK,
    ),
    Endpoint(
        method="GET",
        path="/jobs/{id}/result",
        handler=owners_result,
        summary="What a job of yours showed and left, as a page without scripts",
        policy=LOOK,
        reply_type=HTML_TYPE,
        refusal=refusal,
    ),
    Endpoint(
        method="GET",
        path="/jobs/{id}/notebook",
        handler=owners_notebook,
        summary="The executed notebook of a job of yours, as a file",
        policy=LOOK,
        reply_type=NOTEBOOK_TYPE,
    ),
]
