"""User code, run as ipykernel does: in its shell, and on an event loop where it awaits."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from jupyter_remote.worker import shell
from jupyter_remote.worker.dialogue import Dialogue
from jupyter_remote.worker.inbox import Inbox
from jupyter_remote.worker.interrupts import Interruptible, Interrupts
from jupyter_remote.worker.process_state import stop_timers

CANCEL_S = 0.2  # for asyncio tasks that a job left behind


class Runner:
    """Of one kernel process: runs cells and functions. What they leave on the loop goes on with
    the next one, until the loop is closed."""

    def __init__(
        self, kernel: shell.JobKernel, inbox: Inbox, dialogue: Dialogue, interrupts: Interrupts
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._kernel: Any = kernel
        self._shell: Any = kernel.shell
        self._inbox = inbox
        self._dialogue = dialogue
        self._interrupts = interrupts

    async def execute(self, id: str, code: str) -> BaseException | None:
        """Run a cell through ipykernel's own ``execute_request``; its exception, if any."""
        parent = shell.request(id, code)
        self._kernel.set_parent([], parent)
        await self._kernel.execute_request(None, [], parent)
        result = self._shell.last_execution_result
        error: BaseException | None = result.error_before_exec or result.error_in_exec
        return error

    def in_shell(self, function: Callable[[], Any]) -> Any:
        """Call a function as a cell would: figures are shown, ``input`` asks, ``await`` works."""
        events = self._shell.events
        with self._shell.builtin_trap, self._kernel.asking():
            try:
                value = function()
                if inspect.iscoroutine(value):
                    value = self.run_on_loop(self._awaited(value))
                return value
            finally:
                stop_timers()
                events.trigger("post_execute")

    async def _awaited(self, coroutine: Any) -> Any:
        what = Interruptible(coroutine)
        with self._interrupts.waiting(asyncio.get_running_loop(), what):
            return await what

    def run_on_loop(self, coroutine: Any) -> Any:
        """Run ``coroutine``; comm messages are served whenever it awaits."""
        if self.loop is None:
            from tornado.ioloop import IOLoop

            self.loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self.loop)
            self._kernel.io_loop = IOLoop.current()
        self.loop.add_reader(self._inbox.fileno(), self._dialogue.read_comms)
        try:
            return self.loop.run_until_complete(coroutine)
        finally:
            self.loop.remove_reader(self._inbox.fileno())

    def close_loop(self) -> None:
        """Tasks that a job left behind do not go on in the next one."""
        if self.loop is None or self.loop.is_running():
            return
        if tasks := asyncio.all_tasks(self.loop):
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=CANCEL_S))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        self.loop = None
