"""What the notebook and running code say to each other: comm messages, and ``input()``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from jupyter_remote.worker import channel
from jupyter_remote.worker.inbox import Inbox
from jupyter_remote.worker.interrupts import Interrupts
from jupyter_remote.worker.outputs import Writer, to_json


class Dialogue:
    """Of one kernel process. ``bring_in`` brings in what C code wrote."""

    def __init__(
        self,
        inbox: Inbox,
        kernel: Any,
        writer: Writer,
        interrupts: Interrupts,
        bring_in: Callable[[], None],
    ) -> None:
        self._inbox = inbox
        self._kernel = kernel
        self._writer = writer
        self._interrupts = interrupts
        self._bring_in = bring_in
        self._early: list[channel.Comm] = []
        self.instead: Callable[[str, bool], str] | None = None  # who is asked in the agent's place

    def read_comms(self) -> None:
        """Called by the event loop when there is something to read."""
        came: list[channel.Comm] = []
        with self._interrupts.held():
            try:
                self._inbox.fill()
            except EOFError:  # nobody is left to run for
                os._exit(1)
            while (message := self._inbox.take()) is not None:
                if isinstance(message, channel.Comm):
                    came.append(message)
                else:
                    self._inbox.later.append(message)
        for comm in came:
            self.serve_comm(comm)

    def serve_comm(self, message: channel.Comm) -> None:
        """A comm message from the notebook, to whoever has that comm."""
        handler = getattr(self._kernel.comm_manager, message.msg_type, None)
        if handler is None or not isinstance(message.content.get("comm_id"), str):
            return
        header = {"msg_type": message.msg_type, "msg_id": message.id}
        try:
            handler(
                None,
                [],
                {
                    "header": header,
                    "msg_type": message.msg_type,
                    "content": message.content,
                    "metadata": message.metadata,
                    "buffers": [memoryview(b) for b in message.buffers],
                },
            )
        finally:
            self._bring_in()
            self._writer.settle(None)
            if message.id:
                idle = channel.Out(msg_type=channel.COMM_IDLE, content=to_json({"id": message.id}))
                self._writer.tell_agent(idle)

    def ask(self, prompt: str, password: bool) -> str:
        """``input()``: ask the notebook, wait for the answer. Comm messages wait meanwhile."""
        self._bring_in()
        if self.instead is not None:
            return self.instead(prompt, password)
        self._writer.send(channel.Ask(str(prompt), password), urgent=True)
        try:
            while True:
                while not self._inbox.waiting(0.1):
                    continue
                with self._interrupts.held():
                    self._inbox.fill()
                    message = self._inbox.take()
                if isinstance(message, channel.Input):
                    return _answer(prompt, message)
                if isinstance(message, channel.Comm):
                    self._early.append(message)
                elif message is not None:
                    self._inbox.later.append(message)
        finally:
            while self._early:
                self.serve_comm(self._early.pop(0))


def _answer(prompt: str, answer: channel.Input) -> str:
    """Raises EOFError, as without a terminal."""
    if answer.refused:
        raise nobody_answers(prompt, "a job")
    return answer.text


def nobody_answers(prompt: str, where: str) -> EOFError:
    """What ``input()`` raises there."""
    asked = f"It asked {str(prompt)!r}. " if prompt else ""
    return EOFError(
        f"input() cannot ask anybody in {where}. {asked}Give what it wants to know as a variable."
    )
