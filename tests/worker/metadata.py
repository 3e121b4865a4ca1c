"""The metadata service of a machine (IMDSv2), on loopback."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "a-token"
ACTION = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"


class Metadata:
    """Of one machine. It knows of no notice until it is told."""

    def __init__(self) -> None:
        self.documents: dict[str, str] = {}
        self.asked: list[str] = []  # method and path
        self.tokens = 0
        self.url = ""
        self.now = time.time

    def notice(self, in_s: float, action: str = "terminate") -> None:
        """The machine is taken away in about so many seconds."""
        at = time.gmtime(self.now() + in_s)
        said = {"action": action, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", at)}
        self.documents[ACTION] = json.dumps(said)


@contextmanager
def metadata() -> Iterator[Metadata]:
    """One that listens."""
    service = Metadata()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            asked = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
            service.asked.append(f"PUT {self.path}")
            service.tokens += 1
            self._reply(200 if asked else 400, TOKEN)

        def do_GET(self) -> None:
            service.asked.append(f"GET {self.path}")
            if self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
                self._reply(401, "")
            elif self.path in service.documents:
                self._reply(200, service.documents[self.path])
            else:
                self._reply(404, "")

        def _reply(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args: object) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{listener.server_address[1]}"
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
