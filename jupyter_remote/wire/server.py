"""The server itself: its workers, sessions, tokens and blobs."""

from __future__ import annotations

from typing import Annotated

import msgspec

from jupyter_remote.wire.base import PROTOCOL
from jupyter_remote.wire.jobs import JobView


class ServerInfo(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``GET /v1/server``: what answers here."""

    version: str
    protocol: int
    embedded: bool
    pid: int = 0
    started_at: float = 0.0
    owner: str = ""
    scopes: list[str] = []
    blobs: str = ""  # see Welcome; empty when the caller is not on the same machine
    spool: str = ""
    links_bytes: int = 0  # blobs from this size on have addresses of their own; 0: none has
    workers: list[WorkerView] = []
    jobs_queued: int = 0
    jobs_running: int = 0
    listeners: int = 0  # event streams that are open
    idle_timeout_s: float | None = None


class WorkerView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: str
    machine: str
    slots: int
    busy: int = 0
    connected: bool = True
    draining: bool = False
    python: str = ""
    seen_s: float = 0.0  # since last heard of


class SessionView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A session: a job that keeps a namespace until it is stopped."""

    name: str
    job: JobView
    listening: bool = False
    address: str = ""  # of a Unix socket; empty when the caller is not on the same computer
    key: str = ""  # of its kernel, for whoever may submit


class SessionList(msgspec.Struct, frozen=True):
    sessions: list[SessionView]


class WorkerList(msgspec.Struct, frozen=True):
    workers: list[WorkerView]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """``GET /health``, open to anybody: which server answers here, and its protocol."""

    server_id: str
    version: str
    protocol: int = PROTOCOL
    status: str = "ok"
    proof: str = ""  # that an embedded backend is the one of the connection file


class TokenRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    scopes: list[str]
    label: str = ""
    expires_s: float | None = None


class TokenView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: str
    owner: str
    scopes: list[str]
    label: str = ""
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None
    token: str = ""  # only in the reply to its creation


class TokenList(msgspec.Struct, frozen=True):
    tokens: list[TokenView]


class PageLink(msgspec.Struct, frozen=True):
    """Opens the page of jobs once, until then; what is behind its ``#`` is the secret."""

    url: str
    expires_at: float


class SignInRequest(msgspec.Struct, frozen=True):
    """What a link had behind its ``#``."""

    code: Annotated[str, msgspec.Meta(max_length=200)]


class PageSession(msgspec.Struct, frozen=True):
    """Whose jobs a page shows, what else it may do, and until when."""

    owner: str
    scopes: list[str]
    expires_at: float
    embedded: bool


class BlobView(msgspec.Struct, frozen=True, omit_defaults=True):
    digest: str
    size_bytes: int


class Assemble(msgspec.Struct, frozen=True):
    """``POST /v1/blobs/{digest}``: put a segment together from chunks that are there."""

    size_bytes: int
    chunks: list[tuple[str, int]]
