"""The server never unpickles, imports or evaluates what users send."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

from blake3 import blake3

from jupyter_remote import connection, wire
from jupyter_remote.client import embedded
from jupyter_remote.http import Http
from jupyter_remote.settings import Settings

from .conftest import LIMIT_S, request, until


class Bomb:
    """Unpickled anywhere, it leaves a file."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (eval, (f"open({self.file!r}, 'w').close()",))


def test_a_job_goes_through_the_server_unopened(tmp_path: Path) -> None:
    report, trace = tmp_path / "report", tmp_path / "exploded"
    settings = Settings(home=str(tmp_path / "home"), runtime=str(tmp_path / "run"))
    environment = {
        **os.environ,
        "JUPYTER_REMOTE_HOME": settings.home,
        "JUPYTER_REMOTE_RUNTIME": settings.runtime,
    }
    script = str(Path(__file__).with_name("audited.py"))
    log = (tmp_path / "log").open("wb")
    file = connection.path_of(settings)
    command = [sys.executable, script, str(report), str(file), "serve", "--embedded"]
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        found = until(lambda: connection.read(file))
        http = embedded.to(found)
        _round_trip(http, pickle.dumps(Bomb(str(trace))))
        http.call("POST", "/v1/server/shutdown")
        http.close()
        assert process.wait(LIMIT_S) == 0
    finally:
        process.kill()
        log.close()
    assert report.read_text().splitlines() == ["armed"]
    assert not trace.exists()


def _round_trip(http: Http, payload: bytes) -> None:
    """A cell that runs, a call whose pickles are bombs, large and small, as input and as file."""
    cell = request("print('ran'); 1 + 1", client="me", visibility="public")
    large = payload + b"x" * 100_000
    digest = blake3(large).hexdigest()
    inline = wire.Parcel([wire.Segment(blake3(payload).hexdigest(), len(payload), payload)])
    bombs = wire.Parcel([wire.Segment(digest, len(large))])
    files = [wire.FileRef("model.pkl", inline.segments[0])]
    call = wire.JobSpec(kind="call", function=inline, inputs=bombs, files=files)
    shared = http.call("POST", "/v1/jobs", cell, wire.Submitted).job.results_uuid
    bomb = request(spec=call, client="them", need=wire.Need(machine="g5.xlarge.od"))
    path = f"/v1/jobs/{bomb.id}"
    http.call("POST", "/v1/jobs", bomb, wire.Submitted)
    http.call("POST", f"{path}/cancel", wire.CancelRequest(), wire.JobView)
    http.upload(f"/v1/blobs/{digest}", large)
    for event in http.events("/v1/events", {"client": "me", "after": 0}):
        if event.type == "done":
            break
    for other in ("", "/history", "/log", "/result"):
        list(http.download(path + other))
    assert b"ran" in b"".join(http.download(f"/results/{shared}"))
    http.call("GET", f"/v1/results/{shared}", reply=wire.Results)
    http.call("POST", f"{path}/share", wire.ShareRequest(), wire.ResultsView)
    http.call("GET", "/v1/jobs", reply=wire.JobList)
    b"".join(http.download("/v1/openapi.json"))
