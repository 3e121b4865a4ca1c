"""Where a job's output goes: the cell of a kernel, or the text of a terminal or script."""

from __future__ import annotations

import functools
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from jupyter_remote.client.origin import NO_CELL, Cell
from jupyter_remote.errors import as_coloured
from jupyter_remote.notebook.pace import DIRECT, SERVER, Pace, Rate
from jupyter_remote.notebook.updates import Updates
from jupyter_remote.wire import cell_code_of

if TYPE_CHECKING:
    from jupyter_remote.notebook.card import Front

ID_CHARS = 1000  # of a cell; VS Code makes them of the notebook's path
ENVELOPE_BYTES = 600  # of a message beside its text

Bundle = dict[str, Any]


class Sink(Protocol):
    """Shows one output after the other."""

    @property
    def pace(self) -> Pace | None:
        """That its messages keep; None: there is nothing that drops them."""

    def stream(self, name: str, text: str) -> None: ...

    def display(
        self,
        data: Bundle,
        metadata: Bundle,
        *,
        transient: Bundle | None = None,
        update: bool = False,
    ) -> None: ...

    def result(self, data: Bundle, metadata: Bundle) -> None: ...

    def clear(self, wait: bool) -> None: ...

    def error(self, ename: str, evalue: str, traceback: list[str]) -> None: ...

    def finish(self) -> None:
        """All that there is was given, for now."""


class KernelSink:
    """Sends on the local kernel's IOPub as if the cell of ``parent`` had sent it.

    Works from any thread, while that cell runs and after it. ``execution_count`` is that cell's.
    ``updates``: where nobody looks between cells.
    """

    def __init__(
        self,
        kernel: Any,
        parent: dict[str, Any],
        execution_count: int,
        pace: Pace | None = None,
        updates: Updates | None = None,
    ) -> None:
        self.pace = pace or Pace()
        self._updates = updates
        self._kernel = kernel
        self._parent = parent
        self._execution_count = execution_count

    def _send(
        self, kind: str, content: dict[str, Any], parent: dict[str, Any] | None = None
    ) -> None:
        kernel = self._kernel
        text = content.get("text")
        self.pace.spend(len(msgspec.json.encode(text)) + ENVELOPE_BYTES if text else 0)
        kernel.session.send(
            kernel.iopub_socket,
            kind,
            content,
            parent=parent or self._parent,
            ident=kernel._topic(kind),
        )

    def stream(self, name: str, text: str) -> None:
        self._send("stream", {"name": name, "text": text})

    def display(
        self,
        data: Bundle,
        metadata: Bundle,
        *,
        transient: Bundle | None = None,
        update: bool = False,
    ) -> None:
        transient = transient or {}
        content = {"data": data, "metadata": metadata, "transient": transient}
        if not update:
            self._send("display_data", content)
        elif self._updates is None:
            self._update(content)
        else:
            self._updates.send(transient.get("display_id", ""), lambda: self._update(content))

    def _update(self, content: dict[str, Any]) -> None:
        """Finds its place by its id; nbclient reads only what the present cell sends."""
        self._send("update_display_data", content, parent_of(self._kernel))

    def result(self, data: Bundle, metadata: Bundle) -> None:
        count = self._execution_count
        self._send("execute_result", {"data": data, "metadata": metadata, "execution_count": count})

    def clear(self, wait: bool) -> None:
        self._send("clear_output", {"wait": wait})

    def error(self, ename: str, evalue: str, traceback: list[str]) -> None:
        self._send("error", {"ename": ename, "evalue": evalue, "traceback": traceback})

    def busy(self) -> None:
        """Says that the kernel is busy, where this cell runs: on the main thread it does."""
        if threading.current_thread() is threading.main_thread():
            self._send("status", {"execution_state": "busy"})

    def finish(self) -> None: ...


class Relayed:
    """A remote value as its MIME bundle, for a display hook that wants an object."""

    def __init__(self, data: Bundle, metadata: Bundle) -> None:
        self._data = data
        self._metadata = metadata

    def __repr__(self) -> str:
        return str(self._data.get("text/plain", ""))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[Bundle, Bundle]:
        return self._data, self._metadata


class LocalSink:
    """Writes through ``sys.stdout`` and IPython's display publisher, as local code would: into a
    terminal, ``%%capture`` or ``redirect_stdout``; without IPython, into plain text."""

    pace: Pace | None = None

    def __init__(self, shell: Any = None) -> None:
        self._shell = shell

    def stream(self, name: str, text: str) -> None:
        out = sys.stderr if name == "stderr" else sys.stdout
        out.write(text)
        out.flush()

    def display(
        self,
        data: Bundle,
        metadata: Bundle,
        *,
        transient: Bundle | None = None,
        update: bool = False,
    ) -> None:
        if self._shell is None:
            self._text(data)
        else:
            publish = self._shell.display_pub.publish
            publish(data, metadata, transient=transient or {}, update=update)

    def result(self, data: Bundle, metadata: Bundle) -> None:
        hook = getattr(self._shell, "displayhook", None)
        if self._shell is None or sys.displayhook is hook:
            self._text(data)
        else:  # captured: the hook keeps the value
            sys.displayhook(Relayed(data, metadata))

    def clear(self, wait: bool) -> None:
        if self._shell is not None:
            self._shell.display_pub.clear_output(wait)

    def error(self, ename: str, evalue: str, traceback: list[str]) -> None:
        lines = as_coloured(traceback or [f"{ename}: {evalue}"])
        self.stream("stderr", "\n".join(lines) + "\n")

    def finish(self) -> None: ...

    def _text(self, data: Bundle) -> None:
        self.stream("stdout", f"{data.get('text/plain', '')}\n")


def kernel_of(shell: Any) -> Any:
    """The ipykernel behind a shell; None in a terminal, in a script and with no shell."""
    kernel = getattr(shell, "kernel", None)
    return kernel if getattr(kernel, "iopub_socket", None) is not None else None


def is_captured(shell: Any) -> bool:
    """Is the output of local code caught just now (``%%capture``, ``redirect_stdout``)?"""
    from ipykernel.iostream import OutStream
    from IPython.core.displaypub import CapturingDisplayPublisher

    captured = isinstance(shell.display_pub, CapturingDisplayPublisher)
    return captured or not isinstance(sys.stdout, OutStream)


def sink_for(shell: Any, *, blocking: bool) -> Sink:
    """Where output of a job started now goes. A job in the background is never captured."""
    kernel = kernel_of(shell)
    if kernel is None or (blocking and is_captured(shell)):
        return LocalSink(shell)
    sys.stdout.flush()  # what local code printed comes first
    sys.stderr.flush()
    updates = None if has_person(kernel) else _updates(shell)
    return KernelSink(kernel, parent_of(kernel), cell_number(shell), pace_of(kernel), updates)


def pace_of(kernel: Any) -> Pace:
    """That all that this kernel sends keeps."""
    return _pace(SERVER if has_person(kernel) else DIRECT)


@functools.cache
def _pace(rate: Rate) -> Pace:
    """One for all that this kernel sends."""
    return Pace(rate)


@functools.cache
def _updates(shell: Any) -> Updates:
    """One for all cells of this kernel."""
    return Updates(shell.events)


def parent_of(kernel: Any) -> dict[str, Any]:
    """The request that the kernel answers now, or answered last; from any thread."""
    parent: dict[str, Any] = kernel.get_parent("shell")
    return parent


def cell_of(shell: Any) -> Cell:
    """The one that runs now, as its front end calls it."""
    if (kernel := kernel_of(shell)) is None:
        return NO_CELL
    parent = parent_of(kernel)
    code = parent.get("content", {}).get("code")
    if not isinstance(code, str):
        return NO_CELL
    id = str(parent.get("metadata", {}).get("cellId") or "")
    return Cell(id if len(id) <= ID_CHARS else "", cell_code_of(code))


def has_person(kernel: Any) -> bool:
    """May the cell that runs now ask a question? Programs that run notebooks say no."""
    return bool(parent_of(kernel).get("content", {}).get("allow_stdin", True))


def front_of(shell: Any) -> Front:
    """What shows the outputs of the cell that runs now."""
    if not has_person(shell.kernel):
        return "still"
    apart = "google.colab" in sys.modules or "VSCODE_PID" in os.environ
    return "view" if apart or "__vsc_ipynb_file__" in shell.user_ns else "page"


def cell_number(shell: Any) -> int:
    """``n`` of the cell that runs now. IPython 9 counts before a cell runs, IPython 8 after it."""
    inputs = getattr(shell.history_manager, "input_hist_parsed", None) or []
    return max(1, len(inputs) - 1)
