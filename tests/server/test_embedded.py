"""The embedded backend as a process: found, started once, mended, ended."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from jupyter_remote import __version__, connection, errors, wire
from jupyter_remote.client import embedded
from jupyter_remote.client.embedded import ensure, is_alive, is_backend
from jupyter_remote.http import Http
from jupyter_remote.settings import Settings

from .conftest import request, until

STARTER = """
import sys
from jupyter_remote.client.embedded import ensure
from jupyter_remote.settings import Settings
print(ensure(Settings(home=sys.argv[1], runtime=sys.argv[2])).server_id)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    made = Settings(home=str(tmp_path / "home"), runtime=str(tmp_path / "run"), slots=1)
    yield made
    found = connection.read(connection.path_of(made))
    if found is not None and is_backend(found.pid):
        os.kill(found.pid, signal.SIGTERM)
        until(lambda: not is_backend(found.pid), 20)
    for file in (tmp_path / "home" / "workers").glob("*.process.json"):
        agents = [p for p in psutil.process_iter(["cmdline"]) if file.name.split(".")[0] in str(p)]
        assert agents == []


def kill(found: connection.Connection) -> None:
    os.kill(found.pid, signal.SIGKILL)
    until(lambda: not is_backend(found.pid))


def test_the_first_call_starts_it_and_the_second_finds_it(settings: Settings) -> None:
    first = ensure(settings)
    assert is_alive(first)
    assert ensure(settings) == first
    mode = connection.path_of(settings).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert first.token not in repr(first)
    arguments = psutil.Process(first.pid).cmdline()
    assert first.token not in " ".join(arguments)


def test_two_starters_at_once_get_one_backend(settings: Settings) -> None:
    command = [sys.executable, "-c", STARTER, settings.home, settings.runtime]
    starters = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    ids = {starter.communicate(timeout=30)[0] for starter in starters}
    assert len(ids) == 1
    assert ids != {""}


def test_a_killed_backend_is_replaced_and_keeps_its_jobs(settings: Settings) -> None:
    first = ensure(settings)
    http = Http(first.url, first.token)
    waiting = request(client="me")
    http.call("POST", "/v1/jobs", waiting, wire.Submitted)
    kill(first)
    second = ensure(settings)
    assert second.server_id != first.server_id
    assert (second.url, second.token) == (first.url, first.token)
    again = Http(second.url, second.token)
    assert again.call("POST", "/v1/jobs", waiting, wire.Submitted).job.id == waiting.id
    types = []
    for event in again.events("/v1/events", {"client": "me", "after": 0}):
        types.append(event.type)
        if event.type == "done":
            break
    assert types[0] == "status"
    for one in (http, again):
        one.close()


def test_a_stale_file_of_a_port_that_somebody_else_has_is_mended(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stale = connection.Connection(
            url=f"http://127.0.0.1:{port}",
            token="jr_s_x",
            pid=2**22 - 1,
            started_at=0.0,
            version="0",
            protocol=wire.PROTOCOL,
            server_id="gone",
        )
        connection.write(connection.path_of(settings), stale)
        answered = threading.Thread(target=lambda: taken.accept()[0].close())
        answered.start()
        found = ensure(settings)
        answered.join()
    assert is_alive(found)
    assert found.url != stale.url


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"url": 5}'])
def test_a_damaged_connection_file_is_replaced(settings: Settings, content: bytes) -> None:
    path = connection.path_of(settings)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert is_alive(ensure(settings))


def test_a_hung_backend_is_told_and_not_doubled(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ensure(settings)
    monkeypatch.setattr(embedded, "ANSWER_S", 0.3)
    os.kill(found.pid, signal.SIGSTOP)
    try:
        with pytest.raises(errors.BackendUnreachable, match="does not answer"):
            ensure(settings)
    finally:
        os.kill(found.pid, signal.SIGCONT)


def test_another_protocol_is_told_with_the_way_out(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure(settings)
    monkeypatch.setattr(embedded, "PROTOCOL", 99)
    with pytest.raises(errors.ProtocolMismatch, match="jupyter remote stop"):
        ensure(settings)


def pretend_older(settings: Settings) -> connection.Connection:
    """What a client finds that is newer than the backend."""
    path = connection.path_of(settings)
    found = connection.read(path)
    assert found is not None
    older = msgspec.structs.replace(found, version="0.0.1", protocol=wire.PROTOCOL - 1)
    connection.write(path, older)
    return older


def test_an_older_backend_with_nothing_to_do_is_replaced(settings: Settings) -> None:
    ensure(settings)
    older = pretend_older(settings)
    newer = ensure(settings)
    assert (newer.version, newer.protocol) == (__version__, wire.PROTOCOL)
    assert newer.server_id != older.server_id
    assert not is_backend(older.pid)


def test_an_older_backend_with_jobs_is_left_alone_and_told(settings: Settings) -> None:
    first = ensure(settings)
    http = Http(first.url, first.token)
    body = request("import time; time.sleep(60)")
    http.call("POST", "/v1/jobs", body, wire.Submitted)
    pretend_older(settings)
    with pytest.raises(errors.ProtocolMismatch, match=r"0\.0\.1 runs"):
        ensure(settings)
    assert is_alive(first)
    http.call("POST", f"/v1/jobs/{body.id}/cancel", wire.CancelRequest(force=True), wire.JobView)
    http.close()


def test_a_second_backend_on_the_same_state_is_refused(settings: Settings) -> None:
    found = ensure(settings)
    command = [sys.executable, "-m", "jupyter_remote", "serve"]
    env = {**os.environ, "JUPYTER_REMOTE_HOME": settings.home}
    second = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert "Another backend works on" in second.stderr
    assert is_alive(found)


def test_settings_reach_a_backend_that_is_started(settings: Settings) -> None:
    chosen = msgspec.structs.replace(settings, slots=3, idle_timeout_s=77.0)
    found = ensure(chosen)
    http = Http(found.url, found.token)
    until(lambda: http.call("GET", "/v1/workers", reply=wire.WorkerList).workers)
    info = http.call("GET", "/v1/server", reply=wire.ServerInfo)
    assert (info.workers[0].slots, info.idle_timeout_s) == (3, 77.0)
    http.close()


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    settings = Settings(home=str(tmp_path / "file" / "home"), runtime=str(tmp_path / "run"))
    with pytest.raises(errors.StorageFull, match="JUPYTER_REMOTE_HOME"):
        ensure(settings)


def test_a_backend_that_cannot_start_shows_its_log(settings: Settings) -> None:
    home = Path(settings.home)
    (home / "db.sqlite").mkdir(parents=True)
    with pytest.raises(errors.BackendUnreachable, match="log ends with"):
        ensure(settings)


def test_an_idle_backend_ends_itself_and_takes_its_file_along(settings: Settings) -> None:
    brief = msgspec.structs.replace(settings, idle_timeout_s=0.5)
    found = ensure(brief)
    until(lambda: not is_backend(found.pid), 20)
    assert connection.read(connection.path_of(settings)) is None


def test_the_file_of_another_backend_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / connection.FILE_NAME
    newer = connection.Connection(
        url="", token="", pid=1, started_at=0.0, version="", protocol=1, server_id="newer"
    )
    connection.write(path, newer)
    connection.remove(path, "older")
    assert connection.read(path) == newer
    connection.remove(path, "newer")
    assert connection.read(path) is None
