"""What requests of clients ask of a session, done in its namespace."""

from __future__ import annotations

import importlib
import sys
from importlib.util import cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_remote import calls, values
from jupyter_remote.calls import INLINE_BYTES
from jupyter_remote.errors import CaptureError
from jupyter_remote.pickling import tensors
from jupyter_remote.values import Globals
from jupyter_remote.wire import Parcel
from jupyter_remote.worker import channel
from jupyter_remote.worker.belongings import Brought
from jupyter_remote.worker.beside import Beside
from jupyter_remote.worker.callers import Caller, Now, Request, Turn
from jupyter_remote.worker.hygiene import forget_modules_below, modules_below

if TYPE_CHECKING:
    from jupyter_remote.worker.kernel import KernelProcess


class Executor:
    """Of one session: runs a call or a cell of a client, from what was sent to its reply."""

    def __init__(
        self, process: KernelProcess, run: channel.Run, now: Now, brought: Brought
    ) -> None:
        self._process = process
        self._namespace = process.namespace
        self._folder = Path(run.folder)
        self._brought = brought
        self._beside = Beside(process, run, now)

    def attempt(self, caller: Caller, request: Request, turn: Turn) -> calls.Reply:
        """Whatever happens in it, the reply says it."""
        try:
            if isinstance(request, calls.Call):
                self._keep(caller, request)
            if turn.stopped:  # asked for before this began; see Reception
                return calls.Reply(request.id, dropped=True)
            if isinstance(request, calls.Execute):
                return self._execute(request)
            value = self._call(caller, request)
            return self._answer(request.id, value)
        except BaseException as error:
            return calls.Reply(request.id, error=self._process.failure(error))

    def _keep(self, caller: Caller, call: calls.Call) -> None:
        """What comes with a call is for those behind it, too, which do not bring it again."""
        for number in call.forget:
            caller.functions.pop(number, None)
        if call.code is not None:
            caller.functions[call.function] = call.code
        if call.files:
            self._place(call.files)
        for filename, text in call.sources.items():
            name = call.source_names.get(filename, "")
            self._process.compiler.add_source(filename, text, name)

    def _call(self, caller: Caller, call: calls.Call) -> Any:
        process = self._process
        function = caller.functions[call.function]
        if isinstance(function, Parcel):
            function = caller.functions[call.function] = self._open(function)
        args, kwargs = self._open(call.plain if call.inputs is None else call.inputs)
        with tensors.gpu(lambda: True):
            return process.runner.in_shell(lambda: function(*args, **kwargs))

    def _execute(self, request: calls.Execute) -> calls.Reply:
        process, runner = self._process, self._process.runner
        compiler = process.compiler
        compiler.filename = request.filename
        if request.filename and request.name:
            compiler.names[request.filename] = request.name
        error = runner.run_on_loop(runner.execute(str(request.id), request.code))
        process.writer.settle(error)
        failure = None if error is None else process.failure(error)
        return calls.Reply(request.id, error=failure)

    def _open(self, packed: Parcel | bytes) -> Any:
        brought = Globals()
        if isinstance(packed, bytes):
            value = values.loads(packed, self._namespace, brought=brought)
        else:
            value = values.unpack(
                packed, self._beside.fetch, namespace=self._namespace, brought=brought
            )
        if brought.came:
            self._brought.take(brought)
        return value

    def _answer(self, id: int, value: Any) -> calls.Reply:
        if value is None:
            return calls.Reply(id)
        try:
            packed = values.dumps(value, self._namespace, INLINE_BYTES)
        except CaptureError as error:
            raise CaptureError(
                f"The value cannot come home. {error.message}",
                hint="Return what can be pickled; or keep it there under a name.",
            ) from None
        if isinstance(packed, bytes):
            return calls.Reply(id, plain=packed)
        self._beside.give(packed)
        return calls.Reply(id, value=packed.parcel)

    def _place(self, files: list[tuple[str, bytes]]) -> None:
        """Local modules of the caller."""
        folder, edited = self._folder, False
        for name, content in files:
            path = folder / name
            if path.exists():
                if path.read_bytes() == content:
                    continue
                edited = True
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            Path(cache_from_source(path)).unlink(missing_ok=True)  # it tells seconds only
        importlib.invalidate_caches()
        if edited:
            self._brought.doubt({m.__name__ for m in modules_below(str(folder))})
            forget_modules_below(str(folder))
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
