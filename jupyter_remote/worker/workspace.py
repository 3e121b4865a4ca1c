"""Where attempts run: the packages, the folder with its files, the kernel."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

from jupyter_remote import calls
from jupyter_remote.model import Stage
from jupyter_remote.wire import Assign, EnvironmentSpec
from jupyter_remote.worker import channel
from jupyter_remote.worker.means import Means
from jupyter_remote.worker.outbox import Outbox
from jupyter_remote.worker.preparing import Preparing
from jupyter_remote.worker.slots import Kernel, Listener, Shelf
from jupyter_remote.worker.transfer import BadInput


class Workspace:
    """Of one attempt: prepared for it, and taken down after it."""

    def __init__(self, name: str, assign: Assign, means: Means, outbox: Outbox) -> None:
        self.kernel: Kernel | None = None
        self.folder: Path | None = None
        self._name = name
        self._assign = assign
        self._means = means
        self._outbox = outbox
        self._interpreter = ""
        self._has_environment = False  # of its own

    async def prepare(self) -> channel.Run:
        """Returns what the kernel will be told.

        Raises BadInput, EnvironmentUnavailable, KernelUnavailable.
        """
        spec = self._assign.spec
        self._interpreter = spec.executable if self._means.here else ""
        if spec.environment is not None:
            self._interpreter = await self._build(spec.environment)
        shelf = self._shelf()
        shelf.ensure()  # starts meanwhile, if there is none
        try:
            folder = self.folder = self._means.folder(self._name)
        except OSError as error:
            raise BadInput(f"the job gets no folder: {error.strerror}") from error
        for file in spec.files:
            if file.content.data is None or file.source:
                self._outbox.set_stage(Stage.SENDING_INPUTS)
            await self._means.transfer.place(file, folder, self._assign.links)
        message = await self._message(folder)
        kernel = await shelf.take(self._company if spec.kind == "call" else None)
        self.kernel, kernel.gpus = kernel, self._assign.gpus
        if kernel.owner is None:
            await self._means.kernels.make_way(kernel.gpus)
        return message

    def listen(self, listener: Listener) -> None:
        """To what the kernel says from now on."""
        if self.kernel is not None:
            self.kernel.listener = listener

    def make_next_ready(self) -> None:
        """The next job finds a kernel: one is started while this job runs."""
        self._shelf().ensure()

    def put_back(self, ran: bool = False) -> None:
        """The kernel has run nothing; or a call to its end, undisturbed: it may run others."""
        if self.kernel is not None:
            kernel, self.kernel = self.kernel, None
            if ran:
                kernel.owner = self._company
            self._shelf().put_back(kernel, self._means.clock.monotonic())

    def retire(self) -> None:
        """The kernel has run its job."""
        if self.kernel is not None:
            kernel, self.kernel = self.kernel, None
            self._shelf().retire(kernel)

    def abandon(self, running: bool) -> None:
        """What runs in it, if something does, is nobody's any more."""
        if self.kernel is not None:
            self.kernel.kill()

    async def close(self) -> None:
        """Without its kernel: nobody uses what is there."""
        if self._has_environment:
            self._means.environments.release(self._interpreter)
        if self.folder is not None:
            await asyncio.shield(asyncio.create_task(self._means.done_with(self.folder)))

    async def _build(self, environment: EnvironmentSpec) -> str:
        """The interpreter of the job's own environment."""
        preparing = Preparing(self._outbox, self._means.clock)
        base, environments = self._interpreter, self._means.environments
        try:
            interpreter = await environments.interpreter(environment, base, preparing.told)
        finally:
            preparing.close()
        self._has_environment = True
        return interpreter

    async def _message(self, folder: Path) -> channel.Run:
        """What the kernel will be told, when its inputs are here."""
        fetching = lambda: self._outbox.set_stage(Stage.SENDING_INPUTS, at_once=True)  # noqa: E731
        paths = await self._means.transfer.inputs_of(self._assign.spec, fetching)
        return self._means.message(self._assign, folder, paths)

    def _shelf(self) -> Shelf:
        return self._means.kernels.shelf(self._interpreter, self._means.clock.monotonic())

    @property
    def _company(self) -> str:
        """Whose calls may follow each other in one process: CUDA chooses its GPUs once."""
        gpus = "".join(f" {number}" for number in self._assign.gpus)
        return self._assign.owner + gpus


class SessionWorkspace(Workspace):
    """Of a session: its kernel takes calls at an address."""

    _sockets: Path | None = None

    async def prepare(self) -> channel.Run:
        run = await super().prepare()
        if sys.platform == "linux":
            name = f"jupyter-remote-{self._assign.job}-{self._assign.epoch}"
            address = calls.ABSTRACT + name
        else:
            self._sockets = Path(tempfile.mkdtemp(prefix="jr-"))
            address = str(self._sockets / "s")
        return channel.with_address(run, address)

    async def close(self) -> None:
        await super().close()
        if self._sockets is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(self._sockets)


class CellWorkspace(Workspace):
    """Of a cell in a session: the session's, which goes on after it and hears its kernel."""

    async def prepare(self) -> channel.Run:
        assert self.folder is not None
        for file in self._assign.spec.files:
            await self._means.transfer.place(file, self.folder, self._assign.links)
        return await self._message(self.folder)

    def listen(self, listener: Listener) -> None:
        pass

    def make_next_ready(self) -> None:
        pass

    def put_back(self, ran: bool = False) -> None:
        self.kernel = None

    def retire(self) -> None:
        self.kernel = None

    def abandon(self, running: bool) -> None:
        kernel, self.kernel = self.kernel, None
        if kernel is not None and running:
            kernel.interrupt()

    async def close(self) -> None:
        self.folder = None
