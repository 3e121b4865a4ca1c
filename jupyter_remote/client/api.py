"""The client: submits jobs, finds them again, asks for prices."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from jupyter_remote import errors
from jupyter_remote import settings as settings_module
from jupyter_remote.client import listing, page
from jupyter_remote.client.account import Account
from jupyter_remote.client.context import Context
from jupyter_remote.client.job import Job
from jupyter_remote.client.link import Link
from jupyter_remote.client.options import Options
from jupyter_remote.client.origin import NO_CELL, Cell
from jupyter_remote.client.repeating import Repeating
from jupyter_remote.client.running import Running
from jupyter_remote.client.sharing import Sharing
from jupyter_remote.settings import Settings
from jupyter_remote.wire import (
    Event,
    JobOutputs,
    JobSpec,
    JobView,
    PageLink,
    ServerInfo,
)

if TYPE_CHECKING:
    from jupyter_remote.client.views.views import Views


class _Notebook(msgspec.Struct):
    """What every notebook file says."""

    nbformat: int


class Client(Running, Repeating, Sharing, Account):
    """A backend, and jobs on it.

    Parameters
    ----------
    url, token: of a backend; else from settings, else the embedded backend of this user, which is
        started if it does not run.
    settings: all settings at once, instead of reading them.
    namespace: where the caller's functions live; ``__main__`` (the notebook) by default.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        settings: Settings | None = None,
        namespace: dict[str, Any] | None = None,
    ) -> None:
        found = settings or settings_module.load(_config())
        if url is not None:
            found = msgspec.structs.replace(found, url=url)
        if token is not None:
            found = msgspec.structs.replace(found, token=token)
        if found.url and not found.token:
            raise errors.NotAuthenticated(
                f"no token for {found.url}",
                hint="give token=, or set JUPYTER_REMOTE_TOKEN (a .env file will do)",
            )
        self.settings = found
        self.options = Options()
        self.cell: Callable[[], Cell] = lambda: NO_CELL  # that is running now
        self.namespace = vars(sys.modules["__main__"]) if namespace is None else namespace
        self._context = Context(Link(found))
        self._shared: dict[str, Views] = {}  # made at first use, by all copies

    def __repr__(self) -> str:
        return f"Client({self.settings.url or 'embedded'!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds a token and cannot be pickled; make one over there")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the event stream and the connections. Jobs and named sessions go on; the workers of
        views without a name end."""
        if views := self._shared.pop("views", None):
            views.close()
        self._context.close()

    @property
    def id(self) -> str:
        """Under which this client hears of its jobs."""
        return self._context.client

    @property
    def url(self) -> str:
        """Of the backend; finds or starts the embedded one."""
        return self._context.link.http.url

    def info(self) -> ServerInfo:
        """What answers: version, workers, jobs. Raises ProtocolMismatch."""
        return self._context.link.call("GET", "/v1/server", reply=ServerInfo)

    def page(self) -> PageLink:
        """A link that signs a browser in, once and within minutes, to see and cancel your jobs."""
        return self._context.link.call("POST", page.LINKS, reply=PageLink)

    def listen(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call ``callback`` on the event thread with each event of this client's jobs.

        Returns what ends it.
        """
        return self._context.listener.listen(callback)

    def with_options(self, **options: Any) -> Client:
        """The same client with other defaults: machine, gpu, cpus, memory, max_cost (USD),
        timeout, gpu_idle, retries, max_attempts, description, visibility, files,
        environment, progress, cache, resume."""
        return self._with(self.options.changed(options))

    def _with(self, options: Options) -> Client:
        other = Client.__new__(Client)
        other.__dict__.update(self.__dict__, options=options)
        return other

    # -- running
    def run_notebook(self, path: str | Path, **options: Any) -> Job:
        """Run a whole notebook; its result is the executed notebook (an nbformat node)."""
        from jupyter_remote import values
        from jupyter_remote.client.capture import capture_files
        from jupyter_remote.client.used import of_notebook

        client = self.with_options(**options)
        file = Path(path)
        try:
            data = file.read_bytes()
            msgspec.json.decode(data, type=_Notebook)
        except OSError as error:
            raise errors.UsageError(
                f"{str(file)!r} cannot be read: {error.strerror}", hint="check the path"
            ) from error
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise errors.UsageError(
                f"{str(file)!r} is not a notebook",
                hint="it must be an .ipynb file, which is JSON and says its nbformat",
            ) from None
        packed = values.pack_raw(data, chunked=False)
        files = capture_files(list(client.options.files), file.parent)
        spec = JobSpec(
            kind="notebook",
            inputs=packed.parcel,
            name=file.name,
            files=[f.ref for f in files],
            executable=sys.executable,
        )
        question = client._question_of_notebook(spec, data, files)
        origin = client.origin(hashlib.sha256(data).hexdigest(), question.ask)
        return client.submit_spec(
            spec,
            [packed],
            files,
            description=file.name,
            origin=origin,
            notices=question.notices,
            used=of_notebook(data),
        )

    # -- finding
    def job(self, id: str) -> Job:
        """A job by its id, the unique beginning of it, or ``last``; from any kernel. ``last`` is
        the newest that this process submitted, without one the newest of all.

        Raises NotFound, and UsageError listing them when several begin so.
        """
        return self._context.job(str(id), self.namespace)

    def remember(self, job: Job) -> None:
        """Let ``last`` name this job from now on."""
        self._context.newest = job.id

    def jobs(self, status: str | None = None, limit: int | None = 50) -> list[Job]:
        """The newest jobs of this user, of one status or of all; ``limit=None``: every one."""
        found = listing.jobs(self._context.jobs_page, status, limit)
        return [self._context.handle(view, self.namespace) for view in found]

    def jobs_of(self, notebook: str, limit: int = 100) -> list[JobView]:
        """The newest jobs that come from this notebook: its path, as its kernel knows it."""
        return listing.of_notebook(self._context.jobs_page, notebook, limit)

    def jobs_since(self, notebook: str, at: float) -> Iterator[JobView]:
        """Those of a notebook that were sent after that time, newest first."""
        return listing.since(self._context.jobs_page, notebook, at)

    def outputs_of(self, id: str) -> JobOutputs:
        """What a job showed so far, as the outputs of a cell. ``id``: the whole of it."""
        return self._context.link.call("GET", f"/v1/jobs/{id}/outputs", reply=JobOutputs)


def _config() -> Any:
    """The configuration of the running Jupyter or IPython application, if there is one."""
    module = sys.modules.get("traitlets.config")
    if module is None or not module.Application.initialized():
        return None
    return module.Application.instance().config
