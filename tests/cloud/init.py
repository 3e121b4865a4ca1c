"""The first process of a simulated machine. Standard library only.

Run as ``init.py STATE CORD``: it runs ``STATE/user-data`` with ``STATE/environment.json``, as
cloud-init does, and takes in orphans. It ends, with every process of the machine, on SIGTERM
(``poweroff``) or when the other end of the pipe CORD is closed, as it is when the simulator dies.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

POWERED_OFF, CUT_OFF = 0, 3
SUBREAPER = 36  # prctl(PR_SET_CHILD_SUBREAPER)


def main(state: Path, cord: int) -> int:
    """Run the machine; how it ended."""
    _adopt_orphans()
    waker, woken = os.pipe()
    for end in (waker, woken):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    (state / "init.pid").write_text(str(os.getpid()))
    console = (state / "console.log").open("ab", buffering=0)
    script = _start_user_data(state, console.fileno())
    try:
        while True:
            ready, _, _ = select.select([cord, waker], [], [])
            if cord in ready:
                return CUT_OFF
            if signal.SIGTERM in os.read(waker, 1024):
                return POWERED_OFF
            for pid, status in _reaped():
                if pid == script:
                    told = os.waitstatus_to_exitcode(status)
                    console.write(b"cloud-init: user data ended with exit status %d\n" % told)
    finally:
        if os.getpid() != 1:  # the kernel does it for the first process of a namespace
            _end_all(json.loads((state / "environment.json").read_text())["SIMULATED_MACHINE"])


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def _start_user_data(state: Path, console: int) -> int:
    data = (state / "user-data").read_bytes()
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    if not data.startswith(b"#!"):
        os.write(console, b"cloud-init: the user data is no script, nothing is run\n")
        return 0
    script = state / "part-001"
    script.write_bytes(data)
    script.chmod(0o700)
    environment = json.loads((state / "environment.json").read_text())
    process = subprocess.Popen(
        [str(script)],
        env=environment,
        cwd=environment.get("HOME", "/"),
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=console,
        start_new_session=True,
    )
    return process.pid


def _reaped() -> list[tuple[int, int]]:
    found = []
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            found.append(ended)
    return found


def _end_all(machine: str) -> None:
    """Kill until there is nobody: whoever forks meanwhile is found by the next look."""
    while victims := _descendants() | _marked(machine):
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _reaped()


def _descendants() -> set[int]:
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True)
    rows = [line.split() for line in listing.stdout.splitlines()]
    parents = {int(pid): int(parent) for pid, parent, state in rows if state[0] != "Z"}
    known = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in known} - known:
        known |= more
    return {pid for pid in known - {os.getpid()} if _is_there(pid)}  # not `ps` itself


def _marked(machine: str) -> set[int]:
    """Those whose first environment names this machine: orphans where nobody takes them in."""
    mark = f"SIMULATED_MACHINE={machine}".encode()
    found = set()
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in file.read_bytes().split(b"\0"):
                found.add(int(file.parent.name))
    return found - {os.getpid()}


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
