"""The small HTTP client, against a server that says exactly what a test wants."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from jupyter_remote.loopback import Loopback

LIMIT_S = 60.0


class Scripted:
    """Answers each request with the next of ``replies``; ``None`` hangs up."""

    def __init__(self, replies: list[bytes | None]) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.replies = replies
        self.connections = 0
        self.asked: list[bytes] = []
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while self.replies:
            sock, _ = self.listening.accept()
            self.connections += 1
            with sock:
                self.converse(sock)

    def converse(self, sock: socket.socket) -> None:
        while self.replies:
            data = b""
            while b"\r\n\r\n" not in data:
                if not (part := sock.recv(65536)):
                    return
                data += part
            self.asked.append(data)
            reply = self.replies.pop(0)
            if reply is None:
                return
            for byte in range(0, len(reply), 7):  # in pieces that fit nothing
                sock.sendall(reply[byte : byte + 7])


@contextlib.contextmanager
def asking(*replies: bytes | None) -> Iterator[tuple[Loopback, Scripted]]:
    server = Scripted(list(replies))
    loopback = Loopback("127.0.0.1", server.listening.getsockname()[1])
    yield loopback, server
    loopback.close()
    server.thread.join(LIMIT_S)
    server.listening.close()


def get(loopback: Loopback, target: bytes = b"/") -> tuple[int, bytes]:
    reply = loopback.request("GET", target, [(b"host", b"here")], b"", LIMIT_S)
    try:
        return reply.status, b"".join(reply)
    finally:
        reply.close()


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


def test_a_connection_serves_one_request_after_another() -> None:
    with asking(OK, OK) as (loopback, server):
        assert [get(loopback), get(loopback, b"/2")] == [(200, b"hello")] * 2
        assert server.connections == 1
        assert server.asked[1] == b"GET /2 HTTP/1.1\r\nhost: here\r\n\r\n"


def test_a_body_in_chunks_is_whole() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with asking(chunked + b"5;x=1\r\nhello\r\nA\r\n, everyone\r\n0\r\n\r\n", OK) as (loopback, _):
        assert get(loopback) == (200, b"hello, everyone")
        assert get(loopback) == (200, b"hello")


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    with asking(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), OK) as (
        loopback,
        server,
    ):
        assert get(loopback) == (200, b"hello")
        server.connections = 0
        server.replies.insert(0, None)
        with pytest.raises(ConnectionError):
            get(loopback)
        assert get(loopback) == (200, b"hello")
        assert server.connections == 1 + 1


def test_a_reply_half_read_does_not_reach_the_next_request() -> None:
    with asking(OK, OK.replace(b"hello", b"again")) as (loopback, _):
        loopback.request("GET", b"/", [], b"", LIMIT_S).close()
        assert get(loopback) == (200, b"again")


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200\r\ncontent-length: x\r\n\r\n"]
)
def test_what_does_not_speak_http_is_told(answer: bytes) -> None:
    with asking(answer) as (loopback, _), pytest.raises(ConnectionError, match="HTTP"):
        get(loopback)


def test_a_header_cannot_bring_another_one_along() -> None:
    loopback = Loopback("127.0.0.1", 1)
    with pytest.raises(ValueError, match="line"):
        loopback.request("GET", b"/", [(b"a", b"b\r\nc: d")], b"", LIMIT_S)


def test_closing_breaks_a_request_that_waits() -> None:
    with asking(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello") as (loopback, _):
        reply = loopback.request("GET", b"/", [], b"", LIMIT_S)
        broken = threading.Event()

        def read() -> None:
            with contextlib.suppress(ConnectionError):
                b"".join(reply)
            reply.close()
            broken.set()

        threading.Thread(target=read, daemon=True).start()
        loopback.close()
        assert broken.wait(LIMIT_S)
