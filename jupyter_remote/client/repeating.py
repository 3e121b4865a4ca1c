"""Running once more what a job ran."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jupyter_remote.client import renames, submitting
from jupyter_remote.client.options import Options
from jupyter_remote.client.origin import NO_CELL, Cell
from jupyter_remote.client.sessions import Sessions
from jupyter_remote.wire import Need, RepeatRequest

if TYPE_CHECKING:
    from jupyter_remote.client.job import Job


class Repeating(Sessions):
    """What a backend still knows of a job is enough to run it again."""

    namespace: dict[str, Any]
    cell: Callable[[], Cell]

    def repeat(
        self,
        id: str,
        *,
        resume: bool = False,
        on_job: submitting.OnJob | None = None,
        **options: Any,
    ) -> Job:
        """Run job ``id`` once more: the same code, inputs and limits, on the same machine type.

        Parameters
        ----------
        id: as for :meth:`job`.
        resume: start from the checkpoint that it saved.
        on_job: called with the handle before anything is sent.
        options: machine (and gpu, cpus, memory), max_cost, timeout or description, where it is to
            run otherwise than it did.

        Raises NotFound; Conflict saying what of it is not there any more.
        """
        known = self._context.job(id, self.namespace).view
        chosen = Options().changed(options)
        cell = NO_CELL if on_job is None else self.cell()
        request = RepeatRequest(
            id=str(uuid.uuid4()),
            resume=resume,
            need=None if chosen.need == Need() else chosen.need,
            timeout_s=chosen.timeout_s,
            max_cost_ucredits=chosen.max_cost_ucredits,
            description=chosen.description,
            client=self._context.client,
            notebook=renames.now_of(known.notebook, known.submitted_at, renames.log().all()),
            cell=cell.id,
            cell_code=cell.code,
        )
        return submitting.repeat(
            self._context, known, request, namespace=self.namespace, on_job=on_job
        )
