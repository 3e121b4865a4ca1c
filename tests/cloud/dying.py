"""A server that is killed while it answers."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Dying(ThreadingHTTPServer):
    """Its first ``deaths`` answers end after their headers, then it refuses."""

    daemon_threads = True

    def __init__(self, *deaths: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.deaths = deaths  # the status of each
        self.asked = 0
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Dying:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Dying

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        left = self.server.deaths[self.server.asked :]
        self.server.asked += 1
        self.send_response(left[0] if left else 409)
        self.send_header("Content-Length", "2")
        self.end_headers()
        if not left:
            self.wfile.write(b"{}")
