"""Machines that cost no process are as patient as real ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cloud.imds import Metadata
from tests.cloud.light import LightMachine
from tests.cloud.waiting import until


class Dying(ThreadingHTTPServer):
    """Is killed while it answers, so often; then it refuses."""

    daemon_threads = True
    deaths = 2
    asked = 0


class _Handler(BaseHTTPRequestHandler):
    server: Dying

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        dies = self.server.asked <= self.server.deaths
        self.send_response(500 if self.server.asked == 2 else 200 if dies else 409)
        self.send_header("Content-Length", "2")
        self.end_headers()
        if not dies:
            self.wfile.write(b"{}")


@pytest.fixture
def server() -> Iterator[Dying]:
    with Dying(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_server_that_dies_while_it_answers_is_asked_again(server: Dying, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{server.server_port}"
    script = f"instance=ec2-a\nurl={url}\ntoken=secret\nalone_cs=3000\n"
    machine = LightMachine(Metadata(SimpleNamespace(id="i-a"), script.encode()), tmp_path, [])
    ended = threading.Event()
    machine.boot(ended.set)
    until(ended.is_set, 30)
    assert server.asked == 3
    assert b"409" in machine.console()
