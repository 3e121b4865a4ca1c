"""The script that makes a worker of a machine: as text, and run until it works or gives up."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from jupyter_remote import wire
from jupyter_remote.model import InstanceRecord, JobId
from jupyter_remote.providers.bootstrap import MOST_BYTES, Boot, script
from jupyter_remote.server.package import Package, Packages, platform_here, python_here
from jupyter_remote.worker.alive import Beat

from ..cloud.dying import Dying
from ..scheduler.cloud import FakeCloud
from ..server.conftest import Running, packages_folder, submit, until
from .machines import BOOT_S, NAME, PYTHON, Machine, instance, user_data

GONE_S = 60.0  # within which a machine ends that is to end at once
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
    running = Running(tmp_path, elsewhere={"ec2": FakeCloud(name="ec2")})
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


# -- what a worker is made of
def test_the_package_works_with_nothing_else_there(tmp_path: Path) -> None:
    built = Packages(packages_folder()).current()
    with zipfile.ZipFile(built.path) as archive:
        archive.extractall(tmp_path / "there")
        pins = archive.read("requirements.txt").decode()
    modules = ("agent", "zygote", "kernel", "notebook_job", "courier", "enrolled")
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'there')!r}); import ipywidgets, " + (
        ", ".join(f"jupyter_remote.worker.{module}" for module in modules)
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "there" / "bin" / "uv").exists()
    assert "ipykernel==" in pins
    assert "sqlalchemy" not in pins
    assert "jupyter-remote-run" not in pins


# -- from nothing to a job
CODE = """
import os
print(os.getuid(), sorted(os.environ))
open("written", "w").write(open("shipped").read())
big = os.urandom(3_000_000)
import subprocess
import time
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
    data = b"here"
    shipped = wire.FileRef(path="shipped", content=wire.Segment(blake3(data).hexdigest(), 4, data))
    code = f"SECRETS = {secrets}\n{CODE}"
    spec = wire.JobSpec(kind="cell", code=code, outputs=["big"], files=[shipped])
    job = submit(server, spec=spec).job.id
    until(lambda: server.backend.store.job(JobId(job)).state == "succeeded", BOOT_S)
    headers = {"Authorization": f"Bearer {server.token}"}
    log = server.raw("GET", f"/v1/jobs/{job}/log", headers)[1].decode()
    assert "here" in log
    if as_root:
        assert log.startswith(f"{pwd.getpwnam('nobody').pw_uid} ")
        assert log.count("Permission denied") == len(secrets)

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


# -- what fails ends the machine, and says why
def told(server: Running, machine: Machine) -> str:
    """What a machine that gave up reported."""
    machine.until_off()
    assert machine.booted() == 1
    record = row(server)
    assert record.detail.startswith(f"booting failed at “{record.step}”: ")
    return f"{record.step}: {record.detail.partition('”: ')[2]}"


def test_a_machine_without_its_server_ends(
    server: Running, machine: Boots, unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    alone = machine(script(boot(url=url, boot_s=1.0, alone_s=600.0)))
    alone.boot()
    alone.until_off(GONE_S)
    assert (
        "The server did not answer within 1 s: POST /v1/workers/boot." in alone.output.read_text()
    )


def test_a_token_that_was_used_starts_no_second_machine(server: Running, machine: Boots) -> None:
    record = instance(server)
    text = user_data(server, record)[1]
    server.backend.writer.call_sync(
        server.backend.store.revoke_token, "enrol-i-1", server.backend.facts.owner, 1.0
    )
    second = machine(text)
    second.boot()
    second.until_off(GONE_S)
    assert "The server refused: POST /v1/workers/boot gave 401." in second.output.read_text()


def test_a_damaged_package_is_not_installed(
    server: Running, machine: Boots, tmp_path: Path
) -> None:
    without_worker(server, tmp_path, digest="0" * 64)
    damaged = machine(user_data(server, instance(server))[1])
    damaged.boot()
    assert told(server, damaged) == "installing: The worker could not be installed."
    assert "what the server sent is damaged" in (row(server).boot_log or b"").decode()


def test_without_a_python_it_is_said_what_to_do(server: Running, machine: Boots) -> None:
    bare = machine(user_data(server, instance(server))[1], UV_OFFLINE="1")
    for name in ("python3", *(f"python3.{minor}" for minor in range(11, 15))):
        bare.program(name, "exit 1")
    bare.boot()
    assert "Choose an image that has one" in told(server, bare)


def test_where_neither_wheels_nor_an_index_are_to_be_had_it_is_said(
    server: Running, machine: Boots
) -> None:
    token = user_data(server, instance(server))[0]
    facts = boot(url=server.url, token=token, python="3.99", platform="another one")
    foreign = machine(script(facts), PIP_NO_INDEX="1", PIP_CONFIG_FILE="/dev/null")
    foreign.boot()
    assert told(server, foreign) == "installing: The worker could not be installed."
    log = (row(server).boot_log or b"").decode()
    assert "Let machines reach an index" in log


@pytest.mark.parametrize("curl", [True, False])
def test_a_disk_that_is_full_is_told(
    server: Running, machine: Boots, tmp_path: Path, curl: bool
) -> None:
    without_worker(server, tmp_path)
    full = machine(user_data(server, instance(server))[1])
    (full.home / "i-1").mkdir(parents=True)
    (full.home / "i-1" / "worker.zip").symlink_to("/dev/full")
    if not curl:
        full.program("curl", "exit 127")
    full.boot()
    assert "The disk has no room" in told(server, full)


def test_the_log_of_a_step_that_failed_is_kept(
    server: Running, machine: Boots, tmp_path: Path
) -> None:
    without_worker(server, tmp_path)
    full = machine(user_data(server, instance(server))[1])
    full.program(
        NAME, f'case "$*" in *venv*) echo No space left >&2; exit 1;; esac\nexec {PYTHON} "$@"'
    )
    full.boot()
    assert "has no working venv module" in told(server, full)
    assert b"No space left" in (row(server).boot_log or b"")


@pytest.mark.parametrize("curl", [True, False])
def test_a_server_that_dies_while_it_answers_is_asked_again(machine: Boots, curl: bool) -> None:
    with Dying(200) as dying:
        patient = machine(script(boot(url=dying.url)))
        if not curl:
            patient.program("curl", "exit 127")
        patient.boot()
        patient.until_off()
    told = patient.output.read_text()
    assert "POST /v1/workers/boot: 000" in told
    assert "The server refused: POST /v1/workers/boot gave 409." in told


def test_without_curl_python_reports(server: Running, machine: Boots, tmp_path: Path) -> None:
    without_worker(server, tmp_path)
    plain = machine(user_data(server, instance(server))[1])
    plain.program("curl", "exit 127")
    plain.boot()
    assert told(server, plain).startswith("installing: ")


# -- its worker
AGENT = """
import sys
from pathlib import Path
print("told", sys.argv[1:2])
alive = Path(ALIVE)
"""


def with_agent(server: Running, folder: Path, code: str, boots: Boots, **changes: Any) -> Machine:
    """A machine whose worker is this code; ``alive`` is its file."""
    without_worker(server, folder)  # so that none is built
    token = user_data(server, instance(server))[0]
    made = boots(script(boot(url=server.url, token=token, **changes)))
    agent = AGENT.replace("ALIVE", repr(str(made.home / "i-1" / "alive"))) + code
    path = folder / "worker.zip"
    with zipfile.ZipFile(path, "w") as out:
        for module in ("__init__", "worker/__init__", "worker/zygote", "worker/enrolled"):
            out.writestr(f"jupyter_remote/{module}.py", "")
        out.writestr("jupyter_remote/worker/agent.py", f"if __name__ == '__main__':\n    {AS_IS}")
        out.writestr("jupyter_remote/worker/code.txt", agent)
        out.writestr("bin/uv", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    server.backend.packages._known = Package(path, digest, path.stat().st_size)
    return made


AS_IS = "from pathlib import Path; exec(Path(__file__).with_name('code.txt').read_text())"


def test_a_worker_that_does_not_start_says_why(
    server: Running, machine: Boots, tmp_path: Path
) -> None:
    broken = with_agent(server, tmp_path, "raise SystemExit('no such library')", machine)
    broken.boot()
    broken.until_off()
    assert row(server).detail.endswith("“connecting”: The worker ended before it was connected.")
    assert b"no such library" in (row(server).boot_log or b"")


def test_a_worker_that_never_connects_is_ended(
    server: Running, machine: Boots, tmp_path: Path
) -> None:
    code = "import time\ntime.sleep(1000)"
    lost = with_agent(server, tmp_path, code, machine, boot_s=1.0)
    lost.boot()
    lost.until_off()
    assert f"could not connect to {server.url} within 1 s" in row(server).detail


def test_a_machine_ends_when_its_worker_has_ended_in_order(
    server: Running, machine: Boots, tmp_path: Path
) -> None:
    done = with_agent(server, tmp_path, "alive.write_text('1.0')", machine)
    done.boot()
    done.until_off()
    assert row(server).detail == ""
    assert row(server).step == "connecting"


def test_a_machine_outlives_its_script_as_long_as_its_worker(
    server: Running, machine: Boots, tmp_path: Path
) -> None:
    code = "alive.write_text('1.0')\nimport time\ntime.sleep(1000)"
    lives = with_agent(server, tmp_path, code, machine)
    process = lives.boot()
    assert lives.booted() == 0
    [agent] = [p for p, c in lives.processes().items() if "worker.agent" in c]
    assert not lives.off.exists()
    os.killpg(process.pid, signal.SIGKILL)  # what is left of the script
    assert agent in lives.processes()
    os.kill(agent, signal.SIGKILL)
    assert "jupyter-remote-alone" in "".join(lives.processes().values())  # this will end it


# -- the timers
STUCK = {
    "started": ("curl", "exec sleep 1000"),
    "python": (NAME, f'case "$*" in *version_info*) exec sleep 1000;; esac\nexec {PYTHON} "$@"'),
    "installing": (NAME, f'case "$*" in *venv*) exec sleep 1000;; esac\nexec {PYTHON} "$@"'),
}


@pytest.mark.parametrize("killed", [False, True], ids=["stuck", "killed"])
@pytest.mark.parametrize("step", STUCK)
def test_a_machine_that_gets_no_further_ends(
    server: Running, machine: Boots, tmp_path: Path, step: str, killed: bool
) -> None:
    without_worker(server, tmp_path)
    token = user_data(server, instance(server))[0]
    stuck = machine(script(boot(url=server.url, token=token, alone_s=2.0)))
    stuck.program(*STUCK[step])
    booting = stuck.boot()
    until(lambda: "sleep 1000" in "".join(stuck.processes().values()), GONE_S)
    if killed:
        os.killpg(booting.pid, signal.SIGKILL)
    stuck.until_off(GONE_S)


def test_a_machine_ends_after_its_longest_life_whatever_it_hears(machine: Boots) -> None:
    old = machine(script(boot(longest_s=1.0, boot_s=600.0)))
    old.program("curl", "exec sleep 1000")
    old.boot()
    old.until_off(GONE_S)


def test_a_timer_waits_as_long_as_the_file_changes(machine: Boots) -> None:
    heard = machine(script(boot(alone_s=8.0)))
    heard.program("curl", "exec sleep 1000")
    heard.boot()
    alive = heard.home / "i-1" / "alive"
    until(alive.exists)
    beat, began = Beat(alive), time.monotonic()

    def long_enough() -> bool:
        beat.heard(time.monotonic())
        assert not heard.off.exists()
        return time.monotonic() > began + 10.0

    until(long_enough)
    heard.until_off(GONE_S)


def test_the_timers_are_armed_before_anything_can_fail(machine: Boots) -> None:
    """Nothing that it needs is there, and its own programs are killed."""
    broken = machine(script(boot(alone_s=1.0)))
    broken.home.write_text("no folder")
    broken.environ["JUPYTER_REMOTE_POWEROFF"] = str(broken.programs / "off")
    broken.boot()
    broken.until_off(GONE_S)
