"""Machines that cost no process are as patient as real ones."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

from tests.cloud.dying import Dying
from tests.cloud.imds import Metadata
from tests.cloud.light import LightMachine
from tests.cloud.waiting import until


def test_a_server_that_dies_while_it_answers_is_asked_again(tmp_path: Path) -> None:
    with Dying(200, 500) as server:
        script = f"instance=ec2-a\nurl={server.url}\ntoken=secret\nalone_cs=3000\n"
        machine = LightMachine(Metadata(SimpleNamespace(id="i-a"), script.encode()), tmp_path, [])
        ended = threading.Event()
        machine.boot(ended.set)
        until(ended.is_set)
        assert server.asked == 3
    assert b"409" in machine.console()
