"""What a job showed while no kernel was there to relay it, as outputs of its cell. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from jupyter_remote.cards.render import bundle
from jupyter_remote.cards.state import CardState, state_of
from jupyter_remote.client.failures import raise_for
from jupyter_remote.client.receipts import metadata
from jupyter_remote.client.tracebacks import lines_of
from jupyter_remote.model import Status
from jupyter_remote.wire import Done, JobOutputs

Output = dict[str, Any]

CUT = "[it showed more than is kept for a cell: %remote logs has all of its text]\n"


class Home(NamedTuple):
    """A job's card, and what stands below it."""

    card: Output
    outputs: list[Output]


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
    return Home(card, shown)


def card_state(told: JobOutputs) -> CardState:
    """What its card shows now."""
    return msgspec.structs.replace(state_of(told.job), receipt=told.receipt)


def _error_of(told: JobOutputs) -> Output | None:
    """What it failed with, as the cell that waited for it would have raised it."""
    if told.job.status != Status.FAILED:
        return None
    error = raise_for(Done(job=told.job, error=told.error), {}, interrupts=False)
    if error is None:
        return None
    return {
        "output_type": "error",
        "ename": getattr(error, "ename", "") or type(error).__name__,
        "evalue": getattr(error, "evalue", str(error)),
        "traceback": lines_of(error),
    }
