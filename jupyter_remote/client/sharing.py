"""Results by their names, and who else may open them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from jupyter_remote import errors
from jupyter_remote.client.job import Job
from jupyter_remote.money.meter import text_of, ucredits_of_usd
from jupyter_remote.wire import Results, ResultsView, ShareRequest

if TYPE_CHECKING:
    from jupyter_remote.client.context import Context
    from jupyter_remote.outputs import Output

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def opens_where(url: str) -> str:
    """Who gets to see something at an address of this backend, in words."""
    if urlsplit(url).hostname in LOOPBACK:
        return "opens on this computer only, and while its backend runs"
    return "opens for whoever knows the address"


class JobResult:
    """How a job ended, by its names; also of somebody else's job that is shared.

    Attributes
    ----------
    jobs_uuid, results_uuid, results_url: ids, and the address that opens without a token; the
        latter two are empty while the result is private.
    status, reason, description, visibility, version: as the backend says them.
    price: USD, so far or in the end.
    """

    def __init__(self, context: Context, view: ResultsView, job: Job | None) -> None:
        self._context = context
        self._job = job
        self.jobs_uuid = view.jobs_uuid
        self.results_uuid = view.results_uuid
        self.results_url = view.results_url
        self.visibility = view.visibility
        self.status = view.status
        self.reason = view.reason
        self.price = view.price
        self.version = view.version
        self.description = view.description

    def __repr__(self) -> str:
        what = f" {self.description!r}" if self.description else ""
        why = f" ({self.reason.replace('_', ' ')})" if self.reason else ""
        facts = [f"{self.status}{why}", text_of(ucredits_of_usd(self.price)), self.visibility]
        url = self.results_url
        where = f"; {url} ({opens_where(url)})" if url else ""
        return f"<JobResult {self.jobs_uuid[:8]}{what}: {', '.join(facts)}{where}>"

    @property
    def value(self) -> Any:
        """As :meth:`Job.result`. Raises NotAuthorized for somebody else's: values are opened only
        by whose they are."""
        if self._job is None:
            raise errors.NotAuthorized(
                f"job {self.jobs_uuid[:8]} is somebody else's: its value is not opened here",
                hint=f".outputs and {self.results_url} show it",
            )
        return self._job.result()

    @property
    def outputs(self) -> list[Output]:
        """What it printed and displayed, as the outputs of a notebook cell."""
        if self._job is not None:
            return self._job.outputs
        path = f"/v1/results/{self.results_uuid}"
        return self._context.link.call("GET", path, reply=Results).outputs


class Sharing:
    """Part of a client."""

    _context: Context
    namespace: dict[str, Any]

    def result(self, id: str | Job) -> JobResult:
        """The result of a job of yours, by the job's id, its unique beginning or ``last``; or of
        anybody's job that is shared, by its ``results_uuid`` or its address.

        Raises NotFound.
        """
        if isinstance(id, Job):
            return JobResult(self._context, self._call("GET", id), id)
        name = _name_in(str(id), self._context.link.http.url)
        try:
            job = self._context.job(name, self.namespace)
        except errors.NotFound:
            if not _is_uuid(name):
                raise
            return self._somebodys(name)
        return JobResult(self._context, self._call("GET", job), job)

    def share(
        self, id: str | Job, visibility: Literal["unlisted", "public"] = "unlisted"
    ) -> JobResult:
        """Let a result be opened without a token, by whoever knows its address (``unlisted``) or
        reads the list of results (``public``). Before its job ended there is nothing to see."""
        if visibility not in ("unlisted", "public"):
            raise errors.UsageError(
                f"visibility={visibility!r} shares nothing",
                hint="it is 'unlisted' or 'public'; revoke() takes a result back",
            )
        job = self._own(id)
        return JobResult(self._context, self._call("POST", job, ShareRequest(visibility)), job)

    def revoke(self, id: str | Job) -> JobResult:
        """Take a result back: its address is good no more, and never will be again."""
        job = self._own(id)
        return JobResult(self._context, self._call("DELETE", job), job)

    def _own(self, id: str | Job) -> Job:
        found = self.result(id)
        if found._job is None:
            raise errors.NotFound(
                f"job {found.jobs_uuid[:8]} is not yours", hint="client.jobs() lists yours"
            )
        return found._job

    def _call(self, method: str, job: Job, body: ShareRequest | None = None) -> ResultsView:
        path = f"/v1/jobs/{job.id}/share"
        view = self._context.link.call(method, path, body, reply=ResultsView)
        job.shared(view)
        return view

    def _somebodys(self, id: str) -> JobResult:
        found = self._context.link.call("GET", f"/v1/results/{id}", reply=Results)
        try:
            job = self._context.job(found.jobs_uuid, self.namespace)
        except errors.NotFound:
            job = None
        return JobResult(self._context, found, job)


def _name_in(text: str, url: str) -> str:
    """The id in an address of a result. Raises UsageError for one of another backend."""
    if "://" not in text:
        return text
    there, here = urlsplit(text), urlsplit(url)
    if there.netloc != here.netloc:
        raise errors.UsageError(
            f"{text} is on another backend than {url}",
            hint="a browser opens it; a client of that backend has it by its id",
        )
    return there.path.rstrip("/").rpartition("/")[2]


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
