"""Results to share."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from jupyter_remote.wire.jobs import JobView, RemoteFailure
from jupyter_remote.wire.receipts import Receipt
from jupyter_remote.wire.values import NameInfo


class ShareRequest(msgspec.Struct, frozen=True):
    """``POST /v1/jobs/{id}/share``: let the result be opened without a token."""

    visibility: Literal["unlisted", "public"] = "unlisted"


class ResultsView(msgspec.Struct, frozen=True, kw_only=True):
    """A result by its names (B5): what anybody may know of a job who may look at its result."""

    jobs_uuid: str
    results_uuid: str  # empty: private
    results_url: str  # opens in a browser without a token; empty: private
    visibility: str
    status: str
    reason: str
    detail: str
    price: float  # USD: so far, or in the end
    simulated: bool  # the machine, and so the price
    version: str  # of the server
    kind: str
    description: str
    machine: str
    submitted_at: float
    started_at: float | None
    ended_at: float | None


class Results(ResultsView, frozen=True, kw_only=True):
    """``GET /v1/results/{id}``: the same with what it printed, displayed and gave back."""

    text: str  # of a call's value; cut
    names: list[NameInfo]  # what came home
    outputs: list[dict[str, Any]]  # as a cell of a notebook has them
    cut: bool  # it showed more than is here
    error: RemoteFailure | None


class JobOutputs(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``GET /v1/jobs/{id}/outputs``: what a job showed so far, in all its attempts."""

    job: JobView
    cursor: int  # of the last event in it: pass as ``after``
    outputs: list[dict[str, Any]] | None = None  # as a cell has them; None: nothing after that
    cut: bool = False  # it showed more than is here
    cleared: bool = False  # it cleared what stood in its cell before this
    updated: list[int] = []  # of the outputs: those changed in their place, others before
    error: RemoteFailure | None = None  # that it ended with
    receipt: Receipt | None = None


class ResultsList(msgspec.Struct, frozen=True):
    results: list[ResultsView]
    next: str  # pass as ``before`` for the next page; empty: no more
