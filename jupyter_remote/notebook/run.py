"""``%%remote_run``: a cell becomes a job, and comes home."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from IPython.display import display

from jupyter_remote import ambient
from jupyter_remote.client.capture import CapturedCell, capture_cell, capture_files
from jupyter_remote.client.home import bring_home
from jupyter_remote.client.jobs import Job
from jupyter_remote.client.names import parse
from jupyter_remote.client.normalised import key_of_cell
from jupyter_remote.client.pairing import originals_of
from jupyter_remote.contents.watch import Watch
from jupyter_remote.guesses import guessing
from jupyter_remote.notebook import here, in_session
from jupyter_remote.notebook.bound import Bound
from jupyter_remote.notebook.options import RunOptions
from jupyter_remote.notebook.show import Shown, raise_end, submit
from jupyter_remote.notebook.sinks import cell_number, has_person, kernel_of
from jupyter_remote.pickling import tensors
from jupyter_remote.wire import CacheAsk, JobSpec, Result

if TYPE_CHECKING:
    from jupyter_remote.client.api import Client
    from jupyter_remote.client.plan import Plan
    from jupyter_remote.client.submitting import OnJob
    from jupyter_remote.notebook.context import Context

VALUE = "_jupyter_remote_value"  # the name under which the value of an expression comes home
LOCAL = "local"  # the machine type that costs nothing
TITLE = 60  # characters of the cell's first line in a job's description


class Prepared(NamedTuple):
    """A cell, ready to be sent."""

    spec: JobSpec
    captured: CapturedCell
    title: str
    code_key: str
    guessed: list[str]  # digests of inputs that were not hashed again: good for a plan alone
    cache: CacheAsk | None = None  # what to ask of the cache


def run_cell(context: Context, line: str, source: str) -> None:
    """The whole way of one cell. Raises what the remote code raises."""
    options = context.options(line)
    if not context.enabled and not options.plan:
        run_here(context, options, source)
    elif (prepared := prepare(context, options, source, planned=options.plan)) is None:
        print("nothing to do: the cell holds no code")
    else:
        run_prepared(context, options, prepared)


def run_here(context: Context, options: RunOptions, source: str) -> None:
    """The cell with the toggle off: what it leaves is as the options say."""
    shell = context.shell
    if options.name is None and options.outputs is None:
        here.run_cell(shell, source)
        return
    from jupyter_remote.notebook import here_job

    title = options.description or _title(shell, source)
    job = here_job.cell(context.client, shell, title, options.outputs, source)
    if options.name is not None:
        shell.user_ns[options.name] = job
    job.result()


def prepare(
    context: Context,
    options: RunOptions,
    source: str,
    *,
    value: bool = False,
    planned: bool = False,
) -> Prepared | None:
    """What would be sent; None: there is no code. Syntax errors and names that cannot travel end
    here, before anything is sent.

    ``value``: that of a last expression comes home, too; ``planned``: it is not to be sent.
    """
    filename, tree = compiled(context.shell, source)
    if not tree.body:
        return None
    client = configured(context, options)
    session = None
    with tensors.gpu(client.has_gpu), guessing(planned) as guessed:
        if options.session is not None and not planned:
            session = in_session.open_session(context, client, options)
        elif options.session is not None:
            session = client.known_session(options.session)
        if session is not None:
            captured = in_session.capture(context, session, source, options)
        else:
            captured = capture_cell(
                source,
                context.shell.user_ns,
                inputs=options.inputs,
                outputs=options.outputs,
                transform=context.shell.transform_cell,
                folder=os.getcwd(),
            )
    captured.files.extend(capture_files(options.files, os.getcwd()))
    if value and isinstance(tree.body[-1], ast.Expr):
        captured.assigned.append(VALUE)
    spec = _spec(context.shell, source, filename, captured, options)
    if session is not None:
        stdin = not options.bg and in_session.can_ask(context.shell)
        spec = msgspec.structs.replace(spec, session=session.job.id, ambient={}, stdin=stdin)
    title = options.description or _title(context.shell, source)
    ask = _ask(context, options, spec, captured, source) if options.cache else None
    code_key = key_of_cell(context.shell.transform_cell(source))
    return Prepared(spec, captured, title, code_key, guessed, ask)


def _ask(
    context: Context, options: RunOptions, spec: JobSpec, captured: CapturedCell, source: str
) -> CacheAsk | None:
    """What a cell asks of the cache; what is to be said of that is among its notices."""
    from jupyter_remote.client import caching

    if options.session is not None:
        told = "cells of a session are not cached: what the session holds is not known here"
        captured.notices.extend(caching.once(told))
        return None
    python, namespace = context.shell.transform_cell(source), context.shell.user_ns
    # What it leaves tells a cell from others longer than its text does, which is edited.
    name = ", ".join(n for n in captured.assigned if n != VALUE) or _first_line(source)
    question = caching.for_cell(captured, spec, python, name[:TITLE], namespace)
    captured.notices.extend(question.notices)
    ask = question.ask
    return ask and msgspec.structs.replace(ask, is_told=not options.quiet)


def compiled(shell: Any, source: str) -> tuple[str, ast.Module]:
    """The filename for tracebacks, and the tree. Syntax errors end here."""
    try:
        transformed = shell.transform_cell(source)
        name: str = shell.compile.cache(transformed, cell_number(shell), raw_code=source)
        tree = parse(transformed, name)
    except SyntaxError as error:
        raise here.syntax_error(shell, error) from None
    return name, tree


def _spec(
    shell: Any, source: str, filename: str, captured: CapturedCell, options: RunOptions
) -> JobSpec:
    return JobSpec(
        kind="cell",
        code=source,
        inputs=captured.packed.parcel if captured.packed is not None else None,
        outputs=captured.outputs,
        assigned=captured.assigned,
        deleted=captured.deleted,
        unwatched=captured.unwatched,
        fixed=captured.fixed,
        value_as=VALUE if VALUE in captured.assigned else "",
        files=[file.ref for file in captured.files],
        name=f"In [{cell_number(shell)}]",
        filename=filename,
        executable=sys.executable,
        quiet_progress=not (options.no_progress or options.quiet),
        sources=captured.sources,
        source_names=captured.source_names,
        ambient=ambient.take(captured.used, random=not options.bg),
    )


def _title(shell: Any, source: str) -> str:
    """The cell by its number and what it does."""
    return f"In [{cell_number(shell)}]: {_first_line(source)}"


def _first_line(source: str) -> str:
    """That does something."""
    lines = [line.strip() for line in source.splitlines()]
    dull = ("#", "import ", "from ", "try:")
    telling = [line for line in lines if line and not line.startswith(dull)]
    first = next(iter([*telling, *lines]), "")
    return first if len(first) <= TITLE else first[: TITLE - 1] + "…"


def configured(context: Context, options: RunOptions) -> Client:
    """The client with the options of one cell."""
    gpu = None if options.gpu is None else f"{options.gpu[0]}:{options.gpu[1]}"
    named = {
        "machine": options.machine,
        "gpu": gpu,
        "cpus": options.cpus,
        "memory": options.memory,
        "max_cost": options.max_cost,
        "timeout": options.timeout,
        "gpu_idle": options.gpu_idle,
        "retries": options.retries,
        "max_attempts": options.max_attempts,
        "visibility": options.visibility,
        "cache": options.cache,
        "resume": options.resume,
    }
    return context.client.with_options(**{k: v for k, v in named.items() if v is not None})


def plan(context: Context, options: RunOptions, prepared: Prepared) -> Plan:
    """What the backend says to a prepared cell."""
    captured = prepared.captured
    client = configured(context, options)
    origin = client.origin(prepared.code_key, prepared.cache)
    return client.plan_spec(prepared.spec, captured, prepared.guessed, origin)


def run_prepared(context: Context, options: RunOptions, prepared: Prepared) -> None:
    """Shows the plan where it is due, submits, shows, brings home."""
    if options.compare is not None:
        from jupyter_remote.notebook import comparing

        comparing.run(context, options, prepared)
        return
    if not _planned(context, options, prepared):
        return
    shown = _submit(context, options, prepared)
    if options.name:
        context.shell.user_ns[options.name] = shown.job
    _show(context, options, prepared, shown)


def _planned(context: Context, options: RunOptions, prepared: Prepared) -> bool:
    """Shows the plan where it is due; False: do not run it.

    In short before what may be expensive. A job of real money without a limit of its own is asked
    for then, where there is someone to ask; ``--max-cost`` and ``--yes`` are answers given
    beforehand.
    """
    if options.plan:
        display(plan(context, options, prepared))  # type: ignore[no-untyped-call]
        return False
    needs = (options.machine, options.gpu, options.cpus, options.memory)
    if options.machine == LOCAL or all(x is None for x in needs):
        return True
    above = context.settings().plan_above_usd
    if options.max_cost is not None and options.max_cost <= above:
        return True
    made = plan(context, options, prepared)
    if made.reply.cached_from or made.likely_usd <= above:
        return True
    if not options.quiet:
        print(made.short())
    agreed = options.yes or options.max_cost is not None or made.machine.simulated
    return agreed or _confirmed(context, made)


def _confirmed(context: Context, made: Plan) -> bool:
    """Does the person say yes? Where there is none the job runs, as notebooks do unattended."""
    kernel = kernel_of(context.shell)
    if kernel is not None and not has_person(kernel):
        return True
    price = f"${made.usd_per_h:,.4g}/h, at most ${made.price:,.2f}"
    if input(f"Run it on {made.machine.id} ({price})? [y/N] ").strip().lower() in ("y", "yes"):
        return True
    print("not run; --max-cost or -y runs it without asking")
    return False


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
