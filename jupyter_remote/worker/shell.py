"""A real IPython shell in a real ipykernel, whose IOPub is our one socket.

Built in the zygote before a kernel process is forked, connected to its socket afterwards.
"""

from __future__ import annotations

import asyncio
import builtins
import importlib
import linecache
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

from ipykernel import zmqshell
from ipykernel.compiler import XCachingCompiler
from ipykernel.ipkernel import IPythonKernel
from IPython.core.error import UsageError
from jupyter_client.session import Session
from traitlets.config import Config

from jupyter_remote.wire import COMM_BYTES
from jupyter_remote.worker import channel, failure
from jupyter_remote.worker.folding import Bounds, too_large
from jupyter_remote.worker.interrupts import Interruptible, Interrupts
from jupyter_remote.worker.output_widgets import OutputWidgets, without_capture
from jupyter_remote.worker.outputs import Writer, to_json


def _without_debugger() -> None:
    """Let ipykernel find no debugpy: it is heavy, and no front end reaches a debugger here."""
    if "debugpy" in sys.modules:
        return
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("ipykernel.debugger")
    finally:
        del sys.modules["debugpy"]


DISPLAY_BYTES = Bounds().display_bytes

IOPUB = frozenset(
    ("display_data", "update_display_data", "execute_result", "clear_output", "error")
)


class OurSession(Session):
    """Where ipykernel would write to ZeroMQ sockets, this writes to ours."""

    writer: Writer | None = None
    widgets: OutputWidgets | None = None

    def connect(self, writer: Writer) -> None:
        """From now on messages go to ``writer``."""
        self.writer = writer
        self.widgets = OutputWidgets(
            writer, lambda msg_type, content: writer.send(out(msg_type, content))
        )

    def send(
        self,
        stream: Any,
        msg_or_type: Any,
        content: Any = None,
        parent: Any = None,
        ident: Any = None,
        buffers: Any = None,
        track: bool = False,
        header: Any = None,
        metadata: Any = None,
    ) -> dict[str, Any]:
        """Called by ipykernel with a message type and content, or with a whole message."""
        msg_type = msg_or_type
        if not isinstance(msg_or_type, str):
            msg_type = msg_or_type["header"]["msg_type"]
            content = msg_or_type["content"]
            metadata = msg_or_type.get("metadata")
            buffers = buffers or msg_or_type.get("buffers")
        if self.writer is None or self.widgets is None:
            return {"content": content}
        if msg_type.startswith("comm_"):
            self.widgets.hear(msg_type, content)
            self.writer.send(out(msg_type, without_capture(content), metadata, buffers))
        elif msg_type in IOPUB and not self.widgets.take(msg_type, content):
            self.writer.send(out(msg_type, content, metadata, buffers))
        elif msg_type == "execute_reply":
            for page in (p for p in content.get("payload", ()) if p.get("source") == "page"):
                # `name?` opens the front end's pager; from here it is an output of the cell.
                self.writer.send(out("display_data", {"data": page["data"], "metadata": {}}))
        return {"content": content}


def out(msg_type: str, content: Any, metadata: Any = None, buffers: Any = None) -> channel.Out:
    """An IOPub message as it goes to the agent; a word in its place if it is far too large."""
    limit = COMM_BYTES if msg_type.startswith("comm_") else DISPLAY_BYTES
    size = _size_of(content) + sum(memoryview(b).nbytes for b in buffers or ())
    if size <= limit:  # what is larger is not even encoded: it would take as much memory again
        encoded = to_json(content)
        if (size := max(size, len(encoded))) <= limit:
            return channel.Out(
                msg_type=msg_type,
                content=encoded,
                metadata=to_json(metadata or {}),
                buffers=[bytes(b) for b in buffers or ()],
            )
    return channel.Out(
        msg_type="notice", content=to_json({"text": too_large(msg_type, size, limit)})
    )


def _size_of(content: Any) -> int:
    """About how much text is in a message."""
    if isinstance(content, str | bytes):
        return len(content)
    if isinstance(content, dict):
        return sum(_size_of(value) for value in content.values())
    if isinstance(content, list | tuple):
        return sum(_size_of(value) for value in content)
    return 8


class Compiler(XCachingCompiler):
    """Compiles a cell under the filename that it has in the notebook, shown by its name there."""

    filename = ""  # of the cell that runs now

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.names: dict[str, str] = {}

    def get_code_name(self, raw_code: str, code: str, number: int) -> str:
        if self.filename:
            return self.filename
        name: str = super().get_code_name(raw_code, code, number)  # type: ignore[no-untyped-call]
        return name

    def format_code_name(self, name: str) -> tuple[str, str] | None:
        if name in self.names:
            return "Cell", self.names[name]
        found: tuple[str, str] | None = super().format_code_name(name)
        return found

    def add_source(self, filename: str, text: str, name: str = "") -> None:
        """Let tracebacks through ``filename`` show source lines."""
        lines = text.splitlines(keepends=True)
        linecache.cache[filename] = (len(text), None, lines, filename)
        if name:
            self.names[filename] = name


# Libraries ask for this class by its name to know that they run in Jupyter.
class ZMQInteractiveShell(zmqshell.ZMQInteractiveShell):
    """The shell that user code sees as ``get_ipython()``."""

    interrupts: Interrupts | None = None

    depth = 0  # of cells that run cells
    _last_traceback: list[str] | None = None

    def __init__(self, **options: Any) -> None:
        options["compiler_class"] = Compiler  # ipykernel 6 gives its own, whatever the kernel says
        super().__init__(**options)  # type: ignore[no-untyped-call]

    def run_cell(self, *args: Any, **kwargs: Any) -> Any:
        """An interrupt that comes before IPython has begun with the code is its result, too."""
        before = self.last_execution_result
        result = super().run_cell(*args, **kwargs)  # type: ignore[no-untyped-call]
        if self.last_execution_result is before:
            self.last_execution_result = result
        return result

    async def run_cell_async(self, *args: Any, **kwargs: Any) -> Any:
        """Every cell comes through here, with and without top-level ``await``."""
        self.depth += 1
        try:
            run = super().run_cell_async(*args, **kwargs)
            if self.interrupts is None or asyncio._get_running_loop() is None:
                return await run
            what = Interruptible(run)
            with self.interrupts.waiting(asyncio.get_running_loop(), what):
                return await what
        finally:
            self.depth -= 1

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        """Called by IPython and its magics where an exception is to be shown."""
        error = exc_tuple[1] if exc_tuple else sys.exc_info()[1]
        if self._is_the_cells_own(error):
            return
        if isinstance(error, BaseExceptionGroup):  # IPython itself would print it to stderr
            error.__traceback__ = failure.user_frames(error.__traceback__)
            self._showtraceback(type(error), error, failure.lines_of(error))
            return
        super().showtraceback(exc_tuple, *args, **kwargs)

    def _is_the_cells_own(self, error: BaseException | None) -> bool:
        """It travels in ``Finished``, formatted there; deep ones take a while to format."""
        result = self.displayhook.exec_result
        if self.depth != 1 or result is None or error is None:
            return False
        return error is result.error_in_exec or error is result.error_before_exec

    def _showtraceback(self, etype: type[BaseException], evalue: Any, stb: list[str]) -> None:
        """Called by IPython with a formatted traceback."""
        ename, message = failure.name_of(etype), failure.message_of(evalue)
        content = {"ename": ename, "evalue": message, "traceback": stb}
        if (writer := self.kernel.session.writer) is not None:
            if self.displayhook.exec_result is None:
                writer.defer(out("error", content), evalue)
            else:
                writer.send(out("error", content))
        self._last_traceback = stb

    def enable_gui(self, gui: str | None = None) -> None:
        """Called by ``%matplotlib``. ipykernel's own looks for the kernel in its application."""
        from ipykernel.eventloops import loop_map

        if gui not in loop_map or loop_map[gui] is not None:
            raise UsageError(f"there is no screen here for {gui!r}: use `%matplotlib inline`")
        self.active_eventloop = gui

    def ask_exit(self) -> None:
        """``exit`` and ``quit`` in a job end it as ``sys.exit()`` does."""
        raise SystemExit(0)


class JobKernel(IPythonKernel):
    """ipykernel's own execution of cells, without its sockets."""

    shell_class = ZMQInteractiveShell
    ask: Callable[[str, bool], str] | None = None

    def _input_request(self, prompt: str, ident: Any, parent: Any, password: bool = False) -> str:
        """Called by ``input()`` and ``getpass.getpass()``."""
        assert self.ask is not None
        return self.ask(prompt, password)

    @contextmanager
    def _cancel_on_sigint(self, future: Any) -> Iterator[None]:
        """Our own SIGINT handler interrupts code that awaits; see ``interrupts``."""
        yield

    def _abort_queues(self, subshell_id: str | None = None) -> None:
        """There is no queue: an attempt is one request."""

    @contextmanager
    def asking(self) -> Iterator[None]:
        """``input()`` asks the notebook inside the block."""
        self._forward_input(allow_stdin=True)  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            self._restore_input()  # type: ignore[no-untyped-call]


def build() -> JobKernel:
    """A kernel that is ready to run code once ``session.writer`` is set.

    ``IPKernelApp`` is in its configuration because libraries (tqdm.auto) look for it there.
    """
    _without_debugger()
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    config = Config()
    config.IPKernelApp = Config()
    config.HistoryManager.enabled = False
    session = OurSession(key=os.urandom(16), config=config)
    kernel: JobKernel = JobKernel.instance(
        config=config,
        session=session,
        log=_log(),
        user_ns=None,
        shell_channel_thread=SimpleNamespace(parent_thread=threading.main_thread()),
    )
    sys.displayhook = sys.__displayhook__
    return kernel


def _log() -> logging.Logger:
    """What ipykernel tells of itself is for nobody here, whatever logging user code sets up."""
    log = logging.Logger("ipykernel")
    log.disabled = True
    return log


def fresh_main(shell: Any) -> dict[str, Any]:
    """A new ``__main__`` as the shell's namespace; returns the namespace."""
    module = ModuleType(
        "__main__", "Automatically created module for IPython interactive environment"
    )
    module.__dict__.update(__builtin__=builtins, __builtins__=builtins)
    sys.modules["__main__"] = module
    shell.user_module = module
    shell.user_ns = module.__dict__
    return module.__dict__


def request(id: str, code: str = "") -> dict[str, Any]:
    """An ``execute_request`` of Jupyter."""
    content = {"code": code, "silent": False, "store_history": True, "allow_stdin": True}
    header = {"msg_id": id, "msg_type": "execute_request", "session": id}
    named = {"msg_id": id, "msg_type": "execute_request", "metadata": {"cellId": id}}
    return {"header": header, **named, "content": content}
