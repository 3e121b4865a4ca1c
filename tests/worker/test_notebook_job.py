"""What listens to the kernel of a notebook that runs as a job."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import zmq
import zmq.asyncio
from nbformat import v4

from jupyter_remote.worker.notebook_job import _Live


async def test_a_reply_that_comes_while_a_widget_is_told_its_state_is_heard() -> None:
    context = zmq.asyncio.Context()
    kernel, ours = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    try:
        kernel.bind("inproc://shell")
        ours.connect("inproc://shell")
        live = _Live(v4.new_notebook(), km=None)
        live.kc = SimpleNamespace(shell_channel=SimpleNamespace(socket=ours))
        awaited = asyncio.ensure_future(ours.recv())
        await asyncio.sleep(0)
        await kernel.send(b"reply")
        zmq.Socket.shadow(ours.underlying).send(b"state")  # as nbclient's Output widget does
        content = {"comm_id": "unknown", "data": {}}
        live.process_message({"msg_type": "comm_msg", "content": content}, v4.new_code_cell(), 0)
        assert await asyncio.wait_for(awaited, 10) == b"reply"
    finally:
        kernel.close(0)
        ours.close(0)
        context.term()
