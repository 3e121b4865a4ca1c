"""The client: submits jobs, finds them again, asks for prices."""

from __future__ import annotations

import hashlib
import sys
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from jupyter_remote import errors
from jupyter_remote import settings as settings_module
from jupyter_remote.client import listing, submitting, transfer
from jupyter_remote.client.account import Account
from jupyter_remote.client.batch import Batch
from jupyter_remote.client.context import Context
from jupyter_remote.client.handle import EventCallback
from jupyter_remote.client.job import Job
from jupyter_remote.client.link import Link
from jupyter_remote.client.options import Options
from jupyter_remote.client.origin import Origin, code_key_of, notebook_name
from jupyter_remote.client.plan import Plan, plan_request
from jupyter_remote.client.questions import Kept, warn_of_map
from jupyter_remote.client.repeating import Repeating
from jupyter_remote.client.sharing import Sharing
from jupyter_remote.guesses import guessing
from jupyter_remote.model import MachineType
from jupyter_remote.pickling import tensors
from jupyter_remote.settings import Settings
from jupyter_remote.wire import (
    CacheAsk,
    Event,
    JobSpec,
    MachineList,
    Need,
    PlanReply,
    ServerInfo,
)

if TYPE_CHECKING:
    from jupyter_remote.client.capture import CapturedCall, CapturedCell
    from jupyter_remote.client.comparison import Comparison
    from jupyter_remote.client.views.views import Views
    from jupyter_remote.values import Packed


BATCH_INLINE_BYTES = 256 * 1024  # of its function that the jobs of a batch may hold together


class _Notebook(msgspec.Struct):
    """What every notebook file says."""

    nbformat: int


class Client(Repeating, Kept, Sharing, Account):
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

    def listen(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call ``callback`` on the event thread with each event of this client's jobs.

        Returns what ends it.
        """
        return self._context.listener.listen(callback)

    def with_options(self, **options: Any) -> Client:
        """The same client with other defaults: machine, gpu, cpus, memory, max_cost (USD),
        timeout, gpu_idle, retries, max_attempts, description, visibility, files, progress, cache,
        resume."""
        return self._with(self.options.changed(options))

    def _with(self, options: Options) -> Client:
        other = Client.__new__(Client)
        other.__dict__.update(self.__dict__, options=options)
        return other

    # -- running
    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:
        """Run ``function(*args, **kwargs)`` as a job.

        Raises CaptureError listing what cannot travel; InsufficientFunds.
        """
        return self.submit_call(function, args, kwargs)

    def submit_call(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        on_job: submitting.OnJob | None = None,
    ) -> Job:
        """:meth:`submit`, for those who show the job from its first moment on."""
        spec, captured = self._call_spec(function, args, kwargs)
        packed = [captured.function, captured.inputs]
        question = self._question(function, args, kwargs, spec, captured)
        return self.submit_spec(
            spec,
            packed,
            captured.files,
            on_job=on_job,
            notices=[*captured.notices, *question.notices],
            origin=self.origin(code_key_of(function), question.ask),
        )

    def compare(
        self,
        function: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        machines: Sequence[str],
    ) -> Comparison:
        """Run ``function(*args, **kwargs)`` on each of these machines, side by side.

        ``max_cost`` is for all together. What it returns shows as a table.
        """
        from jupyter_remote.client.comparison import submit_each

        spec, captured = self._call_spec(function, tuple(args), kwargs or {})
        packed, origin = [captured.function, captured.inputs], self.origin(code_key_of(function))
        return submit_each(
            self,
            machines,
            lambda client: client.submit_spec(spec, packed, captured.files, origin=origin),
        )

    def map(self, function: Callable[..., Any], /, *iterables: Iterable[Any]) -> Batch:
        """Run ``function`` on the items of ``iterables`` side by side, one job each.

        The function is captured and sent once. Their results are not taken from the cache.
        """
        from jupyter_remote import values

        items = list(zip(*iterables, strict=False))
        batch = str(uuid.uuid4())
        if not items:
            return Batch(batch, [])
        spec, captured = self._call_spec(function, items[0], {})
        code = captured.function
        if code.parcel.size_bytes * len(items) > BATCH_INLINE_BYTES:
            code = values.beside(code)
        if self.options.cache:
            warn_of_map()
        bare = msgspec.structs.replace(spec, inputs=None, function=code.parcel)
        bare, packed, files = submitting.with_chunks(self._context, bare, [code], captured.files)
        origin = self.origin(code_key_of(function))
        template = submitting.request_of(self._context, batch, bare, self._named(spec), origin)
        outgoing = submitting.outgoing_of(packed, files)
        chunked = transfer.spool_of(self._context.link) is None
        inputs = (
            values.pack((item, {}), namespace=self.namespace, chunked=chunked) for item in items
        )
        with tensors.gpu(self.has_gpu):
            jobs = submitting.submit_many(
                self._context, template, inputs, outgoing, namespace=self.namespace
            )
        return Batch(batch, jobs)

    def run_notebook(self, path: str | Path, **options: Any) -> Job:
        """Run a whole notebook; its result is the executed notebook (an nbformat node)."""
        from jupyter_remote import values
        from jupyter_remote.client.capture import capture_files

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
        )

    def submit_spec(
        self,
        spec: JobSpec,
        packed: Sequence[Packed] = (),
        files: Sequence[submitting.File] = (),
        *,
        need: Need | None = None,
        description: str | None = None,
        visibility: Any = None,
        timeout_s: float | None = None,
        max_cost_ucredits: int | None = None,
        retries: int | None = None,
        on_event: EventCallback | Sequence[EventCallback] = (),
        on_job: submitting.OnJob | None = None,
        notices: Sequence[str] = (),
        origin: Origin | None = None,
    ) -> Job:
        """Submit a spec that was captured already; what is not given is as in the options.

        ``on_event`` is called with every event of the job from the first one on, ``on_job`` with
        its handle before anything is sent.
        """
        given = {
            "need": need,
            "description": description or self.options.description or spec.name,
            "visibility": visibility,
            "timeout_s": timeout_s,
            "max_cost_ucredits": max_cost_ucredits,
            "retries": retries,
        }
        chosen = {k: v for k, v in given.items() if v is not None}
        options = msgspec.structs.replace(self.options, **chosen)
        spec, packed, files = submitting.with_chunks(self._context, spec, packed, files)
        origin = origin or self.origin()
        request = submitting.request_of(self._context, str(uuid.uuid4()), spec, options, origin)
        return submitting.submit(
            self._context,
            request,
            submitting.outgoing_of(packed, files),
            namespace=self.namespace,
            on_event=[on_event] if callable(on_event) else on_event,
            on_job=on_job,
            notices=notices,
        )

    def origin(self, code_key: str = "", cache: CacheAsk | None = None) -> Origin:
        """Where jobs of this client come from."""
        return Origin(code_key, notebook_name(self.namespace), cache)

    def plan(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Plan:
        """What :meth:`submit` with the same arguments would ship and cost. Runs nothing."""
        with guessing() as guessed:
            spec, captured = self._call_spec(function, args, kwargs)
        question = self._question(function, args, kwargs, spec, captured)
        captured.notices.extend(question.notices)
        origin = self.origin(code_key_of(function), question.ask)
        return self.plan_spec(spec, captured, guessed, origin)

    def plan_spec(
        self,
        spec: JobSpec,
        captured: CapturedCell | CapturedCall,
        guessed: Sequence[str] = (),
        origin: Origin | None = None,
    ) -> Plan:
        """The plan of a captured spec. ``guessed``: digests of inputs of which a sample alone was
        looked at."""
        request = plan_request(spec, self.options, origin or self.origin())
        reply = self._context.link.call("POST", "/v1/plans", request, reply=PlanReply)
        return Plan(
            reply,
            captured.names,
            spec.files,
            request.segments,
            captured.notices,
            used=captured.used,
            guessed=guessed,
            max_cost_ucredits=self.options.max_cost_ucredits,
        )

    def _call_spec(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[JobSpec, CapturedCall]:
        from jupyter_remote.client.capture import capture_call, capture_files

        if not callable(function):
            raise errors.UsageError(
                f"{function!r} cannot be called",
                hint="give the function and its arguments: client.submit(f, 1, 2)",
            )
        with tensors.gpu(self.has_gpu):
            captured = capture_call(function, args, kwargs, namespace=self.namespace)
        if self.options.files:
            captured.files.extend(capture_files(list(self.options.files), Path.cwd()))
        spec = JobSpec(
            kind="call",
            function=captured.function.parcel,
            inputs=captured.inputs.parcel,
            files=[f.ref for f in captured.files],
            name=getattr(function, "__name__", type(function).__name__),
            executable=sys.executable,
            quiet_progress=self.options.quiet_progress,
            sources=captured.sources,
            source_names=captured.source_names,
        )
        return spec, captured

    def _named(self, spec: JobSpec) -> Options:
        description = self.options.description or spec.name
        return msgspec.structs.replace(self.options, description=description)

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

    # -- machines
    def machine_list(self) -> MachineList:
        """What can be rented, with prices and with what is free now."""
        return self._context.link.call("GET", "/v1/machines", reply=MachineList)

    def machines(self, gpu: str | None = None) -> list[MachineType]:
        """What can be rented, with prices; ``gpu`` filters by the GPU's name."""
        found = self.machine_list().machines
        return [m for m in found if gpu is None or gpu.lower() in m.gpu.lower()]

    def has_gpu(self) -> bool:
        """Is there a GPU where jobs of this client run? Simulated machines are this computer."""
        need = self.options.need
        machines = {m.id: m for m in self.machines()}
        local = machines.get("local")
        chosen = machines.get(need.machine or "local")
        if need.gpu and not need.machine:
            chosen = next((m for m in machines.values() if m.gpu.lower() == need.gpu.lower()), None)
        if chosen is not None and chosen.simulated:
            chosen = local
        return chosen is not None and chosen.gpu_count > 0


def _config() -> Any:
    """The configuration of the running Jupyter or IPython application, if there is one."""
    module = sys.modules.get("traitlets.config")
    if module is None or not module.Application.initialized():
        return None
    return module.Application.instance().config
