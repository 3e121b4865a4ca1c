"""Where the files of jobs are read that lie elsewhere: addresses that are in memory only.

Whoever submits a job gives them, under their own credentials. An embedded backend, which is its
user's own, makes others under theirs: for a repeat, or after it was started anew. No other backend
does: its credentials are not those of who submits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from jupyter_remote import wire
from jupyter_remote.errors import JupyterRemoteError
from jupyter_remote.settings import Settings

log = logging.getLogger("jupyter_remote.sources")


class Sources:
    """Used on the event loop only."""

    def __init__(self, settings: Settings, *, embedded: bool) -> None:
        self._settings = settings
        self._embedded = embedded
        self._known: dict[str, list[wire.SourceLink]] = {}

    def remember(self, job: str, links: Sequence[wire.SourceLink]) -> None:
        """Until it is over."""
        if links:
            self._known[job] = list(links)

    def forget(self, job: str) -> None:
        self._known.pop(job, None)

    async def added(self, message: wire.ServerMessage) -> wire.ServerMessage:
        """A message for a worker, an assignment with the addresses of its files."""
        if not isinstance(message, wire.Assign):
            return message
        sources = {file.source for file in message.spec.files if file.source}
        if not sources:
            return message
        links = [link for link in self._known.get(message.job, ()) if link.source in sources]
        absent = sorted(sources - {link.source for link in links})
        if absent and self._embedded:
            links += await asyncio.to_thread(self._made, absent)
        return msgspec.structs.replace(message, links=links)

    def _made(self, sources: Sequence[str]) -> list[wire.SourceLink]:
        """What cannot be had, the worker misses and says so."""
        from jupyter_remote.blobs.objects import Reader

        try:
            reader = Reader(profile=self._settings.ec2_profile)
            return [wire.SourceLink(source, reader.address(source)) for source in sources]
        except JupyterRemoteError as error:
            log.warning("%s", error.message)
            return []
