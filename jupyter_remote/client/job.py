"""The handle of a job: a future that knows its status, its output and what it costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NoReturn

from jupyter_remote import errors
from jupyter_remote.amounts import force_after_s
from jupyter_remote.client import describe, receipts
from jupyter_remote.client.failures import raise_for
from jupyter_remote.client.handle import Handle
from jupyter_remote.model import History, Status
from jupyter_remote.outputs import Output, outputs_of, text_of
from jupyter_remote.wire import (
    Bar,
    CancelRequest,
    CommMessage,
    HistoryReply,
    InputRequest,
    JobView,
    Metrics,
    Parcel,
    Receipt,
)

if TYPE_CHECKING:
    from jupyter_remote.client.context import Context
    from jupyter_remote.client.home import Arrived

STEP_S = 0.1  # of waiting: how soon Ctrl-C and a lost backend are noticed
PATIENCE_S = 30.0  # that a backend may be away while someone waits for a result

View = Callable[["Job"], Any]
_NOTHING = object()
_view: View | None = None


def set_view(view: View | None) -> None:
    """How a displayed job looks: a function from a job to a MIME bundle (or None: text only)."""
    global _view
    _view = view


class Job(Handle):
    """One thing that runs or ran remotely.

    A :class:`concurrent.futures.Future`, awaitable too. ``result()`` raises what the remote code
    raised (RemoteError and the exception's own type), JobCancelled, JobLost, JobTimedOut or
    BudgetExceeded; BackendUnreachable when the backend is away for long (the job is not affected:
    ask again).
    """

    def __init__(
        self,
        context: Context,
        view: JobView,
        *,
        namespace: dict[str, Any] | None = None,
        own: bool = False,
    ) -> None:
        super().__init__(context, view, namespace=namespace, own=own)
        self.on_waited: Callable[[Job], None] | None = None  # in the thread that waited
        self._value: Any = _NOTHING
        self._values = threading.Lock()

    def __repr__(self) -> str:
        return describe.line(self._job, self.cost)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"job {self.id} is a handle of this process; send its result() or its id instead"
        )

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Any:
        bundle = None if _view is None else _view(self)
        return {"text/plain": repr(self)} if bundle is None else bundle

    # -- what it is
    @property
    def view(self) -> JobView:
        """Everything the backend says of it, as far as it is known here."""
        self._refresh()
        return self._job

    @property
    def status(self) -> str:
        """queued, running, completed, failed, cancelling or cancelled."""
        return self.view.status

    @property
    def stage(self) -> str:
        """What it does now, in plain words; empty when it has ended."""
        return self.view.stage

    @property
    def reason(self) -> str:
        """Why it ended as it did, in one word; empty while it goes on or if all went well."""
        return self.view.reason

    @property
    def description(self) -> str:
        return self._job.description

    @property
    def visibility(self) -> str:
        return self._job.visibility

    @property
    def machine(self) -> str:
        return self._job.machine

    @property
    def cost(self) -> float:
        """USD: so far, or in the end."""
        return describe.cost_usd(self._job, time.time())

    @property
    def estimate(self) -> describe.Estimate:
        """What it may take and cost: expected before, and as its progress says."""
        return describe.estimate(self.view, time.time())

    @property
    def progress(self) -> list[Bar]:
        """Its bars as they stand, those that are open first opened."""
        return list(self.view.progress)

    @property
    def metrics(self) -> Metrics | None:
        """The latest figures of CPU, memory and GPU."""
        return self.view.metrics

    @property
    def history(self) -> list[History]:
        """What happened to it, in order, in plain words."""
        path = f"/v1/jobs/{self.id}/history"
        return self._context.link.call("GET", path, reply=HistoryReply).history

    @property
    def receipt(self) -> dict[str, Any]:
        """What it was, where it ran, what it used and what it cost; whole once it ended."""
        return describe.receipt(self.view) | receipts.plain(self.whole_receipt)

    @property
    def whole_receipt(self) -> Receipt | None:
        """The same as the backend made it; None while it goes on, and where none was made."""
        if not self.done() or self._ended is None:
            return None
        if self._ended.receipt is None:
            self._ended = receipts.fetched(self._context.link, self._ended)
        return self._ended.receipt

    @property
    def metadata(self) -> dict[str, Any]:
        """``submitted``, ``started``, ``completed`` (aware times), ``status``, ``engine_id``, …"""
        return describe.metadata(self.view) | {"stdout": self.stdout, "stderr": self.stderr}

    def session(self) -> Job:
        """The job of the session that it is a cell of."""
        return self._context.job(self.view.session, self._namespace)

    # -- what it said
    @property
    def outputs(self) -> list[Output]:
        """What it printed and displayed so far, as the outputs of a notebook cell."""
        return outputs_of(self.events)

    @property
    def stdout(self) -> str:
        return text_of(self.events, "stdout")

    @property
    def stderr(self) -> str:
        return text_of(self.events, "stderr")

    def logs(self) -> str:
        """All that it wrote, also what was folded in the live output."""
        return self._context.log_of(self.id)

    # -- its end
    def running(self) -> bool:
        return self.status in (Status.RUNNING, Status.CANCELLING)

    def cancelled(self) -> bool:
        return self.done() and self._job.status == Status.CANCELLED

    def cancel(
        self,
        force: bool = False,
        *,
        checkpoint: bool = False,
        force_after: str | float | None = None,
    ) -> bool:
        """Ask it to stop; ``force`` kills at once, ``checkpoint`` has it save what is done first.
        False: it had ended already.

        Its code gets KeyboardInterrupt. If it goes on it is killed after ``force_after`` ("30s", or
        seconds; 0: never), 10 s unless the backend is set otherwise; a cell in a session only where
        that is given. Before it started this is free; after, what ran is charged.
        """
        try:
            path = f"/v1/jobs/{self.id}/cancel"
            after_s = None if force_after is None else force_after_s(force_after)
            asked = CancelRequest(force, checkpoint, after_s)
            self.stopping(self._context.link.call("POST", path, asked, reply=JobView))
        except errors.Conflict:
            return self.status == Status.CANCELLED
        return True

    def answer(self, text: str, *, refused: bool = False) -> None:
        """What its ``input()`` waits for; ``refused``: EOFError there. Raises Conflict."""
        path = f"/v1/jobs/{self.id}/input"
        body = InputRequest(text=text, refused=refused)
        self._context.link.call("POST", path, body, reply=JobView)

    def send_comm(self, message: CommMessage) -> None:
        """A message of a widget, for its code. Raises Conflict where that does not run."""
        self._context.link.call("POST", f"/v1/jobs/{self.id}/comms", message, reply=JobView)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it ended, ``timeout`` seconds at most. Returns whether it has."""
        until = None if timeout is None else time.monotonic() + timeout
        try:
            self._follow()
            with self._condition:
                while not super().done():
                    left = STEP_S if until is None else min(STEP_S, until - time.monotonic())
                    if left <= 0:
                        return False
                    self._condition.wait(left)
                    self._check_stream()
        except KeyboardInterrupt as error:
            errors.explain(error, f"job {self.id[:8]} goes on; cancel() stops it")
            raise
        self._waited()
        return True

    def result(self, timeout: float | None = None) -> Any:
        """Its value. Raises TimeoutError if it has not ended after ``timeout`` seconds."""
        self._wait(timeout)
        if self._exception is not None:
            try:
                raise self._exception.with_traceback(None)
            finally:
                self = None  # type: ignore[assignment]  # no cycle through the traceback
        return self._unpacked()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What it raised; None if it completed."""
        self._wait(timeout)
        return self._exception

    def __await__(self) -> Generator[Any, None, Any]:
        return self._awaited().__await__()

    def value_now(self) -> Any:
        """What came back even from a job that failed (an executed notebook); else None."""
        ended = self._ended
        has_value = ended is not None and ended.result is not None and ended.result.value
        return self._unpacked() if has_value else None

    def arrived(self, originals: Callable[[int], Any]) -> Arrived | None:
        """What a cell brings home, also if it failed; ``originals`` gives the notebook's objects by
        their numbers."""
        if self._ended is None:
            return None
        return self._context.arrived(self._ended, self._namespace, originals)

    def inputs_sent(self) -> Parcel | None:
        """What it was given, packed."""
        return self._context.inputs_of(self._job)

    def open_inputs(self, inputs: Parcel) -> tuple[dict[str, Any], dict[int, Any]]:
        """Of a cell: names and values, and the objects by their numbers."""
        return self._context.open_inputs(self._job, inputs, self._namespace)

    def _waited(self) -> None:
        if self.on_waited is not None:
            self.on_waited(self)

    def _wait(self, timeout: float | None) -> None:
        if super().done():
            self._waited()
        elif not self.wait(timeout):
            raise errors.StillRunning(
                f"job {self.id[:8]} is still {self._job.status} after {timeout:g} s",
                hint="it goes on: ask again, or stop it with cancel()",
            )

    async def _awaited(self) -> Any:
        import asyncio

        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def wake(_: Future[Any]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_set_once, ended)

        await loop.run_in_executor(None, self._follow)
        self.add_done_callback(wake)
        try:
            await ended
        except asyncio.CancelledError:
            await loop.run_in_executor(None, self.cancel)
            raise
        self._waited()
        if self._exception is not None:
            harmless = self._ended and raise_for(self._ended, self._namespace, interrupts=False)
            raise harmless or self._exception
        return await loop.run_in_executor(None, self._unpacked)

    def _unpacked(self) -> Any:
        with self._values:
            if self._value is _NOTHING:
                assert self._ended is not None
                self._value = self._context.value_of(self._ended, self._namespace)
            return self._value

    def _check_stream(self) -> None:
        stream = self._context.listener.stream if self._own else self._stream
        if stream is not None and not super().done() and (away := stream.trouble(PATIENCE_S)):
            raise away


def _set_once(future: Any) -> None:
    if not future.done():
        future.set_result(None)
