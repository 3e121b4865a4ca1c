"""``%load_ext jupyter_remote``: the two magics. Everything heavy is imported at first use."""

from __future__ import annotations

from typing import Any

from IPython.core.magic import no_var_expand

from jupyter_remote.client.tracebacks import lines_of
from jupyter_remote.errors import JupyterRemoteError
from jupyter_remote.notebook import context as contexts
from jupyter_remote.notebook import groups
from jupyter_remote.notebook.completion import matcher
from jupyter_remote.notebook.control import Canceller, install, uninstall
from jupyter_remote.notebook.options import HelpAsked

EMPTY = "#\n"  # body of a cell that has none, so that ``%%remote_run -h`` alone is answered
EVENTS = ("pre_run_cell", "post_run_cell")
JOB = ("jupyter_remote.client.job", "Job")


def remote_run(line: str, cell: str) -> None:
    """``%%remote_run [options]``: run the cell as a job; -h lists the options."""
    from jupyter_remote.notebook.run import run_cell

    _told(lambda: run_cell(contexts.current(), line, cell))


@no_var_expand
def remote(line: str) -> Any:
    """``%remote SUBCOMMAND``: machines, jobs, plans, …; -h lists the subcommands."""
    from jupyter_remote.notebook.commands import run

    return _told(lambda: run(contexts.current(), line))


def _with_body(lines: list[str]) -> list[str]:
    """IPython refuses a cell magic without a body."""
    if len(lines) == 1 and lines[0].startswith("%%remote_run"):
        return [lines[0].rstrip("\n") + "\n", EMPTY]
    return lines


def _told(action: Any) -> Any:
    """The action's value; help is printed, an error of ours is shown without our own frames."""
    try:
        return action()
    except HelpAsked as asked:
        print(asked)
        return None
    except JupyterRemoteError as error:
        if type(error)._render_traceback_ is JupyterRemoteError._render_traceback_:
            lines = lines_of(error)
            error._render_traceback_ = lambda: lines  # type: ignore[method-assign]
        raise


def load(ipython: Any) -> None:
    """Called by ``%load_ext``; loading twice does no harm."""
    context = contexts.set_shell(ipython)
    ipython.register_magic_function(remote_run, "cell", "remote_run")
    ipython.register_magic_function(remote, "line", "remote")
    if matcher not in ipython.Completer.custom_matchers:
        ipython.Completer.custom_matchers.append(matcher)
    if _with_body not in ipython.input_transformers_cleanup:
        ipython.input_transformers_cleanup.append(_with_body)
    for event in EVENTS:
        ipython.events.register(event, _arrive)
    groups.install(ipython)
    ipython.display_formatter.ipython_display_formatter.for_type_by_name(*JOB, _display_job)
    if getattr(ipython, "kernel", None) is not None:
        canceller = Canceller(lambda *asked: _cancel(*asked))
        install(ipython.kernel, canceller, context)
    context.enabled = True


def unload(ipython: Any) -> None:
    """Called by ``%unload_ext``. Jobs that run go on."""
    for kind, name in (("cell", "remote_run"), ("line", "remote")):
        ipython.magics_manager.magics[kind].pop(name, None)
    ipython.input_transformers_cleanup.remove(_with_body)
    ipython.Completer.custom_matchers.remove(matcher)
    for event in EVENTS:
        ipython.events.unregister(event, _arrive)
    groups.uninstall(ipython)
    ipython.display_formatter.ipython_display_formatter.pop(".".join(JOB), None)
    if getattr(ipython, "kernel", None) is not None:
        uninstall(ipython.kernel)


def _arrive(cell: Any) -> None:
    contexts.current().arrive()


def _display_job(job: Any) -> None:
    from jupyter_remote.notebook.calls import display_job

    display_job(contexts.current(), job)


def _cancel(job: str, force: bool, force_after: float | None) -> None:
    contexts.current().client.job(job).cancel(force, force_after=force_after)
