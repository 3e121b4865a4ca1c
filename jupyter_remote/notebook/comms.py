"""Widgets of remote code, live in this notebook.

Each comm of a job has a proxy of the same id in the local kernel's comm manager. What the job says
is sent on to the front end and remembered as the widget's state; what the front end says goes to
the job, or, for a cell in a session, to that session, whose kernel lives on.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from jupyter_remote.amounts import size
from jupyter_remote.errors import JupyterRemoteError
from jupyter_remote.notebook.sinks import pace_of, parent_of
from jupyter_remote.wire import BESIDE_WIDGET, COMM_BYTES, CommMessage, Event

if TYPE_CHECKING:
    from jupyter_remote.client.jobs import Job

log = logging.getLogger("jupyter_remote")

# How long the answer of the remote code is waited for. Front ends take the end of a request for
# the end of what it prints, and send the next change of a slider only then.
MAIN_S = 2.0  # the main thread is wanted for cells, too
SUBSHELL_S = 30.0
BUSY_S = 0.2  # while the remote code is at something else

SENSELESS = (AttributeError, LookupError, TypeError, ValueError)  # code may say anything
GONE = "[this widget is disconnected: what ran its code is over]"
OF_THREADS = ("comm", "update_display_data")  # what need not be of a callback
OF_CALLBACKS = ("stream", "display_data", "clear_output", "error")

Bundle = dict[str, Any]
Path = tuple[str | int, ...]


@dataclass(slots=True)
class Sent:
    """A message of the front end that the remote code did not answer yet."""

    id: str
    parent: Bundle
    waits: bool = False  # for one before it
    served: threading.Event = field(default_factory=threading.Event)


class Remote:
    """The kernel behind some comms: that of a job, or of a session."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.epoch = job.view.attempt  # of a session that moved another kernel's
        self.gone = False
        self.unheard: set[str] = set()  # comms that were told of before they were opened
        self._sent: deque[Sent] = deque()
        self._lock = threading.Lock()

    def sends(self, parent: Bundle) -> Sent:
        sent = Sent(parent["header"]["msg_id"], parent)
        with self._lock:
            sent.waits = bool(self._sent)
            self._sent.append(sent)
        return sent

    def served(self, id: str) -> None:
        """That message, and those before it."""
        with self._lock:
            known = any(sent.id == id for sent in self._sent)
            while known and self._sent:
                sent = self._sent.popleft()
                sent.served.set()
                if sent.id == id:
                    return

    def drop(self, sent: Sent) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._sent.remove(sent)

    def ended(self) -> None:
        """Nothing will be answered any more."""
        self.gone = True
        with self._lock:
            while self._sent:
                self._sent.popleft().served.set()

    @property
    def parent(self) -> Bundle | None:
        """The request that its code answers now."""
        with self._lock:
            return self._sent[0].parent if self._sent else None


class Model:
    """One widget: its state as the job and the front end left it."""

    def __init__(self, remote: Remote, target: str) -> None:
        self.remote = remote
        self.target = target
        self.epoch = remote.epoch
        self.gone = False
        self.state: Bundle = {}
        self.buffers: dict[Path, Any] = {}
        self.seen: dict[str, int] = {}  # job → cursor: what was told of before is passed over

    def learn(self, data: Bundle, buffers: list[Any]) -> None:
        """Takes over a change of the state."""
        state = data.get("state")
        if not isinstance(state, dict):
            return
        paths = [tuple(path) for path in data.get("buffer_paths") or []]
        whole = {path[0] for path in paths if len(path) == 1}
        gone = whole | state.keys()
        self.buffers = {p: b for p, b in self.buffers.items() if p[0] not in gone}
        self.state = {n: v for n, v in self.state.items() if n not in whole} | state
        self.buffers.update(zip(paths, buffers, strict=False))

    def data(self) -> tuple[Bundle, list[Any]]:
        """Its state as a message says it."""
        paths = [list(path) for path in self.buffers]
        data = {"method": "update", "state": self.shown_state(), "buffer_paths": paths}
        return data, list(self.buffers.values())

    def shown_state(self) -> Bundle:
        """The state, which a front end cannot change any more when its worker is gone."""
        return {**self.state, **self.disconnected()} if self.gone else self.state

    @property
    def wants_code(self) -> bool:
        """Is it a control, or a widget of somebody's own? Boxes, bars and texts are not."""
        own = not str(self.state.get("_model_module", "")).startswith("@jupyter-widgets/")
        return own or "disabled" in self.state

    def disconnected(self) -> Bundle:
        return {"disabled": True} if self.state.get("disabled") is False else {}


def session_of(job: Job) -> str:
    """Of a cell in one: its id."""
    return job.view.session if job.view.kind == "cell" else ""


class OfJob:
    """The comms of one job that is shown below the cell of ``parent``."""

    def __init__(self, comms: Comms, job: Job, parent: Bundle) -> None:
        self._comms = comms
        self._job = job
        self._parent = parent

    @property
    def last(self) -> bool:
        """Do they stay live when the job is over?"""
        return bool(session_of(self._job))

    def is_live(self, id: str) -> bool:
        """Does the front end know a widget of this id?"""
        return id in self._comms.models

    def hear(self, event: Event) -> None:
        self._comms.hear(self._job, event, self._parent)

    def over(self) -> bool:
        return self._comms.over(self._job)


class Comms:
    """All that this kernel relays. Called from any thread."""

    def __init__(self, kernel: Any) -> None:
        self.models: dict[str, Model] = {}
        self._kernel = kernel
        self._shown_to_pages = False
        self._remotes: dict[str, Remote] = {}  # by the id of a job or session
        # Never held while a job's handle is asked: it calls from under a lock of its own.
        self._lock = threading.RLock()

    # -- what the remote code says
    def hear(self, job: Job, event: Event, parent: Bundle) -> None:
        """A comm event of a job that is shown; ``parent``: the request of its cell."""
        try:
            remote = self._remote_of(job)
            self._hear(remote, event, msgspec.json.decode(event.data), parent)
        except SENSELESS as error:
            log.info("a comm message of job %s makes no sense: %r", job.id, error)
        except JupyterRemoteError as error:
            log.warning("widgets of job %s are not live: its session: %s", job.id, error)
        else:
            if remote.gone:
                self._disconnect(remote)

    def _hear(self, remote: Remote, event: Event, said: Bundle, parent: Bundle) -> None:
        if said["msg_type"] == "comm_idle":
            remote.served(said["content"].get("id", ""))
            return
        id = said["content"]["comm_id"]
        with self._lock:
            self._take(remote, event, said, parent)
            missed = said["msg_type"] == "comm_open" and id in remote.unheard
            if missed:
                remote.unheard.discard(id)
        if missed:
            self._catch_up(remote, id, parent)

    def over(self, job: Job) -> bool:
        """The job ended, and with it its kernel; that of a session lives on. True: there are
        widgets that would want it."""
        remote = self._remotes.get(job.id)
        lost = [] if remote is None else self._disconnect(remote)
        return any(model.wants_code for model in lost)

    def _remote_of(self, job: Job) -> Remote:
        target = session_of(job) or job.id
        if (known := self._remotes.get(target)) is not None:
            return known
        behind = job if target == job.id else job.session()
        made = Remote(behind)
        with self._lock:
            remote = self._remotes.setdefault(target, made)
        if remote is made and behind is not job:
            behind.on_event(lambda event: self._hear_session(remote, event))
        return remote

    def _hear_session(self, remote: Remote, event: Event) -> None:
        """Between cells: callbacks, and threads."""
        if event.type == "done":
            self._disconnect(remote)
        elif event.epoch > remote.epoch:
            remote.epoch = event.epoch
            self._disconnect(remote, before=event.epoch)
        parent = remote.parent
        if event.type not in OF_THREADS and (parent is None or event.type not in OF_CALLBACKS):
            return
        time.sleep(pace_of(self._kernel).wait_s())  # all that was said so far may come at once
        parent = parent or parent_of(self._kernel)
        if event.type == "comm":
            self.hear(remote.job, event, parent)
            return
        content = msgspec.json.decode(event.data)
        if not (content.get("transient") or {}).get(BESIDE_WIDGET):
            self._send(event.type, content, parent)

    def _take(self, remote: Remote, event: Event, said: Bundle, parent: Bundle) -> None:
        content, kind = said["content"], said["msg_type"]
        buffers = [base64.b64decode(b) for b in said.get("buffers") or ()]
        id, data = content["comm_id"], content.get("data") or {}
        model = self.models.get(id)
        if model is not None and event.cursor <= model.seen.get(event.job, 0):
            return
        if model is None and kind != "comm_open":
            remote.unheard.add(id)
            return
        if model is None:
            if (model := self._open(remote, id, content)) is None:
                return
        elif kind == "comm_open":  # shown once more, by `attach`
            kind, content = "comm_msg", {"comm_id": id, "data": {**data, "method": "update"}}
        model.seen[event.job] = event.cursor
        if isinstance(data, dict):
            model.learn(data, buffers)
        if kind == "comm_close":
            self._forget(id)
        answers = remote.parent or (parent if kind == "comm_open" else parent_of(self._kernel))
        self._send(kind, content, answers, said.get("metadata"), buffers, id)

    def _catch_up(self, remote: Remote, id: str, parent: Bundle) -> None:
        """What a session said of a comm before the cell that opened it was shown."""
        for event in remote.job.events:
            said = msgspec.json.decode(event.data) if event.type == "comm" else {}
            if said and said["content"].get("comm_id") == id:
                with self._lock:
                    self._take(remote, event, said, parent)

    def _open(self, remote: Remote, id: str, content: Bundle) -> Model | None:
        from comm import get_comm_manager

        from jupyter_remote.notebook.proxies import proxy_of, show_to_reloaded_pages

        manager = get_comm_manager()
        if id in manager.comms:  # somebody else's in this kernel
            return None
        if not self._shown_to_pages:
            self._shown_to_pages = True
            show_to_reloaded_pages(self)
        target = str(content.get("target_name", ""))
        model = self.models[id] = Model(remote, target)
        manager.register_comm(proxy_of(self, id, target))
        return model

    def _forget(self, id: str) -> None:
        from comm import get_comm_manager

        self.models.pop(id, None)
        get_comm_manager().comms.pop(id, None)

    def _disconnect(self, remote: Remote, before: int | None = None) -> list[Model]:
        """Its widgets can be changed no more. ``before``: only those of earlier attempts."""
        if before is None:
            remote.ended()
        with self._lock:
            lost = {
                id: model
                for id, model in self.models.items()
                if model.remote is remote
                and not model.gone
                and (before is None or model.epoch < before)
            }
            for id, model in lost.items():
                model.gone = True
                self._say_disconnected(id, model)
        return list(lost.values())

    def _say_disconnected(self, id: str, model: Model) -> None:
        if changed := model.disconnected():
            data = {"method": "update", "state": changed, "buffer_paths": []}
            content = {"comm_id": id, "data": data}
            self._send("comm_msg", content, parent_of(self._kernel), comm_id=id)

    # -- what the front end says
    def said(self, id: str, kind: str, message: Bundle) -> None:
        """A message for a proxy, in the thread that serves the front end."""
        model = self.models.get(id)
        if model is None:
            return
        content, buffers = message["content"], list(message.get("buffers") or ())
        data = content.get("data")
        method = data.get("method") if isinstance(data, dict) else ""
        if method == "request_state":
            known, held = model.data()
            self._send("comm_msg", {"comm_id": id, "data": known}, message, {}, held, id)
        elif model.gone:
            self._say_disconnected(id, model)
            self._tell(message, GONE)
        else:
            if method == "update":
                with self._lock:
                    model.learn(data, buffers)
            self._pass_on(model.remote, kind, message, buffers)
        if kind == "comm_close":
            self._forget(id)

    def _pass_on(self, remote: Remote, kind: Any, message: Bundle, buffers: list[Any]) -> None:
        pieces = [bytes(memoryview(buffer)) for buffer in buffers]
        total = len(msgspec.json.encode(message["content"])) + sum(map(len, pieces))
        if total > COMM_BYTES:
            limit = size(COMM_BYTES)
            self._tell(message, f"[a message of {size(total)} was not sent: the limit is {limit}]")
            return
        sent = remote.sends({"header": message["header"]})
        try:
            remote.job.send_comm(
                CommMessage(
                    id=sent.id,
                    msg_type=kind,
                    content=message["content"],
                    metadata=message.get("metadata") or {},
                    buffers=pieces,
                )
            )
        except JupyterRemoteError as error:
            remote.drop(sent)
            self._tell(message, f"[the widget could not be changed over there: {error}]")
            return
        on_main = threading.current_thread() is threading.main_thread()
        sent.served.wait(BUSY_S if sent.waits else MAIN_S if on_main else SUBSHELL_S)

    def _tell(self, message: Bundle, text: str) -> None:
        """Where what a callback prints is shown."""
        self._send("stream", {"name": "stderr", "text": text + "\n"}, {"header": message["header"]})

    def _send(
        self,
        kind: str,
        content: Bundle,
        parent: Bundle,
        metadata: Bundle | None = None,
        buffers: list[Any] | None = None,
        comm_id: str = "",
    ) -> None:
        kernel = self._kernel
        pace_of(kernel).spend()
        topic = f"comm-{comm_id}".encode() if comm_id else kernel._topic(kind)
        kernel.session.send(
            kernel.iopub_socket,
            kind,
            content,
            parent=parent,
            ident=topic,
            metadata=metadata,
            buffers=buffers,
        )
