"""A blocking call of a remote function, and a job as the last expression of a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_remote.notebook.render import bundle
from jupyter_remote.notebook.show import Shown, raise_end
from jupyter_remote.notebook.state import state_of

if TYPE_CHECKING:
    from jupyter_remote.client.jobs import Job
    from jupyter_remote.notebook.context import Context


def call(context: Context, job: Job) -> Any:
    """Shows the job until it ended; its value. Raises what the remote code raised."""
    done = Shown(context, job, blocking=True).wait()
    raise_end(context, done)
    return job.result()


def display_job(context: Context, job: Job) -> None:
    """The job's live card, without its output."""
    shown = Shown(context, job, blocking=False, outputs=False)
    if job.done():
        import time

        context.shell.display_pub.publish(bundle(state_of(job.view), time.time()))
        return
    job.attach(job.view.cursor)
    shown.leave()
