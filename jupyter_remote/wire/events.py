"""What happens in jobs."""

from __future__ import annotations

import msgspec

from jupyter_remote.wire.jobs import JobView, RemoteFailure, Result
from jupyter_remote.wire.receipts import Receipt

BESIDE_WIDGET = "beside_widget"  # in ``transient``: a display for those who show no widgets


class Event(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that happened in a job.

    ``type`` and ``data``:

    =====================  ==================================================================
    ``status``             :class:`JobView` fields (``status``, ``stage``, ``reason``, …)
    ``stream``             ``name`` (stdout, stderr), ``text``
    ``display_data``       ``data``, ``metadata``, ``transient``: Jupyter's own
    ``execute_result``     the same, with ``execution_count``
    ``update_display_data``  the same as ``display_data``
    ``clear_output``       ``wait``
    ``error``              ``ename``, ``evalue``, ``traceback``
    ``comm``               ``msg_type``, ``content``, ``metadata``, ``buffers`` (base64); or
                           ``comm_idle`` with the ``id`` of a :class:`CommMessage` served
    ``folded``             ``name``, ``bytes``, ``lines``, ``displays``: output above the limits;
                           text is in the log
    ``notice``             ``text``: a line for the user
    ``ask``                ``prompt``, ``password``: it waits for ``POST /v1/jobs/{id}/input``
    ``progress``           a :class:`Bar`            (not stored: the latest is in the job)
    ``metrics``            :class:`Metrics`          (not stored)
    ``done``               :class:`Done`: the last one
    =====================  ==================================================================
    """

    job: str
    type: str
    data: msgspec.Raw
    epoch: int = 0
    seq: int = 0  # numbered by the worker from 1 within an attempt; 0: made by the server
    cursor: int = 0  # numbered by the server over all jobs; 0: not stored
    at: float = 0.0


class Done(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Data of the last event of a job."""

    job: JobView
    result: Result | None = None
    error: RemoteFailure | None = None
    receipt: Receipt | None = None  # of a job of a batch only at its own address


class EventPage(msgspec.Struct, frozen=True):
    events: list[Event]
    cursor: int  # ask again after this one
