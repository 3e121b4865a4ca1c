"""Machines elsewhere join: with a token for one enrolment, and each as itself."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from jupyter_remote import wire
from jupyter_remote.errors import Conflict
from jupyter_remote.model import InstanceRecord, InstanceState, OwnerId, TokenRecord
from jupyter_remote.server import enrolment, package
from jupyter_remote.server.package import Packages

from ..providers.machines import instance, on_loop, user_data
from .conftest import Running, Worker


def post(server: Running, path: str, token: str, body: Any) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return server.raw("POST", path, headers, msgspec.json.encode(body))


def enrol(server: Running, token: str, id: str = "i-1") -> tuple[int, bytes]:
    return post(server, "/v1/workers/enrol", token, wire.Enrol(instance=id, zone="us-east-1a"))


def report(server: Running, token: str, id: str = "i-1", **changes: Any) -> int:
    body = wire.BootReport(instance=id, **({"step": "python"} | changes))
    return post(server, "/v1/workers/boot", token, body)[0]


def worker_token(server: Running, token: str) -> str:
    status, body = enrol(server, token)
    assert status == 200, body
    return msgspec.json.decode(body, type=wire.Enrolled).token


def opened(server: Running, record: InstanceRecord) -> str:
    return on_loop(server, enrolment.open_enrolment(server.backend, record))


def row(server: Running, id: str = "i-1") -> InstanceRecord:
    found = server.backend.store.instance(id)
    assert found is not None
    return found


def greets(server: Running, token: str, id: str = "i-1", machine: str = "g5.xlarge") -> Any:
    """What a worker with this token hears when it says hello; None: it is shown out."""
    worker = Worker(server, token=token)
    try:
        worker.send(
            wire.Hello(worker="w-1", instance=id, machine=machine, slots=1, python="3.11.7")
        )
        return worker.receive()
    except ConnectionClosedError:
        return None
    finally:
        worker.close()


def test_a_machine_enrols_and_is_told_what_its_agent_needs(server: Running) -> None:
    token = opened(server, instance(server, spot=True))
    status, body = enrol(server, token)
    enrolled = msgspec.json.decode(body, type=wire.Enrolled)
    assert status == 200
    assert enrolled.config["machine"] == "g5.xlarge"
    assert enrolled.config["slots"] == 1  # it has one GPU
    assert enrolled.config["spot"] is True
    assert enrolled.config["alone_s"] == server.settings.machine_alone_s
    assert row(server).zone == "us-east-1a"


def test_a_reply_that_was_lost_is_given_again_with_another_token(server: Running) -> None:
    token = opened(server, instance(server))
    first, second = worker_token(server, token), worker_token(server, token)
    assert first != second
    with pytest.raises(InvalidStatus, match="403"):
        Worker(server, token=first)
    assert isinstance(greets(server, second), wire.Welcome)


def test_when_its_worker_has_said_hello_nobody_enrols_again(server: Running) -> None:
    token = opened(server, instance(server))
    assert isinstance(greets(server, worker_token(server, token)), wire.Welcome)
    headers = {"Authorization": f"Bearer {token}"}
    assert enrol(server, token)[0] == 401
    assert report(server, token) == 401
    assert server.raw("GET", "/v1/workers/package", headers)[0] == 401


def test_a_second_hello_of_the_same_worker_is_heard(server: Running) -> None:
    token = worker_token(server, opened(server, instance(server)))
    assert isinstance(greets(server, token), wire.Welcome)
    assert isinstance(greets(server, token), wire.Welcome)


def test_the_store_refuses_what_enrolled_already(server: Running) -> None:
    record = instance(server)
    assert isinstance(greets(server, worker_token(server, opened(server, record))), wire.Welcome)
    backend = server.backend
    token = TokenRecord(id="worker-i-1", owner=backend.facts.owner, scopes=("worker",))
    with pytest.raises(Conflict, match="has enrolled already"):
        backend.writer.call_sync(backend.store.enrol, "i-1", token, "another hash")


@pytest.mark.parametrize("state", [InstanceState.TERMINATING, InstanceState.TERMINATED])
def test_a_machine_that_is_being_ended_does_not_enrol(
    server: Running, state: InstanceState
) -> None:
    token = opened(server, instance(server, state=state))
    assert enrol(server, token)[0] == 409


def test_a_machines_token_is_good_for_no_other_machine(server: Running) -> None:
    token = opened(server, instance(server))
    instance(server, "i-2")
    assert enrol(server, token, "i-2")[0] == 403
    assert report(server, token, "i-2") == 403
    assert row(server, "i-2").step == ""


def test_a_worker_comes_as_the_machine_that_enrolled(server: Running) -> None:
    token = worker_token(server, opened(server, instance(server)))
    instance(server, "i-2")
    assert greets(server, token, "i-2") is None
    assert isinstance(greets(server, token), wire.Welcome)


def test_which_type_a_machine_is_nobody_but_the_server_says(server: Running) -> None:
    token = worker_token(server, opened(server, instance(server)))
    assert isinstance(greets(server, token, machine="p5.48xlarge"), wire.Welcome)
    (worker,) = server.backend.store.snapshot(1).workers
    assert worker.machine == "g5.xlarge"


def test_a_machine_elsewhere_shares_no_disk_with_its_server(server: Running) -> None:
    welcome = greets(server, worker_token(server, opened(server, instance(server))))
    assert (welcome.blobs, welcome.spool) == ("", "")


def test_the_token_of_a_machine_is_the_same_after_a_restart(tmp_path: Path) -> None:
    texts = []
    for _ in range(2):
        running = Running(tmp_path)
        texts.append(user_data(running, instance(running), "https://here.example")[1])
        running.stop()
    assert texts[0] == texts[1]
    assert (tmp_path / "state" / enrolment.KEY_FILE).stat().st_mode & 0o077 == 0


def test_when_a_machine_is_gone_its_tokens_are_good_no_more(server: Running) -> None:
    record = instance(server, owner=OwnerId("somebody"))
    token = opened(server, record)
    worker = worker_token(server, token)
    on_loop(server, enrolment.ended(server.backend, "i-1"))
    assert report(server, token) == 401
    with pytest.raises(InvalidStatus, match="403"):
        Worker(server, token=worker)


def test_what_a_machine_reports_is_kept(server: Running) -> None:
    token = opened(server, instance(server))
    assert report(server, token, step="installing", text="so far\n") == 200
    assert (row(server).step, row(server).boot_log) == ("installing", b"so far\n")
    assert report(server, token, step="installing", text="x\nno room\n", failed=True) == 200
    assert row(server).detail == "booting failed at “installing”: no room"


def test_a_log_is_kept_to_a_limit_and_what_is_larger_is_refused(server: Running) -> None:
    token = opened(server, instance(server))
    assert report(server, token, text="a" * enrolment.LOG_BYTES + "end") == 200
    kept = row(server).boot_log
    assert kept is not None
    assert len(kept) == enrolment.LOG_BYTES
    assert kept.endswith(b"end")
    assert report(server, token, text="a" * enrolment.BODY_BYTES) == 413


def test_nobody_asks_for_a_token_that_enrols(server: Running) -> None:
    body = wire.TokenRequest(scopes=["enrol"])
    assert post(server, "/v1/tokens", server.token, body)[0] == 422


def test_a_package_is_what_its_etag_says(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, tmp_path)
    headers = {"Authorization": f"Bearer {opened(server, instance(server))}"}
    status, body = server.raw("GET", "/v1/workers/package", headers)
    digest = hashlib.sha256(body).hexdigest()
    assert status == 200
    tagged = headers | {"If-None-Match": f'"{digest}"'}
    assert server.raw("GET", "/v1/workers/package", tagged) == (304, b"")
    assert server.raw("GET", "/v1/workers/package?part=else", headers)[0] == 422


def test_uv_is_given_alone_to_machines_without_a_python(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "uv"
    program.write_bytes(b"#!")
    headers = {"Authorization": f"Bearer {opened(server, instance(server))}"}
    for found, expected in ((program, (200, b"#!")), (None, None)):
        monkeypatch.setattr(package, "program_here", lambda _, found=found: found)
        reply = server.raw("GET", "/v1/workers/package?part=uv", headers)
        assert reply == expected if expected else reply[0] == 404


def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What workers need is one file."""
    source = tmp_path / "module.py"
    source.write_text("x = 1")
    source.chmod(0o755)
    monkeypatch.setattr(package, "closure", dict)
    monkeypatch.setattr(package, "entries_of", lambda _: {"jupyter_remote/module.py": source})
    return source


def test_a_package_is_built_once_for_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = small(monkeypatch, tmp_path)
    folder = tmp_path / "packages"
    first = Packages(folder).current()
    assert Packages(folder).current() == first
    assert hashlib.sha256(first.path.read_bytes()).hexdigest() == first.digest
    with zipfile.ZipFile(first.path) as archive:
        entry = archive.getinfo("jupyter_remote/module.py")
    assert entry.external_attr >> 16 & 0o777 == 0o755
    source.write_text("x = 12")
    second = Packages(folder).current()
    assert second.digest != first.digest
    assert list(folder.iterdir()) == [second.path]
