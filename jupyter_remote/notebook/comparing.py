"""``--compare A,B,C``: a cell on several machines, in one table that is live.

What the jobs show is kept with them: of the one whose values come home it appears below the table.
"""

from __future__ import annotations

import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING

from IPython.display import display

from jupyter_remote import ambient
from jupyter_remote.client.comparison import Comparison, clients_of, submit_each
from jupyter_remote.client.receipts import metadata_of_many
from jupyter_remote.errors import JupyterRemoteError, UsageError
from jupyter_remote.notebook import asking
from jupyter_remote.notebook import run as cells
from jupyter_remote.notebook.bound import Bound
from jupyter_remote.notebook.interrupts import Interrupts
from jupyter_remote.notebook.live import LEAVING_S, STEP_S
from jupyter_remote.notebook.prepare import Prepared, configured, prepare
from jupyter_remote.notebook.show import Shown, raise_end
from jupyter_remote.notebook.sinks import KernelSink, Sink, front_of, sink_for

if TYPE_CHECKING:
    from jupyter_remote.client.api import Client
    from jupyter_remote.client.jobs import Job
    from jupyter_remote.client.plan import Plan
    from jupyter_remote.notebook.context import Context
    from jupyter_remote.notebook.options import RunOptions
    from jupyter_remote.wire import Event

PERIOD_S = 1.0  # of a table in a page, while jobs run
UNCACHED = "--compare runs on each machine: nothing is taken from the cache, or kept in it"
STILL_PERIOD_S = 10.0  # where nobody looks
OUTPUTS = frozenset(["stream", "display_data", "execute_result", "update_display_data", "metrics"])


def run(context: Context, options: RunOptions, source: str, *, value: bool = False) -> bool:
    """The whole way; False: there is no code. Raises the first one's error if none completed, and
    KeyboardInterrupt."""
    check(options)
    prepared = prepare(context, options, source, value=value, planned=options.plan)
    if prepared is None:
        return False
    if options.plan:
        for made in plans(context, options, prepared):
            display(made)  # type: ignore[no-untyped-call]
    elif not asking.may_be_expensive(context, options) or asking.agreed(
        context, options, plans(context, options, prepared)
    ):
        _run(context, options, prepared)
    return True


def plans(context: Context, options: RunOptions, prepared: Prepared) -> list[Plan]:
    """One for each machine."""
    client = configured(context, options)
    clients, _ = clients_of(client, options.compare or [])
    origin = client.origin(prepared.code_key)
    return [
        one.plan_spec(prepared.spec, prepared.captured, prepared.guessed, origin)
        for one in clients.values()
    ]


def _run(context: Context, options: RunOptions, prepared: Prepared) -> None:
    captured = prepared.captured
    bound = Bound(context.shell.user_ns, captured.assigned)
    comparison = _submit(context, options, prepared)
    if options.name:
        context.shell.user_ns[options.name] = comparison.jobs
    table = Board(context, comparison)
    wait(context, comparison, table)
    best = comparison.best
    if best is None or best.job is None:
        _raise(context, comparison)
        return
    shown = Shown(context, best.job, blocking=True, card=False, results=not prepared.spec.value_as)
    shown.wait()
    context.client.remember(best.job)
    cells.bring(context, shown, captured, None, bound, quiet=options.quiet)
    cells.bring_state(best.job, ambient.unused(captured.used))


def check(options: RunOptions) -> None:
    """Raises UsageError for what cannot go together with ``--compare``."""
    if options.machine or options.gpu or options.cpus:
        raise UsageError(
            "--compare says the machines itself", hint="leave -m, --gpu and --cpus out"
        )
    if options.session is not None:
        raise UsageError(
            "--compare cannot use a session: that is on one machine", hint="leave -s out"
        )
    if options.bg:
        raise UsageError("--compare waits for all of its jobs", hint="leave --bg out")


def _submit(context: Context, options: RunOptions, prepared: Prepared) -> Comparison:
    captured = prepared.captured

    def send(client: Client) -> Job:
        return client.submit_spec(
            prepared.spec,
            [captured.packed] if captured.packed is not None else [],
            captured.files,
            description=prepared.title,
            origin=client.origin(prepared.code_key),
            used=captured.used,
        )

    from jupyter_remote.client import caching

    client = configured(context, options)
    if not options.quiet:
        uncached = caching.once(UNCACHED) if options.cache else []
        for notice in [*captured.notices, *uncached]:  # once, not with each job
            print(notice, file=sys.stderr)
    return submit_each(client, options.compare or [], send)


class Board:
    """The table of a comparison below its cell. Used from one thread."""

    def __init__(self, context: Context, comparison: Comparison) -> None:
        self._comparison = comparison
        self._sink: Sink = sink_for(context.shell, blocking=True)
        self._is_live = isinstance(self._sink, KernelSink)
        still = self._is_live and front_of(context.shell) == "still"
        self._period_s = STILL_PERIOD_S if still else PERIOD_S
        self._id = f"jupyter-remote-{uuid.uuid4().hex}"
        self._shown = ""  # its statuses as they were last shown
        self._shown_at = 0.0

    def draw(self, *, final: bool = False) -> None:
        """Shows the table anew if there is news: at once of a status, else once a period."""
        now, statuses = time.monotonic(), self._statuses()
        news = statuses != self._shown or now - self._shown_at >= self._period_s
        if not final and not (self._is_live and news):
            return
        shown = self._comparison
        data = {"text/plain": repr(shown), "text/html": shown._repr_html_()}
        made = [job.whole_receipt for job in self._comparison.jobs] if final else []
        self._sink.display(
            data,
            metadata_of_many([receipt for receipt in made if receipt is not None]),
            transient={"display_id": self._id},
            update=bool(self._shown_at),
        )
        self._shown, self._shown_at = statuses, now

    def _statuses(self) -> str:
        return " ".join([*(job.status for job in self._comparison.jobs), self._comparison.note])


def wait(context: Context, comparison: Comparison, table: Board) -> None:
    """Shows the table until all ended. The first interrupt cancels all, the second kills them, a
    third waits no more; one that begins the end of this kernel leaves them alone."""
    news = threading.Event()

    def heard(event: Event) -> None:
        if event.type not in OUTPUTS:
            news.set()

    for job in comparison.jobs:
        job.on_event(heard)
    answered = 0
    with Interrupts(news.set) as interrupts:
        while not comparison.done():
            while answered < interrupts.count:
                answered += 1
                if context.leaving.wait(LEAVING_S) or answered > 2:
                    comparison.note = "no longer waited for: %remote jobs lists them"
                    table.draw(final=True)
                    raise KeyboardInterrupt
                comparison.note = _stop(context, comparison, force=answered == 2)
            table.draw()
            news.wait(STEP_S)
            news.clear()
    comparison.note = ""
    table.draw(final=True)


def _stop(context: Context, comparison: Comparison, *, force: bool) -> str:
    """Asks all to stop; what to say meanwhile."""
    try:
        comparison.cancel(force, force_after=context.force_after)
    except JupyterRemoteError as error:
        return f"could not ask all to stop: {error.message}"
    return "killing… (again: wait no more)" if force else "interrupting… (again: kill)"


def _raise(context: Context, comparison: Comparison) -> None:
    """What the first one ended with, in the user's own words where its code raised."""
    for job in comparison.jobs:
        if job.ended is not None:
            raise_end(context, job.ended)
    if comparison.error is not None:  # they are gone without a word
        raise comparison.error
