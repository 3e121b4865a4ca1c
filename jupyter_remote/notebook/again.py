"""Jobs that are run once more, in the cell that asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_remote.errors import UsageError
from jupyter_remote.notebook import whole
from jupyter_remote.notebook.commands import Given
from jupyter_remote.notebook.options import run_options
from jupyter_remote.notebook.prepare import VALUE
from jupyter_remote.notebook.run import restore
from jupyter_remote.notebook.show import Shown, raise_end, submit

if TYPE_CHECKING:
    from jupyter_remote.client.submitting import OnJob
    from jupyter_remote.notebook.context import Context
    from jupyter_remote.wire import Done

# what may be otherwise than it was; the rest is as in the record of the job
_CHANGED = ("machine", "gpu", "cpus", "memory", "max_cost", "timeout", "description")


def resume(context: Context, given: Given) -> Any:
    """The job of that id, from its checkpoint."""
    options = {k: v for k, v in given.items() if k != "resume"}
    return repeat(context, given["resume"], options, resume=True)


def repeat(context: Context, id: str, given: Given, *, resume: bool = False) -> Any:
    """The value of an expression or a call; what a cell assigned is bound. Raises what it raises.

    ``given``: options as they were typed.
    """
    options = run_options(given)
    fields = [name for name in given if name not in (*_CHANGED, "quiet", "yes")]
    if fields:
        raise UsageError(
            f"{_flag(fields[0])} cannot be changed of a job that is run again",
            hint=f"what can: {', '.join(map(_flag, _CHANGED))}",
        )
    changes = {name: getattr(options, name) for name in _CHANGED if name in given}
    if options.gpu is not None:
        changes["gpu"] = f"{options.gpu[0]}:{options.gpu[1]}"

    def send(on_job: OnJob) -> Any:
        return context.client.repeat(id, resume=resume, on_job=on_job, **changes)

    shown = submit(context, send, blocking=True, card=not options.quiet, results=False)
    return brought(context, shown, shown.wait())


def _flag(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def brought(context: Context, shown: Shown, done: Done) -> Any:
    """What a job that another cell, or another notebook, had captured brings home."""
    job = shown.job
    if done.job.kind == "notebook":
        whole.write(job)
        return raise_end(context, done)
    if done.job.kind == "call":
        raise_end(context, done)
        return job.result()
    if (home := context.expected(job.id)) is not None:
        home()
    else:
        restore(context, shown)
    raise_end(context, done)
    if VALUE in context.shell.user_ns:
        return context.shell.user_ns.pop(VALUE)
    shown.relay.show_result()
    return None
