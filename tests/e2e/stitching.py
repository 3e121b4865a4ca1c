"""Reads a job's stream in processes that are killed, and stitches together what they saw."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jupyter_remote as jr
from tests.e2e.waiting import gone, until

READER = """
import json, os, sys
import jupyter_remote as jr

def show(event):
    if event.cursor:
        line = json.dumps([event.cursor, event.type, json.loads(bytes(event.data)).get("text", "")])
        os.write(1, (line + "\\n").encode())

def read(id, after):
    with jr.Client() as client:
        job = client.job(id).attach(after=int(after))
        job.on_event(show)
        job.wait()
"""
ONE = f"{READER}\nread(*sys.argv[1:])"
MANY = f"""{READER}
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    *what, path = json.loads(line)
    if (pid := os.fork()) == 0:
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), 1)
        read(*what)
        os._exit(0)
    print(pid, flush=True)
"""


def write_until_gate(transcript: str, gate: str, seed: int, limit_s: float = 400.0) -> int:
    """Prints what it also writes into a file; pieces of all sizes, with and without line ends.

    Slower and slower: no more in some minutes than is shown live, however busy the machine is.
    """
    import os
    import random
    import time

    chance, n = random.Random(seed), 0
    characters = 5 * "abcé漢 " + "\n"  # few lines: some 20,000 are shown live
    end = time.monotonic() + limit_s
    with open(transcript, "a", buffering=1, newline="") as kept:
        while not os.path.exists(gate) and time.monotonic() < end:
            text = "".join(chance.choices(characters, k=chance.choice((1, 3, 30, 300))))
            print(text, end="", flush=chance.random() < 0.5)
            kept.write(text)
            n += 1
            time.sleep(chance.choice((0, 0.001, 0.02)) * (1 + n / 100))
    return n


class Stitcher:
    """``seen``: every event, in the order in which the readers told of them."""

    def __init__(self, job: str, folder: Path, chance: random.Random) -> None:
        self._job = job
        self._chance = chance
        self._file = folder / "seen"
        self._file.touch()
        self._many = subprocess.Popen(
            [sys.executable, "-c", MANY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        self._many.communicate()

    @property
    def told(self) -> int:
        """How many events."""
        return self._file.read_bytes().count(b"\n")

    @property
    def seen(self) -> list[tuple[int, str, str]]:
        whole = self._file.read_text()
        return [tuple(json.loads(line)) for line in whole.splitlines(True) if line.endswith("\n")]

    def reader(self) -> subprocess.Popen[bytes]:
        """Goes on after the last event that was told whole."""
        after = self._go_on_after()
        with self._file.open("ab") as out:
            return subprocess.Popen([sys.executable, "-c", ONE, self._job, str(after)], stdout=out)

    def _go_on_after(self) -> int:
        data = self._file.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        self._file.write_bytes(whole)
        return int(json.loads(whole.splitlines()[-1])[0]) if whole else 0

    def _fork(self) -> int:
        assert self._many.stdin is not None
        assert self._many.stdout is not None
        asked = [self._job, self._go_on_after(), str(self._file)]
        self._many.stdin.write(json.dumps(asked) + "\n")
        self._many.stdin.flush()
        return int(self._many.stdout.readline())

    def read_until_killed(self) -> None:
        """One reader, killed a moment after it began to tell."""
        before, pid = self.told, self._fork()
        until(lambda: self.told > before)
        time.sleep(self._chance.uniform(0, 0.1))
        os.kill(pid, signal.SIGKILL)
        until(lambda: gone(pid))

    def text(self) -> str:
        return "".join(text for _, kind, text in self.seen if kind == "stream")

    def check(self, transcript: Path) -> None:
        """No gap, no repeat, byte for byte."""
        cursors = [cursor for cursor, _, _ in self.seen]
        assert cursors == sorted(set(cursors))
        kinds = [kind for _, kind, _ in self.seen]
        assert "folded" not in kinds, "the job printed more than is shown live"
        with transcript.open(newline="") as kept:
            assert self.text() == kept.read()


def kill_backend(client: jr.Client) -> None:
    """With SIGKILL."""
    pid = client.info().pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: gone(pid))
