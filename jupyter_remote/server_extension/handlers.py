"""``/jupyter-remote/v1/…``: Jupyter's own authentication, authorization and XSRF check on each
route; the backend's token is added behind them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from jupyter_remote import settings
from jupyter_remote.client import renames
from jupyter_remote.server_extension.backend import CURSOR, ONE_ID, Answer, Backend, is_allowed

T = TypeVar("T")
THREADS = 8  # requests of all pages at a time
WAITING = 64  # and those that wait for a thread: of a backend that hangs, pages ask on and on
BODY_BYTES = 64 * 1024
CARDS = 100  # of one request: its address is shorter than what proxies take
OURS = ("token", "start")  # parameters that are not the backend's
log = logging.getLogger("jupyter_remote")


class Threads:
    """Runs what blocks. Only of the event loop."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="jupyter-remote")
        self._begun = 0

    async def run(self, ask: Callable[[], T]) -> T:
        """Raises HTTPError 503 when too much waits already."""
        if self._begun >= THREADS + WAITING:
            raise web.HTTPError(503, reason="The backend is slow, and much waits for it")
        self._begun += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, ask)
        finally:
            self._begun -= 1


class Handler(APIHandler):
    """Asks the backend in a thread, and answers with what it said."""

    auth_resource = "jupyter_remote"

    def initialize(self, backend: Backend, threads: Threads) -> None:
        self._backend = backend
        self._threads = threads

    async def _answer(self, ask: Callable[[], Answer]) -> None:
        answer = await self._threads.run(ask)
        self.set_status(answer.status)
        self.set_header("Cache-Control", "no-store")
        await self.finish(answer.body or None, set_content_type=answer.type)


class CardsHandler(Handler):
    """What the cards of some jobs show now, for a page whose kernel may be gone."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        ids = [id for id in self.get_query_argument("ids", "").split(",") if id]
        if len(ids) > CARDS or not all(map(ONE_ID.fullmatch, ids)):
            raise web.HTTPError(400)
        await self._answer(lambda: self._backend.cards(ids))


class OutputsHandler(Handler):
    """What a job showed, for a page whose kernel did not."""

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        after = self.get_query_argument("after", "")
        if not ONE_ID.fullmatch(id) or not CURSOR.fullmatch(after):
            raise web.HTTPError(400)
        start = self.get_query_argument("start", "") == "1"
        await self._answer(lambda: self._backend.outputs(id, after, start=start))


class BackendHandler(Handler):
    """Forwards one request."""

    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        await self._forward(path)

    @web.authenticated
    @authorized
    async def post(self, path: str) -> None:
        await self._forward(path)

    async def _forward(self, path: str) -> None:
        method = str(self.request.method)
        if not is_allowed(method, path):
            raise web.HTTPError(404)
        if len(self.request.body) > BODY_BYTES:
            raise web.HTTPError(413)
        given = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        params = {name: value for name, value in given.items() if name not in OURS}
        start = given.get("start") == "1"

        body = self.request.body
        await self._answer(lambda: self._backend.ask(method, path, params, body, start=start))


def follow_renames(server: Any, backend: Backend, threads: Threads) -> None:
    """Writes down what is renamed through this server, by whichever front end. What a content
    manager keeps elsewhere than in a folder has no path that kernels know."""

    async def heard(*, data: dict[str, Any], **_about: Any) -> None:
        if data["action"] != "rename":
            return
        old, new = (
            os.path.join(server.root_dir, *data[name].strip("/").split("/"))
            for name in ("source_path", "path")
        )
        if not (new.endswith(".ipynb") or os.path.isdir(new)):
            return
        try:
            renames.log().add(renames.Rename(time.time(), old, new))
        except OSError as error:
            log.warning("jobs and the budget of %s keep that name: %s", old, error)
            return
        with contextlib.suppress(web.HTTPError):  # too much waits: the next request does it
            await threads.run(backend.settle)

    if server.root_dir:
        contents = server.contents_manager
        contents.event_logger.add_listener(schema_id=contents.event_schema_id, listener=heard)


def install(server: Any) -> None:
    """Adds the routes to a running server."""
    backend = Backend(settings.load(server.config, server.root_dir or None))
    threads = Threads()
    follow_renames(server, backend, threads)
    # Pages are told a root below the home as ``~/…``, jobs name their notebooks in full.
    server.web_app.settings.setdefault("page_config_data", {})["jupyterRemoteRoot"] = (
        server.root_dir
    )
    base = url_path_join(server.web_app.settings["base_url"], "jupyter-remote")
    ours = {"backend": backend, "threads": threads}
    routes = [
        (url_path_join(base, "(v1/.+)"), BackendHandler, ours),
        (url_path_join(base, "cards"), CardsHandler, ours),
        (url_path_join(base, "outputs/([^/]+)"), OutputsHandler, ours),
    ]
    server.web_app.add_handlers(".*$", routes)
