"""Checkpoints in a kernel process: the agent asks with a signal, ``jr.on_checkpoint`` answers."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from jupyter_remote import values
from jupyter_remote.errors import CaptureError, JupyterRemoteError
from jupyter_remote.pickling import tensors
from jupyter_remote.wire import Parcel
from jupyter_remote.worker import channel, inside
from jupyter_remote.worker.failure import message_of, name_of
from jupyter_remote.worker.interrupts import Interrupts
from jupyter_remote.worker.namespace import open_parcel, spooled
from jupyter_remote.worker.snapshot import Keeper, Snapshot, not_kept

WHY = {number: why for why, number in channel.CHECKPOINTS.items()}
NONE = "no function is registered with @jr.on_checkpoint"


class Checkpoints:
    """Of one kernel process.

    Parameters
    ----------
    tell: gives the answer to the agent, and what else there is to say.
    namespace: of user code, as it is when it is asked for.
    show: puts an exception of a checkpoint function, with its traceback, into the output.
    goes_on: asked between two runs, it is for the next.
    """

    def __init__(
        self,
        interrupts: Interrupts,
        tell: Callable[[channel.Saved | channel.Every], object],
        namespace: Callable[[], dict[str, Any]],
        show: Callable[[str, BaseException], None],
        *,
        goes_on: bool = False,
    ) -> None:
        self._interrupts = interrupts
        self._tell_agent = tell
        self._namespace = namespace
        self._show = show
        self._goes_on = goes_on
        self._instead: Callable[[int], bool] | None = None
        self.keeper: Keeper | None = None  # of a session: all that it holds is kept
        self._run: channel.Run | None = None
        self._before: channel.Run | None = None  # of the session that it runs in
        self._early = ""
        self._ran = self._busy = False

    def install(self) -> None:
        for number in WHY:
            signal.signal(number, self._on_signal)
        inside.ask_every = lambda every_s: self._tell_agent(channel.Every(every_s))

    @contextmanager
    def of(self, run: channel.Run) -> Iterator[None]:
        """Code of ``run`` may be asked for one inside the block."""
        before = self._before, self._run
        self._before, self._run = self._run, run
        early, self._early, self._ran = self._early, "", True
        try:
            if early:
                self._save_for(early)
            yield
        finally:
            self._before, self._run = before

    @contextmanager
    def instead(self, ask: Callable[[int], bool]) -> Iterator[None]:
        """Inside the block another process saves. ``ask`` passes the signal on, if it can."""
        self._instead = ask
        try:
            yield
        finally:
            self._instead = None

    def closed(self) -> None:
        """The code came to its end: what it made comes home by itself."""
        self._run = self._before

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        why = WHY[number]
        if self._instead is not None and self._instead(number):
            return
        if self._run is None:
            # Before the first job it can only be meant for the job that is on its way.
            self._early = why if self._goes_on or not self._ran else ""
        else:
            self._interrupts.soon(lambda: self._save_for(why))

    def _save_for(self, why: str) -> None:
        """Asked again meanwhile, the first answer is for both."""
        if self._run is None or self._busy:
            return
        self._busy, run = True, self._run
        if why != channel.PERIODIC:
            inside.job.stop_reason = why
        try:
            self._interrupts.aside(lambda: self._save(run, why))
        finally:
            self._busy = False

    def _save(self, run: channel.Run, why: str) -> None:
        functions = dict(inside.checkpoints)
        keeper = self.keeper if why == "preempted" else None
        found: dict[str, Any] = {}
        problems = [] if functions or keeper else [NONE]
        try:
            for name, function in functions.items():
                try:
                    found[name] = function()
                except BaseException as error:  # whatever it is, the job goes on
                    if self._interrupts.ends(error):
                        problems.append(f"{name} was interrupted")
                        raise
                    problems.append(f"{name} raised {_said(error)}")
                    self._show(name, error)
        finally:
            with self._interrupts.held():
                gave = [found] if len(functions) > 1 and found else list(found.values())
                if keeper is not None:
                    self._tell_whole(keeper, run, why, gave, problems)
                else:
                    self._tell(run, why, gave, problems)

    def _tell(self, run: channel.Run, why: str, gave: list[Any], problems: list[str]) -> None:
        parcel, files = None, list[channel.Spooled]()
        if gave:
            try:
                parcel, files = self._packed(run, gave[0])
            except CaptureError as error:
                problems.append(error.message[:1].lower() + error.message[1:].rstrip("."))
            except Exception as error:
                problems.append(_said(error))
        problem = "; ".join(problems)
        saved = channel.Saved(why=why, value=parcel, spooled=files, problem=problem)
        self._tell_agent(saved)

    def _tell_whole(
        self, keeper: Keeper, run: channel.Run, why: str, gave: list[Any], problems: list[str]
    ) -> None:
        """The namespace of a session, and what its functions gave."""
        try:
            for packed, lost, more in keeper.packings(gave[0] if gave else None):
                told = "; ".join([*problems, *filter(None, [not_kept(lost)])])
                files = spooled(packed, run, room_s=0)
                saved = channel.Saved(
                    why=why, value=packed.parcel, spooled=files, problem=told, more=more
                )
                self._tell_agent(saved)
        except Exception as error:
            self._tell_agent(channel.Saved(why=why, problem=_said(error)))

    def _packed(self, run: channel.Run, value: object) -> tuple[Parcel, list[channel.Spooled]]:
        """Nothing of it is inline: it is kept for long, and looked at rarely."""
        with tensors.gpu(lambda: True):
            packed = values.pack(value, namespace=self._namespace(), chunked=False, inline_bytes=0)
        return packed.parcel, spooled(packed, run, room_s=0)


def _said(error: BaseException) -> str:
    message = message_of(error).partition("\n")[0]
    name = name_of(type(error))
    return f"{name}: {message}" if message else name


def opener(run: channel.Run, namespace: Callable[[], dict[str, Any]]) -> Callable[[], Any] | None:
    """Opens the checkpoint that a job goes on from; None: it begins anew."""
    if run.spec.checkpoint is None:
        return None

    def opened() -> Any:
        try:
            found = open_parcel(run.spec.checkpoint, run, namespace())
            return found.checkpoint if isinstance(found, Snapshot) else found
        except JupyterRemoteError as error:
            what = f"The checkpoint cannot be opened. {error.message}"
            raise type(error)(what, hint=error.hint) from None

    return opened
