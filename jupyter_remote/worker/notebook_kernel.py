"""``python -P -m jupyter_remote.worker.notebook_kernel RUN PURSE BARS -f FILE``.

The kernel of a whole notebook that runs as a job: ipykernel's own, in which progress bars are data,
and which saves checkpoints when it is asked.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from pathlib import Path
from typing import Any

import msgspec
from ipykernel.kernelapp import IPKernelApp

from jupyter_remote.wire import Bar
from jupyter_remote.worker import channel, inside, progress
from jupyter_remote.worker.checkpoints import Checkpoints, opener
from jupyter_remote.worker.encodable import encoded
from jupyter_remote.worker.interrupts import Interrupts

# IOPub message types of ours; those who do not know them ignore them.
BAR, SAVED = "jupyter_remote_bar", "jupyter_remote_saved"
READY = "ready"  # a file beside that of the connection: signals are heard


class Messages:
    """Of the cell that runs now, whichever thread sends them."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._parent: Any = None

    def cell_begins(self, *_: Any) -> None:
        self._parent = self._app.kernel.get_parent("shell")

    def send_bar(self, bar: Bar) -> None:
        self._send(BAR, encoded(msgspec.json.encode, bar))

    def send_saved(self, saved: channel.Saved | channel.Every) -> None:
        self._send(SAVED, encoded(msgspec.json.encode, saved))

    def _send(self, type_: str, data: bytes) -> None:
        content, session = msgspec.json.decode(data), self._app.kernel.session
        session.send(self._app.iopub_socket, type_, content, parent=self._parent)


class Saving:
    """Asks for checkpoints while cells run."""

    def __init__(self, checkpoints: Checkpoints, run: channel.Run) -> None:
        self._checkpoints = checkpoints
        self._run = run
        self._cells: list[contextlib.ExitStack] = []  # one, unless a cell runs another

    def cell_begins(self, *_: Any) -> None:
        stack = contextlib.ExitStack()
        self._cells.append(stack)
        stack.enter_context(self._checkpoints.of(self._run))

    def cell_ends(self, *_: Any) -> None:
        if self._cells:
            self._cells.pop().close()


def _show(name: str, error: BaseException) -> None:
    """What a checkpoint function raised."""
    print(f"The checkpoint function {name} failed:", file=sys.stderr)
    traceback.print_exception(error)


def main(arguments: list[str]) -> None:
    known, purse, bars, *arguments = arguments
    run = msgspec.json.decode(Path(known).read_bytes(), type=channel.Run)
    app: Any = IPKernelApp.instance()
    app.initialize(arguments)
    if "" not in sys.path:
        sys.path.insert(0, "")  # from now on modules of the job's folder can be imported
    messages, events = Messages(app), app.shell.events
    events.register("pre_execute", messages.cell_begins)
    hooks = progress.Hooks(messages.send_bar)
    hooks.active = bars == "bars"
    hooks.install()
    relay = hooks.relay if hooks.active else None
    spendable = inside.Purse(*map(float, purse.split())) if purse else None
    namespace = lambda: app.shell.user_ns  # noqa: E731
    inside.job.begin(run.job, run.epoch, relay, spendable, opener(run, namespace))
    checkpoints = Checkpoints(Interrupts(), messages.send_saved, namespace, _show, goes_on=True)
    saving = Saving(checkpoints, run)
    events.register("pre_execute", saving.cell_begins)
    events.register("post_execute", saving.cell_ends)
    checkpoints.install()
    Path(known).with_name(READY).touch()
    events.register("post_execute", inside.job.say_bars)
    events.register("post_execute", hooks.say_all)
    app.start()


if __name__ == "__main__":
    main(sys.argv[1:])
