"""What a client and its jobs share: the way to the backend, the event stream, values."""

from __future__ import annotations

import re
import uuid
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from jupyter_remote import errors, values
from jupyter_remote.client import transfer
from jupyter_remote.client.events import Listener
from jupyter_remote.client.home import Arrived, restored
from jupyter_remote.client.job import Job
from jupyter_remote.client.link import Link
from jupyter_remote.client.places import Places
from jupyter_remote.model import Status
from jupyter_remote.pickling import tensors
from jupyter_remote.wire import Done, InputsReply, JobList, JobView, Parcel

PREFIX_LIMIT = 10
_newest: dict[str, str] = {}  # address of a backend → the job that `last` names in this process
FULL_ID = 36  # characters of a UUID


class Context:
    """Held by the client and by each of its jobs; when nobody holds it, its thread ends."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.client = str(uuid.uuid4())
        self.places = Places()
        self.listener = Listener(link, self.client)
        self._end = weakref.finalize(self, _end, self.listener, link)

    def close(self) -> None:
        """End the event thread and close the connections. Jobs go on."""
        self._end()

    def job(self, id: str, namespace: dict[str, Any] | None) -> Job:
        """By its id or the unique beginning of it; ``last`` is the newest of this process, however
        it was submitted, and without one the newest of all.

        Raises NotFound, and UsageError listing the jobs when several begin so.
        """
        id = self.newest or id if id == "last" else id
        own = self.listener.live(id)
        if isinstance(own, Job):
            return own
        return self.handle(self._newest() if id == "last" else self._find(id), namespace)

    @property
    def newest(self) -> str:
        """The job that ``last`` names; empty: none of this process."""
        return _newest.get(self.link.settings.url, "")

    @newest.setter
    def newest(self, id: str) -> None:
        _newest[self.link.settings.url] = id

    def handle(self, view: JobView, namespace: dict[str, Any] | None) -> Job:
        """The handle that follows this job already, or a new one."""
        own = self.listener.live(view.id)
        return own if isinstance(own, Job) else Job(self, view, namespace=namespace)

    def _newest(self) -> JobView:
        jobs = self.jobs_page({"limit": 1}).jobs
        if not jobs:
            raise errors.NotFound("there are no jobs yet", hint="submit one first")
        return jobs[0]

    def _find(self, id: str) -> JobView:
        if len(id) == FULL_ID:
            return self.link.call("GET", f"/v1/jobs/{id}", reply=JobView)
        if not id or not set(id.lower()) <= set("0123456789abcdef-"):
            raise errors.UsageError(
                f"{id!r} is not the id of a job",
                hint="an id is a uuid, its unique beginning, or `last`; client.jobs() lists them",
            )
        found = self.jobs_page({"prefix": id.lower(), "limit": PREFIX_LIMIT}).jobs
        match found:
            case []:
                raise errors.NotFound(
                    f"no job begins with {id!r}", hint="client.jobs() lists your jobs"
                )
            case [only]:
                return only
            case _:
                listed = "\n".join(f"  {j.id}  {j.status}  {j.description}" for j in found)
                raise errors.UsageError(
                    f"{len(found)} jobs begin with {id!r}:\n{listed}", hint="give more of the id"
                )

    def jobs_page(self, params: dict[str, object]) -> JobList:
        """One page of jobs, newest first."""
        return self.link.call("GET", "/v1/jobs", reply=JobList, params=params)

    def log_of(self, id: str) -> str:
        """The whole output of a job as text."""
        data = self.link.twice(lambda http: b"".join(http.download(f"/v1/jobs/{id}/log")))
        return data.decode("utf-8", "replace")

    def value_of(self, ended: Done, namespace: dict[str, Any] | None) -> Any:
        """The value that a job gave back, None if it gave none; of a cell the names that it
        assigned or changed."""
        job, result = ended.job, ended.result
        if job.kind == "cell":
            return self._cell_of(ended, namespace)
        if result is None or result.value is None:
            return None
        value = self._opened(job, result.value, namespace)
        return _notebook(value) if job.kind == "notebook" else value

    def arrived(
        self, ended: Done, namespace: dict[str, Any] | None, originals: Callable[[int], Any]
    ) -> Arrived | None:
        """The value of a cell, in which ``originals`` gives the objects that have numbers."""
        parcel = ended.result.value if ended.result is not None else None
        if parcel is None:
            return None
        return Arrived(*self._opened(ended.job, parcel, namespace, given=originals))

    def inputs_of(self, job: JobView) -> Parcel | None:
        """What a job was sent."""
        return self.link.call("GET", f"/v1/jobs/{job.id}/inputs", reply=InputsReply).inputs

    def open_inputs(
        self, job: JobView, inputs: Parcel, namespace: dict[str, Any] | None
    ) -> tuple[dict[str, Any], values.Numbered]:
        """Of a cell: names and values, and the objects by their numbers."""
        numbered: values.Numbered = {}
        return self._opened(job, inputs, namespace, numbered=numbered), numbered

    def _cell_of(self, ended: Done, namespace: dict[str, Any] | None) -> Any:
        inputs: dict[str, Any] = {}
        numbered: values.Numbered = {}
        if ended.result is not None and ended.result.refers:
            parcel = self.inputs_of(ended.job)
            if parcel is not None:
                inputs, numbered = self.open_inputs(ended.job, parcel, namespace)
        arrived = self.arrived(ended, namespace, numbered.__getitem__)
        if arrived is None:
            return {} if ended.job.status == Status.COMPLETED else None
        return restored(inputs, arrived, numbered)

    def _opened(
        self, job: JobView, parcel: Parcel, namespace: dict[str, Any] | None, **how: Any
    ) -> Any:
        try:
            with tensors.noted() as moved:
                value = values.unpack(
                    parcel,
                    lambda segment: transfer.fetch(self.link, segment),
                    namespace=namespace,
                    at_home=True,
                    **how,
                )
            if moved:
                _warn_moved(job, moved)
            return value
        except (errors.JupyterRemoteError, OSError, MemoryError):
            raise
        except Exception as error:  # whatever a type raises when it is made again
            raise _unopened(job, error) from error


def _warn_moved(job: JobView, moved: set[str]) -> None:
    where = ", ".join(sorted(moved))
    told = f"tensors of job {job.id[:8]} that were on {where} are in main memory: no CUDA here"
    warnings.warn_explicit(told, UserWarning, "jupyter_remote", 1)


def _unopened(job: JobView, error: Exception) -> errors.EnvironmentMismatch:
    """A result that is whole, but of things that this process does not have as the job had them."""
    stale = re.search(r"<module '([\w.]+)' from", str(error))
    mend = f"importlib.reload({stale[1]})" if stale else "restarting the kernel"
    return errors.EnvironmentMismatch(
        f"what job {job.id[:8]} gave back cannot be opened here: {type(error).__name__}: {error}",
        hint=f"The result is kept: after {mend}, `%remote result {job.id[:8]}` gives it.",
    )


def _notebook(data: bytes) -> Any:
    import nbformat

    read: Any = nbformat.reads
    return read(data.decode("utf-8"), as_version=4)


def _end(listener: Listener, link: Link) -> None:
    listener.close()
    link.close()
