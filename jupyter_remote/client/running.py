"""Functions that become jobs, and their plans."""

from __future__ import annotations

import functools
import sys
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from jupyter_remote import errors
from jupyter_remote.client import submitting, transfer
from jupyter_remote.client.batch import Batch
from jupyter_remote.client.handle import EventCallback
from jupyter_remote.client.job import Job
from jupyter_remote.client.machines import Machines
from jupyter_remote.client.options import Options
from jupyter_remote.client.origin import NO_CELL, Cell, Origin, code_key_of, notebook_name
from jupyter_remote.client.places import NOTHING, Provided, is_here
from jupyter_remote.client.plan import Plan, plan_request
from jupyter_remote.client.questions import Kept, warn_of_map
from jupyter_remote.guesses import guessing
from jupyter_remote.pickling import tensors
from jupyter_remote.wire import CacheAsk, JobSpec, Need, PlanReply

if TYPE_CHECKING:
    from jupyter_remote.client.api import Client
    from jupyter_remote.client.capture import CapturedCall, CapturedCell
    from jupyter_remote.client.comparison import Comparison
    from jupyter_remote.values import Packed

BATCH_INLINE_BYTES = 256 * 1024  # of its function that the jobs of a batch may hold together


class Call(NamedTuple):
    """A call of a function, ready to be sent."""

    spec: JobSpec
    captured: CapturedCall
    code_key: str
    cache: CacheAsk | None  # what to ask of the cache


class Running(Machines, Kept):
    """What a client runs, and looks at before it runs."""

    cell: Callable[[], Cell]

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:
        """Run ``function(*args, **kwargs)`` as a job.

        Raises CaptureError listing what cannot travel; InsufficientFunds.
        """
        return self.submit_call(self.prepare_call(function, args, kwargs))

    def prepare_call(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call:
        """What :meth:`submit` would send."""
        spec, captured = self._call_spec(function, args, kwargs)
        question = self._question(function, args, kwargs, spec, captured)
        captured.notices.extend(question.notices)
        return Call(spec, captured, code_key_of(function), question.ask)

    def submit_call(self, call: Call, on_job: submitting.OnJob | None = None) -> Job:
        """:meth:`submit`, for those who show the job from its first moment on."""
        captured = call.captured
        return self.submit_spec(
            call.spec,
            [captured.function, captured.inputs],
            captured.files,
            on_job=on_job,
            notices=captured.notices,
            origin=self.origin(call.code_key, call.cache, is_shown=on_job is not None),
            used=captured.used,
        )

    def plan_call(self, call: Call, guessed: Sequence[str] = ()) -> Plan:
        """:meth:`plan`, of what was captured already."""
        origin = self.origin(call.code_key, call.cache)
        return self.plan_spec(call.spec, call.captured, guessed, origin)

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
        call = Call(spec, captured, code_key_of(function), None)
        # each machine is to be measured, whatever the cache has
        return submit_each(cast("Client", self), machines, lambda c: c.submit_call(call))

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
        needed = self._provided(spec, captured.used, self.options.need)
        code = captured.function
        if code.parcel.size_bytes * len(items) > BATCH_INLINE_BYTES:
            code = values.beside(code)
        if self.options.cache:
            warn_of_map()
        bare = msgspec.structs.replace(
            spec, inputs=None, function=code.parcel, environment=needed.spec
        )
        bare, packed, files = submitting.with_chunks(self._context, bare, [code], captured.files)
        origin = self.origin(code_key_of(function))
        template = submitting.request_of(self._context, batch, bare, self._named(spec), origin)
        outgoing = submitting.outgoing_of(packed, [*files, *needed.wheels])
        chunked = transfer.spool_of(self._context.link) is None
        inputs = (
            values.pack((item, {}), namespace=self.namespace, chunked=chunked) for item in items
        )
        with tensors.gpu(self.has_gpu):
            jobs = submitting.submit_many(
                self._context, template, inputs, outgoing, namespace=self.namespace
            )
        return Batch(batch, jobs)

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
        used: Iterable[str] = (),
    ) -> Job:
        """Submit a spec that was captured already; what is not given is as in the options.

        ``used``: modules whose packages it needs.

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
        needed = self._provided(spec, used, options.need)
        spec = msgspec.structs.replace(spec, environment=needed.spec)
        spec, packed, files = submitting.with_chunks(self._context, spec, packed, files)
        origin = origin or self.origin()
        request = submitting.request_of(self._context, str(uuid.uuid4()), spec, options, origin)
        return submitting.submit(
            self._context,
            request,
            submitting.outgoing_of(packed, [*files, *needed.wheels]),
            namespace=self.namespace,
            on_event=[on_event] if callable(on_event) else on_event,
            on_job=on_job,
            notices=[*notices, *needed.notices],
        )

    def _provided(self, spec: JobSpec, used: Iterable[str], need: Need) -> Provided:
        """The packages of a job. Raises EnvironmentUnavailable, and UsageError for a file."""
        if spec.session and spec.kind != "session":
            return NOTHING  # the session has an environment
        choice, link = self.options.environment, self._context.link
        if choice == "none" or (choice == "auto" and is_here(link, need)):
            return NOTHING
        from jupyter_remote.client import provision

        where = functools.partial(self._context.places.of, link, need)
        return provision.provided(choice, where, used, spec.files, link.settings)

    def origin(
        self, code_key: str = "", cache: CacheAsk | None = None, *, is_shown: bool = True
    ) -> Origin:
        """Where jobs of this client come from. ``is_shown``: the cell shows their output."""
        cell = self.cell() if is_shown else NO_CELL
        return Origin(code_key, notebook_name(self.namespace), cache, cell)

    def plan(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Plan:
        """What :meth:`submit` with the same arguments would ship and cost. Runs nothing."""
        with guessing() as guessed:
            call = self.prepare_call(function, args, kwargs)
        return self.plan_call(call, guessed)

    def plan_spec(
        self,
        spec: JobSpec,
        captured: CapturedCell | CapturedCall,
        guessed: Sequence[str] = (),
        origin: Origin | None = None,
    ) -> Plan:
        """The plan of a captured spec. ``guessed``: digests of inputs of which a sample alone was
        looked at."""
        needed, problem = self._planned(spec, captured.used)
        spec = msgspec.structs.replace(spec, environment=needed.spec)
        request = plan_request(spec, self.options, origin or self.origin())
        reply = self._context.link.call("POST", "/v1/plans", request, reply=PlanReply)
        return Plan(
            reply,
            captured.names,
            spec.files,
            request.segments,
            [*captured.notices, *needed.notices, *([problem] if problem else [])],
            used=captured.used,
            environment=needed,
            guessed=guessed,
            max_cost_ucredits=self.options.max_cost_ucredits,
        )

    def _planned(self, spec: JobSpec, used: Iterable[str]) -> tuple[Provided, str]:
        """The packages of a job, or why it would not be sent."""
        try:
            return self._provided(spec, used, self.options.need), ""
        except errors.EnvironmentUnavailable as error:
            return NOTHING, f"{error.message}\n{error.hint}"

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
