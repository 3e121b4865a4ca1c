"""With the real embedded backend: killed under running jobs, found again, results by mapping."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock, Timeout

from jupyter_remote import connection, errors
from jupyter_remote.client import embedded
from jupyter_remote.client.api import Client

pytestmark = pytest.mark.usefixtures("fresh_home")


@pytest.mark.timeout(180)
def test_jobs_outlive_a_killed_backend() -> None:
    def slow(n: int) -> int:
        for i in range(n):
            print(i, flush=True)
            time.sleep(0.3)
        return n

    with Client() as client:
        job = client.submit(slow, 8)
        seen: list[int] = []
        job.on_event(lambda event: event.cursor and seen.append(event.cursor))  # type: ignore[func-returns-value]
        until = time.monotonic() + 60
        while "1" not in job.stdout:
            assert time.monotonic() < until
            job.wait(0.05)
        os.kill(client.info().pid, signal.SIGKILL)
        assert job.result(60) == 8
        assert job.stdout == "".join(f"{i}\n" for i in range(8))
        assert seen == sorted(set(seen))


@pytest.mark.timeout(180)
def test_large_values_are_mapped_and_errors_are_whole(tmp_path: Path) -> None:
    def flip(array: np.ndarray) -> np.ndarray:
        array[0] = -1
        return array

    def fail() -> None:
        raise FileNotFoundError(2, "No such file", "data.csv")

    with Client() as client:
        given = np.arange(1 << 20, dtype=np.float64)
        first, failing = client.submit(flip, given), client.submit(fail)
        got = first.result(60)
        assert got[0] == -1
        assert (got[1:] == given[1:]).all()
        got[1] = 7  # it is ours to change
        with pytest.raises(FileNotFoundError) as caught:
            failing.result(60)
        assert (caught.value.errno, caught.value.filename) == (2, "data.csv")
        assert isinstance(caught.value, errors.RemoteError)
        again = client.submit(flip, given).result(60)
        assert (again[1:] == given[1:]).all()
    with Client() as other:
        assert other.job(first.id).result(30)[2] == 2
        assert other.plan(flip, given).missing_bytes == 0
        assert other.job(first.id).receipt["status"] == "completed"
        assert other.job(first.id).history[0].event == "submit"
        assert other.ledger() is not None


@pytest.mark.timeout(180)
def test_a_backend_that_a_killed_starter_left_behind_may_be_quicker(monkeypatch) -> None:
    others: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    class Late(start):  # type: ignore[type-arg, misc, valid-type]
        """Begins while another one has just taken the lock; that goes on when this one ended."""

        def __init__(self, *args: object, **how: object) -> None:
            others.append(start(*args, **how))  # type: ignore[call-overload]
            while not _is_held(Path(str(how["cwd"])) / embedded.SERVER_LOCK_NAME):
                time.sleep(0.001)
            others[0].send_signal(signal.SIGSTOP)
            super().__init__(*args, **how)

        def poll(self) -> int | None:
            if (status := super().poll()) is not None:
                others[0].send_signal(signal.SIGCONT)
            return status

    where = SimpleNamespace(Popen=Late, DEVNULL=subprocess.DEVNULL)
    monkeypatch.setattr(embedded, "subprocess", where)
    settings = Client().settings
    found = embedded.ensure(settings)
    assert found.pid == others[0].pid
    assert connection.read(connection.path_of(settings)) == found
    embedded._leave(others[0])


def _is_held(lock: Path) -> bool:
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
