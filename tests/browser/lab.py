"""A Jupyter server, a browser and a notebook page for tests. What is started is ended."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import nbformat
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    sync_playwright,
)
from playwright.sync_api import TimeoutError as PlaywrightTimeout

LIMIT_S = 60.0
LAB_SETTINGS = {  # no news, no cells out of sight that are not drawn
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"maxNumberOutputs": 100_000, "windowingMode": "none"},
}
WIDGET = "window.jupyterapp?.shell?.currentWidget"
CONTEXT = f"{WIDGET}.context.sessionContext"
KERNEL_IDLE = f"""() => {{
  const kernel = {WIDGET}?.context?.sessionContext?.session?.kernel;
  return kernel?.connectionStatus === "connected" && kernel.status === "idle";
}}"""
HAS_KERNEL = f"() => {WIDGET}?.context?.sessionContext?.session?.kernel"
KERNEL_ANSWERS = f"() => {CONTEXT}.session.kernel.requestKernelInfo().then(() => null)"
SELECT = f"i => {{ const widget = {WIDGET}; widget.content.activeCellIndex = i; }}"
COVER = f"""() => {{  // what lies over the notebook
  const {{ node }} = {WIDGET};
  const {{ x, y, width, height }} = node.getBoundingClientRect();
  const top = document.elementFromPoint(x + width / 2, y + height / 2);
  return node.contains(top) ? "" : top?.outerHTML ?? "nothing is shown there";
}}"""
DOUBLE_CLICK = """(button, ms) => {  // in a page that is busy for so long between the two
  const [first, second] = [1, 2].map(() => new MouseEvent("click", { bubbles: true }));
  button.dispatchEvent(first);
  const end = performance.now() + ms;
  while (performance.now() < end);
  button.dispatchEvent(second);
}"""
OPEN = (
    "path => window.jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'})"
    ".then(() => null)"
)


class Server(NamedTuple):
    """A running Jupyter server. ``folder`` holds its notebooks."""

    url: str
    token: str
    folder: Path
    app: str


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextlib.contextmanager
def server(
    folder: Path,
    app: str = "lab",
    theme: str = "JupyterLab Light",
    *,
    extended: bool = True,
    ours: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
) -> Iterator[Server]:
    """JupyterLab (``lab``) or Notebook 7 (``notebook``) with settings of its own.

    ``extended``: with our extension; without it the front end is one that knows nothing of us.
    ``ours``: settings of our plugins.
    """
    config = folder / "config" / "labconfig"
    config.mkdir(parents=True, exist_ok=True)
    disabled = {"disabledExtensions": {"jupyter-remote": True}}
    (config / "page_config.json").write_text(json.dumps({} if extended else disabled))
    for plugin, values in ours.items():
        path = folder / "settings" / "jupyter-remote" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    settings = {**LAB_SETTINGS, "apputils-extension/themes": {"theme": theme}}
    for name, values in settings.items():
        extension, plugin = name.split("/")
        path = folder / "settings" / "@jupyterlab" / extension / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    work = folder / "work"
    work.mkdir(exist_ok=True)
    found = Server(f"http://127.0.0.1:{free_port()}", secrets.token_hex(8), work, app)
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(
            _command(found),
            env={**os.environ, **_folders(folder)},
            stdout=log,
            stderr=log,
        )
    try:
        _until_it_answers(found, process, folder / "server.log")
        yield found
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _command(server: Server) -> list[str]:
    exposed = "LabApp" if server.app == "lab" else "JupyterNotebookApp"
    return [
        *(sys.executable, "-m", "jupyter", server.app, "--no-browser", "--allow-root"),
        *("--ip=127.0.0.1", f"--port={server.url.rpartition(':')[2]}"),
        *("--ServerApp.port_retries=0", f"--IdentityProvider.token={server.token}"),
        *(f"--ServerApp.root_dir={server.folder}", f"--{exposed}.expose_app_in_browser=True"),
        "--KernelManager.transport=ipc",  # over TCP kernels warn of it in their first output
    ]


def _folders(folder: Path) -> dict[str, str]:
    return {
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
    }


def _until_it_answers(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    headers = {"Authorization": f"token {server.token}"}
    request = urllib.request.Request(f"{server.url}/api/status", headers=headers)
    end = time.monotonic() + LIMIT_S
    while True:
        try:
            urllib.request.urlopen(request, timeout=2).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(log.read_text()) from None
            time.sleep(0.05)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium without a window."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


class Book:
    """A notebook in a page. ``errors``: what scripts of the page complained of."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self.path = path
        self.errors: list[str] = []
        page.on("pageerror", self._complained)
        page.on("console", self._said)

    def _complained(self, error: Error) -> None:
        self.errors.append(str(error))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def start(self, index: int) -> Locator:
        """Starts a cell; its output area."""
        self.page.evaluate(SELECT, index)
        self.command("notebook:run-cell")
        return self.output(index)

    def run(self, index: int) -> Locator:
        """Runs a cell to its end; its output area."""
        self.page.evaluate(SELECT, index)
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
        return self.output(index)

    def output(self, index: int) -> Locator:
        cells = self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell")
        return cells.nth(index).locator(".jp-OutputArea")

    def command(self, name: str) -> None:
        """Fires a command of the application; does not wait for it."""
        self.page.evaluate("name => { window.jupyterapp.commands.execute(name); }", name)

    def wait_idle(self) -> None:
        """It is idle and takes cells: just after one has failed it passes over them."""
        self.page.wait_for_function(KERNEL_IDLE)
        self.page.evaluate(KERNEL_ANSWERS)
        self.page.wait_for_function(KERNEL_IDLE)

    def restart_kernel(self) -> None:
        self.page.wait_for_function(HAS_KERNEL)  # a page that was just opened may not know it yet
        self.page.evaluate(f"() => {CONTEXT}.session.kernel.restart()")

    def saved(self) -> nbformat.NotebookNode:
        """The notebook as it is on disk after saving."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        return nbformat.read(self.path, as_version=4)

    def ours(self) -> list[str]:
        """Complaints that name something of this project or of widgets."""
        return [e for e in self.errors if re.search(r"jr-|jupyter.remote|widget|JobCard", e)]

    def close(self) -> None:
        """Ends the kernel; the page stays."""
        self.page.evaluate(f"() => {CONTEXT}.shutdown()")
        self.page.remove_listener("pageerror", self._complained)
        self.page.remove_listener("console", self._said)


def shot(page: Page, name: str) -> None:
    """Keeps a picture of a page, for people to look at; it is no part of any check."""
    folder = Path(os.environ.get("SCREENSHOTS", "build/screenshots"))
    page.screenshot(path=folder / f"{name}.png")


def new_page(browser: Browser, size: tuple[int, int] = (1300, 900)) -> Page:
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.set_default_timeout(LIMIT_S * 1000)
    return page


def write(path: Path, *cells: str) -> None:
    """A notebook of these code cells that never ran."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, path)


def _until_open(page: Page, server: Server, name: str) -> None:
    """Now and then the first page of a JupyterLab starts without the notebook of its address."""
    is_open = f"name => {WIDGET}?.context?.path === name"
    try:
        page.wait_for_function(is_open, arg=name, timeout=LIMIT_S * 500)
    except PlaywrightTimeout:
        if server.app != "lab":
            raise
        page.evaluate(OPEN, name)
        page.wait_for_function(is_open, arg=name)


def _until_uncovered(page: Page, server: Server, name: str) -> None:
    """Notebook 7 covers all until it has its theme: cells run below that, nothing is clicked."""
    try:
        page.wait_for_function(f"() => ({COVER})() === ''", timeout=LIMIT_S * 500)
    except PlaywrightTimeout:
        if server.app != "lab":  # a style sheet that never came: as a person does
            page.reload()
            _until_open(page, server, name)
            with contextlib.suppress(PlaywrightTimeout):
                page.wait_for_function(f"() => ({COVER})() === ''")
        if cover := page.evaluate(COVER):
            raise RuntimeError(f"the notebook is covered by {cover}") from None


@contextlib.contextmanager
def book(page: Page, server: Server, name: str, *cells: str) -> Iterator[Book]:
    """A new notebook, open in a page, its kernel idle. A page of JupyterLab is used again."""
    path = server.folder / name
    write(path, *cells)
    opened = Book(page, path)
    if page.url.startswith(server.url):
        page.evaluate(OPEN, name)
    else:
        where = f"lab/tree/{name}?reset&" if server.app == "lab" else f"notebooks/{name}?"
        page.goto(f"{server.url}/{where}token={server.token}")
        page.wait_for_function("() => window.jupyterapp?.started")
    _until_open(page, server, name)
    _until_uncovered(page, server, name)
    opened.wait_idle()
    try:
        yield opened
    finally:
        opened.close()


def until(condition: Callable[[], object]) -> None:
    """Waits for what a page, or a file, is to show. Raises TimeoutError."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {LIMIT_S:.0f} s")
        time.sleep(0.05)
