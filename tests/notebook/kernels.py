"""A real kernel whose messages are looked at while its cells run."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from typing import Any

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import AsyncKernelManager, KernelManager
from nbclient import NotebookClient

Message = dict[str, Any]
LIMIT_S = 60.0


def by_files() -> dict[str, str]:
    """How a manager reaches its kernel: a port that is free may be another's when it is taken."""
    return {"transport": "ipc", "ip": f"{os.environ['JUPYTER_RUNTIME_DIR']}/{uuid.uuid4().hex[:8]}"}


def started(**how: Any) -> tuple[KernelManager, BlockingKernelClient]:
    """A kernel that answers, and its client."""
    manager = KernelManager(**by_files())
    manager.start_kernel(**how)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    return manager, client


def executed(notebook: nbformat.NotebookNode, **how: Any) -> nbformat.NotebookNode:
    """This notebook, run by nbclient."""
    manager = AsyncKernelManager(**by_files())
    NotebookClient(notebook, km=manager, **how).execute(cleanup_kc=True)
    return notebook


class Kernel:
    """A kernel whose messages are looked at while a cell runs."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client

    def run(
        self, code: str, seen: Callable[[Message], None] = lambda message: None
    ) -> list[Message]:
        """The IOPub messages of a cell; ``seen`` is called with each as it comes."""
        id = self.client.execute(code)
        messages: list[Message] = []
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            message = self.client.get_iopub_msg(timeout=LIMIT_S)
            if message["parent_header"].get("msg_id") != id:
                continue
            messages.append(message)
            seen(message)
            if message["content"].get("execution_state") == "idle":
                return messages
        pytest.fail("the cell did not end")

    def later(
        self, code: str, until: Callable[[Message], bool], others: tuple[str, ...] = ()
    ) -> list[Message]:
        """Messages of a cell until one is as wanted, also after its end; ``others`` run next."""
        id = self.client.execute(code)
        for other in others:
            self.client.execute(other)
        messages: list[Message] = []
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            message = self.client.get_iopub_msg(timeout=LIMIT_S)
            if message["parent_header"].get("msg_id") == id:
                messages.append(message)
                if until(message):
                    return messages
        pytest.fail("what was awaited did not come")

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()


def printed(messages: list[Message]) -> str:
    return "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream")


def raised(messages: list[Message]) -> Message:
    (error,) = [m["content"] for m in messages if m["msg_type"] == "error"]
    return error


def last_card(messages: list[Message]) -> str:
    cards = [m for m in messages if m["msg_type"] in ("display_data", "update_display_data")]
    return cards[-1]["content"]["data"]["text/plain"]


def once(text: str, action: Callable[[], None]) -> Callable[[Message], None]:
    """Calls ``action`` when a stream first says ``text``."""
    done: list[bool] = []

    def seen(message: Message) -> None:
        if not done and text in str(message["content"].get("text", "")):
            done.append(True)
            action()

    return seen
