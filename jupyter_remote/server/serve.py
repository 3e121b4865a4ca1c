"""Running the server: bind, answer, tell where, drain, end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import uvicorn
from filelock import FileLock, Timeout
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jupyter_remote import connection, errors, processes, wire
from jupyter_remote.connection import Connection
from jupyter_remote.providers.base import Provider
from jupyter_remote.server import app as composition
from jupyter_remote.server.backend import Backend
from jupyter_remote.server.elsewhere import providers_of
from jupyter_remote.settings import Settings

log = logging.getLogger("jupyter_remote.serve")

IDLE_CHECK_S = 1.0
FIRST_REQUEST_S = 10.0  # after a connection was made
MOST_FILES = 65_536
WEBSOCKET_BYTES = 256 * 1024 * 1024
LOOPBACK = ("127.0.0.1", "localhost", "::1")
LOCK_NAME = "server.lock"
LOOKED_AT_S = 1.0  # whoever looks whether it is free has it for a moment


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to serve."""

    embedded: bool = False
    host: str = "127.0.0.1"
    port: int = 0
    names: tuple[str, ...] = ()  # further `Host` headers to answer to
    behind_proxy: bool = False
    certificate: str = ""
    key: str = ""
    drain_s: float = 5.0  # running jobs get so long to end when the server is asked to


class Server(uvicorn.Server):
    """uvicorn with our start and end around its own."""

    def __init__(self, config: uvicorn.Config, host: Host) -> None:
        super().__init__(config)
        self._host = host

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await self._host.answering()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._host.ending()
        await super().shutdown(sockets)


class Host:
    """One run of the server, from a bound socket to the end."""

    def __init__(
        self,
        options: Options,
        settings: Settings,
        home: Path,
        provider: Provider | None,
        elsewhere: Mapping[str, Provider] | None = None,
    ) -> None:
        self.options = options
        self.settings = settings
        self.home = home
        self.file = connection.path_of(settings)
        self._files = (home / connection.HOME_FILE_NAME, self.file)
        before = connection.read(self.file) if options.embedded else None
        self._socket = bind(options, _port_of(before))
        self.port: int = self._socket.getsockname()[1]
        scheme = "https" if options.certificate else "http"
        shown = "127.0.0.1" if options.host in ("", "0.0.0.0") else options.host
        self.url = f"{scheme}://{f'[{shown}]' if ':' in shown else shown}:{self.port}"
        self._provider = provider
        self._elsewhere = elsewhere or {}
        self._server: Server | None = None
        self._idle: asyncio.Task[None] | None = None
        self._learning: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Until it is told to stop, or has been idle for long enough."""
        self.backend = composition.make_backend(
            self.settings,
            self.home,
            embedded=self.options.embedded,
            stop=self.stop,
            provider=self._provider,
            elsewhere=self._elsewhere,
            url=self.url,
            scheme=self._scheme,
            public=self._public(),
            connection_file=str(self.file) if self.options.embedded else "",
        )
        self._server = Server(self._config(self.backend), self)
        try:
            await self._server.serve([self._socket])
        finally:
            if self.options.embedded:
                self._withdraw()

    def _config(self, backend: Backend) -> uvicorn.Config:
        options = self.options
        return uvicorn.Config(
            composition.application(backend, self.port, self._names()),
            loop="uvloop" if sys.platform != "win32" else "asyncio",
            http=Connections,
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            ws_max_size=WEBSOCKET_BYTES,
            ws_ping_timeout=None,  # nothing is read of whoever sends more than there is room for
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
            ssl_certfile=options.certificate or None,
            ssl_keyfile=options.key or None,
        )

    def _names(self) -> list[str]:
        """`Host` headers of others than this computer."""
        for_machines = urlsplit(self.settings.worker_url).netloc
        return [*self.options.names, *([for_machines] if for_machines else [])]

    @property
    def _scheme(self) -> str:
        return "https" if self.options.behind_proxy else self.url.partition(":")[0]

    def _public(self) -> str:
        """Where a browser elsewhere finds it: by the first of its names, or as machines do."""
        if self.options.names:
            return f"{self._scheme}://{self.options.names[0]}"
        for_machines = urlsplit(self.settings.worker_url)
        return f"{for_machines.scheme}://{for_machines.netloc}" if for_machines.netloc else ""

    def stop(self) -> None:
        """End in order."""
        if self._server is not None:
            self._server.should_exit = True

    async def answering(self) -> None:
        """The socket is served: start what works behind it, and tell where it is."""
        if self.options.embedded:
            await composition.open_account(self.backend)
            await self._announce()
        await self.backend.scheduler.start()
        self._learning.append(asyncio.create_task(self._learn_machine(self._provider)))
        self._learning.append(asyncio.create_task(self.backend.offers.learn(self.backend)))
        if self.options.embedded:
            self._idle = asyncio.create_task(self._end_when_idle())
        if self._elsewhere and not self.settings.worker_url and self.options.host in LOOPBACK:
            log.warning("only this computer reaches %s: see the setting worker_url", self.url)
        log.info("answering at %s (pid %d)", self.url, os.getpid())
        gc.collect()
        gc.freeze()  # what was made at the start stays: do not look through it again

    async def _learn_machine(self, provider: Provider | None) -> None:
        """What this computer has: asking the driver for its GPUs may take seconds."""
        try:
            here = await asyncio.to_thread(provider.machines) if provider is not None else []
            known = {m.id for m in here}
            others = [m for m in self.backend.machines if m.id not in known]
            self.backend.machines = [*here, *others]
        finally:
            self.backend.offers.here.set()

    async def _announce(self) -> None:
        facts = self.backend.facts
        told = Connection(
            url=self.url,
            token=await composition.replace_token(self.backend),
            pid=facts.pid,
            started_at=facts.started_at,
            version=facts.version,
            protocol=wire.PROTOCOL,
            server_id=facts.server_id,
            key=facts.key,
            mark=processes.mark_of(facts.pid),
        )
        for file in self._files:
            connection.write(file, told)

    def _withdraw(self) -> None:
        for file in self._files:
            connection.remove(file, self.backend.facts.server_id)

    async def ending(self) -> None:
        """Drain, then end what was launched. Queued jobs stay in the database."""
        if self._idle is not None:
            self._idle.cancel()
        for learning in self._learning:
            learning.cancel()
        if self.options.embedded:
            self._withdraw()
        await self._drain()
        await self.backend.scheduler.end_instances()
        await composition.close_backend(self.backend)
        for provider in (*self._elsewhere.values(), *filter(None, [self._provider])):
            await provider.close()

    async def _drain(self) -> None:
        backend = self.backend
        backend.scheduler.board.closing = True
        board = backend.scheduler.board
        # Workers on machines elsewhere go on, and dial the next backend.
        leaving = [agent for agent in board.agents.values() if not agent.owner]
        for agent in leaving:
            await backend.fleet.send(agent.id, wire.Drain("the backend ends"))
        deadline = backend.clock.monotonic() + self.options.drain_s
        while any(agent.jobs for agent in leaving):
            if backend.clock.monotonic() >= deadline:
                return
            await asyncio.sleep(0.02)

    async def _end_when_idle(self) -> None:
        backend = self.backend
        while backend.idle_s() < self.settings.idle_timeout_s:
            await asyncio.sleep(min(IDLE_CHECK_S, self.settings.idle_timeout_s / 4))
        log.info("idle for %.0f s: ending", self.settings.idle_timeout_s)
        self.stop()


def _port_of(before: Connection | None) -> int:
    """The port of a backend that died: clients that go on with it find this one there."""
    text = before.url.rpartition(":")[2] if before else ""
    return int(text) if text.isdigit() else 0


def bind(options: Options, wanted: int = 0) -> socket.socket:
    """A bound socket. Raises UsageError where the settings would be unsafe or cannot be had."""
    loopback = options.host in LOOPBACK
    if not loopback and not options.certificate and not options.behind_proxy:
        raise errors.UsageError(
            f"Refusing to listen on {options.host} without TLS.",
            hint="Give --certificate and --key, or --behind-proxy if a proxy in front has TLS.",
        )
    if not loopback and options.embedded:
        raise errors.UsageError("An embedded backend listens on this computer only.")
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    for port in (options.port,) if options.port or not wanted else (wanted, 0):
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((options.host, port))
        except OSError as error:
            bound.close()
            refused = error
            continue
        bound.setblocking(False)
        return bound
    raise errors.UsageError(
        f"Cannot listen on {options.host}:{options.port}: {refused.strerror}.",
        hint="Choose another --port, or none.",
    )


def serve(options: Options, settings: Settings) -> int:
    """Serve until the end; the exit status. Raises JupyterRemoteError when it cannot start."""
    _allow_connections()
    os.umask(0o077)  # what is written here is nobody else's business
    home = connection.home_of(settings)
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(home / LOCK_NAME)
        lock.acquire(timeout=LOOKED_AT_S)
    except Timeout:
        raise errors.Conflict(
            f"Another backend works on {home}.", hint="`jupyter remote status` shows it."
        ) from None
    except OSError as error:
        raise errors.StorageFull(
            f"The state folder {home} cannot be written: {error.strerror}.",
            hint="Make it writable, free space, or set JUPYTER_REMOTE_HOME.",
        ) from error
    with lock:
        provider = composition.local_provider(home, settings) if options.embedded else None
        elsewhere = providers_of(settings, home)
        host = Host(options, settings, home, provider, elsewhere)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(host.run())
    return 0


def _allow_connections() -> None:
    """As many open files as this user may have: each connection is one."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Connections(HttpToolsProtocol):
    """A connection on which nothing is asked does not stay."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            FIRST_REQUEST_S, self.timeout_keep_alive_handler
        )


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.Loop
