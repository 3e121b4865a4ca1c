"""Bytes beside the messages of calls: from where a client put them, and to where it finds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_remote import mapping, shared
from jupyter_remote.errors import JobLost
from jupyter_remote.values import Packed
from jupyter_remote.wire import Segment
from jupyter_remote.worker import channel
from jupyter_remote.worker.callers import Now

if TYPE_CHECKING:
    from jupyter_remote.worker.kernel import KernelProcess


class Beside:
    """Of one session. The client's folder first, then the blob store, else the agent is asked."""

    def __init__(self, process: KernelProcess, run: channel.Run, now: Now) -> None:
        self._process = process
        self._run = run
        self._now = now

    def fetch(self, segment: Segment) -> memoryview:
        path = shared.find(self._folder, segment.digest)
        if path is None and self._is_there(segment.digest):
            path = mapping.blob_path(self._run.blobs, segment.digest)
        if path is None:
            path = Path(self._asked(channel.Fetch(segment)).path)
        return mapping.map_blob(path, segment.digest, segment.size_bytes)

    def give(self, packed: Packed) -> None:
        """See to it that the client can have what is not inside of the parcel."""
        beside = [s for s in packed.parcel.segments if s.data is None]
        if not beside:
            return
        new = {d: b for d, b in packed.contents.items() if not self._has(d, b)}
        if new:
            files = mapping.spool(new, self._run.spool)
            given = [channel.Spooled(s, files[s.digest]) for s in beside if s.digest in files]
            self._asked(channel.Give(given))

    def _has(self, digest: str, content: Any) -> bool:
        """Can the client have it: is it where both look, or could it be put there?"""
        folder = self._folder
        if self._is_there(digest) or shared.find(folder, digest) is not None:
            return True
        return bool(folder) and shared.write(folder, digest, mapping.flat(content))

    @property
    def _folder(self) -> str:
        caller = self._now.caller
        return "" if caller is None else caller.shared

    def _is_there(self, digest: str) -> bool:
        blobs = self._run.blobs
        return bool(blobs) and mapping.blob_path(blobs, digest).exists()

    def _asked(self, question: channel.Fetch | channel.Give) -> channel.Placed:
        """The agent's answer. Raises JobLost when it cannot."""
        process = self._process
        process.writer.tell_agent(question)
        inbox = process.inbox
        with process.interrupts.held():
            while not isinstance(answer := inbox.next(), channel.Placed):
                inbox.later.append(answer)
        if answer.problem:
            raise JobLost(answer.problem, hint="call it again")
        return answer
