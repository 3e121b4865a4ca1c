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

with jr.Client() as client:
    job = client.job(sys.argv[1]).attach(after=int(sys.argv[2]))
    job.on_event(show)
    job.wait()
"""


def write_until_gate(transcript: str, gate: str, seed: int) -> int:
    """Prints what it also writes into a file; pieces of all sizes, with and without line ends.

    Slower and slower: no more in some minutes than is shown live, however busy the machine is.
    """
    import os
    import random
    import time

    chance, n = random.Random(seed), 0
    end = time.monotonic() + 400
    with open(transcript, "a", buffering=1, newline="") as kept:
        while not os.path.exists(gate) and time.monotonic() < end:
            text = "".join(chance.choices("abcé漢 \n", k=chance.choice((1, 3, 30, 300))))
            print(text, end="", flush=chance.random() < 0.5)
            kept.write(text)
            n += 1
            time.sleep(chance.choice((0, 0.001, 0.02)) * (1 + n / 20))
    return n


class Stitcher:
    """``seen``: every event, in the order in which the readers told of them."""

    def __init__(self, job: str, folder: Path, chance: random.Random) -> None:
        self._job = job
        self._chance = chance
        self._file = folder / "seen"
        self._file.touch()

    @property
    def seen(self) -> list[tuple[int, str, str]]:
        whole = self._file.read_text()
        return [tuple(json.loads(line)) for line in whole.splitlines(True) if line.endswith("\n")]

    def reader(self) -> subprocess.Popen[bytes]:
        """Goes on after the last event that was told whole."""
        lines = self._file.read_bytes()
        self._file.write_bytes(lines[: lines.rfind(b"\n") + 1])
        after = self.seen[-1][0] if self.seen else 0
        with self._file.open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-c", READER, self._job, str(after)], stdout=out
            )

    def read_until_killed(self) -> None:
        """One reader, killed a moment after it began to tell."""
        before, reader = len(self.seen), self.reader()
        until(lambda: len(self.seen) > before)
        time.sleep(self._chance.uniform(0, 0.1))
        reader.send_signal(signal.SIGKILL)
        reader.wait()

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
