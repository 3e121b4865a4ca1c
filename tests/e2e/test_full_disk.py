"""A disk that is full: refused and told, nothing acknowledged is lost, and it goes on with room."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import jupyter_remote as jr
from jupyter_remote import errors
from jupyter_remote.connection import home_of
from jupyter_remote.settings import load
from jupyter_remote.store.sqlite import open_sqlite
from tests.conftest import stop_backend
from tests.e2e.test_crashes import started, wait_for_gate
from tests.e2e.waiting import until

SIZE = "24m"


class Disk:
    """A small file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """To the last byte."""
        with self._ballast.open("ab", buffering=0) as file:
            size = 1 << 20
            while size:
                try:
                    file.write(bytes(size))
                except OSError:
                    size //= 2

    def free(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can make a small file system")
    monkeypatch.setenv("JUPYTER_REMOTE_HOME", str(folder / "state"))
    yield Disk(folder)
    stop_backend({})
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def chatter(gate: str) -> int:
    import os
    import time

    n = 0
    end = time.monotonic() + 60
    while not os.path.exists(gate) and time.monotonic() < end:
        print(f"line {n} " + "x" * 200)
        n += 1
        time.sleep(0.002)
    return n


@pytest.mark.timeout(120)
def test_a_full_disk_refuses_tells_and_loses_nothing(disk, tmp_path):
    journal, gate = tmp_path / "journal", tmp_path / "gate"
    with jr.Client() as client:
        running = client.submit(wait_for_gate, str(journal), str(gate), 6)
        talking = client.submit(chatter, str(gate))
        until(lambda: len(started(journal)) == 1 and talking.stdout)
        disk.fill()
        refused = 0
        for i in range(200):  # what still fits is acknowledged and done
            try:
                client.submit(abs, -i)
            except errors.StorageFull:
                refused += 1
        assert refused
        with pytest.raises(errors.StorageFull) as told:
            client.submit(np.sum, np.arange(1 << 20))
        assert told.value.hint
        assert client.info().pid  # it answers
        gate.touch()
        disk.free()
        assert running.result(60) == 36
        lines = talking.result(60)
        assert talking.stdout == "".join(f"line {n} " + "x" * 200 + "\n" for n in range(lines))
        assert client.submit(np.sum, np.arange(1 << 20)).result(60) == (1 << 19) * ((1 << 20) - 1)
        for job in client.jobs(limit=500):
            assert job.wait(60)
            assert job.status in ("completed", "cancelled") or job.view.detail, job.view
    stop_backend({})
    store = open_sqlite(home_of(load()) / "db.sqlite")
    assert store.audit() == []
    store.close()


@pytest.mark.timeout(120)
def test_a_large_result_waits_for_room(disk, tmp_path):
    def large(gate: str, over: str) -> np.ndarray:
        import os
        import time

        import numpy as np

        print("here")
        while not os.path.exists(gate):
            time.sleep(0.02)
        open(over, "w").close()
        return np.arange(1 << 20)

    gate, over = tmp_path / "gate", tmp_path / "over"
    with jr.Client() as client:
        job = client.submit(large, str(gate), str(over))
        until(lambda: "here" in job.stdout)
        disk.fill()
        gate.touch()
        until(over.exists)
        assert not job.wait(3)
        disk.free()
        assert job.result(60)[-1] == (1 << 20) - 1
        assert "no room" in job.stderr


@pytest.mark.timeout(120)
def test_a_disk_that_is_full_for_longer_than_a_lease_costs_no_job(disk, tmp_path, monkeypatch):
    """Worker and backend hear of each other all the time; only nothing can be written."""
    lease_s = 3.0
    monkeypatch.setenv("JUPYTER_REMOTE_LEASE_S", str(lease_s))
    monkeypatch.setenv("JUPYTER_REMOTE_HEARTBEAT_S", "0.3")
    journal, gate = tmp_path / "journal", tmp_path / "gate"
    with jr.Client() as client:
        quiet = client.submit(wait_for_gate, str(journal), str(gate), 6)
        talking = client.submit(chatter, str(gate))
        until(lambda: len(started(journal)) == 1 and talking.stdout)
        disk.fill()
        full_until = time.monotonic() + 3 * lease_s
        until(lambda: time.monotonic() > full_until)
        disk.free()
        seen = len(talking.stdout)
        until(lambda: len(talking.stdout) > seen)  # a beat was written again
        full_until = time.monotonic() + lease_s
        until(lambda: time.monotonic() > full_until)
        gate.touch()
        assert quiet.result(60) == 36
        lines = talking.result(60)
        assert talking.stdout == "".join(f"line {n} " + "x" * 200 + "\n" for n in range(lines))
        assert [job.view.attempt for job in (quiet, talking)] == [1, 1]
