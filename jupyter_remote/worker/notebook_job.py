"""A whole notebook as a job: nbclient runs it cell by cell in a kernel of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import nbformat
import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_async, run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import v4

from jupyter_remote.errors import UsageError
from jupyter_remote.wire import Bar, JobSpec
from jupyter_remote.worker import channel, inside
from jupyter_remote.worker.checkpoints import Checkpoints
from jupyter_remote.worker.encodable import rate_of, text_of
from jupyter_remote.worker.interrupts import Interrupts
from jupyter_remote.worker.notebook_kernel import BAR, READY, SAVED
from jupyter_remote.worker.outputs import Writer, to_json
from jupyter_remote.worker.verdict import ending

WHOLE = "notebook"  # id of the bar that counts cells
SHOWN = frozenset(("display_data", "execute_result", "update_display_data", "clear_output"))


class NotebookError(Exception):
    """A cell of the notebook raised; the notebook holds its traceback."""

    def __init__(
        self, cell: int, ename: str, evalue: str, traceback: list[str], hint: str = ""
    ) -> None:
        super().__init__(f"Cell {cell}: {ename}: {evalue}")
        self.cell = cell
        self.ename = ename
        self.evalue = evalue
        self._traceback = traceback
        self._hint = [hint] if hint else []

    def _render_traceback_(self) -> list[str]:
        return [*self._traceback, "", f"NotebookError: {self}", *self._hint]


class _Live(NotebookClient):
    """Passes outputs on as they come."""

    writer: Writer

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._bars: dict[str, Bar] = {}

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        content, msg_type = msg["content"], msg["msg_type"]
        if msg_type == BAR:
            self._pass_on(msgspec.convert(content, Bar))
            return None
        if msg_type == SAVED:
            said = msgspec.json.encode(content)
            kinds = channel.Saved | channel.Every
            self.writer.tell_agent(msgspec.json.decode(said, type=kinds))
            return None
        if msg_type == "stream":
            self.writer.text(content["name"], text_of(content["text"]))
        elif msg_type in SHOWN and not self._is_in_a_widget(msg):
            self.writer.send(
                channel.Out(
                    msg_type=msg_type,
                    content=to_json(content),
                    metadata=to_json(msg["metadata"]),
                )
            )
        output = super().process_message(msg, cell, cell_index)
        # An Output widget may have sent its state on the socket on which the cell's reply is
        # awaited: what came there just before that is told by nobody, only seen by looking.
        client: Any = self.kc
        client.shell_channel.socket.get(zmq.EVENTS)
        return output

    def _is_in_a_widget(self, msg: Any) -> bool:
        """What an Output widget clears is not the cell; what it shows is seen in the notebook."""
        hooks = self.output_hook_stack[msg["parent_header"].get("msg_id")]
        return bool(hooks) and msg["msg_type"] == "clear_output"

    def learn_language(self) -> None:
        """The notebook says which language it is in, for those who show it."""
        reply = self.wait_for_reply(run_sync(self._ask_for_language)())
        if reply is not None and "language_info" in reply["content"]:
            self.nb.metadata["language_info"] = reply["content"]["language_info"]

    async def _ask_for_language(self) -> str:
        client: Any = self.kc
        msg_id: str = await ensure_async(client.kernel_info())
        return msg_id

    def _pass_on(self, bar: Bar) -> None:
        """A bar of a cell is below that of the notebook."""
        bar = msgspec.structs.replace(bar, parent=bar.parent or WHOLE)
        if bar.state == "close":
            self._bars.pop(bar.id, None)
        else:
            self._bars[bar.id] = bar
        self.writer.send(channel.Progress(bar))

    def close_bars(self) -> None:
        """Those that the cells left open."""
        for bar in list(self._bars.values()):
            self._pass_on(msgspec.structs.replace(bar, state="close"))


def _manager(run: channel.Run, folder: str) -> AsyncKernelManager:
    """A kernel of this interpreter, whether or not it has a kernel spec.

    Its signals come from us; over IPC sockets in ``folder``, because TCP ones may be closed off. An
    asynchronous manager, because only then nbclient looks while a cell runs whether the kernel is
    alive.
    """
    manager = AsyncKernelManager(
        transport="ipc", ip=f"{folder}/ipc", connection_file=f"{folder}/kernel.json"
    )
    purse = " ".join(map(repr, inside.job.purse or ()))
    bars = "bars" if run.spec.quiet_progress else "text"
    known = Path(folder, "run.json")
    known.write_bytes(msgspec.json.encode(_without_notebook(run)))
    manager._kernel_spec = KernelSpec(
        # -P: a file of the job, such as random.py, does not get in the way of its start
        argv=[
            *(sys.executable, "-P", "-m", "jupyter_remote.worker.notebook_kernel"),
            *(str(known), purse, bars),
            *("-f", "{connection_file}"),
        ],
        display_name="Python",
        language="python",
    )
    return manager


def _without_notebook(run: channel.Run) -> channel.Run:
    """What its kernel has to know."""
    spec = JobSpec(kind="notebook", checkpoint=run.spec.checkpoint)
    return msgspec.structs.replace(run, spec=spec)


def _first_line(source: str) -> str:
    lines = (line.strip() for line in source.splitlines())
    return next((line for line in lines if line), "")[:80]


class _Progress:
    """Cell k of n as a bar."""

    def __init__(self, writer: Writer, notebook: Any, name: str) -> None:
        self._writer = writer
        self._cells = [i for i, c in enumerate(notebook.cells) if c.cell_type == "code"]
        self._name = name
        self._began = time.monotonic()
        self.done = 0

    def say(self, state: Any, description: str = "") -> None:
        elapsed_s = time.monotonic() - self._began
        bar = Bar(
            id=WHOLE,
            n=self.done,
            total=len(self._cells),
            description=description or self._name,
            unit="cell",
            rate=rate_of(self.done, elapsed_s),
            elapsed_s=elapsed_s,
            state=state,
        )
        self._writer.send(channel.Progress(bar))


def execute(
    data: bytes,
    run: channel.Run,
    writer: Writer,
    interrupts: Interrupts,
    checkpoints: Checkpoints,
) -> tuple[bytes, BaseException | None]:
    """Run the notebook in ``data``; returns it executed, and what stopped it, if anything did."""
    notebook = _read(data, run.spec.name)
    bar = _Progress(writer, notebook, run.spec.name)
    bar.say("open")
    error: BaseException | None = None
    try:
        with tempfile.TemporaryDirectory(prefix="jupyter-remote-") as folder:
            manager = _manager(run, folder)
            with checkpoints.instead(_ask(manager)):
                error = _run(notebook, manager, writer, interrupts, bar)
    except KeyboardInterrupt as interrupt:
        error = interrupt
    finally:
        bar.say("close")
    text: str = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    return text.encode(), error


def _run(
    notebook: Any,
    manager: AsyncKernelManager,
    writer: Writer,
    interrupts: Interrupts,
    bar: _Progress,
) -> BaseException | None:
    client = _Live(
        notebook, km=manager, timeout=None, resources={"metadata": {"path": os.getcwd()}}
    )
    client.owns_km = True
    client.shutdown_kernel = "immediate"
    client.writer = writer
    try:
        with client.setup_kernel(), interrupts.instead(_interrupt(manager)):
            client.learn_language()
            error = _run_cells(client, notebook, bar)
            client.set_widgets_metadata()
            return error
    finally:
        client.close_bars()
        _end(manager)


def _read(data: bytes, name: str) -> Any:
    """The notebook. Raises UsageError for what is none, or none of Python."""
    try:
        _check_cells(json.loads(data))
        with warnings.catch_warnings(action="ignore"):  # about ids that old notebooks lack
            notebook = nbformat.reads(data.decode(), as_version=4)  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever a file of another kind makes of its reader
        raise UsageError(
            f"{name or 'This file'} is not a notebook: {_plain_line(error)}",
            hint="Open and save it in Jupyter: what Jupyter can show can be run.",
        ) from None
    language = _language_of(notebook)
    if language and not language.lower().startswith("python"):
        raise UsageError(
            f"{name or 'This notebook'} is in {language}; jobs run notebooks in Python.",
            hint="Choose a Python kernel for it in Jupyter if that is wrong.",
        )
    return notebook


def _plain_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _check_cells(raw: Any) -> None:
    """Raises ValueError. Newer notebooks have cells, older ones worksheets."""
    cells = raw.get("cells", []) if isinstance(raw, dict) else None
    if not isinstance(cells, list):
        raise ValueError("it has no list of cells")
    if not all(isinstance(c, dict) and {"cell_type", "source"} <= c.keys() for c in cells):
        raise ValueError("one of its cells is none")


def _language_of(notebook: Any) -> str:
    """As far as it says."""
    kernel, language = (notebook.metadata.get(k, {}) for k in ("kernelspec", "language_info"))
    return str(kernel.get("language") or language.get("name") or "")


def _run_cells(client: _Live, notebook: Any, bar: _Progress) -> BaseException | None:
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        bar.say("update", _first_line(cell.source))
        try:
            client.execute_cell(cell, index)
        except CellExecutionError as error:
            return _error_of(cell, index, error)
        except DeadKernelError:
            return _death_of(client, cell, index)
        bar.done += 1
    return None


def _error_of(cell: Any, index: int, error: CellExecutionError) -> BaseException:
    if error.ename == "KeyboardInterrupt":
        return KeyboardInterrupt()
    found = [o for o in cell.outputs if o.output_type == "error"]
    if not found:
        return NotebookError(index + 1, error.ename, error.evalue, [_plain(str(error))])
    shown = found[-1]  # its reply knows nothing of what a __repr__ raised
    hint = _hint_for(shown.ename, shown.evalue)
    return NotebookError(index + 1, shown.ename, shown.evalue, list(shown.traceback), hint)


def _hint_for(ename: str, evalue: str) -> str:
    missing = re.match(r"No module named '(\w+)", evalue)
    if ename != "ModuleNotFoundError" or missing is None:
        return ""
    name = missing[1]
    return f"If {name}.py lies beside the notebook, send it along: --files {name}.py"


def _death_of(client: _Live, cell: Any, index: int) -> NotebookError:
    """The kernel is gone; its cell says so, too."""
    manager: Any = client.km
    process = getattr(manager.provisioner, "process", None)
    code = None if process is None else process.returncode
    why = "the kernel died" if code is None else f"the kernel died ({ending(code)})"
    error = NotebookError(index + 1, DeadKernelError.__name__, why, [f"DeadKernelError: {why}"])
    told = {"ename": error.ename, "evalue": why, "traceback": error._render_traceback_()}
    cell.outputs.append(v4.new_output("error", **told))  # type: ignore[no-untyped-call]
    return error


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _interrupt(manager: AsyncKernelManager) -> Callable[[], None]:
    """What an interrupt does: the notebook's kernel gets it, and its cell ends with it."""

    def send() -> None:
        pid = getattr(manager.provisioner, "pid", None)
        if pid is None:
            raise KeyboardInterrupt
        with contextlib.suppress(ProcessLookupError):  # it just died, which will be seen
            os.killpg(pid, signal.SIGINT)  # it leads a group of its own

    return send


def _ask(manager: AsyncKernelManager) -> Callable[[int], bool]:
    """The notebook's kernel gets a signal of ``channel.CHECKPOINTS``, as soon as it knows them:
    before that it has run no cell."""

    def send(number: int) -> bool:
        pid = getattr(manager.provisioner, "pid", None)
        ready = Path(manager.connection_file).with_name(READY)
        if pid is None or not ready.exists():
            return False
        with contextlib.suppress(ProcessLookupError):  # it just died, which will be seen
            os.kill(pid, number)
        return True

    return send


def _end(manager: AsyncKernelManager) -> None:
    with contextlib.suppress(RuntimeError):  # it has ended already
        if manager.has_kernel:
            run_sync(manager.shutdown_kernel)(now=True)
