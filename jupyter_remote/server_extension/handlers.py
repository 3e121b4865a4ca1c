"""``/jupyter-remote/v1/…``: Jupyter's own authentication, authorization and XSRF check on each
route; the backend's token is added behind them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from jupyter_remote import settings
from jupyter_remote.server_extension.backend import Backend, is_allowed

THREADS = 8  # requests of all pages at a time
BODY_BYTES = 64 * 1024
OURS = ("token", "start")  # parameters that are not the backend's


class BackendHandler(APIHandler):
    """Forwards one request."""

    auth_resource = "jupyter_remote"

    def initialize(self, backend: Backend, threads: ThreadPoolExecutor) -> None:
        self._backend = backend
        self._threads = threads

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

        def ask() -> Any:
            return self._backend.ask(method, path, params, self.request.body, start=start)

        answer = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        self.set_status(answer.status)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        await self.finish(answer.body)


def install(server: Any) -> None:
    """Adds the routes to a running server."""
    backend = Backend(settings.load(server.config, server.root_dir or None))
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="jupyter-remote")
    where = url_path_join(server.web_app.settings["base_url"], "jupyter-remote", "(v1/.+)")
    ours = {"backend": backend, "threads": threads}
    server.web_app.add_handlers(".*$", [(where, BackendHandler, ours)])
