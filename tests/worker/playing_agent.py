"""Plays the agent: gives a real kernel process jobs and gathers what it says."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from jupyter_remote import mapping, values
from jupyter_remote.client.home import Arrived, restored
from jupyter_remote.values import Packed
from jupyter_remote.wire import Bar, JobSpec, Parcel, Result, Segment
from jupyter_remote.worker import channel
from jupyter_remote.worker.launch import KernelHandle, KernelLauncher

LIMIT_S = 60.0

_numbers = itertools.count(1)


class Transcript:
    """All that a kernel said in one job."""

    def __init__(self) -> None:
        self.messages: list[channel.FromKernel] = []
        self.finished: channel.Finished | None = None
        self.folder = Path()
        self.run: channel.Run | None = None

    def text(self, name: str = "stdout") -> str:
        texts = [m for m in self.messages if isinstance(m, channel.Text)]
        return "".join(t.text for t in texts if t.name == name and not t.elsewhere)

    @property
    def only_logged(self) -> str:
        texts = [m for m in self.messages if isinstance(m, channel.Text)]
        return "".join(t.text for t in texts if t.elsewhere)

    @property
    def order(self) -> list[str]:
        """Texts and displays as they came: ``"stdout a\\n"``, ``"display_data"``."""
        words = []
        for m in self.messages:
            if isinstance(m, channel.Text) and not m.elsewhere:
                words.append(f"{m.name} {m.text}")
            elif isinstance(m, channel.Out):
                words.append(m.msg_type)
        return words

    def outs(self, msg_type: str) -> list[dict[str, Any]]:
        return [
            msgspec.json.decode(m.content)
            for m in self.messages
            if isinstance(m, channel.Out) and m.msg_type == msg_type
        ]

    @property
    def bars(self) -> list[Bar]:
        return [m.bar for m in self.messages if isinstance(m, channel.Progress)]

    @property
    def done(self) -> channel.Finished:
        assert self.finished is not None
        return self.finished

    @property
    def error(self) -> Any:
        assert self.done.error is not None, self.messages
        return self.done.error

    @property
    def traceback(self) -> str:
        return "\n".join(self.error.traceback)

    @property
    def result(self) -> Result:
        assert self.done.result is not None, self.done.error
        return msgspec.json.decode(self.done.result, type=Result)

    def value(self, namespace: dict[str, Any] | None = None) -> Any:
        """What came home; of a cell the names that it assigned or whose objects it changed."""
        assert self.result.value is not None
        assert self.run is not None
        if self.run.spec.kind != "cell":
            return self._opened(self.result.value, namespace)
        numbered: values.Numbered = {}
        inputs = {}
        if self.run.spec.inputs is not None:
            inputs = self._opened(self.run.spec.inputs, namespace, numbered=numbered)
        came = self._opened(self.result.value, namespace, given=numbered.__getitem__)
        return restored(inputs, Arrived(*came), numbered)

    def _opened(self, parcel: Parcel, namespace: dict[str, Any] | None, **how: Any) -> Any:
        assert self.run is not None
        files = {s.segment.digest: s.file for s in self.done.spooled if s.file}
        paths = self.run.paths

        def fetch(segment: Segment) -> memoryview:
            file = files.get(segment.digest)
            path = self.folder / "spool" / file if file else Path(paths[segment.digest])
            return mapping.map_blob(path, segment.digest, segment.size_bytes)

        return values.unpack(parcel, fetch, namespace=namespace, at_home=True, **how)


class PlayingAgent:
    """One kernel process and its jobs."""

    def __init__(self, handle: KernelHandle, folder: Path) -> None:
        self.handle = handle
        self.folder = folder
        self.now = Transcript()
        self._files: dict[str, str] = {}

    def place(self, files: dict[str, str]) -> None:
        """Files that are in the folder of the next job."""
        self._files = files

    async def send(
        self, spec: JobSpec, contents: dict[str, Any] | None = None, **more: Any
    ) -> None:
        """Hand a job over; its outcome comes with :meth:`finish`."""
        number = next(_numbers)
        self.now = Transcript()
        self.now.folder = self.folder / f"job{number}"
        (self.now.folder / "spool").mkdir(parents=True)
        (self.now.folder / "cwd").mkdir()
        for path, text in self._files.items():
            target = self.now.folder / "cwd" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        run = channel.Run(
            job=f"job-{number}",
            epoch=1,
            spec=spec,
            folder=str(self.now.folder / "cwd"),
            spool=str(self.now.folder / "spool"),
            paths=self._stored(contents or {}),
            **more,
        )
        self.now.run = run
        await self.handle.send(run)

    def _stored(self, contents: dict[str, Any]) -> dict[str, str]:
        blobs = self.folder / "blobs"
        blobs.mkdir(exist_ok=True)
        for digest, data in contents.items():
            (blobs / digest).write_bytes(data)
        return {digest: str(blobs / digest) for digest in contents}

    async def until(self, seen: Callable[[channel.FromKernel], Any]) -> channel.FromKernel:
        """Gather messages until one of them is what is waited for."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                message = await self.handle.receive()
                self.now.messages.append(message)
                if isinstance(message, channel.Finished):
                    self.now.finished = message
                if seen(message):
                    return message

    async def until_text(self, part: str) -> None:
        """Gather until ``part`` was printed."""

        def is_there(_: object = None) -> bool:
            return part in self.now.text("stdout") + self.now.text("stderr")

        if not is_there():
            await self.until(is_there)

    async def finish(self) -> Transcript:
        await self.until(lambda m: isinstance(m, channel.Finished))
        return self.now

    async def run(
        self, spec: JobSpec, contents: dict[str, Any] | None = None, **more: Any
    ) -> Transcript:
        await self.send(spec, contents, **more)
        return await self.finish()

    async def cell(
        self, code: str, inputs: dict[str, Any] | None = None, **fields: Any
    ) -> Transcript:
        spec, packed = cell_of(code, inputs, **fields)
        return await self.run(spec, dict(packed.contents) if packed else None)

    async def call(self, function: Any, *args: Any, **kwargs: Any) -> Transcript:
        f, a = values.pack(function), values.pack((args, kwargs))
        spec = JobSpec(kind="call", function=f.parcel, inputs=a.parcel, name=function.__name__)
        return await self.run(spec, {**f.contents, **a.contents})

    async def rest(self) -> Transcript:
        """All that a dying kernel still says."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                try:
                    self.now.messages.append(await self.handle.receive())
                except EOFError:
                    return self.now


def cell_of(
    code: str, inputs: dict[str, Any] | None = None, **fields: Any
) -> tuple[JobSpec, Packed | None]:
    packed = values.pack(inputs) if inputs is not None else None
    fields = {"name": "In [3]", "filename": "/tmp/ipykernel_1/cell.py", **fields}
    parcel = packed.parcel if packed else None
    return JobSpec(kind="cell", code=code, inputs=parcel, **fields), packed


async def started(launcher: KernelLauncher, folder: Path) -> PlayingAgent:
    """A kernel that said it is ready."""
    agent = PlayingAgent(await launcher.start(), folder)
    await agent.until(lambda m: isinstance(m, channel.Ready))
    agent.now = Transcript()
    return agent
