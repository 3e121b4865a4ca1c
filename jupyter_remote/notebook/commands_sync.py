"""``%remote sync``: output that came while no kernel was there to show it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jupyter_core.paths import jupyter_path

from jupyter_remote.cards.render import shown, title_of
from jupyter_remote.cards.state import FINAL
from jupyter_remote.client.homecoming import (
    UNSAVED_S,
    Card,
    Home,
    Output,
    card_state,
    cards_of,
    home_of,
    news,
    still,
)
from jupyter_remote.client.notebook_files import ONE_ID, NotebookFile, sync, unknown
from jupyter_remote.client.origin import notebook_name
from jupyter_remote.errors import NotFound, UsageError
from jupyter_remote.notebook.card import display_id_of
from jupyter_remote.notebook.commands import Command, Given, one_word
from jupyter_remote.notebook.options import Option
from jupyter_remote.notebook.sinks import KernelSink, Sink, front_of, parent_of, sink_for
from jupyter_remote.wire import JobOutputs, JobView

if TYPE_CHECKING:
    from jupyter_remote.notebook.context import Context

EXTENSION = Path("labextensions", "jupyter-remote")


class Seen(NamedTuple):
    """What of a job was shown below a sync."""

    status: str
    outputs: list[Output]


def run(context: Context, given: Given, words: list[str]) -> None:
    if words:
        print("\n".join(sync(one_word(words, "notebook"), context.client).lines))
    elif not given.get("here") and _comes_by_itself(context):
        print(
            "in JupyterLab and Notebook with our extension output comes home to its cells by "
            "itself: `jupyter labextension list` says whether they have it, and "
            "%remote sync --here shows below this cell what came"
        )
    else:
        _show_here(context)


def _comes_by_itself(context: Context) -> bool:
    """JupyterLab and Notebook 7 name the cell that they send; their extension may be elsewhere."""
    place = sink_for(context.shell, blocking=True)
    if not isinstance(place, KernelSink) or front_of(context.shell) != "page":
        return False
    names_cell = "cellId" in parent_of(context.shell.kernel).get("metadata", {})
    return names_cell and any((Path(path) / EXTENSION).exists() for path in jupyter_path())


def _show_here(context: Context) -> None:
    notebook = notebook_name(context.shell.user_ns)
    if not notebook:
        raise UsageError(
            "this front end does not say which notebook this is",
            hint="%remote sync FILE.ipynb brings a file up to date; "
            "%remote attach ID shows one job here",
        )
    sink = sink_for(context.shell, blocking=True)
    told = [_show(context, sink, one) for one in _absent(context, notebook)]
    if not any(told):
        print("nothing to bring home")


def _absent(context: Context, notebook: str) -> Iterable[JobOutputs]:
    """Jobs of this notebook that other kernels sent and its file does not show to their end; in
    the order in which they were sent."""
    cards, late = _cards_and_late(context, notebook)
    going = {card.job for card in cards if ONE_ID.fullmatch(card.job)} | context.synced.keys()
    ended = {card.job for card in cards if card.is_final}
    ended |= {id for id, seen in context.synced.items() if seen.status in FINAL}
    found = []
    for id in (late | going) - ended:
        try:
            told = context.client.outputs_of(id)
        except NotFound:
            print(unknown(id))
            continue
        if told.job.client != context.client.id:
            found.append(told)
    return sorted(found, key=lambda told: told.job.submitted_at)


def _cards_and_late(context: Context, notebook: str) -> tuple[list[Card], set[str]]:
    """The cards in the file, and jobs sent after it was saved. Of a file that this kernel cannot
    read: those that were going on when this kernel began."""
    client = context.client
    try:
        file = NotebookFile(notebook)
    except UsageError:
        jobs = client.jobs_of(notebook)
        late = [job for job in jobs if (job.ended_at or math.inf) > context.began_at]
        return [], {job.id for job in late if _has_cell(job, client.id)}
    cards = [card for cell in file.cells for card in cards_of(cell) if isinstance(card, Card)]
    late = list(client.jobs_since(notebook, file.saved_at - UNSAVED_S))
    return cards, {job.id for job in late if _has_cell(job, client.id)}


def _has_cell(job: JobView, own: str) -> bool:
    return job.client != own and job.batch is None and job.kind != "session"


def _show(context: Context, sink: Sink, told: JobOutputs) -> bool:
    """What is new of one job; False: nothing."""
    job, home = told.job, home_of(told, time.time())
    outputs = still(home.outputs, None)
    before = context.synced.get(job.id, Seen("", []))
    came = news(before.outputs, outputs)
    if not came and before.status == job.status:
        return False
    context.synced[job.id] = Seen(job.status, outputs)
    _update_own(context, sink, job, home)
    title = title_of(card_state(told))
    sink.display({"text/html": f"<b>{shown(title)}</b>", "text/plain": title}, {})
    sink.display(home.card["data"], home.card["metadata"])
    for output in came:
        show_output(sink, output)
    sink.finish()
    return True


def _update_own(context: Context, sink: Sink, job: JobView, home: Home) -> None:
    """The card in the job's own cell, in a front end that knows it after its kernel has gone: VS
    Code, as long as the notebook is open."""
    if isinstance(sink, KernelSink) and front_of(context.shell) == "view":
        where = {"display_id": display_id_of(job.id)}
        sink.display(home.card["data"], home.card["metadata"], transient=where, update=True)


def show_output(sink: Sink, output: Output) -> None:
    """One output of a notebook file."""
    match output["output_type"]:
        case "stream":
            sink.stream(output["name"], output["text"])
        case "error":
            sink.error(output["ename"], output["evalue"], output["traceback"])
        case _:
            sink.display(output["data"], output.get("metadata", {}))


_OPTIONS = (Option(("--here",), "below this cell also where output comes home by itself"),)
COMMANDS = (
    Command("sync", run, "bring home output that came meanwhile", "[FILE.ipynb]", _OPTIONS),
)
