"""Kernels that are killed in the midst of a remote cell; their notebooks are brought up to date.

Each kill has a notebook, a kernel that is forked from one that has imported everything, and a job
that writes what it shows into a transcript, too. The file is what a front end would have saved at
some moment before the kill.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import zmq
from jupyter_client.connect import write_connection_file
from jupyter_client.session import Session

import jupyter_remote as jr
from jupyter_remote.client.homecoming import Card, cards_of
from jupyter_remote.client.notebook_files import NotebookFile, Synced, sync
from tests.e2e.stitching import kill_backend
from tests.e2e.waiting import until

LIMIT_S = 60.0  # in which a job begins
LANES = 3  # kernels at a time
CELL = "0123abcd"
KEY = b"kernel kills"

ZYGOTE = """
import json, os, signal, sys
import ipykernel.kernelapp
import jupyter_remote.client.api, jupyter_remote.notebook.commands, jupyter_remote.notebook.magics
import jupyter_remote.notebook.run, jupyter_remote.notebook.decorator, jupyter_remote.client.capture

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    asked = json.loads(line)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in (0, 1):
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        os.environ["JPY_SESSION_NAME"] = asked["notebook"]
        ipykernel.kernelapp.IPKernelApp.launch_instance(["-f", asked["connection"]])
        os._exit(0)
    print(pid, flush=True)
"""

WORK = '''
def work(seed, transcript, for_s):
    """Shows things of all kinds; says so in the transcript first."""
    import json, random, sys, time
    from IPython.display import clear_output, display

    chance, handles, n = random.Random(seed), [], 0
    end = time.monotonic() + for_s
    with open(transcript, "a", buffering=1) as kept:
        def tell(*what):
            kept.write(json.dumps(what) + "\\n")

        while time.monotonic() < end:
            n, dice = n + 1, chance.random()
            if dice < 0.8:
                text = "".join(chance.choices("abcé漢 \\n", k=chance.choice((1, 3, 30, 300))))
                name = chance.choice(("stdout", "stdout", "stderr"))
                tell("stream", name, text)
                print(text, end="", file=getattr(sys, name), flush=chance.random() < 0.5)
            elif dice < 0.9:
                tell("display", len(handles), n)
                handles.append(display(n, display_id=True))
            elif dice < 0.99 and handles:
                at = chance.randrange(len(handles))
                tell("update", at, f"{at} at {n}")
                handles[at].update(f"{at} at {n}")
            elif seed % 3 == 0:
                wait = chance.random() < 0.5
                tell("clear", wait)
                clear_output(wait)
            time.sleep(chance.choice((0, 0.001, 0.02)))
        tell("end")
'''


class Expected:
    """What a cell shows of a job, by its transcript."""

    def __init__(self, transcript: Path) -> None:
        self.text = {"stdout": "", "stderr": ""}
        self.displays: dict[int, str] = {}
        self.ends = 0
        self._clear_next = False
        for line in transcript.read_text().splitlines():
            getattr(self, f"_{json.loads(line)[0]}")(*json.loads(line)[1:])

    def _begin(self) -> None:
        if self._clear_next:
            self._clear(False)

    def _stream(self, name: str, text: str) -> None:
        self._begin()
        self.text[name] += text

    def _display(self, at: int, value: int) -> None:
        self._begin()
        self.displays[at] = repr(value)

    def _update(self, at: int, value: str) -> None:
        if at in self.displays:
            self.displays[at] = repr(value)

    def _clear(self, wait: bool) -> None:
        self._clear_next = wait
        if not wait:
            self.text, self.displays = {"stdout": "", "stderr": ""}, {}

    def _end(self) -> None:
        self.ends += 1


class Said(NamedTuple):
    """A message of a kernel."""

    at: float
    message: dict[str, Any]


class FrontEnd:
    """The outputs of one cell."""

    def __init__(self, said: list[Said]) -> None:
        self.outputs: list[Any] = []
        self._ids: dict[str, list[Any]] = {}
        self._clear_next = False
        for one in said:
            self._take(one.message["msg_type"], one.message)

    def _take(self, kind: str, message: dict[str, Any]) -> None:
        content = message["content"]
        id = (content.get("transient") or {}).get("display_id")
        if kind == "clear_output":
            self._clear_next = content["wait"]
            if not content["wait"]:
                self.outputs.clear()
        if kind in ("display_data", "update_display_data"):
            for output in self._ids.get(id, []):
                output["data"], output["metadata"] = content["data"], content["metadata"]
        if kind not in ("stream", "display_data", "execute_result", "error"):
            return
        if self._clear_next:
            self.outputs.clear()
            self._clear_next = False
        last = self.outputs[-1] if self.outputs else {}
        if kind == "stream" and last.get("name") == content["name"]:
            last["text"] += content["text"]
            return
        self.outputs.append(nbformat.v4.output_from_msg(message))
        self._ids.setdefault(id, []).append(self.outputs[-1])


class Killed:
    """A kernel that ran a remote cell until it was killed, and its notebook."""

    def __init__(self, folder: Path, seed: int, *, calls: bool) -> None:
        self.seed, self.chance = seed, random.Random(seed)
        self.notebook = folder / f"{seed}.ipynb"
        self.transcript = folder / f"{seed}.transcript"
        self._connection = folder / f"{seed}.json"
        self.for_s = self.chance.uniform(0.3, 1.5)
        self.was_midway = False
        call = f"work({seed}, {str(self.transcript)!r}, {self.for_s})\n"
        here = "import jupyter_remote as jr\nprint('here')\n@jr.remote"
        self.code = f"{here}{WORK}\n{call}" if calls else f"%%remote_run{WORK}\n{call}"

    def go(self, zygote: Zygote) -> None:
        place = zygote.place / str(self.seed)
        ports = range(1, 6)
        write_connection_file(
            str(self._connection), *ports, ip=str(place), key=KEY, transport="ipc"
        )
        pid = zygote.fork(self._connection, self.notebook)
        with Channels(place) as channels:
            began_at, said = self._run(channels)
            os.kill(pid, signal.SIGKILL)
            self.was_midway = self.transcript.exists() and not Expected(self.transcript).ends
            said += channels.read(0.02)
        self._save(began_at, [one for one in said if one.message["msg_type"] != "status"])

    def _run(self, channels: Channels) -> tuple[float, list[Said]]:
        until(lambda: channels.ask("kernel_info_request") and channels.read(0.05))
        channels.ask("execute_request", _execution("%load_ext jupyter_remote", silent=True))
        began_at, said = time.time(), []
        id = channels.ask("execute_request", _execution(self.code), {"cellId": CELL})

        def read() -> bool:
            came = channels.read(0.005)
            said.extend(one for one in came if one.message["parent_header"].get("msg_id") == id)
            return self.transcript.exists()

        if self.chance.random() < 0.9:  # else: at any moment, before the job, too
            began = time.monotonic()
            while not read():
                assert time.monotonic() < began + LIMIT_S, [one.message["content"] for one in said]
        end = time.monotonic() + self.chance.uniform(0, self.for_s)
        while time.monotonic() < end:
            read()
        return began_at, said

    def _save(self, began_at: float, said: list[Said]) -> None:
        """As a front end had it after some of the messages."""
        kept = len(said) if self.chance.random() < 0.4 else self.chance.randint(0, len(said))
        cell = nbformat.v4.new_code_cell(self.code, id=CELL)
        cell.outputs = FrontEnd(said[:kept]).outputs
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), self.notebook)
        saved_at = said[kept - 1].at if kept else began_at
        os.utime(self.notebook, (saved_at, saved_at))

    def sync(self, client: jr.Client) -> Synced:
        """Of what the file then shows nothing may be wrong, though the job goes on."""
        synced = sync(self.notebook, client)
        text = self._parts()[1]["stdout"]
        if self.transcript.exists() and self.seed % 3:  # it clears nothing
            assert Expected(self.transcript).text["stdout"].startswith(text), self.notebook
        return synced

    def _parts(self) -> tuple[list[Card], dict[str, str], list[str], str]:
        """Cards, text and displays below them, text above them."""
        [cell] = NotebookFile(self.notebook).cells
        cards = [card for card in cards_of(cell) if isinstance(card, Card)]
        at = cards[-1].at + 1 if cards else len(cell["outputs"])
        below = cell["outputs"][at:]
        text = {name: _text(below, name) for name in ("stdout", "stderr")}
        displays = [o["data"]["text/plain"] for o in below if o["output_type"] == "display_data"]
        assert all(o["output_type"] in ("stream", "display_data") for o in below)
        return cards, text, displays, _text(cell["outputs"][:at], "stdout")

    def check(self, client: jr.Client) -> None:
        """The job ended: no gap, no repeat, and nothing more to bring home."""
        self.sync(client)
        assert not self.sync(client).is_changed
        nbformat.validate(nbformat.read(self.notebook, as_version=nbformat.NO_CONVERT))
        if not self.transcript.exists():
            return  # it was killed before its job began
        expected = Expected(self.transcript)
        cards, text, displays, above = self._parts()
        assert expected.ends == 1
        assert [card.status for card in cards] == ["completed"], self.notebook
        assert text == expected.text, self.notebook
        assert displays == [expected.displays[at] for at in sorted(expected.displays)]
        assert above in ("", "here\n")


def _text(outputs: list[Any], name: str) -> str:
    return "".join(o["text"] for o in outputs if o["output_type"] == "stream" and o["name"] == name)


def _execution(code: str, *, silent: bool = False) -> dict[str, Any]:
    fixed = {"user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
    return {"code": code, "silent": silent, "store_history": not silent, **fixed}


class Channels:
    """To a kernel and from it, without a thread or an event loop."""

    def __init__(self, place: Path) -> None:
        self._session = Session(key=KEY)
        self._context = zmq.Context()
        self._shell = self._connect(zmq.DEALER, f"{place}-1")
        self._iopub = self._connect(zmq.SUB, f"{place}-2")
        self._iopub.subscribe(b"")

    def _connect(self, kind: int, path: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.connect(f"ipc://{path}")
        return socket

    def ask(self, kind: str, content: Any = None, metadata: Any = None) -> str:
        message = self._session.msg(kind, content or {}, metadata=metadata or {})
        self._session.send(self._shell, message)
        id: str = message["header"]["msg_id"]
        return id

    def read(self, for_s: float) -> list[Said]:
        """The messages of the next moment."""
        found = []
        while self._iopub.poll(round(1000 * for_s)):
            _, message = self._session.recv(self._iopub)
            found.append(Said(time.time(), message))
            for_s = 0
        return found

    def __enter__(self) -> Channels:
        return self

    def __exit__(self, *error: object) -> None:
        self._context.destroy(linger=0)


class Zygote:
    """Forks kernels."""

    def __init__(self, place: Path) -> None:
        self.place = place  # of their sockets
        self._process = subprocess.Popen(
            [sys.executable, "-c", ZYGOTE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def fork(self, connection: Path, notebook: Path) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"connection": str(connection), "notebook": str(notebook)}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def kill_kernels(
    client: jr.Client, folder: Path, place: Path, kills: int, backend_every: int
) -> Iterator[Killed]:
    """Goes on until so many were killed while their job showed something; the backend now and
    then, too."""
    zygotes = [Zygote(place) for _ in range(LANES)]
    seeds, midway = iter(range(1, 10 * kills)), 0

    def lane(zygote: Zygote) -> Killed:
        one = Killed(folder, seed := next(seeds), calls=seed % 4 == 0)
        one.go(zygote)
        if one.chance.random() < 0.5:
            one.sync(client)
        return one

    with ThreadPoolExecutor(LANES) as lanes:
        try:
            while midway < kills:
                for one in lanes.map(lane, zygotes):
                    midway += one.was_midway
                    yield one
                    if one.seed % backend_every == 0:
                        kill_backend(client)
        finally:
            for zygote in zygotes:
                zygote.close()


def are_over(client: jr.Client) -> bool:
    return not client.jobs("queued", 1) and not client.jobs("running", 1)
