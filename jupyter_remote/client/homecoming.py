"""What a job showed while no kernel was there to relay it, as outputs of its cell. Pure.

A job's part of a cell is replaced by all that the job showed so far, so nothing is missing and
nothing stands there twice, however often it is done.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from jupyter_remote.cards.render import bundle
from jupyter_remote.cards.state import FINAL, CardState, state_of
from jupyter_remote.client.failures import raise_for
from jupyter_remote.client.receipts import metadata
from jupyter_remote.client.tracebacks import lines_of
from jupyter_remote.model import Status
from jupyter_remote.wire import (
    BESIDE_WIDGET,
    CARD_TYPE,
    LAST_OUTPUT,
    WIDGET_TYPE,
    Done,
    JobOutputs,
    JobView,
    cell_code_of,
)

Output = dict[str, Any]
NotebookCell = Mapping[str, Any]  # as a notebook file has it, texts as one string

VERSION = 1  # of what a card says in JSON
CUT = "[it showed more than is kept for a cell: %remote logs has all of its text]\n"
CELL_ID = re.compile("[A-Za-z0-9_-]{1,64}")  # in a file; VS Code tells kernels others
OVER_IT = re.compile("([\r\b])")  # goes back in its line
UNSAVED_S = 5.0  # within which the card of a job that was sent is in its cell


class Home(NamedTuple):
    """A job's card, and what stands below it."""

    card: Output
    outputs: list[Output]
    cleared: bool = False  # what stood in the cell before is gone
    updated: Sequence[int] = ()  # which outputs were others before


def home_of(told: JobOutputs, now: float) -> Home:
    """As outputs of a notebook file. ``now``: seconds since 1970."""
    state = card_state(told)
    kept = metadata(told.receipt) if told.receipt is not None else {}
    card = {"output_type": "display_data", "data": bundle(state, now), "metadata": kept}
    shown = list(told.outputs or [])
    if told.cut:
        shown.append({"output_type": "stream", "name": "stderr", "text": CUT})
    if (error := _error_of(told)) is not None:
        shown.append(error)
    return Home(card, shown, told.cleared, told.updated)


def card_state(told: JobOutputs) -> CardState:
    """What its card shows now."""
    return msgspec.structs.replace(state_of(told.job), receipt=told.receipt)


def _error_of(told: JobOutputs) -> Output | None:
    """What it failed with, as the cell that waited for it would have raised it."""
    if told.job.status != Status.FAILED:
        return None
    detail, _, _ = told.job.detail.partition(LAST_OUTPUT)  # which is above
    job = msgspec.structs.replace(told.job, detail=detail)
    error = raise_for(Done(job=job, error=told.error), {}, interrupts=False)
    if error is None:
        return None
    return {
        "output_type": "error",
        "ename": getattr(error, "ename", "") or type(error).__name__,
        "evalue": getattr(error, "evalue", str(error)),
        "traceback": lines_of(error),
    }


# --- which cell is a job's own -------------------------------------------------------------------
class Card(NamedTuple):
    """A card that stands in a cell."""

    at: int  # among its outputs
    job: str
    status: str
    submitted_at: float
    relaying: bool  # it ended, and not all of its output may be there

    @property
    def is_final(self) -> bool:
        return self.status in FINAL and not self.relaying


class NewerCard(NamedTuple):
    """A card of a version that is not understood."""

    at: int


def cards_of(cell: NotebookCell) -> list[Card | NewerCard]:
    """In their order; what is no card of ours is left out."""
    found: list[Card | NewerCard] = []
    for at, output in enumerate(cell.get("outputs") or ()):
        told = (output.get("data") or {}).get(CARD_TYPE)
        if not isinstance(told, Mapping):
            continue
        if told.get("v") != VERSION:
            found.append(NewerCard(at))
        elif isinstance(job := told.get("id"), str):
            sent_at = told.get("submitted_at")
            sent_at = sent_at if isinstance(sent_at, (int, float)) else 0.0
            status, relaying = str(told.get("status")), bool(told.get("relaying"))
            found.append(Card(at, job, status, sent_at, relaying))
    return found


class Cells:
    """The code cells of a notebook, and which job is whose."""

    def __init__(self, cells: Iterable[NotebookCell]) -> None:
        self._cells = [cell for cell in cells if cell.get("cell_type") == "code"]
        self._codes = [cell_code_of(str(cell.get("source", ""))) for cell in self._cells]
        self._ids = {str(cell["id"]): n for n, cell in enumerate(self._cells) if cell.get("id")}

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return iter(enumerate(self._cells))

    def is_own(self, n: int, cell: str, cell_code: str) -> bool:
        """Did this very text send the job, here or in a file whose cells have other ids?"""
        return self._codes[n] == cell_code and self._ids.get(cell, n) == n

    def of(self, job: JobView) -> int | None:
        """The cell that sent it; by its text alone where no other cell has the same, and where
        files or jobs have no ids of cells. Else it was deleted, or is of a console or of another
        notebook with this kernel."""
        n = self._ids.get(job.cell)
        if n is None and not (self._ids and CELL_ID.fullmatch(job.cell)):
            same = [n for n, code in enumerate(self._codes) if code == job.cell_code]
            n = same[0] if len(same) == 1 else None
        return n if n is not None and self._codes[n] == job.cell_code else None

    def unshown(self, jobs: Iterable[JobView], saved_at: float) -> dict[int, JobView]:
        """Cells that show nothing of their latest job, since the file was saved before it ran."""
        latest: dict[int, JobView] = {}
        for job in sorted(jobs, key=lambda job: job.submitted_at):
            n = self.of(job) if job.batch is None and job.kind != "session" else None
            if n is not None and job.submitted_at > self._saved_at(n, saved_at):
                latest[n] = job
        return {n: job for n, job in latest.items() if not self._shows(n, job)}

    def _saved_at(self, n: int, saved_at: float) -> float:
        """A cell that ran when the file was saved has no number; its card may not have come yet."""
        return saved_at - UNSAVED_S if self._cells[n].get("execution_count") is None else saved_at

    def _shows(self, n: int, job: JobView) -> bool:
        """This job, or one that was sent after it."""
        return any(
            isinstance(card, NewerCard)
            or card.job == job.id
            or card.submitted_at > job.submitted_at
            for card in cards_of(self._cells[n])
        )


# --- what becomes of the cell --------------------------------------------------------------------
class Placed(NamedTuple):
    """The outputs of a cell; ``whole``: with all that the job showed."""

    outputs: list[Output]
    whole: bool


def placed(cell: NotebookCell, job: JobView, home: Home, *, is_own: bool) -> Placed:
    """With what came of a job whose card the cell shows."""
    outputs: list[Output] = list(cell["outputs"])
    cards = cards_of(cell)
    at = max(card.at for card in cards if isinstance(card, Card) and card.job == job.id)
    end = min((card.at for card in cards if card.at > at), default=len(outputs))
    there, shown = outputs[at + 1 : end], still(home.outputs, cell.get("execution_count"))
    is_last = end == len(outputs)
    is_all_its = (
        is_whole(cell, job)
        or home.cleared
        or is_beginning(there, shown, job.id, updated=home.updated)
    )
    if is_own and is_last and is_all_its:
        return Placed([*outputs[:at], home.card, *shown], True)
    is_there = not shown or _without_notes(there) == shown
    return Placed([*outputs[:at], home.card, *outputs[at + 1 :]], is_there)


def filled(cell: NotebookCell, home: Home) -> list[Output]:
    """The outputs of a cell that was saved before its job was there. One that ran by then has no
    number: what it showed stands above the card. Else that was of an earlier run."""
    count = cell.get("execution_count")
    above = list(cell["outputs"]) if count is None else []
    return [*above, home.card, *still(home.outputs, count)]


def is_whole(cell: NotebookCell, job: JobView) -> bool:
    """Is the job all that this cell does? Else its own code may have printed, too."""
    return job.kind == "cell" and str(cell.get("source", "")).lstrip().startswith("%%remote_run")


def still(outputs: Iterable[Output], execution_count: int | None) -> list[Output]:
    """As a cell has them whose job has no live widgets."""
    found = []
    for output in outputs:
        output = dict(output)
        if WIDGET_TYPE in output.get("data", {}):
            output["data"] = {k: v for k, v in output["data"].items() if k != WIDGET_TYPE}
        if BESIDE_WIDGET in output.get("metadata", {}):
            output["metadata"] = {k: v for k, v in output["metadata"].items() if k != BESIDE_WIDGET}
        if output["output_type"] == "execute_result":
            output["execution_count"] = execution_count
        found.append(output)
    return found


def left_alone(job: str) -> str:
    """What a cell says that stops waiting for its job."""
    return f"[no longer waiting for job {job[:8]}: %remote attach {job[:8]} waits again]"


def is_beginning(
    there: Sequence[Output],
    shown: Sequence[Output],
    job: str = "",
    *,
    updated: Sequence[int] = (),
) -> bool:
    """Is this the beginning of what the job showed? Else it is of local code, too.

    Streams by their text, whatever their order: a slow relay joins what waits. Displays by what
    they show; those that the job updated by their types, for they showed something else before.
    """
    there = _without_notes(there, job)
    displays, told = _displays(there), _displays(shown)
    are_its = len(displays) <= len(told) and all(
        _is_same_display(one, its, is_updated=n in updated)
        for (_, one), (n, its) in zip(displays, told, strict=False)
    )
    return are_its and all(
        _begins(_text(there, name), _text(shown, name)) for name in ("stdout", "stderr")
    )


def _without_notes(there: Sequence[Output], job: str = "") -> list[Output]:
    """Without what a cell says whose kernel ends: the job goes on."""
    found = list(there)
    if found and found[-1].get("ename") == "KeyboardInterrupt":
        found.pop()
    note = left_alone(job) + "\n"
    if job and found and str(found[-1].get("text", "")).endswith(note):
        text = found[-1]["text"].removesuffix(note)
        found[-1:] = [{**found[-1], "text": text}] if text else []
    return found


def _text(outputs: Sequence[Output], name: str) -> str:
    return "".join(o["text"] for o in outputs if o["output_type"] == "stream" and o["name"] == name)


def _displays(outputs: Sequence[Output]) -> list[tuple[int, Output]]:
    return [(n, o) for n, o in enumerate(outputs) if o["output_type"] != "stream"]


def _is_same_display(there: Output, told: Output, *, is_updated: bool) -> bool:
    shown, meant = _seen_of(there), _seen_of(told)
    same = shown.keys() == meant.keys() if is_updated else shown == meant
    return bool(same and there["output_type"] == told["output_type"])


def _seen_of(display: Output) -> dict[str, Any]:
    """Files may have a text as its lines."""
    return {
        kind: "".join(value) if _is_lines(value) else value
        for kind, value in (display.get("data") or {}).items()
        if kind != WIDGET_TYPE
    }


def _is_lines(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


def _begins(there: str, shown: str) -> bool:
    """Front ends save a line as what was written over it left it."""
    if shown.startswith(there):
        return True
    *lines, rest = there.split("\n")
    told = shown.split("\n")
    if len(told) <= len(lines) or list(map(_seen, lines)) != [_seen(t) for t in told[: len(lines)]]:
        return False
    return any(part.startswith(_seen(rest)) for part in OVER_IT.split(told[len(lines)]))


def _seen(line: str) -> str:
    """A line after its carriage returns and backspaces."""
    seen, at = "", 0
    for part in OVER_IT.split(line):
        if part == "\r":
            at = 0
        elif part == "\b":
            seen, at = seen[: max(0, at - 1)] + seen[at:], max(0, at - 1)
        else:
            seen, at = seen[:at] + part + seen[at + len(part) :], at + len(part)
    return seen


def is_same(before: Output, after: Output) -> bool:
    """Is a card as it was? Its time is always another."""
    return bool(_timeless(before) == _timeless(after))


def _timeless(card: Output) -> Any:
    told = msgspec.json.decode(msgspec.json.encode(card["data"][CARD_TYPE]))
    return {k: v for k, v in told.items() if k not in ("now", "host")}, card.get("metadata") or {}


def news(before: Sequence[Output], now: Sequence[Output]) -> list[Output]:
    """What is to be shown below ``before``: what came since, or all of it if that changed."""
    if not before:
        return list(now)
    *kept, last = before
    n = len(kept)
    if list(now[:n]) != kept or len(now) <= n:
        return list(now)
    if now[n] == last:
        return list(now[n + 1 :])
    is_text = last["output_type"] == "stream" and now[n].get("name") == last["name"]
    if not is_text or not now[n]["text"].startswith(last["text"]):
        return list(now)
    return [{**now[n], "text": now[n]["text"][len(last["text"]) :]}, *now[n + 1 :]]
