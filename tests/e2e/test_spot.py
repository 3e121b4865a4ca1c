"""Machines that are taken away: their jobs end once, are charged once, and lose little."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import jupyter_remote as jr
from jupyter_remote.model import JobId
from jupyter_remote.wire import JobSpec
from tests.e2e.spot import LIMIT_S, NOTICE_S, check, machines, taken_away
from tests.e2e.waiting import until
from tests.server.conftest import Running


@pytest.fixture
def server(tmp_path: Path, fresh_home: Path) -> Iterator[Running]:
    running = Running(tmp_path, lease_s=6.0, dead_man_s=4.0, heartbeat_s=0.3)
    yield running
    running.stop()


@pytest.fixture
def client(server: Running) -> Iterator[jr.Client]:
    with jr.Client(server.url, server.token) as client:
        yield client


def notices(job: jr.Job) -> list[str]:
    return [msgspec.json.decode(e.data)["text"] for e in job.events if e.type == "notice"]


def test_a_job_that_checkpoints_survives_every_notice(
    server: Running, client: jr.Client, tmp_path: Path
) -> None:
    job, told = taken_away(server, client, tmp_path, 3)
    check(server, client, job, told, 3, "preempted")
    lines = [line for line in notices(job) if line.startswith("preempted after ")]
    assert len(lines) == 3
    assert lines[0].endswith("taken away; goes on from its checkpoint on another one")
    starts = [line for line in job.stdout.splitlines() if "goes on at" in line]
    assert [line.split()[1] for line in starts] == ["1", "2", "3", "4"]
    assert job.view.status == "completed"


def test_a_machine_that_is_gone_without_notice_costs_one_interval_at_most(
    server: Running, client: jr.Client, tmp_path: Path
) -> None:
    job, told = taken_away(server, client, tmp_path, 1, notice=False)
    check(server, client, job, told, 1, "lost")


LOOPS = """
import time
import jupyter_remote as jr
@jr.on_checkpoint
def save(): return 5
print("at", jr.job.checkpoint, flush=True)
while jr.job.checkpoint is None: time.sleep(0.01)
"""


def test_a_cell_that_is_interrupted_for_that_shows_no_traceback(
    server: Running, client: jr.Client, tmp_path: Path
) -> None:
    with machines(server, tmp_path) as made:
        here = made.boot()
        job = client.submit_spec(JobSpec(kind="cell", code=LOOPS))
        until(lambda: "at None" in job.stdout, LIMIT_S)
        here.service.notice(NOTICE_S)
        here.process.wait(LIMIT_S)
        made.boot()
        job.result(LIMIT_S)
    assert job.stdout == "at None\nat 5\n"
    assert [e for e in job.events if e.type == "error"] == []
    assert job.stderr == ""


HOLDS = """
import threading
shared = [1, 2]
both = {"a": shared, "b": shared}
lock = threading.Lock()
def total(): return sum(shared)
"""


def test_a_session_goes_on_on_another_machine_with_its_variables(
    server: Running, client: jr.Client, tmp_path: Path
) -> None:
    with machines(server, tmp_path) as made:
        here = made.boot()
        session = client.session("lab")
        session.execute(HOLDS).get(LIMIT_S)
        assert session.restored() == (1, "")
        here.service.notice(NOTICE_S)
        here.process.wait(LIMIT_S)
        queued = cell(client, session.job.id, "shared.append(3)\nprint(total())")
        made.boot()
        assert queued.result(LIMIT_S) is not None
        assert queued.stdout == "6\n"
        assert session["shared"] == [1, 2, 3]
        both = session["both"]
        assert both["a"] is both["b"]
        attempt, told = session.restored()
        assert attempt == 2
        assert "shared (list)" in told
        assert "lost: lock (lock): " in told
        record = server.backend.store.job(JobId(session.job.id))
        assert (record.preemptions, record.max_attempts) == (1, 1)
        deaf = session.apply_async(hears_nothing, str(tmp_path / "began"))
        until((tmp_path / "began").exists, LIMIT_S)
        made.all[-1].service.notice(NOTICE_S)
        with pytest.raises(jr.EngineError, match="moved to another machine while this was"):
            deaf.get(LIMIT_S)
        made.boot()
        assert session["shared"] == [1, 2, 3]
        session.stop()


def hears_nothing(began: str) -> None:
    import signal
    import time

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    open(began, "w").close()
    while True:
        time.sleep(0.01)


def cell(client: jr.Client, session: str, code: str) -> jr.Job:
    return client.submit_spec(JobSpec(kind="cell", code=code, session=session))


def test_a_cell_of_a_session_that_does_not_end_in_time_says_why_and_the_session_goes_on(
    server: Running, client: jr.Client, tmp_path: Path
) -> None:
    with machines(server, tmp_path) as made:
        here = made.boot()
        session = client.session("lab")
        code = "import time\nstep = 0\nprint('begun', flush=True)\nwhile True:\n    step += 1\n"
        running = cell(client, session.job.id, code + "    time.sleep(0.01)")
        until(lambda: "begun" in running.stdout, LIMIT_S)
        here.service.notice(NOTICE_S)
        with pytest.raises(jr.JobLost, match="the machine of its session was taken away"):
            running.result(LIMIT_S)
        here.process.wait(LIMIT_S)
        made.boot()
        assert session["step"] > 100  # saved once more after it was stopped
        session.stop()
