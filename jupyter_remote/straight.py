"""Bytes straight to and from a store such as S3, at addresses that the backend gives.

Several parts at a time, each tried again by itself. No token goes there. The addresses are secrets:
no error names one.
"""

from __future__ import annotations

import http.client
import itertools
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from types import MappingProxyType
from typing import Protocol, TypeVar
from urllib.parse import SplitResult, urlsplit

from jupyter_remote.wire import (
    PARTS_AT_ONCE,
    BlobLink,
    BlobView,
    UploadDone,
    UploadLinks,
    UploadRequest,
)

T = TypeVar("T")
S = TypeVar("S")

AT_ONCE = 6
READ_BYTES = 16 * 1024 * 1024  # of a blob, in one request
SOCKET_BYTES = 1 << 20
CONNECT_S, SILENCE_S = 10.0, 60.0
TRIES = 6
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
PASSING = {408, 429, 500, 502, 503, 504}

Write = Callable[[int, memoryview], object]  # (where in the blob, bytes)
Told = Callable[[int], None]  # bytes that were sent


class Ask(Protocol):
    """A request to the backend, as JSON."""

    def __call__(self, method: str, path: str, body: object, /, *, reply: type[T]) -> T: ...


class Unreachable(Exception):
    """The store cannot be reached from here: the bytes may still go through the backend."""


class Expired(Exception):
    """The address is not good any more: the backend gives another one."""


class Changed(Exception):
    """What lies there is another version than was asked for."""


# --- whole blobs -----------------------------------------------------------------------------
def download(ask: Ask, digest: str, write: Write) -> bool:
    """Read a blob; False: it has no address. Whoever uses the bytes checks them.

    Raises Unreachable, and what the backend says.
    """

    def address() -> BlobLink:
        return ask("GET", f"/v1/blobs/{digest}/link", None, reply=BlobLink)

    link = address()
    if link.url:
        fetch(link.url, link.size_bytes, write, renewed=lambda: address().url)
    return bool(link.url)


def upload(
    ask: Ask, digest: str, view: memoryview, chunks: list[tuple[str, int]], told: Told
) -> bool:
    """Send a blob; False: the backend has no address for it.

    Raises Unreachable, and what the backend says.
    """
    path, size = f"/v1/blobs/{digest}", view.nbytes

    def addresses(id: str, numbers: Sequence[int]) -> UploadLinks:
        body = UploadRequest(size_bytes=size, upload=id, numbers=list(numbers))
        return ask("POST", f"{path}/upload", body, reply=UploadLinks)

    first = addresses("", [1])
    if not first.upload:
        return False
    id, part_bytes = first.upload, first.part_bytes

    def put(number: int, url: str) -> None:
        part = view[(number - 1) * part_bytes : number * part_bytes]
        _renewing(lambda url: _put(url, part), url, lambda: addresses(id, [number]).urls[0])
        told(part.nbytes)

    def parts() -> Iterator[tuple[int, str]]:
        yield 1, first.urls[0]
        numbers = iter(range(2, -(-size // part_bytes) + 1))
        while some := list(itertools.islice(numbers, PARTS_AT_ONCE)):
            yield from zip(some, addresses(id, some).urls, strict=True)

    _side_by_side(lambda part: put(*part), parts())
    done = UploadDone(upload=id, size_bytes=size, chunks=chunks)
    ask("POST", f"{path}/complete", done, reply=BlobView)
    return True


def fetch(url: str, size_bytes: int, write: Write, renewed: Callable[[], str]) -> None:
    """Read ``size_bytes`` from an address, in several requests. Raises Unreachable."""

    def get(at: int) -> None:
        size = min(READ_BYTES, size_bytes - at)
        _renewing(lambda url: _get(url, at, size, write), url, renewed)

    _side_by_side(get, range(0, size_bytes, READ_BYTES))


def read(url: str, size_bytes: int, version: str, write: Write) -> None:
    """The same of an object whose address nobody renews; ``version``: its ETag, if that matters.

    Raises Unreachable, Expired, Changed.
    """
    only = {"If-Match": version} if version else {}

    def get(at: int) -> None:
        _get(url, at, min(READ_BYTES, size_bytes - at), write, only)

    _side_by_side(get, range(0, size_bytes, READ_BYTES))


def _renewing(work: Callable[[str], None], url: str, renewed: Callable[[], str]) -> None:
    try:
        work(url)
    except Expired:
        try:
            work(renewed())
        except Expired:
            raise Unreachable("the store refuses the addresses that the backend gives") from None


def _side_by_side(work: Callable[[S], None], every: Iterable[S]) -> None:
    """A few at a time, taken from ``every`` as there is room; the first error ends it."""
    room = threading.Semaphore(AT_ONCE)
    failed = threading.Event()

    def one(each: S) -> None:
        try:
            if not failed.is_set():
                work(each)
        except BaseException:
            failed.set()
            raise
        finally:
            room.release()

    with ThreadPoolExecutor(AT_ONCE, "jupyter_remote straight") as pool:
        begun = []
        for each in every:
            room.acquire()
            if failed.is_set():
                break
            begun.append(pool.submit(one, each))
    for each_done in begun:
        each_done.result()


# --- one part --------------------------------------------------------------------------------
def _get(
    url: str, at: int, size: int, write: Write, only: Mapping[str, str] = MappingProxyType({})
) -> None:
    headers = {"Range": f"bytes={at}-{at + size - 1}", **only}

    def read(reply: http.client.HTTPResponse) -> None:
        if reply.status == 200 and at:
            raise ConnectionError("parts of a blob cannot be asked for")
        buffer, done = memoryview(bytearray(min(size, SOCKET_BYTES))), 0
        while done < size:
            count = reply.readinto(buffer[: size - done])
            if not count:
                raise ConnectionError("the connection was cut")
            write(at + done, buffer[:count])
            done += count

    _patiently("GET", url, None, headers, read)


def _put(url: str, part: memoryview) -> None:
    _patiently("PUT", url, part, {"Content-Length": str(part.nbytes)}, lambda reply: None)


def _patiently(
    method: str,
    url: str,
    body: memoryview | None,
    headers: dict[str, str],
    use: Callable[[http.client.HTTPResponse], None],
) -> None:
    """Tried again where that may help. Raises Expired, Unreachable; neither names the address."""
    where = urlsplit(url)
    why = ""
    for left in reversed(range(TRIES)):
        try:
            why = _once(method, where, body, headers, use)
        except OSError as error:
            why = str(error) or type(error).__name__
        except http.client.HTTPException as error:
            why = type(error).__name__  # its text may have the address
        if not why:
            return
        if left:
            pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (TRIES - left - 1))
            time.sleep(pause * random.uniform(0.5, 1.0))
    raise Unreachable(f"{where.hostname} does not answer as it should: {why}")


def _once(
    method: str,
    where: SplitResult,
    body: memoryview | None,
    headers: dict[str, str],
    use: Callable[[http.client.HTTPResponse], None],
) -> str:
    """Why it is to be tried again; empty: it is done."""
    target = f"{where.path}?{where.query}" if where.query else where.path
    with closing(_connection(where)) as connection:
        connection.request(method, target, body, headers)
        with connection.getresponse() as reply:
            if reply.status in PASSING:
                return f"HTTP {reply.status}"
            if reply.status in (400, 401, 403):  # S3 says 400 to a token of a login that has ended
                raise Expired
            if reply.status == 412:
                raise Changed
            if reply.status >= 300:
                raise Unreachable(f"{where.hostname} answered HTTP {reply.status}")
            use(reply)
    return ""


def _connection(where: SplitResult) -> http.client.HTTPConnection:
    host = where.hostname or ""
    if where.scheme == "http":
        made = http.client.HTTPConnection(host, where.port, timeout=CONNECT_S)
    else:
        made = http.client.HTTPSConnection(host, where.port, timeout=CONNECT_S, context=_tls())
    made.connect()
    made.sock.settimeout(SILENCE_S)
    return made


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
