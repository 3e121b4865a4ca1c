"""The script that makes a worker of a machine: as text, and run until it works or gives up."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jupyter_remote.model import InstanceRecord, JobId
from jupyter_remote.providers.bootstrap import MOST_BYTES, Boot, script
from jupyter_remote.server.package import Package, Packages, platform_here, python_here

from ..server.conftest import Running, submit, until
from .machines import BOOT_S, NAME, PYTHON, Machine, instance, user_data

GONE_S = 20.0  # within which a machine ends that is to end at once
Boots = Callable[..., Machine]


def boot(**changes: Any) -> Boot:
    facts = {
        "instance": "i-1",
        "url": "http://127.0.0.1:1",
        "token": "jr_e_secret",
        "python": python_here(),
        "platform": platform_here(),
    }
    return Boot(**(facts | changes))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def machine() -> Iterator[Boots]:
    machines = []

    def boots(text: str, **options: str) -> Machine:
        machines.append(Machine(text, **options))
        return machines[-1]

    yield boots
    for each in machines:
        each.end()


def without_worker(server: Running, folder: Path, digest: str = "") -> None:
    """The package is next to nothing, so that it is there at once."""
    path = folder / "small.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("requirements.txt", "")
    server.backend.packages._known = Package(path, digest or "0" * 64, path.stat().st_size)


def row(server: Running, id: str = "i-1") -> InstanceRecord:
    record = server.backend.store.instance(id)
    assert record is not None
    return record


# -- as text
def test_the_script_fits_into_user_data_with_room_for_long_names() -> None:
    text = script(boot(url="https://" + "x" * 300, token="t" * 200, instance="i" * 100))
    assert len(text.encode()) < MOST_BYTES


def test_the_same_facts_give_the_same_script() -> None:
    assert script(boot()) == script(boot())


def test_the_script_is_bash() -> None:
    done = subprocess.run(["bash", "-n"], input=script(boot()), text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


HOSTILE = ["'; touch hurt; '", '"$(touch hurt)"', "`touch hurt`", "a\nb", "$HOME \\ ö", "@FACTS@"]


@pytest.mark.parametrize("value", HOSTILE)
def test_facts_are_what_they_are_whatever_is_in_them(value: str, tmp_path: Path) -> None:
    text = script(boot(url=value, token=value))
    facts = text[text.index("instance=") : text.index("\nbase=")]
    told = subprocess.run(
        ["bash", "-c", facts + '\nprintf "%s|%s" "$url" "$token"'],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert told.stdout.decode() == f"{value}|{value}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"instance": "../i"},
        {"instance": "i 1"},
        {"instance": 'i"'},
        {"instance": ""},
        {"user": "a b"},
        {"user": "-x"},
        {"url": "x" * MOST_BYTES},
        {"url": "x\0"},
    ],
)
def test_what_cannot_be_a_fact_gives_no_script(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        script(boot(**wrong))


# -- from nothing to a job
CODE = """
import getpass, os, sys
print(os.getuid(), sorted(os.environ))
open("written", "w").write("here")
import subprocess
print(subprocess.run(["cat", "written"], capture_output=True, text=True).stdout)
for path in SECRETS:
    try:
        open(path, "rb").read(1)
        print("read", path)
    except OSError as error:
        print(error.strerror)
"""


def test_a_machine_boots_and_runs_a_job_and_ends_with_its_agent(
    server: Running, machine: Boots
) -> None:
    as_root = os.geteuid() == 0
    record = instance(server, machine="local")
    token, text = user_data(server, record)
    booting = machine(text, user="nobody" if as_root else "")
    booting.boot()
    seen: set[str] = set()

    def connected() -> bool:
        seen.update(booting.processes().values())
        return bool(server.backend.fleet.links)

    until(connected, BOOT_S)
    assert booting.booted() == 0
    assert row(server).step == "connecting"

    [agent] = [p for p, c in booting.processes().items() if "worker.agent" in c]
    secrets = [f"/proc/{agent}/environ", f"/proc/{agent}/mem", str(next(scratch_of(booting)))]
    job = submit(server, f"SECRETS = {secrets}\n{CODE}").job.id
    until(lambda: server.backend.store.job(JobId(job)).state == "succeeded", BOOT_S)
    headers = {"Authorization": f"Bearer {server.token}"}
    log = server.raw("GET", f"/v1/jobs/{job}/log", headers)[1].decode()
    assert "here" in log
    if as_root:
        assert not log.startswith("0 ")
        assert "read" not in log

    # Its secrets are in no command line, no log, and no file that others read.
    worker = re.findall("jr_w_[A-Za-z0-9_-]{10,}", "".join(seen))
    assert (token in "".join(seen), worker) == (False, [])
    kept = (row(server).boot_log or b"").decode()
    logs = [kept, booting.output.read_text(), (booting.home / "i-1/agent.log").read_text()]
    assert not any("jr_" in each for each in logs)
    assert not any(token in log for log in logs)

    os.kill(agent, signal.SIGKILL)  # whatever becomes of the agent
    booting.until_off(GONE_S)


def scratch_of(machine: Machine) -> Iterator[Path]:
    return (folder / "header" for folder in machine.scratch.iterdir())
