"""The embedded backend as a process: found, started once, mended, ended."""

from __future__ import annotations

import contextlib
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
from filelock import FileLock

from jupyter_remote import __version__, connection, errors, wire
from jupyter_remote.client import embedded
from jupyter_remote.client.api import Client
from jupyter_remote.client.embedded import ensure, is_alive, is_backend
from jupyter_remote.http import Http
from jupyter_remote.server import serve
from jupyter_remote.settings import Settings

from .conftest import LIMIT_S, request, until

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
    if found is not None and is_backend(found):
        os.kill(found.pid, signal.SIGTERM)
        until(lambda: not is_backend(found))
    for file in (tmp_path / "home" / "workers").glob("*.process.json"):
        agents = [p for p in psutil.process_iter(["cmdline"]) if file.name.split(".")[0] in str(p)]
        assert agents == []


def kill(found: connection.Connection) -> None:
    os.kill(found.pid, signal.SIGKILL)
    until(lambda: not is_backend(found))


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
    ids = {starter.communicate(timeout=LIMIT_S)[0] for starter in starters}
    assert len(ids) == 1
    assert ids != {""}


def test_a_killed_backend_is_replaced_and_keeps_its_jobs(settings: Settings) -> None:
    first = ensure(settings)
    http = embedded.to(first)
    waiting = request(client="me")
    http.call("POST", "/v1/jobs", waiting, wire.Submitted)
    kill(first)
    second = ensure(settings)
    assert second.server_id != first.server_id
    assert second.url == first.url
    old = Http(first.url, first.token)
    with pytest.raises(errors.NotAuthenticated):  # whoever learnt the old token knows nothing now
        old.call("GET", "/v1/server")
    again = embedded.to(second)
    assert again.call("POST", "/v1/jobs", waiting, wire.Submitted).job.id == waiting.id
    types = []
    for event in again.events("/v1/events", {"client": "me", "after": 0}):
        types.append(event.type)
        if event.type == "done":
            break
    assert types[0] == "status"
    for one in (http, again, old):
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


class Squatter:
    """Listens where a backend was, and remembers what it is told."""

    def __init__(self, port: int) -> None:
        self.heard = b""
        self._socket = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @classmethod
    def at(cls, port: int) -> Squatter | None:
        """None: the system has not let go of the port yet."""
        with contextlib.suppress(OSError):
            return cls(port)
        return None

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._socket.accept()
                threading.Thread(target=self._hear, args=(caller,), daemon=True).start()

    def _hear(self, caller: socket.socket) -> None:
        with caller, contextlib.suppress(OSError):
            while data := caller.recv(65536):
                self.heard += data
                body = b'{"server_id":"s","version":"1","proof":"00"}'
                caller.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(LIMIT_S)


def test_whoever_listens_where_a_backend_died_hears_no_token(settings: Settings) -> None:
    """Neither from clients that were connected, nor from its worker, nor from new ones."""
    first = ensure(settings)
    with Client(settings=settings) as client:
        until(lambda: client.info().workers)
        job = client.submit(abs, -3)
        assert job.result(60) == 3
        until(lambda: client.info().listeners)
        with FileLock(Path(settings.home) / embedded.LOCK_NAME):  # nobody starts another one yet
            kill(first)
            squatter = until(lambda: Squatter.at(int(first.url.rpartition(":")[2])))
            until(lambda: b"/health?challenge=" in squatter.heard)  # the worker dials again
        assert client.submit(abs, -4).result(60) == 4
        squatter.close()
    second = connection.read(connection.path_of(settings))
    assert second is not None
    assert second.url != first.url
    said = squatter.heard.lower()
    assert b"authorization" not in said
    assert not any(secret.encode().lower() in said for secret in (first.token, second.token))


@pytest.mark.parametrize("older", [True, False])
def test_a_process_that_was_given_a_backends_number_is_left_alone(
    settings: Settings, older: bool
) -> None:
    """Its command line may well have our name in it."""
    found = ensure(settings)
    kill(found)
    stranger = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read() # jupyter_remote serve"],
        stdin=subprocess.PIPE,
    )
    stale = msgspec.structs.replace(found, pid=stranger.pid, mark="" if older else found.mark)
    for file in (connection.path_of(settings), Path(settings.home) / connection.HOME_FILE_NAME):
        connection.write(file, stale)
    command = [sys.executable, "-m", "jupyter_remote", "stop"]
    env = {
        **os.environ,
        "JUPYTER_REMOTE_HOME": settings.home,
        "JUPYTER_REMOTE_RUNTIME": settings.runtime,
    }
    told = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT_S)
    assert "No embedded backend runs" in told.stdout
    assert is_alive(ensure(settings))
    assert stranger.poll() is None
    assert stranger.stdin is not None
    stranger.stdin.close()
    stranger.wait(LIMIT_S)


def test_whoever_has_another_runtime_folder_finds_the_same_backend(
    settings: Settings, tmp_path: Path
) -> None:
    found = ensure(settings)
    elsewhere = msgspec.structs.replace(settings, runtime=str(tmp_path / "elsewhere"))
    assert ensure(elsewhere) == found


def test_a_client_that_comes_while_a_backend_ends_waits_for_the_next(settings: Settings) -> None:
    first = ensure(settings)
    http = embedded.to(first)
    until(lambda: http.call("GET", "/v1/workers", reply=wire.WorkerList).workers)
    body = request("import time; time.sleep(60)")
    http.call("POST", "/v1/jobs", body, wire.Submitted)
    path = f"/v1/jobs/{body.id}"
    until(lambda: http.call("GET", path, reply=wire.JobView).status == "running")
    http.call("POST", "/v1/server/shutdown")  # it waits some seconds for that job
    until(lambda: connection.read(connection.path_of(settings)) is None)
    assert is_backend(first)
    second = ensure(settings)
    assert second.server_id != first.server_id
    again = embedded.to(second)
    again.call("POST", f"{path}/cancel", wire.CancelRequest(force=True), wire.JobView)
    for one in (http, again):
        one.close()


def may_be_read_by_others(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:  # a draft that has its name now, or what its worker has read
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o077)


def test_what_a_backend_writes_is_for_its_user_alone(settings: Settings) -> None:
    home = Path(settings.home)
    home.mkdir(mode=0o755)
    ensure(settings)
    others = [p for p in home.rglob("*") if may_be_read_by_others(p)]
    assert [p.name for p in others if p.suffix not in (".log", ".lock")] == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"url": 5}'])
def test_a_damaged_connection_file_is_replaced(settings: Settings, content: bytes) -> None:
    path = connection.path_of(settings)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert is_alive(ensure(settings))


def test_a_connection_file_of_another_user_is_not_believed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = connection.path_of(settings)
    theirs = connection.Connection(
        url="", token="", pid=1, started_at=0.0, version="", protocol=1, server_id="theirs"
    )
    connection.write(file, theirs)
    assert connection.read(file) == theirs
    monkeypatch.setattr(os, "getuid", lambda: os.stat(file).st_uid + 1)
    assert connection.read(file) is None


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


def test_a_backend_that_was_only_slow_is_found(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ensure(settings)
    monkeypatch.setattr(embedded, "running", lambda _: None)  # it did not answer in time
    assert ensure(settings) == found


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
    for file in (path, Path(settings.home) / connection.HOME_FILE_NAME):
        connection.write(file, older)
    return older


def test_an_older_backend_with_nothing_to_do_is_replaced(settings: Settings) -> None:
    ensure(settings)
    older = pretend_older(settings)
    newer = ensure(settings)
    assert (newer.version, newer.protocol) == (__version__, wire.PROTOCOL)
    assert newer.server_id != older.server_id
    assert not is_backend(older)


def test_an_older_backend_with_jobs_is_left_alone_and_told(settings: Settings) -> None:
    first = ensure(settings)
    http = embedded.to(first)
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
    second = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT_S)
    assert second.returncode == 1
    assert "Another backend works on" in second.stderr
    assert is_alive(found)


def test_whoever_just_looks_whether_one_works_on_the_state_keeps_none_away(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = connection.home_of(settings)
    home.mkdir(parents=True)
    look, ran = FileLock(home / embedded.SERVER_LOCK_NAME), []

    class Late(FileLock):
        """Is asked for during the look, which then ends."""

        def _acquire(self) -> None:
            super()._acquire()
            look.release()

    class Host:
        def __init__(self, *_: object) -> None:
            pass

        async def run(self) -> None:
            ran.append(True)

    monkeypatch.setattr(serve, "FileLock", Late)
    monkeypatch.setattr(serve, "Host", Host)
    monkeypatch.setattr(os, "umask", lambda mask: 0)
    with look:
        assert serve.serve(serve.Options(), settings) == 0
    assert ran


def test_settings_reach_a_backend_that_is_started(settings: Settings) -> None:
    chosen = msgspec.structs.replace(settings, slots=3, idle_timeout_s=77.0)
    found = ensure(chosen)
    http = embedded.to(found)
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
    brief = msgspec.structs.replace(settings, idle_timeout_s=3.0)
    found = ensure(brief)
    until(lambda: not is_backend(found))
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
