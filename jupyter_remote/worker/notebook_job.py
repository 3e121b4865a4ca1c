"""A whole notebook as a job: nbclient runs it cell by cell in a kernel of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from jupyter_remote.errors import UsageError
from jupyter_remote.wire import Bar
from jupyter_remote.worker import channel, inside
from jupyter_remote.worker.interrupts import Interrupts
from jupyter_remote.worker.notebook_kernel import BAR
from jupyter_remote.worker.outputs import Writer, to_json

WHOLE = "notebook"  # id of the bar that counts cells
SHOWN = frozenset(("display_data", "execute_result", "update_display_data", "clear_output"))


class NotebookError(Exception):
    """A cell of the notebook raised; the notebook holds its traceback."""

    def __init__(self, cell: int, ename: str, evalue: str, traceback: list[str]) -> None:
        super().__init__(f"Cell {cell}: {ename}: {evalue}")
        self.cell = cell
        self.ename = ename
        self.evalue = evalue
        self._traceback = traceback

    def _render_traceback_(self) -> list[str]:
        return [*self._traceback, "", f"NotebookError: {self}"]


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
        if msg_type == "stream":
            self.writer.text(content["name"], content["text"])
        elif msg_type in SHOWN:
            self.writer.send(
                channel.Out(
                    msg_type=msg_type,
                    content=to_json(content),
                    metadata=to_json(msg["metadata"]),
                )
            )
        return super().process_message(msg, cell, cell_index)

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


def _manager(bars: bool) -> KernelManager:
    """A kernel of this interpreter, whether or not it has a kernel spec.

    Its signals come from us; over IPC sockets, because TCP ones may be closed off.
    """
    manager = KernelManager(transport="ipc" if sys.platform != "win32" else "tcp")
    manager._kernel_spec = KernelSpec(
        # -P: a file of the job, such as random.py, does not get in the way of its start
        argv=[
            *(sys.executable, "-P", "-m", "jupyter_remote.worker.notebook_kernel"),
            *(inside.job.id, str(inside.job.attempt), "bars" if bars else "text"),
            *("-f", "{connection_file}"),
        ],
        display_name="Python",
        language="python",
    )
    return manager


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
            rate=self.done / elapsed_s if self.done else None,
            elapsed_s=elapsed_s,
            state=state,
        )
        self._writer.send(channel.Progress(bar))


def execute(
    data: bytes, writer: Writer, interrupts: Interrupts, name: str = "", bars: bool = True
) -> tuple[bytes, BaseException | None]:
    """Run the notebook in ``data``; returns it executed, and what stopped it, if anything did.

    ``bars``: progress bars of its cells are data, not text.
    """
    notebook = _read(data, name)
    manager = _manager(bars)
    client = _Live(
        notebook, km=manager, timeout=None, resources={"metadata": {"path": os.getcwd()}}
    )
    client.owns_km = True
    client.shutdown_kernel = "immediate"
    client.writer = writer
    bar = _Progress(writer, notebook, name)
    bar.say("open")
    error: BaseException | None = None
    try:
        with client.setup_kernel(), interrupts.instead(_interrupt(manager)):
            error = _run_cells(client, notebook, bar)
    except KeyboardInterrupt as interrupt:
        error = interrupt
    finally:
        client.close_bars()
        bar.say("close")
        _end(manager)
    text: str = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    return text.encode(), error


def _read(data: bytes, name: str) -> Any:
    try:
        return nbformat.reads(data.decode(), as_version=4)  # type: ignore[no-untyped-call]
    except (ValueError, nbformat.ValidationError) as error:
        raise UsageError(f"{name or 'This file'} is not a notebook: {error}") from None


def _run_cells(client: _Live, notebook: Any, bar: _Progress) -> BaseException | None:
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        bar.say("update", _first_line(cell.source))
        try:
            client.execute_cell(cell, index)
        except CellExecutionError as error:
            return _error_of(cell, index, error)
        bar.done += 1
    return None


def _error_of(cell: Any, index: int, error: CellExecutionError) -> BaseException:
    if error.ename == "KeyboardInterrupt":
        return KeyboardInterrupt()
    found = [o for o in cell.outputs if o.output_type == "error"]
    traceback = list(found[-1].traceback) if found else [_plain(str(error))]
    return NotebookError(index + 1, error.ename, error.evalue, traceback)


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _interrupt(manager: KernelManager) -> Callable[[], None]:
    """What an interrupt does: the notebook's kernel gets it, and its cell ends with it."""

    def send() -> None:
        pid = getattr(manager.provisioner, "pid", None)
        if pid is None:
            raise KeyboardInterrupt
        os.kill(pid, signal.SIGINT)

    return send


def _end(manager: KernelManager) -> None:
    with contextlib.suppress(RuntimeError):  # it has ended already
        if manager.has_kernel:
            manager.shutdown_kernel(now=True)
