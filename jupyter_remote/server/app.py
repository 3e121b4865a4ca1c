"""The composition root: the only file that names a concrete store, blobs and provider."""

from __future__ import annotations

import getpass
import os
import secrets
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from starlette.types import ASGIApp

from jupyter_remote import __version__, wire
from jupyter_remote.blobs.base import Blobs
from jupyter_remote.clock import Clock, SystemClock
from jupyter_remote.model import InstanceRecord, OwnerId, TokenRecord, WorkerId
from jupyter_remote.money.catalog import catalogue, simulated, sound
from jupyter_remote.money.meter import UCREDITS_PER_CREDIT
from jupyter_remote.providers.base import Launch, Provider
from jupyter_remote.scheduler import pools
from jupyter_remote.scheduler.board import Active
from jupyter_remote.scheduler.here import Given
from jupyter_remote.scheduler.loop import Elsewhere, Retention, Scheduler
from jupyter_remote.scheduler.plan import Limits
from jupyter_remote.server import enrolment, signin
from jupyter_remote.server.auth import hash_of, new_token
from jupyter_remote.server.backend import Backend, Facts
from jupyter_remote.server.elsewhere import Offers
from jupyter_remote.server.gate import Gate, hosts_of
from jupyter_remote.server.hub import Hub
from jupyter_remote.server.package import Packages
from jupyter_remote.server.routing import build
from jupyter_remote.server.steady import steady_clock
from jupyter_remote.server.table import ENDPOINTS, SOCKETS
from jupyter_remote.server.workers import Fleet
from jupyter_remote.settings import Settings

OWNER_SCOPES = ("submit", "read", "admin")
EMBEDDED = "embedded"  # label of the token that stands in the connection file
LAUNCH_SLOTS = 2
QUICK = frozenset({"submit", "claim", "start", "beat", "finish", "release", "cancel"})
AWAY_LEASES = 2  # a machine without a worker, and with no job, is ended after so many
SUSPECT_BEFORE_LEASE = 1 / 3  # a silent worker is shown as that long before it is given up


def application(backend: Backend, port: int, names: Iterable[str] = ()) -> ASGIApp:
    """The ASGI application. Raises ValueError when a route has no policy."""
    return Gate(build(ENDPOINTS, SOCKETS, backend), hosts_of(port, names))


def make_backend(
    settings: Settings,
    home: Path,
    *,
    embedded: bool,
    stop: Callable[[], None],
    clock: Clock | None = None,
    provider: Provider | None = None,
    elsewhere: Mapping[str, Provider] | None = None,
    url: str = "",
    scheme: str = "http",
    public: str = "",
    connection_file: str = "",
) -> Backend:
    """A backend on the state in ``home``. ``provider``: of workers here; ``elsewhere``: by name.

    Raises StorageFull when it cannot be opened, and what the bucket of its blobs says.
    """
    from jupyter_remote.store.sqlite import open_sqlite
    from jupyter_remote.store.writer import Writer

    store = open_sqlite(home / "db.sqlite", cache_bytes=settings.cache_bytes)
    known = store.snapshot(1)
    busy = bool(known.active or known.waiting)
    clock = steady_clock(clock or SystemClock(), home, busy=busy)
    facts = Facts(
        server_id=secrets.token_hex(16),
        owner=OwnerId(user_name()),
        embedded=embedded,
        started_at=clock.now(),
        pid=os.getpid(),
        version=__version__,
        key=secrets.token_hex(32) if embedded else "",
        scheme=scheme,
        own_scheme=url.partition(":")[0] or scheme,
        public=public,
    )
    backend = Backend(
        settings=settings,
        facts=facts,
        clock=clock,
        store=store,
        writer=Writer(store, quick=QUICK),
        blobs=_blobs(settings, home),
        hub=Hub(),
        fleet=Fleet(),
        machines=sound(simulated(catalogue()) if embedded else catalogue()),
        stop=stop,
        offers=Offers(elsewhere or {}, settings.worker_url or url),
        packages=Packages(home / "packages"),
        enrolment_key=enrolment.enrolment_key(home),
    )
    here = None
    if provider is not None:
        launch = _launcher(backend, url, connection_file)
        here = Given(provider=provider, launch=launch, ended=_ender(backend))
    backend.scheduler = _scheduler(backend, here, settings.worker_url or url)
    return backend


def _blobs(settings: Settings, home: Path) -> Blobs:
    if not settings.blobs:
        from jupyter_remote.blobs.disk import DiskBlobs

        return DiskBlobs(home / "blobs")
    from jupyter_remote.blobs.s3 import open_s3

    return open_s3(
        settings.blobs,
        region=settings.ec2_region,
        profile=settings.ec2_profile,
        endpoint=settings.s3_endpoint,
        id_file=home / "blobs.id",
    )


def local_provider(home: Path, settings: Settings) -> Provider:
    """What starts workers on this computer."""
    from jupyter_remote.providers.local import LocalProvider

    return LocalProvider(home, settings)


async def reap(home: Path, settings: Settings) -> list[str]:
    """End the workers of this computer that no backend looks after; which ones.

    Called by ``jupyter remote reap``, and only while no backend runs on ``home``.
    """
    provider = local_provider(home, settings)
    alive = [seen.id for seen in await provider.listed()]
    for id in alive:
        await provider.terminate(id)
    return alive


def user_name() -> str:
    """Who runs this; containers may have no name for their user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}" if hasattr(os, "getuid") else "user"


def _scheduler(backend: Backend, here: Given | None, url: str) -> Scheduler:
    settings = backend.settings
    return Scheduler(
        store=backend.store,
        commit=backend.commit,
        send=lambda worker, message: _send(backend, worker, message),
        clock=backend.clock,
        limits=Limits(
            shared=backend.facts.embedded,
            local=here is not None,
            suspect_s=SUSPECT_BEFORE_LEASE * settings.lease_s,
            providers=tuple(backend.offers.providers),
            fleet=pools.Limits(
                most=settings.machines_most,
                by_hand=not (backend.facts.embedded or backend.offers.providers),
                idle_s=settings.machine_idle_s,
                longest_s=settings.machine_longest_s,
                boot_s=settings.machine_boot_s,
                away_s=AWAY_LEASES * settings.lease_s,
            ),
        ),
        retention=Retention(jobs_s=settings.retention_s, blobs_s=settings.unused_blobs_s),
        lease_s=settings.lease_s,
        grace_s=settings.interrupt_grace_s + settings.heartbeat_s,
        blobs=backend.shelf,
        here=here,
        elsewhere=Elsewhere(
            providers=backend.offers.providers,
            fallback=frozenset(word.strip() for word in settings.spot_fallback.split(",")),
            launch=_renter(backend, url),
            ended=_ender(backend),
            missing=backend.offers.missing,
        ),
        told=lambda active, detail: _tell(backend, active, detail),
    )


async def _send(backend: Backend, worker: WorkerId, message: wire.ServerMessage) -> bool:
    return await backend.fleet.send(worker, await backend.sources.added(message))


def _tell(backend: Backend, active: Active, detail: str) -> None:
    """Shown while it is so, and kept nowhere."""
    data = wire.raw({"detail": detail})
    event = wire.Event(job=active.job, type="status", data=data, epoch=active.epoch)
    backend.hub.publish(active.owner, active.client, active.job, [event])


def _ender(backend: Backend) -> Callable[[str], Awaitable[None]]:
    """What is done when an instance ended: nobody may speak for it any more."""
    return lambda id: enrolment.ended(backend, id)


def _launcher(
    backend: Backend, url: str, connection_file: str
) -> Callable[[str], Awaitable[Launch]]:
    async def launch(id: str) -> Launch:
        token = await issue_token(backend, ("worker",), f"worker {id}", enrolment.worker_id(id))
        return Launch(
            id=id,
            machine="local",
            server_url=url,
            enrolment_token=token,
            connection_file=connection_file,
            slots=backend.settings.slots or max(LAUNCH_SLOTS, os.cpu_count() or 1),
        )

    return launch


def _renter(backend: Backend, url: str) -> Callable[[InstanceRecord, int], Awaitable[Launch]]:
    async def launch(intent: InstanceRecord, slots: int) -> Launch:
        if (unreached := backend.offers.unreached(intent.provider)) is not None:
            raise unreached
        token, user_data = await enrolment.user_data(backend, intent, url)
        return Launch(
            id=intent.id,
            machine=intent.machine,
            server_url=url,
            enrolment_token=token,
            slots=slots,
            owner=intent.owner,
            spot=intent.spot,
            zone=intent.zone,
            user_data=user_data,
        )

    return launch


async def replace_token(backend: Backend) -> str:
    """The token of the connection file; that of a backend before this one is good no more, nor are
    cookies of its page: a browser sends them to whoever took its port meanwhile."""
    owner = backend.facts.owner
    for record in await backend.read(backend.store.tokens, owner):
        ends = record.label == EMBEDDED or signin.LOOK in record.scopes
        if ends and record.revoked_at is None:
            await enrolment.revoke(backend, record.id, owner)
    return await issue_token(backend, OWNER_SCOPES, EMBEDDED)


async def issue_token(backend: Backend, scopes: tuple[str, ...], label: str, id: str = "") -> str:
    """A new token of the user who runs this backend."""
    token = new_token(scopes)
    record = TokenRecord(
        id=id or uuid.uuid4().hex,
        owner=backend.facts.owner,
        scopes=scopes,
        label=label,
        created_at=backend.clock.now(),
    )
    await backend.commit(backend.store.add_token, record, hash_of(token))
    return token


async def open_account(backend: Backend) -> None:
    """Play credits for simulated machines, once."""
    amount = round(backend.settings.play_credits * UCREDITS_PER_CREDIT)
    if amount > 0:
        now = backend.clock.now()
        await backend.commit(backend.store.grant, backend.facts.owner, amount, "play", now)


async def close_backend(backend: Backend) -> None:
    """End in order: streams, scheduling, workers, then what was begun in the store."""
    backend.hub.close()
    await backend.scheduler.close()
    await backend.fleet.close()
    await backend.settled()
    backend.writer.close()
    backend.store.close()
