"""What the notebook part of one process shares: shell, client, toggle, defaults, pump."""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jupyter_remote import settings
from jupyter_remote.notebook.options import RUN_PARSER, RunOptions, run_options
from jupyter_remote.notebook.shipped import Shipped

if TYPE_CHECKING:
    from jupyter_remote.client.api import Client
    from jupyter_remote.client.jobs import Job
    from jupyter_remote.client.origin import Cell
    from jupyter_remote.notebook.commands_sync import Seen
    from jupyter_remote.notebook.comms import Comms
    from jupyter_remote.notebook.live import Pump
    from jupyter_remote.settings import Settings


class Context:
    """One a process. ``shell`` is None outside IPython."""

    def __init__(self, shell: Any = None) -> None:
        self.shell = shell
        self.enabled = True
        self.defaults: dict[str, Any] = {}
        self.leaving = threading.Event()  # the kernel was asked to end
        self.force_after: float | None = None  # as a page is set; None: as the backend is
        self._client: Client | None = None
        self._pump: Pump | None = None
        self._lock = threading.Lock()
        self.session_name = ""  # that was used last
        self.told_sessions: set[str] = set()  # jobs of those whose begin was told
        self.told_moves: set[tuple[str, int]] = set()  # jobs and attempts of those that moved
        self.planned: set[tuple[str, str]] = set()  # functions and machines of plans in short
        self.shipped = Shipped()
        self.began_at = time.time()
        self.synced: dict[str, Seen] = {}  # what of other kernels' jobs was shown here
        self._expected: list[tuple[Job, Callable[[], None]]] = []

    @property
    def namespace(self) -> dict[str, Any] | None:
        """The notebook's variables; None outside IPython."""
        return None if self.shell is None else self.shell.user_ns

    def settings(self) -> settings.Settings:
        """As they are now, with the configuration of the running application."""
        return settings.load(getattr(self.shell, "config", None), os.getcwd())

    def chosen_settings(self) -> Settings:
        """Those of the client in use, which may have been told another backend."""
        return self.settings() if self._client is None else self._client.settings

    @property
    def client(self) -> Client:
        """Made at first use."""
        with self._lock:
            if self._client is None:
                from jupyter_remote.client.api import Client

                self._client = Client(settings=self.settings(), namespace=self.namespace)
                self._client.cell = self._cell
            return self._client

    def _cell(self) -> Cell:
        from jupyter_remote.notebook.sinks import cell_of

        return cell_of(self.shell)

    def connect(self, url: str | None) -> Client:
        """Another client from now on. Raises BackendUnreachable, and keeps the old one then."""
        from jupyter_remote.client.api import Client

        client = Client(url, settings=self.settings(), namespace=self.namespace)
        client.cell = self._cell
        client.info()
        with self._lock:
            self._client = client
        return client

    @property
    def pump(self) -> Pump:
        """Shows jobs in the background."""
        if self._pump is None:
            from jupyter_remote.notebook.live import Pump

            self._pump = Pump()
        return self._pump

    @functools.cached_property
    def comms(self) -> Comms | None:
        """Widgets of remote code; None without a front end that could show them."""
        from jupyter_remote.notebook.comms import Comms
        from jupyter_remote.notebook.sinks import kernel_of

        kernel = kernel_of(self.shell)
        return None if kernel is None else Comms(kernel)

    def options(self, line: str) -> RunOptions:
        """The options of a line over this notebook's defaults."""
        given, _ = RUN_PARSER.parse(line)
        return run_options(given, self.defaults)

    # --- what jobs in the background bring home ------------------------------------------------
    def expect(self, job: Job, bring: Callable[[], None]) -> None:
        """Has the main thread call ``bring`` once the job has ended: between two cells, or where
        the code of a cell waits for the job."""
        self._expected.append((job, bring))
        job.on_waited = self._waited_for

    def _waited_for(self, job: Job) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        if (bring := self.expected(job.id)) is not None:
            self._bring(job, bring)

    def _bring(self, job: Job, bring: Callable[[], None]) -> None:
        try:
            bring()
        except BaseException:
            self.expect(job, bring)
            raise
        job.on_waited = None

    def expected(self, job: str) -> Callable[[], None] | None:
        """What brings this job home, if that is still to be done; the caller does it now."""
        for one in self._expected:
            if one[0].id == job:
                self._expected.remove(one)
                return one[1]
        return None

    def arrived(self) -> None:
        """A job ended, perhaps while no cell runs. From any thread."""
        loop = getattr(getattr(self.shell, "kernel", None), "io_loop", None)
        if loop is not None:
            loop.add_callback(self.arrive)

    def arrive(self) -> None:
        """Brings home what ended; on the main thread, between cells."""
        ended = [one for one in self._expected if one[0].done()]
        self._expected = [one for one in self._expected if one not in ended]
        troubles = []
        for job, bring in ended:
            try:
                self._bring(job, bring)
            except Exception as error:
                troubles.append(error)
        if troubles:
            raise troubles[0]


_current: Context | None = None


def current() -> Context:
    """The context of this process."""
    global _current
    if _current is None:
        _current = Context(_running_shell())
    return _current


def set_shell(shell: Any) -> Context:
    """The context for a shell that loads the extension."""
    context = current()
    context.shell = shell
    return context


def _running_shell() -> Any:
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()


def inside_a_job() -> bool:
    """Does this process run a job's code? Functions marked remote are plain there."""
    inside = sys.modules.get("jupyter_remote.worker.inside")
    return inside is not None and bool(inside.job)
