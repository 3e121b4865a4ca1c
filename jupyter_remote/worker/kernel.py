"""The process that runs user code: takes jobs from the agent, one at a time, and says what happens.

The main thread reads the socket between jobs and runs user code; see ``outputs`` for what goes out.
"""

from __future__ import annotations

import contextlib
import contextvars
import faulthandler
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from jupyter_remote import ambient, values, wire
from jupyter_remote.errors import CaptureError, EnvironmentMismatch
from jupyter_remote.model import Reason, Stage
from jupyter_remote.money import meter
from jupyter_remote.pickling import tensors
from jupyter_remote.sizes import name_info
from jupyter_remote.values import Numbered
from jupyter_remote.wire import RemoteFailure
from jupyter_remote.worker import (
    channel,
    failure,
    gpu_memory,
    hygiene,
    inside,
    progress,
    shell,
    stacks,
    value_text,
)
from jupyter_remote.worker.checkpoints import Checkpoints, opener
from jupyter_remote.worker.dialogue import Dialogue
from jupyter_remote.worker.encodable import encoded
from jupyter_remote.worker.fds import Capture
from jupyter_remote.worker.inbox import Inbox
from jupyter_remote.worker.interrupts import Interrupts
from jupyter_remote.worker.namespace import (
    CellNamespace,
    Home,
    Namespace,
    open_parcel,
    sent_home,
)
from jupyter_remote.worker.outputs import Stream, Writer
from jupyter_remote.worker.process_state import ProcessState, stop_timers, users_threads
from jupyter_remote.worker.runner import Runner
from jupyter_remote.worker.tail import Tail

if TYPE_CHECKING:
    from jupyter_remote.worker.session import Session


class KernelProcess:
    """Serves one agent until it hangs up."""

    def __init__(self, sock: socket.socket, kernel: shell.JobKernel, fds: list[int]) -> None:
        """``fds``: see ``remains``."""
        self._pid = os.getpid()
        self.inbox = Inbox(sock)
        self._kernel: Any = kernel
        self._shell: Any = kernel.shell
        self.interrupts = Interrupts()
        self.interrupts.install()
        tail_fd, *pipes = fds
        self.writer = Writer(sock, Tail(tail_fd))
        faulthandler.enable(tail_fd, all_threads=False)
        self._capture = Capture(self.writer, pipes)
        self._streams = [
            Stream(self.writer, name, fd, self._capture.drain)
            for fd, name in ((1, "stdout"), (2, "stderr"))
        ]
        self._bars = progress.Hooks(lambda bar: self.writer.send(channel.Progress(bar)))
        self.dialogue = Dialogue(
            self.inbox, kernel, self.writer, self.interrupts, self._capture.drain
        )
        self.runner = Runner(kernel, self.inbox, self.dialogue, self.interrupts)
        self._connect()
        self._session: Session | None = None
        self._holds_gpu = False
        self._surroundings = hygiene.Surroundings()
        self.checkpoints = Checkpoints(
            self.interrupts, self.writer.tell_agent, lambda: self.namespace, self._show_beside
        )
        self.checkpoints.install()
        self._state = ProcessState(self._shell, tail_fd)

    def _connect(self) -> None:
        self._kernel.session.connect(self.writer)
        self._kernel.session.pid = self._pid
        self._kernel.set_parent([], shell.request("call"))  # an Output widget asks for its id
        self._kernel.ask = self.dialogue.ask
        self._shell.interrupts = self.interrupts
        sys.stdout, sys.stderr = self._streams
        warnings.filterwarnings("ignore", "To exit: use", UserWarning)
        self._bars.install()
        stacks.install(self._shell.compile.names, lambda file: file in self._streams)

    # --- serving -----------------------------------------------------------------------------
    def serve(self) -> None:
        """Take messages until the agent hangs up."""
        self.writer.send(channel.Ready(pid=self._pid, python=sys.version.split()[0]), urgent=True)
        while True:
            try:
                if self._holds_gpu and self.inbox.quiet(gpu_memory.IDLE_S):
                    self._rest()
                message = self.inbox.read()
            except EOFError:
                return
            if isinstance(message, channel.Run):
                self._serve_run(message)
            elif isinstance(message, channel.Comm):
                self.dialogue.serve_comm(message)

    def _serve_run(self, run: channel.Run) -> None:
        finished = self._serve_session(run) if run.spec.kind == "session" else self.attempt(run)
        if os.getpid() != self._pid:  # user code forked, and its child came back from the job
            os._exit(0)
        self.runner.close_loop()
        self.settle()
        if hygiene.has_children() or users_threads():
            finished = msgspec.structs.replace(finished, retire=True)
        if run.spec.kind == "call":
            self._surroundings.keep_sources()
            if gpu_memory.is_open():
                self._holds_gpu = True
                retire = finished.retire or not gpu_memory.is_usable()
                finished = msgspec.structs.replace(finished, holds_gpu=True, retire=retire)
        self.writer.send(finished, urgent=True)
        self.writer.flush()
        self._clean_up()

    def _rest(self) -> None:
        """Between calls: memory of the GPU is for others."""
        self._holds_gpu = False  # until the next call there is nothing more to free
        self.writer.send(channel.Rested(gpu_memory.release()), urgent=True)

    def settle(self) -> None:
        """After a job, or a call: all that it has shown is on its way."""
        inside.job.say_bars()
        self._bars.close_all()
        self._capture.finish()
        self._kernel.session.widgets.end(lasting=self._session is not None)
        self.writer.settle(None)

    def _serve_session(self, run: channel.Run) -> channel.Finished:
        """Until it is over. Interrupts are for its calls."""
        from jupyter_remote.worker.session import Session

        try:
            self._prepare(run)
            self._session = Session(self, run)
            self._session.restore()
            self.checkpoints.keeper = self._session.keeper
            self._stage(Stage.EXECUTING)
            with self.checkpoints.of(run):
                detail = self._session.serve()
        except Exception as error:
            return self._finished(run, error, None)
        return msgspec.structs.replace(self._finished(run, None, None), detail=detail)

    @property
    def namespace(self) -> dict[str, Any]:
        """Of user code."""
        names: dict[str, Any] = self._shell.user_ns
        return names

    @property
    def hidden(self) -> dict[str, Any]:
        """Names that the shell has for itself, with their values."""
        return dict(self._shell.user_ns_hidden)

    @property
    def compiler(self) -> Any:
        """Knows the sources of cells."""
        return self._shell.compile

    def _clean_up(self) -> None:
        self._state.put_back()
        sys.stdout, sys.stderr = self._streams
        self._capture.put_back()
        inside.job.end()
        self._surroundings.leave()

    def attempt(self, run: channel.Run) -> channel.Finished:
        """Run a job. Whatever happens in it, the answer says it."""
        try:
            with self.interrupts.allowed(), self.checkpoints.of(run):
                return self._finished(run, *self._attempt(run))
        except KeyboardInterrupt as error:  # outside of user code, while values were packed
            return self._finished(run, error, None)

    def _attempt(self, run: channel.Run) -> tuple[BaseException | None, Home | None]:
        try:
            self._prepare(run)
            with tensors.gpu(lambda: True):  # the notebook takes them, wherever it puts them
                return self._kinds[run.spec.kind](self, run)
        except BaseException as error:
            return error, None

    def _finished(
        self, run: channel.Run, error: BaseException | None, home: Home | None
    ) -> channel.Finished:
        result = None
        if home is not None:
            try:
                result = encoded(wire.encode, home.result)
            except Exception as unsaved:  # names may be anything
                error, home = error or unsaved, None
        mismatch = issubclass(type(error), EnvironmentMismatch)
        return channel.Finished(
            job=run.job,
            epoch=run.epoch,
            ok=error is None,
            error=None if error is None else self.failure(error),
            interrupted=issubclass(type(error), KeyboardInterrupt),
            result=result,
            spooled=[] if home is None else home.spooled,
            reason=Reason.ENVIRONMENT if mismatch else Reason.NONE,
            detail=str(error) if mismatch else "",
        )

    def failure(self, error: BaseException) -> RemoteFailure:
        show = failure.shown_by(self._shell, self._surroundings.folders)
        if self._session is not None:  # for %debug
            sys.last_type, sys.last_value, sys.last_traceback = (
                type(error),
                error,
                failure.user_frames(error.__traceback__),
            )
        return failure.failure_of(error, show)

    def _show_beside(self, name: str, error: BaseException) -> None:
        """What a checkpoint function raised."""
        lines = [f"The checkpoint function {name} failed:", *self.failure(error).traceback, ""]
        self._streams[1].write("\n".join(lines))

    def _prepare(self, run: channel.Run) -> None:
        if self._session is None:
            self._surroundings.enter(run.folder, run.spec.files)
        else:
            self._surroundings.add(run.folder, run.spec.files)
        hygiene.show_gpus(run.gpus)
        sys.stdout, sys.stderr = self._streams
        self._bars.active = run.spec.quiet_progress
        purse = self._purse(run) if self._session is None else self._session.purse
        bars = self.relay_bars(run.spec.quiet_progress)
        checkpoint = opener(run, lambda: self.namespace)
        inside.job.begin(run.job, run.epoch, bars, purse, checkpoint)
        compiler = self._shell.compile
        for filename, text in run.spec.sources.items():
            compiler.add_source(filename, text, run.spec.source_names.get(filename, ""))
        compiler.filename = run.spec.filename
        if run.spec.filename and run.spec.name:
            compiler.names[run.spec.filename] = run.spec.name

    def _purse(self, run: channel.Run) -> inside.Purse | None:
        if run.budget_left_ucredits is None:
            return None
        left, rate = run.budget_left_ucredits, run.rate_ucredits_per_h
        return inside.Purse(meter.usd_of(left), meter.usd_of(rate), time.time())

    def relay_bars(self, as_data: bool) -> Callable[[wire.Bar], None] | None:
        """Where bars of :mod:`inside` go; None: they are printed."""
        return self._bars.relay if as_data else None

    # --- kinds of jobs -----------------------------------------------------------------------
    def _cell(self, run: channel.Run) -> tuple[BaseException | None, Home | None]:
        namespace: Namespace = self._shell.user_ns
        numbered: Numbered = {}
        inputs = open_parcel(run.spec.inputs, run, namespace, numbered) or {}
        cell = CellNamespace(run.spec, namespace, inputs, numbered)
        state: ambient.State = {}
        self._stage(Stage.EXECUTING)
        try:
            error = self.runner.run_on_loop(self._with_ambient(run, state))
        except KeyboardInterrupt as interrupt:  # it came between two steps of user code
            error = interrupt
        stop_timers()
        if run.spec.value_as and error is None:
            namespace[run.spec.value_as] = self._shell.last_execution_result.result
        self.writer.settle(error)
        self._save_result()
        try:
            return error, _without_bars(cell.home(run, state), namespace)
        except Exception as unsaved:
            return error or unsaved, None

    async def _with_ambient(self, run: channel.Run, state: ambient.State) -> BaseException | None:
        """Puts into ``state`` what of it the cell changed. Some of it is in context variables,
        so all this has to be one task."""
        ambient.apply(run.spec.ambient, importing=True)
        before = ambient.present()
        try:
            return await self.runner.execute(run.job, run.spec.code)
        finally:
            state.update(ambient.changed(before))

    def _call(self, run: channel.Run) -> tuple[BaseException | None, Home | None]:
        namespace = shell.fresh_main(self._shell)
        function = open_parcel(run.spec.function, run, namespace)
        args, kwargs = open_parcel(run.spec.inputs, run, namespace) or ((), {})
        context = contextvars.copy_context()  # what it sets there is not for the next call
        value = self.runner.in_shell(lambda: context.run(function, *args, **kwargs))
        self._save_result()
        try:
            packed = values.pack(
                value, namespace=namespace, names=[name_info("", value)], chunked=False
            )
        except CaptureError as error:
            name = run.spec.name or "the function"
            raise CaptureError(
                f"The value of {name} cannot come home. {error.message}",
                hint="Return what can be pickled, such as a list.",
            ) from None
        return None, sent_home(packed, run, text=value_text.text_of(value))

    def _script(self, run: channel.Run) -> tuple[BaseException | None, Home | None]:
        namespace = shell.fresh_main(self._shell)
        filename = run.spec.filename or run.spec.name or "script.py"
        self._shell.compile.add_source(filename, run.spec.code)
        namespace["__file__"] = filename
        sys.argv[:] = [filename]
        code = compile(run.spec.code, filename, "exec", dont_inherit=True)
        try:
            self.runner.in_shell(lambda: exec(code, namespace))
        except SystemExit as error:
            return (error if error.code else None), None
        return None, None

    def _notebook(self, run: channel.Run) -> tuple[BaseException | None, Home | None]:
        from jupyter_remote.worker import notebook_job

        data = open_parcel(run.spec.inputs, run, {})
        executed, error = notebook_job.execute(
            data, run, self.writer, self.interrupts, self.checkpoints
        )
        return error, sent_home(values.pack_raw(executed, chunked=False), run)

    _kinds: ClassVar[dict[str, Callable[..., tuple[BaseException | None, Home | None]]]] = {
        "cell": _cell,
        "call": _call,
        "script": _script,
        "notebook": _notebook,
    }

    def _save_result(self) -> None:
        """User code is over."""
        self.checkpoints.closed()
        self._stage(Stage.SAVING_RESULT)

    def _stage(self, stage: Stage) -> None:
        self.writer.send(channel.Stage(stage))


def _without_bars(home: Home, namespace: Namespace) -> Home:
    """A bar cannot travel, and need not."""
    told = [
        left for left in home.result.left_behind if not progress.is_bar(namespace.get(left.name))
    ]
    return Home(msgspec.structs.replace(home.result, left_behind=told), home.spooled)


def serve(sock: socket.socket, kernel: shell.JobKernel, fds: list[int]) -> None:
    """Be a kernel process on ``sock``; called in the forked process."""
    hygiene.become_subreaper()
    hygiene.prefer_for_out_of_memory()
    with contextlib.suppress(EOFError):
        KernelProcess(sock, kernel, fds).serve()


def main(arguments: list[str]) -> None:
    """``python -m jupyter_remote.worker.kernel FD FD…``: where there is no fork."""
    fds = [int(a) for a in arguments]
    for fd in fds:
        os.set_inheritable(fd, False)
    serve(socket.socket(fileno=fds[0]), shell.build(), fds[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
