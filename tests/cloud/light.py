"""A machine that costs no process: for hundreds of launches.

Behind the instance is a thread that reads its user data for what a worker must know, enrols, dials,
says hello and lets each job succeed after a moment. It runs no user data and no user code. Like a
real one it ends itself when it has not heard of its server for too long, or was drained. What the
bootstrap and the agent do is tested with real machines; this tests who starts and ends machines.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shlex
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

import msgspec
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from jupyter_remote import wire
from tests.cloud.imds import Metadata
from tests.cloud.machines import Gpu

WORK_S = 0.1  # for which a job runs
TICK_S = 0.05
ASK_S = 5.0
Attempt = tuple[str, int]  # job, epoch


class LightMachine:
    """See above. ``worked_at`` is when it had something to do last, ``time.time()``."""

    def __init__(self, metadata: Metadata, folder: Path, gpus: list[Gpu]) -> None:
        self.id: str = metadata.instance.id
        self.metadata = metadata
        self.worked_at: float | None = None
        self.killed_at_work = False
        self._facts = facts_of(metadata.user_data.decode())
        self._running: dict[Attempt, float] = {}  # when each is to be complete
        self._asked: dict[int, tuple[str, Attempt]] = {}  # what awaits its answer
        self._numbers = itertools.count(1)
        self._killed, self._cut = threading.Event(), threading.Event()
        self._draining = False
        self._heard_at = time.monotonic()
        self._log: list[str] = []

    # -- a machine
    def boot(self, on_end: Callable[[], None]) -> None:
        def live() -> None:
            self._live()
            if not self._killed.is_set():
                on_end()

        threading.Thread(target=live, daemon=True).start()

    def kill(self) -> None:
        if not self._killed.is_set():
            self.killed_at_work = bool(self._running)
            self._killed.set()

    def partition(self) -> None:
        self._cut.set()

    def heal(self) -> None:
        self._cut.clear()

    def console(self) -> bytes:
        return "\n".join(self._log).encode()

    def processes(self) -> list[Any]:
        return []

    # -- a worker
    def _live(self) -> None:
        """Until it is killed, drained, refused or alone."""
        self._heard_at = time.monotonic()
        try:
            config = self._enrolled()
            while not self._is_over():
                self._dial(config)
                time.sleep(TICK_S)
        except _Refused as refused:
            self._log.append(str(refused))

    def _is_over(self) -> bool:
        alone_s = time.monotonic() - self._heard_at
        drained = self._draining and not self._running
        return self._killed.is_set() or drained or alone_s > self._facts.alone_s

    def _enrolled(self) -> wire.Enrolled:
        told = {"instance": self._facts.instance}
        self._ask("/v1/workers/boot", told | {"step": "light"})
        enrol = told | {"provider_id": self.id, "zone": self.metadata.instance.availability_zone}
        return msgspec.json.decode(self._ask("/v1/workers/enrol", enrol), type=wire.Enrolled)

    def _ask(self, path: str, body: dict[str, str]) -> bytes:
        """Until it is answered. Raises _Refused for an answer that is none, or when it is over."""
        headers = {
            "Authorization": f"Bearer {self._facts.token}",
            "Content-Type": "application/json",
        }
        request = urllib.request.Request(
            self._facts.url + path, json.dumps(body).encode(), headers, method="POST"
        )
        while not self._is_over():
            with contextlib.suppress(OSError, HTTPException):  # killed, maybe while it answers
                if not self._cut.is_set():
                    return self._answer(request)
            time.sleep(TICK_S)
        raise _Refused("over before it was enrolled")

    def _answer(self, request: urllib.request.Request) -> bytes:
        """Raises _Refused for an answer that is none; OSError, HTTPException where none came."""
        try:
            with urllib.request.urlopen(request, timeout=ASK_S) as reply:
                answer = bytes(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                if error.code < 500:
                    text = f"{request.selector}: {error.code} {error.read()!r}"
                    raise _Refused(text) from None
                raise
        self._heard_at = time.monotonic()
        return answer

    def _dial(self, config: wire.Enrolled) -> None:
        url = self._facts.url.replace("http", "ws", 1) + "/v1/workers/connect"
        headers = {"Authorization": f"Bearer {config.token}"}
        if self._cut.is_set():
            return
        try:
            with connect(
                url,
                additional_headers=headers,
                compression=None,
                proxy=None,
                open_timeout=ASK_S,
                ping_interval=None,
                close_timeout=0.2,
            ) as link:
                self._greet(link, config)
                while not (self._is_over() or self._cut.is_set()):
                    self._converse(link)
        except (OSError, WebSocketException, EOFError) as error:
            if repr(error) not in self._log[-1:]:
                self._log.append(repr(error))
        self._asked.clear()

    def _greet(self, link: ClientConnection, config: wire.Enrolled) -> None:
        self._send(
            link,
            wire.Hello(
                worker=f"w-{self._facts.instance}",
                instance=self._facts.instance,
                machine=str(config.config["machine"]),
                slots=int(config.config.get("slots", 1)),
                python="3.11.7",
                running=list(self._running),
            ),
        )
        welcome = self._receive(link, ASK_S)
        if not isinstance(welcome, wire.Welcome):
            raise EOFError("no welcome")
        self._heartbeat_s, self._beat_at = welcome.heartbeat_s, 0.0
        self._running = {key: at for key, at in self._running.items() if key in welcome.keep}

    def _converse(self, link: ClientConnection) -> None:
        with contextlib.suppress(TimeoutError):
            self._take(link, self._receive(link, TICK_S))
        now, asked = time.monotonic(), [key for _, key in self._asked.values()]
        for job, epoch in [k for k, at in self._running.items() if at <= now and k not in asked]:
            self._request(link, "end", (job, epoch))
        if now >= self._beat_at:
            self._beat_at = now + self._heartbeat_s
            self._request(link, "ping", ("", 0))
            for key in self._running:
                self._request(link, "beat", key)

    def _take(self, link: ClientConnection, message: wire.ServerMessage) -> None:
        self._heard_at = time.monotonic()
        match message:
            case wire.Assign(job=job, epoch=epoch):
                self._request(link, "start", (job, epoch))
            case wire.Drain():
                self._draining = True
            case wire.Answer(req=req, ok=ok):
                self._answered(ok, *self._asked.pop(req))

    def _answered(self, ok: bool, what: str, key: Attempt) -> None:
        if what == "start" and ok:
            self._running[key] = time.monotonic() + WORK_S
        elif what == "end" or not ok:
            self._running.pop(key, None)
        if self._running or what == "end":
            self.worked_at = time.time()

    def _request(self, link: ClientConnection, what: str, key: Attempt) -> None:
        (job, epoch), req = key, next(self._numbers)
        self._asked[req] = what, key
        match what:
            case "start":
                self._send(link, wire.Start(req, job, epoch))
            case "beat":
                self._send(link, wire.Beat(req=req, job=job, epoch=epoch))
            case "end":
                done = {"outcome": "succeeded", "result": wire.Result()}
                self._send(link, wire.Complete(req=req, job=job, epoch=epoch, **done))
            case _:
                self._send(link, wire.Ping(req))

    def _send(self, link: ClientConnection, message: wire.WorkerMessage) -> None:
        link.send(msgspec.msgpack.encode(message))

    def _receive(self, link: ClientConnection, limit_s: float) -> wire.ServerMessage:
        return msgspec.msgpack.decode(link.recv(limit_s, decode=False), type=wire.ServerMessage)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What stands at the top of the bootstrap script."""

    instance: str
    url: str
    token: str
    alone_cs: float = 60_000.0

    @property
    def alone_s(self) -> float:
        return self.alone_cs / 100


def facts_of(user_data: str) -> Facts:
    lines = re.findall(r"^([a-z_]+)=(.*)$", user_data, re.MULTILINE)
    found: dict[str, str] = {}
    for name, value in lines:
        found.setdefault(name, " ".join(shlex.split(value, comments=True)) if value else "")
        if {"instance", "url", "token", "alone_cs"} <= found.keys():
            break
    return msgspec.convert(found, Facts, strict=False)


class _Refused(Exception):
    """It cannot become a worker; the machine ends itself."""
