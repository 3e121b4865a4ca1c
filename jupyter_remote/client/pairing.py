"""Whose objects the numbers in a cell's result are: of the cell that runs, or of one like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jupyter_remote.client.capture import CapturedCell
from jupyter_remote.client.job import Job


def originals_of(
    job: Job, captured: CapturedCell, namespace: dict[str, Any]
) -> Callable[[int], Any]:
    """Gives the notebook's object that has a number in the result of ``job``.

    A result from the cache has the numbers of the job that made it. Its inputs are equal to those
    of this cell in content, and so each object has its counterpart, in the same place.
    """
    ended = job.ended
    taken = ended is not None and ended.result is not None and ended.job.cached_from
    if not taken or ended is None or ended.result is None or not ended.result.refers:
        return captured.numbered.__getitem__
    inputs = job.inputs_sent()
    packed = captured.packed
    if inputs is None or packed is None:
        return captured.numbered.__getitem__
    if inputs.segments[0].digest == packed.parcel.segments[0].digest:  # the same pickle
        return captured.numbered.__getitem__
    from jupyter_remote.client.caching import names_of
    from jupyter_remote.client.digests import Undigestible, aligned

    theirs, numbered = job.open_inputs(inputs)
    try:
        pairs = aligned(names_of(captured), (captured.sent, namespace), (theirs, namespace))
    except (KeyError, ValueError, Undigestible):  # then they come as new objects
        pairs = {}
    return lambda number: pairs.get(id(numbered[number]), numbered[number])
