"""``python -P -m jupyter_remote.worker.notebook_kernel JOB ATTEMPT BARS -f FILE``.

The kernel of a whole notebook that runs as a job: ipykernel's own, in which progress bars are data.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec
from ipykernel.kernelapp import IPKernelApp

from jupyter_remote.wire import Bar
from jupyter_remote.worker import inside, progress
from jupyter_remote.worker.encodable import encoded

BAR = "jupyter_remote_bar"  # an IOPub message type of ours; those who do not know it ignore it


class Bars:
    """Sends bars as messages of the cell that runs now, whichever thread moves them."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._parent: Any = None

    def cell_begins(self, *_: Any) -> None:
        self._parent = self._app.kernel.get_parent("shell")

    def send(self, bar: Bar) -> None:
        content = msgspec.json.decode(encoded(msgspec.json.encode, bar))
        session = self._app.kernel.session
        session.send(self._app.iopub_socket, BAR, content, parent=self._parent)


def main(arguments: list[str]) -> None:
    job, attempt, purse, bars, *arguments = arguments
    app: Any = IPKernelApp.instance()
    app.initialize(arguments)
    if "" not in sys.path:
        sys.path.insert(0, "")  # from now on modules of the job's folder can be imported
    sender = Bars(app)
    app.shell.events.register("pre_execute", sender.cell_begins)
    hooks = progress.Hooks(sender.send)
    hooks.active = bars == "bars"
    hooks.install()
    relay = hooks.relay if hooks.active else None
    spendable = inside.Purse(*map(float, purse.split())) if purse else None
    inside.job.begin(job, int(attempt), relay, spendable)
    app.shell.events.register("post_execute", inside.job.say_bars)
    app.shell.events.register("post_execute", hooks.say_all)
    app.start()


if __name__ == "__main__":
    main(sys.argv[1:])
