"""``%%remote_run``: a cell becomes a job, and comes home."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from IPython.display import display
from msgspec.structs import replace

from jupyter_remote import ambient
from jupyter_remote.client.capture import CapturedCell
from jupyter_remote.client.home import bring_home
from jupyter_remote.client.jobs import Job
from jupyter_remote.client.pairing import originals_of
from jupyter_remote.contents.watch import Watch
from jupyter_remote.notebook import asking, here
from jupyter_remote.notebook.bound import Bound
from jupyter_remote.notebook.options import RunOptions
from jupyter_remote.notebook.prepare import Prepared, configured, plan, prepare, title_of
from jupyter_remote.notebook.show import Shown, raise_end, submit
from jupyter_remote.wire import Result

if TYPE_CHECKING:
    from jupyter_remote.client.submitting import OnJob
    from jupyter_remote.notebook.context import Context


def run_cell(context: Context, line: str, source: str) -> None:
    """The whole way of one cell. Raises what the remote code raises."""
    options = context.options(line)
    if not context.enabled and not options.plan:
        run_here(context, options, source)
    elif not run_code(context, options, source):
        print("nothing to do: the cell holds no code")


def run_here(context: Context, options: RunOptions, source: str) -> None:
    """The cell with the toggle off: what it leaves is as the options say."""
    shell = context.shell
    if options.name is None and options.outputs is None:
        here.run_cell(shell, source)
        return
    from jupyter_remote.notebook import here_job

    title = options.description or title_of(shell, source)
    job = here_job.cell(context.client, shell, title, options.outputs, source)
    if options.name is not None:
        shell.user_ns[options.name] = job
    job.result()


def run_code(context: Context, options: RunOptions, source: str, *, value: bool = False) -> bool:
    """Shows the plan where it is due, submits, shows, brings home. False: there is no code.

    ``value``: that of a last expression comes home, too.
    """
    if options.compare is not None:
        from jupyter_remote.notebook import comparing

        return comparing.run(context, options, source, value=value)
    costly = not options.plan and asking.may_be_expensive(context, options)
    opens = costly and _opens_session(context, options)
    # a session is paid for from its start: first it is only looked at, and nothing is said of it
    looked = replace(options, cache=None) if opens else options
    prepared = prepare(context, looked, source, value=value, planned=options.plan or opens)
    if prepared is None:
        return False
    if options.plan:
        display(plan(context, options, prepared))  # type: ignore[no-untyped-call]
        return True
    if costly and (opens or options.session is None):
        if not asking.agreed(context, options, [plan(context, options, prepared)]):
            return True
        if opens:
            prepared = prepare(context, options, source, value=value) or prepared
    _run(context, options, prepared)
    return True


def _opens_session(context: Context, options: RunOptions) -> bool:
    """One that runs is paid for already."""
    name = options.session
    return name is not None and configured(context, options).known_session(name) is None


def _run(context: Context, options: RunOptions, prepared: Prepared) -> None:
    shown = _submit(context, options, prepared)
    if options.name:
        context.shell.user_ns[options.name] = shown.job
    _show(context, options, prepared, shown)


def _submit(context: Context, options: RunOptions, prepared: Prepared) -> Shown:
    captured = prepared.captured
    client = configured(context, options)

    def send(on_job: OnJob) -> Job:
        return client.submit_spec(
            prepared.spec,
            [captured.packed] if captured.packed is not None else [],
            captured.files,
            description=prepared.title,
            on_job=on_job,
            notices=[] if options.quiet else captured.notices,
            origin=client.origin(prepared.code_key, prepared.cache),
            used=captured.used,
        )

    return submit(
        context,
        send,
        blocking=not options.bg,
        card=not options.quiet,
        results=not prepared.spec.value_as,  # who asked for the value shows it
    )


def _show(context: Context, options: RunOptions, prepared: Prepared, shown: Shown) -> None:
    job, captured = shown.job, prepared.captured
    # What runs beside a cell may change the objects that it was sent.
    watch = Watch(captured.numbered, context.shell.user_ns) if options.bg else None
    unused = ambient.unused(captured.used)
    bound = Bound(context.shell.user_ns, captured.assigned)

    def home() -> None:
        shown.settle()  # code that waited for it goes on below a card that says how it ended
        bring(context, shown, captured, watch, bound, quiet=options.quiet)
        if not options.bg:
            bring_state(job, unused)

    if options.bg:
        context.expect(job, home)
        shown.leave()
        return
    try:
        done = shown.wait()
    except KeyboardInterrupt:
        context.expect(job, home)
        raise
    home()
    raise_end(context, done)


def bring_state(job: Job, unused: Collection[str]) -> None:
    """State that no variable holds, as the cell left it; not what it did not use."""
    if job.ended is not None and job.ended.result is not None:
        came = job.ended.result.ambient
        ambient.apply({n: p for n, p in came.items() if n not in unused}, importing=False)


def bring(
    context: Context,
    shown: Shown,
    captured: CapturedCell,
    watch: Watch | None,
    bound: Bound,
    *,
    quiet: bool,
) -> None:
    """Changed and new names into the notebook that sent them; what stayed behind is told."""
    ended = shown.job.ended
    if ended is None or ended.result is None:
        return
    theirs = bound.others()  # before functions arrive, which bind what they use
    originals = originals_of(shown.job, captured, context.shell.user_ns)
    arrived = shown.job.arrived(originals)
    if arrived is not None:
        told = bring_home(
            context.shell.user_ns,
            ended.result,
            arrived,
            originals,
            captured.sent,
            watch,
            theirs,
        )
        for name in told.kept:
            shown.note(
                f"{name} was changed here while the job ran, and by the job: yours is kept; "
                f"`%remote result {shown.job.id[:8]}` has the other"
            )
    # An old value under the name of a new one would be computed with.
    left = {left.name for left in ended.result.left_behind}
    gone = {name for name in left - theirs if bound.forget(name)}
    bound.brought()
    if not quiet or gone:
        tell_left_behind(shown, ended.result, gone)


def restore(context: Context, shown: Shown) -> None:
    """The same in a notebook that did not send them: after a restart, or another one."""
    ended = shown.job.ended
    if ended is not None and ended.result is not None:
        context.shell.user_ns.update(shown.job.value_now() or {})
        tell_left_behind(shown, ended.result)


def tell_left_behind(shown: Shown, result: Result, gone: Collection[str] = ()) -> None:
    """One line for each value that could not come home. ``gone``: names that had another here."""
    for left in result.left_behind:
        old = "; its old value is gone" if left.name in gone else ""
        shown.note(f"{left.name} ({left.type}) stayed over there: {left.why}{old}")
