"""Providers of machines elsewhere: found by name, asked what they have, and again now and then."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from collections.abc import Iterable, Mapping
from datetime import date
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from jupyter_remote import errors, wire
from jupyter_remote.model import MachineType
from jupyter_remote.money.catalog import refreshed
from jupyter_remote.providers.base import Provider, is_loopback
from jupyter_remote.providers.identity import backend_id
from jupyter_remote.settings import Settings

if TYPE_CHECKING:
    from jupyter_remote.server.backend import Backend

log = logging.getLogger("jupyter_remote.fleet")

GROUP = "jupyter_remote.providers"
LEARN_EVERY_S = 3600.0
TRY_AGAIN_S = 10.0  # when a provider did not say what it has: who mends that goes on soon
WAIT_S = 20.0  # of a submit, for the first answer of the providers
HERE_S = 5.0  # of whoever asks what there is, for this computer's driver and for the providers
LOCAL = "local"


def providers_of(settings: Settings, home: Path) -> dict[str, Provider]:
    """Those that the settings name. Raises UsageError for one that there is not."""
    names = [name.strip() for name in settings.providers.split(",")]
    return {name: _made(name, settings, backend_id(home)) for name in names if name}


def _made(name: str, settings: Settings, id: str) -> Provider:
    found = {point.name: point for point in entry_points(group=GROUP) if point.name != LOCAL}
    try:
        make = (
            found[name].load() if name in found else importlib.import_module(f"{GROUP}.{name}").make
        )
    except (ImportError, AttributeError) as error:
        known = ", ".join(sorted(found)) or "none"
        raise errors.UsageError(
            f"There is no provider of machines called {name!r}: {error}.",
            hint=f"Known: {known}. See the setting `providers`, JUPYTER_REMOTE_PROVIDERS.",
        ) from None
    provider: Provider = make(settings, id)
    return provider


class Offers:
    """What the providers of a backend have, as far as they have said it.

    ``here`` is set when it is known what this computer has.
    """

    def __init__(self, providers: Mapping[str, Provider], url: str = "") -> None:
        self.providers = providers
        self._url = url  # at which machines are to reach this backend
        self.problems: dict[str, errors.JupyterRemoteError] = {}
        self.here = asyncio.Event()
        self._learned = asyncio.Event()

    async def learn(self, backend: Backend) -> None:
        """For as long as the backend runs."""
        while self.providers:
            await asyncio.gather(*(self._ask(backend, p) for p in self.providers.values()))
            self._learned.set()
            await asyncio.sleep(TRY_AGAIN_S if self.problems else LEARN_EVERY_S)

    async def _ask(self, backend: Backend, provider: Provider) -> None:
        try:
            rows = await asyncio.to_thread(provider.machines)
        except errors.JupyterRemoteError as error:
            self._note(provider.name, error)
            return
        except OSError as error:
            hint = "It is asked again and again. Does the computer of the backend reach it?"
            self._note(provider.name, errors.LaunchRefused(f"{error}.", hint=hint))
            return
        except Exception as error:
            self.problems[provider.name] = errors.LaunchRefused(f"{error!r}")
            log.exception("%s failed to say which machines it has", provider.name)
            return
        self.problems.pop(provider.name, None)
        found = refreshed(backend.machines, rows, date.today())
        for refused in found.refused:
            log.warning("%s", refused)
        backend.machines = found.machines
        backend.scheduler.fleet.offer(found.machines)

    def _note(self, provider: str, error: errors.JupyterRemoteError) -> None:
        if str(self.problems.get(provider)) != str(error):  # it is told once
            log.warning("%s does not say which machines it has: %s", provider, error)
        self.problems[provider] = error

    async def settled(self) -> None:
        """Returns when this computer's driver and the providers have answered once, or soon."""
        await _within(HERE_S, self.here)
        if self.providers:
            await _within(HERE_S, self._learned)

    def told(self) -> list[str]:
        """Why providers do not say what they have, or what they have is of no use, in words."""
        if self.providers and not self._learned.is_set():
            return [self._silent()]
        unreached = {name: error for name in self.providers if (error := self.unreached(name))}
        return [f"{name}: {error}" for name, error in sorted((self.problems | unreached).items())]

    def unreached(self, provider: str) -> errors.LaunchRefused | None:
        """Why machines of this provider would boot in vain: they cannot reach this backend."""
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return errors.LaunchRefused(
                f"The setting worker_url, {self._url!r}, is no address of the web.",
                hint="JUPYTER_REMOTE_WORKER_URL is such as https://NAME, or empty.",
                kind="setting",
            )
        if not is_loopback(self._url) or self.providers[provider].near:
            return None
        return errors.LaunchRefused(
            f"Machines of {provider} cannot reach this backend: {self._url} is an address of this "
            "computer alone.",
            hint="Set JUPYTER_REMOTE_WORKER_URL to one that machines reach, such as that of a "
            "tunnel to this backend (docs/aws.md), and start it again: `jupyter remote stop`.",
            kind="setting",
        )

    async def known(self, need: wire.Need) -> None:
        """Returns when it is known what can be had, if this need is not one of this computer.

        Raises LaunchRefused when that takes too long.
        """
        if need in (wire.Need(), wire.Need(machine=LOCAL)):
            return
        await _within(HERE_S, self.here)
        if self.providers and not await _within(WAIT_S, self._learned):
            raise errors.LaunchRefused(
                self._silent(),
                hint="Try again in a moment; `%remote machines` tells what is known.",
                kind="throttled",
            )

    def _silent(self) -> str:
        return f"{', '.join(sorted(self.providers))} has not said yet which machines it has."

    def had(self, machines: Iterable[MachineType]) -> list[MachineType]:
        """Those that can be had: who has real machines elsewhere is given no simulated one."""
        return [m for m in machines if not (self.providers and m.simulated)]

    def missing(self, type: str) -> errors.JupyterRemoteError:
        """Why nothing starts machines of this type, which jobs of before wait for."""
        for name, error in self.problems.items():
            return errors.LaunchRefused(
                f"{name} does not say which machines it has: {error.message}", hint=error.hint
            )
        names = ", ".join(sorted(self.providers))
        return errors.LaunchRefused(
            f"{names} has none." if names else "No provider of machines is set any more.",
            hint="See JUPYTER_REMOTE_PROVIDERS; the backend reads it when it starts.",
        )

    def check(self, machine: MachineType, pools: set[str]) -> None:
        """Raises UnknownMachine or LaunchRefused for a type on which a job would wait for ever.

        ``pools``: of workers that are connected.
        """
        if machine.id == LOCAL or machine.id in pools:
            return
        if machine.provider in self.providers:
            if (unreached := self.unreached(machine.provider)) is not None:
                raise unreached
            return
        for name, error in self.problems.items():
            raise errors.LaunchRefused(
                f"{name} does not say which machines it has: {error.message}",
                hint=error.hint,
                kind=getattr(error, "kind", "other"),
            )
        if self.providers:
            raise errors.LaunchRefused(
                f"{', '.join(sorted(self.providers))} has no {machine.id} where it is set to look.",
                hint="`%remote machines` lists what there is; another region may have it "
                "(JUPYTER_REMOTE_EC2_REGION).",
                kind="machine",
            )
        if not machine.simulated:
            raise errors.UnknownMachine(
                f"This server has nothing that starts a {machine.id}.",
                hint="Ask whoever runs it to set `providers`, or choose a type of "
                "`%remote machines` that is there.",
            )


async def _within(limit_s: float, event: asyncio.Event) -> bool:
    """Was it set in time?"""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await event.wait()
    return event.is_set()
