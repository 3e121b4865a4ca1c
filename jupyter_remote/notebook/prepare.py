"""What a cell would send: its code, its inputs, and how it is to run. Nothing is sent here."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from jupyter_remote import ambient
from jupyter_remote.client.capture import CapturedCell, capture_cell, capture_files
from jupyter_remote.client.names import parse
from jupyter_remote.client.normalised import key_of_cell
from jupyter_remote.guesses import guessing
from jupyter_remote.notebook import here, in_session
from jupyter_remote.notebook.options import RunOptions
from jupyter_remote.notebook.sinks import cell_number
from jupyter_remote.pickling import tensors
from jupyter_remote.wire import CacheAsk, JobSpec

if TYPE_CHECKING:
    from jupyter_remote.client.api import Client
    from jupyter_remote.client.plan import Plan
    from jupyter_remote.notebook.context import Context

VALUE = "_jupyter_remote_value"  # the name under which the value of an expression comes home
TITLE = 60  # characters of the cell's first line in a job's description


class Prepared(NamedTuple):
    """A cell, ready to be sent."""

    spec: JobSpec
    captured: CapturedCell
    title: str
    code_key: str
    guessed: list[str]  # digests of inputs that were not hashed again: good for a plan alone
    cache: CacheAsk | None = None  # what to ask of the cache


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
    title = options.description or title_of(context.shell, source)
    asks = options.cache and options.compare is None  # which is to measure each machine
    ask = _ask(context, options, spec, captured, source, tree) if asks else None
    code_key = key_of_cell(context.shell.transform_cell(source))
    return Prepared(spec, captured, title, code_key, guessed, ask)


def _ask(
    context: Context,
    options: RunOptions,
    spec: JobSpec,
    captured: CapturedCell,
    source: str,
    tree: ast.Module,
) -> CacheAsk | None:
    """What a cell asks of the cache; what is to be said of that is among its notices."""
    from jupyter_remote.client import caching

    if options.session is not None:
        told = "cells of a session are not cached: what the session holds is not known here"
        captured.notices.extend(caching.once(told))
        return None
    python, namespace = context.shell.transform_cell(source), context.shell.user_ns
    # What it leaves tells a cell from others longer than its text does, which is edited.
    dull = {VALUE, *_imported(tree)}
    name = ", ".join(n for n in captured.assigned if n not in dull) or _first_line(source)
    chosen = configured(context, options).options.environment
    question = caching.for_cell(captured, spec, python, name[:TITLE], namespace, chosen)
    captured.notices.extend(question.notices)
    ask = question.ask
    return ask and msgspec.structs.replace(ask, is_told=not options.quiet)


def _imported(tree: ast.Module) -> Iterator[str]:
    """Names that it binds to modules and what is in them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (a.asname or a.name.partition(".")[0] for a in node.names)


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


def title_of(shell: Any, source: str) -> str:
    """The cell by its number and what it does."""
    return f"In [{cell_number(shell)}]: {_first_line(source)}"


def _first_line(source: str) -> str:
    """That does something."""
    lines = [line.strip() for line in source.splitlines()]
    dull = ("#", "@", "import ", "from ", "try:")
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
        "environment": options.env,
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
