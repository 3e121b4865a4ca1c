"""Commands of a simulated machine that must not act on the real one: ``poweroff``, ``shutdown``,
``systemctl``, ``systemd-run`` and ``nvidia-smi``. Standard library only.

Run as ``commands.py STATE NAME ARGUMENT…`` by small scripts that stand first in the machine's PATH.
STATE is a folder with ``init.pid``, ``environment.json``, ``gpus.json`` and what is written here.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

NAMES = ("poweroff", "halt", "shutdown", "systemctl", "systemd-run", "nvidia-smi")
SPANS_S = {
    "": 1,
    "s": 1,
    "sec": 1,
    "ms": 0.001,
    "m": 60,
    "min": 60,
    "h": 3600,
    "hr": 3600,
    "d": 86400,
}
WITH_VALUE = (
    *("--on-active", "--unit", "--setenv", "--property", "--working-directory", "--uid", "--gid"),
    *("--slice", "--description", "--timer-property", "-u", "-E", "-p"),
)
RESTART_S = 0.1  # systemd's own default between two starts of a unit

State = Path
Command = Callable[[State, list[str]], int]


def poweroff(state: State, arguments: list[str]) -> int:
    """The machine's first process ends, and all others with it."""
    os.kill(int((state / "init.pid").read_text()), signal.SIGTERM)
    return 0


def shutdown(state: State, arguments: list[str]) -> int:
    """``shutdown [-h|-P] [now|+MINUTES]``, ``shutdown -c``."""
    if "-c" in arguments:
        return _stop(state, "shutdown")
    if "-r" in arguments:
        return _refuse("shutdown -r")
    when = next((a for a in arguments if not a.startswith("-")), "+1")
    if when == "now":
        return poweroff(state, [])
    if not re.fullmatch(r"\+\d+", when):
        return _refuse(f"shutdown {when}")
    return _start(state, "shutdown", [str(60 * int(when)), "", "poweroff"])


def systemd_run(state: State, arguments: list[str]) -> int:
    """A command as a service: detached, with the system's environment, perhaps later."""
    options, command = _parted(arguments)
    delay_s = _span_s(options.get("--on-active", ["0"])[-1])
    names = options.get("--unit", []) + options.get("-u", [])
    name = names[-1] if names else f"run-{os.getpid()}"
    properties = options.get("--property", []) + options.get("-p", [])
    restart = next((p.partition("=")[2] for p in properties if p.startswith("Restart=")), "")
    added = dict(e.split("=", 1) for e in options.get("--setenv", []) + options.get("-E", []))
    return _start(state, _bare(name), [str(delay_s), restart, *command], added)


def systemctl(state: State, arguments: list[str]) -> int:
    """``poweroff``, ``stop UNIT…``, ``is-active UNIT``."""
    verb, *units = [a for a in arguments if not a.startswith("-")]
    if verb in ("poweroff", "halt"):
        return poweroff(state, [])
    if verb == "stop":
        return max((_stop(state, _bare(unit)) for unit in units), default=0)
    if verb == "is-active":
        return 0 if all(_alive(_pid(state, _bare(unit))) for unit in units) else 3
    if verb in ("daemon-reload", "reset-failed"):
        return 0
    return _refuse(f"systemctl {verb}")


def nvidia_smi(state: State, arguments: list[str]) -> int:
    """The GPUs of the machine type, for ``-L`` and ``--query-gpu=…``."""
    gpus = json.loads((state / "gpus.json").read_text())
    if not gpus:
        print("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.")
        return 9
    query = next((a.partition("=")[2] for a in arguments if a.startswith("--query-gpu=")), "")
    bare = "nounits" in " ".join(arguments)
    for number, (name, mib) in enumerate(gpus):
        known = {
            "index": str(number),
            "name": name,
            "memory.total": str(mib) if bare else f"{mib} MiB",
            "uuid": f"GPU-{number:08d}",
            "driver_version": "550.00",
        }
        fields = [known.get(field.strip(), "[N/A]") for field in query.split(",")]
        print(", ".join(fields) if query else f"GPU {number}: {name}")
    return 0


def run_unit(state: State, arguments: list[str]) -> int:
    """What ``systemd-run`` leaves behind: waits, runs the command, and again where it is to."""
    delay_s, restart, *command = arguments
    time.sleep(float(delay_s))
    while True:
        status = subprocess.call(command, stdin=subprocess.DEVNULL)
        again = restart == "always" or (restart == "on-failure" and status)
        if not again:
            return status
        time.sleep(RESTART_S)


def _start(
    state: State, name: str, arguments: list[str], added: dict[str, str] | None = None
) -> int:
    environment = json.loads((state / "environment.json").read_text())
    program = [sys.executable, "-I", __file__, str(state), "run-unit", *arguments]
    unit = subprocess.Popen(
        program, env={**environment, **(added or {})}, start_new_session=True, close_fds=True
    )
    (state / f"{name}.unit").write_text(str(unit.pid))
    return 0


def _stop(state: State, name: str) -> int:
    pid = _pid(state, name)
    if not _alive(pid):
        return 5
    os.killpg(pid, signal.SIGTERM)
    return 0


def _pid(state: State, name: str) -> int:
    try:
        return int((state / f"{name}.unit").read_text())
    except OSError:
        return 0


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return pid > 0


def _bare(unit: str) -> str:
    return unit.removesuffix(".service").removesuffix(".timer")


def _span_s(text: str) -> float:
    found = re.fullmatch(r"\s*([\d.]+)\s*([a-z]*)\s*", text)
    if found is None or found[2] not in SPANS_S:
        raise SystemExit(f"the simulated systemd-run does not know the time span {text!r}")
    return float(found[1]) * SPANS_S[found[2]]


def _parted(arguments: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Options with their values, and the command behind them."""
    options: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        name, equals, value = rest.pop(0).partition("=")
        if name == "--":
            break
        if not equals and name in WITH_VALUE:
            value = rest.pop(0)
        options.setdefault(name, []).append(value)
    return options, rest


def _refuse(what: str) -> int:
    print(f"the simulated machine knows no {what}", file=sys.stderr)
    return 1


COMMANDS: dict[str, Command] = {
    "poweroff": poweroff,
    "halt": poweroff,
    "shutdown": shutdown,
    "systemctl": systemctl,
    "systemd-run": systemd_run,
    "nvidia-smi": nvidia_smi,
    "run-unit": run_unit,
}


def install(folder: Path, state: str, python: str) -> None:
    """Scripts of these names into ``folder``; ``state`` is a path inside the machine."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {python} -I {state}/commands.py {state} {name} "$@"\n')
        script.chmod(0o755)


if __name__ == "__main__":
    sys.exit(COMMANDS[sys.argv[2]](Path(sys.argv[1]), sys.argv[3:]))
