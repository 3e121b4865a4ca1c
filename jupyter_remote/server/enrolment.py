"""Machines elsewhere join: their tokens, what their bootstrap reports, what they install.

A machine is started with a token of the scope ``enrol`` that is good for its own boot and for one
enrolment. That gives the worker's token, which is good for this instance alone, and as long as the
machine may live. When the worker has said hello the first token is good no more: user code can read
what a machine was started with.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from jupyter_remote import errors, wire
from jupyter_remote.model import InstanceRecord, OwnerId, TokenRecord
from jupyter_remote.providers.bootstrap import Boot, script
from jupyter_remote.server import package
from jupyter_remote.server.auth import allow, hash_of, new_token
from jupyter_remote.server.problems import Reply
from jupyter_remote.server.routing import BYTES_TYPES, Call, Endpoint

if TYPE_CHECKING:
    from jupyter_remote.server.backend import Backend

LOG_BYTES = 64 * 1024
STEP_CHARS = 100
BODY_BYTES = 512 * 1024
MARGIN_S = 600.0  # that a token outlives what it is for
TOLD = 0.8  # of the time that a boot may take: then the machine says itself where it stands
PIECE_BYTES = 1 << 20
KEY_FILE = "enrolment.key"
LOCAL = "local"


# -- tokens
def enrolment_key(home: Path) -> bytes:
    """The secret from which enrolment tokens are made. Raises OSError."""
    path = home / KEY_FILE
    if not path.exists():
        draft = home / f"{KEY_FILE}.draft"  # one server at a time works on a home
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    return path.read_bytes()


def token_for(key: bytes, instance: str) -> str:
    """The same each time: a launch that is repeated after a crash hands over the same user data."""
    digest = hmac.digest(key, instance.encode(), hashlib.sha256)
    return f"jr_e_{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def enrolment_id(instance: str) -> str:
    """Id of the token that a machine is started with."""
    return f"enrol-{instance}"


def worker_id(instance: str) -> str:
    """Id of the token that its worker is given."""
    return f"worker-{instance}"


async def open_enrolment(backend: Backend, record: InstanceRecord) -> str:
    """The token that this machine is started with; the same when it is asked for again."""
    token = token_for(backend.enrolment_key, record.id)
    if await backend.look(backend.store.token, hash_of(token)) is None:
        now = backend.clock.now()
        known = TokenRecord(
            id=enrolment_id(record.id),
            owner=_owner(backend, record),
            scopes=("enrol",),
            label=f"enrolment of {record.id}",
            created_at=now,
            expires_at=now + backend.settings.machine_boot_s + MARGIN_S,
        )
        await backend.commit(backend.store.add_token, known, hash_of(token))
    return token


async def user_data(backend: Backend, record: InstanceRecord, url: str) -> tuple[str, str]:
    """The enrolment token and the bootstrap script of this machine, which reaches the server at
    ``url``. The same record gives the same."""
    settings = backend.settings
    backend.packages.prepare()
    token = await open_enrolment(backend, record)
    boot = Boot(
        instance=record.id,
        url=url,
        token=token,
        python=package.python_here(),
        platform=package.platform_here(),
        longest_s=settings.machine_longest_s,
        alone_s=settings.machine_alone_s,
        boot_s=TOLD * settings.machine_boot_s,
    )
    return token, script(boot)


async def ended(backend: Backend, instance: str) -> None:
    """The machine is gone: its tokens are good no more."""
    record = await backend.look(backend.store.instance, instance)
    owner = _owner(backend, record) if record else backend.facts.owner
    for token in (enrolment_id(instance), worker_id(instance)):
        await revoke(backend, token, owner)


async def revoke(backend: Backend, token: str, owner: OwnerId) -> None:
    """Whoever had it is gone."""
    now = backend.clock.now()
    with contextlib.suppress(errors.NotFound):  # it was never made
        await backend.commit(backend.store.revoke_token, token, owner, now)
    backend.tokens.forget(token)
    await backend.fleet.cut_off(token)


async def enrolled(backend: Backend, record: InstanceRecord) -> None:
    """Its worker said hello: what the machine was started with is good no more."""
    await revoke(backend, enrolment_id(record.id), _owner(backend, record))


def _owner(backend: Backend, record: InstanceRecord) -> OwnerId:
    return record.owner or backend.facts.owner


# -- boot
async def note_boot(
    backend: Backend, instance: str, step: str, text: str = "", *, failed: bool = False
) -> InstanceRecord:
    """A step of a machine's bootstrap began, or failed: kept with it, and told to the job for
    which it was asked. Raises NotFound."""
    step = step[:STEP_CHARS]
    log = text.encode("utf-8", "replace")[-LOG_BYTES:] or None
    detail = _why(step, text) if failed else None
    record: InstanceRecord = await backend.commit(
        backend.store.report_boot, instance, step, log, detail
    )
    why = record.detail if failed else ""
    await backend.scheduler.fleet.booted_to(instance, step, failed=failed, text=why)
    return record


def _why(step: str, text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"booting failed at “{step}”: {lines[-1][:500] if lines else 'nothing was logged'}"


# -- routes
def _of(call: Call, instance: str) -> None:
    if call.caller.token_id != enrolment_id(instance):
        raise errors.NotAuthorized("This token is another machine's.")


async def boot(call: Call) -> ASGIApp:
    report: wire.BootReport = call.body
    _of(call, report.instance)
    await note_boot(call.backend, report.instance, report.step, report.text, failed=report.failed)
    return Reply(b"{}")


async def enrol(call: Call) -> wire.Enrolled:
    request: wire.Enrol = call.body
    _of(call, request.instance)
    backend, now = call.backend, call.backend.clock.now()
    token = new_token(("worker",))
    record = TokenRecord(
        id=worker_id(request.instance),
        owner=call.caller.owner,
        scopes=("worker",),
        label=f"worker {request.instance}",
        created_at=now,
        expires_at=now + backend.settings.machine_longest_s + MARGIN_S,
    )
    known: InstanceRecord = await backend.commit(
        backend.store.enrol,
        request.instance,
        record,
        hash_of(token),
        request.provider_id[:200],
        request.zone[:200],
    )
    backend.tokens.forget(record.id)
    return wire.Enrolled(token=token, config=config_for(backend, known))


def config_for(backend: Backend, record: InstanceRecord) -> dict[str, str | int | float | bool]:
    """What the agent of a machine elsewhere is told."""
    settings = backend.settings
    return {
        "machine": record.machine,
        "slots": slots_of(backend, record.machine),
        "spot": record.spot,
        "alone_s": settings.machine_alone_s,
        "interrupt_grace_s": settings.interrupt_grace_s,
        "checkpoint_s": settings.checkpoint_s,
        "live_output_bytes": settings.live_output_bytes,
        "live_output_bytes_per_s": settings.live_output_bytes_per_s,
    }


def slots_of(backend: Backend, machine: str) -> int:
    """Of a machine of this type; its provider may not have answered yet since the start."""
    return next((max(1, m.gpu_count) for m in backend.machines if m.id == machine), 1)


class PackageQuery(msgspec.Struct, frozen=True):
    """``worker``: the ZIP. ``uv``: that program alone, for machines without a Python."""

    part: Annotated[Literal["worker", "uv"], msgspec.Meta(description="what is wanted")] = "worker"


async def packages(call: Call) -> ASGIApp:
    if call.query.part == "uv":
        program = package.program_here("uv")
        if program is None:
            raise errors.NotFound("This server has no uv.")
        return _File(program, program.stat().st_size)
    built = await asyncio.to_thread(call.backend.packages.current)
    if call.header(b"if-none-match") == f'"{built.digest}"':
        return Reply(b"", 304)
    return _File(built.path, built.size_bytes, built.digest)


class _File:
    """A file on its way out."""

    def __init__(self, path: Path, size_bytes: int, digest: str = "") -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._digest = digest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"content-type", BYTES_TYPES[0].encode()),
            (b"content-length", str(self._size_bytes).encode()),
        ]
        if self._digest:
            headers.append((b"etag", f'"{self._digest}"'.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for part in _pieces(self._path):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


ENROL = allow("enrol")

ENDPOINTS = [
    Endpoint(
        method="POST",
        path="/v1/workers/boot",
        handler=boot,
        summary="A step of a machine's bootstrap began, or failed",
        policy=ENROL,
        body=wire.BootReport,
        body_bytes=BODY_BYTES,
    ),
    Endpoint(
        method="POST",
        path="/v1/workers/enrol",
        handler=enrol,
        summary="A machine's worker is given its token, once",
        policy=ENROL,
        body=wire.Enrol,
        body_bytes=BODY_BYTES,
        reply=wire.Enrolled,
    ),
    Endpoint(
        method="GET",
        path="/v1/workers/package",
        handler=packages,
        summary="What a machine installs: the worker of this server's version",
        policy=ENROL,
        query=PackageQuery,
        reply_type=BYTES_TYPES[0],
    ),
]
