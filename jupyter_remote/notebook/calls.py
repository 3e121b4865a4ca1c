"""A blocking call of a remote function, and a job as the last expression of a cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jupyter_remote.cards.render import bundle
from jupyter_remote.cards.state import state_of
from jupyter_remote.notebook import asking
from jupyter_remote.notebook.show import Shown, raise_end, submit

if TYPE_CHECKING:
    from jupyter_remote.client.api import Client
    from jupyter_remote.client.jobs import Job
    from jupyter_remote.notebook.context import Context


def call(
    context: Context,
    client: Client,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Runs and shows it until it ended; its value. Raises what the remote code raised."""
    prepared = asking.announced(context, client, client.prepare_call(function, args, kwargs))
    shown = submit(context, lambda on_job: client.submit_call(prepared, on_job), blocking=True)
    raise_end(context, shown.wait())
    return shown.job.result()


async def call_awaited(
    context: Context,
    client: Client,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """The same for functions that are awaited: other tasks go on meanwhile."""
    prepared = asking.announced(context, client, client.prepare_call(function, args, kwargs))
    shown = submit(context, lambda on_job: client.submit_call(prepared, on_job), blocking=False)
    shown.raises = True
    shown.leave()
    return await shown.job


def display_job(context: Context, job: Job) -> None:
    """The job's live card, without its output."""
    shown = Shown(context, job, blocking=False, outputs=False)
    if job.done():
        import time

        context.shell.display_pub.publish(bundle(state_of(job.view), time.time()))
        return
    job.attach(job.view.cursor)
    shown.leave()
