"""What people get wrong in a notebook: an error that says what and what next, and nothing lost."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import nbformat
import pytest

import jupyter_remote as jr
from jupyter_remote import connection, settings
from jupyter_remote.client import doctor
from jupyter_remote.wire import PROTOCOL, ServerInfo
from tests.conftest import isolate, stop_backend
from tests.notebook.test_cells import cards, error, run, stream, value

FULL = SimpleNamespace(total=1, used=1, free=0)
TOKEN = "jr_s_" + "x" * 43


def told(cell: nbformat.NotebookNode) -> str:
    """The error as it is shown, without colours; nothing of our own code is in it."""
    found = error(cell)
    assert found is not None, cell.outputs
    text = "\n".join(found.traceback)
    assert "jupyter_remote/" not in text
    return text


@pytest.fixture(scope="module")
def home_without_jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A backend of their own for the mistakes, whatever ran before."""
    env = isolate(tmp_path_factory.mktemp("no-jobs"))
    with pytest.MonkeyPatch.context() as patch:
        for name, folder in env.items():
            patch.setenv(name, folder)
        yield
    stop_backend(env)


@pytest.fixture(scope="module")
def cells(
    tmp_path_factory: pytest.TempPathFactory, home_without_jobs: None
) -> list[nbformat.NotebookNode]:
    """Mistakes one after the other in one notebook, then a look at what is left."""
    return run(
        tmp_path_factory.mktemp("mistakes"),
        "kept = [1, 2]",
        "%%remote_run --machin local\nkept.append(3)",
        "%%remote_run -m g5.xlarg\nkept.append(3)",
        "%%remote_run -i kept,nothing\nkept.append(3)",
        "%%remote_run\nkept.append(3)\nx = = 1",
        "%%remote_run\n# only\n# comments",
        "%%remote_run",
        "%%remote_run --timeout soon\n1",
        "%%remote_run --files nowhere.csv\n1",
        "%%remote_run -m g5.xlarge --max-cost 0\n1",
        "many = jr.Client().map(abs, range(17))\nids = sorted(j.id for j in many)\n"
        "twice = next(a[0] for a, b in zip(ids, ids[1:]) if a[0] == b[0])\nmany.result(60)[:3]",
        "%remote show {twice}",
        "%remote result zzzz",
        "%remote jobs --status failed",
        "kept",
    )


@pytest.mark.parametrize(
    ("at", "what", "next_step"),
    [
        (1, "no option '--machin'", "did you mean --machine?"),
        (2, "'g5.xlarg'", "%remote machines"),
        (3, "nothing", "--in"),
        (7, "--timeout", "2h"),
        (8, "nowhere.csv", "Paths"),
        (11, "begin", "give more"),
        (12, "zzzz", "lists them"),
    ],
)
def test_a_mistake_is_named_with_the_next_step(cells, at, what, next_step):
    text = told(cells[at])
    assert what in text
    assert next_step in text


def test_a_syntax_error_is_shown_as_ipython_shows_it(cells):
    text = told(cells[4])
    assert "x = = 1" in text
    assert "invalid syntax" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("at", [5, 6])
def test_a_cell_without_code_says_so_and_runs_nothing(cells, at):
    assert "no code" in stream(cells[at])
    assert cards(cells[at]) == []


def test_mistakes_start_nothing_and_lose_nothing(cells):
    assert value(cells[13]) == "no failed jobs"
    assert value(cells[14]) == "[1, 2]"


@pytest.fixture
def other_version() -> Iterator[tuple[str, Any]]:
    """A server that answers as a backend of another protocol; what it says can be changed."""
    info = ServerInfo(version="9.9", protocol=PROTOCOL + 1, embedded=False)
    state = {"info": msgspec.to_builtins(info)}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(state["info"]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", state
        server.shutdown()
        thread.join()


def connected_to(folder: Path, url: str, token: str) -> tuple[str, str]:
    """What a cell and ``%remote doctor`` say with this backend in the settings."""
    variables = f"%env JUPYTER_REMOTE_URL={url}\n%env JUPYTER_REMOTE_TOKEN={token}"
    cells = run(folder, variables, "x = 1", "%%remote_run\ny = x", "%remote doctor", "x")
    assert value(cells[4]) == "1"
    return told(cells[2]), stream(cells[3])


def test_no_backend_at_a_url(tmp_path):
    cell, doctor = connected_to(tmp_path, "http://127.0.0.1:9", TOKEN)
    assert "127.0.0.1:9" in cell
    assert "✗ http://127.0.0.1:9" in doctor
    assert "→" in doctor


def test_a_wrong_token(tmp_path):
    jr.Client().info()
    found = connection.read(connection.path_of(settings.load()))
    cell, doctor = connected_to(tmp_path, found.url, TOKEN)
    assert "token" in cell
    assert "token" in doctor
    assert "✗" in doctor
    assert TOKEN not in cell + doctor


@pytest.mark.parametrize("protocol", [PROTOCOL - 1, PROTOCOL + 1])
def test_an_older_or_newer_backend(tmp_path, other_version, protocol):
    url, state = other_version
    state["info"]["protocol"] = protocol
    cell, doctor = connected_to(tmp_path, url, TOKEN)
    assert f"protocol {protocol}" in cell
    assert "upgrade" in cell
    assert f"✗ {url} speaks protocol {protocol}" in doctor
    assert "same version" in doctor


def test_a_home_that_cannot_be_written(tmp_path, fresh_home, monkeypatch):
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("JUPYTER_REMOTE_HOME", str(blocked / "home"))
    cells = run(tmp_path, "x = 1", "%%remote_run\ny = x", "%remote doctor", "x")
    assert str(blocked) in told(cells[1])
    assert "JUPYTER_REMOTE_HOME" in told(cells[1])
    assert "✗ The state folder" in stream(cells[2])
    assert value(cells[3]) == "1"


def test_the_doctor_sees_a_full_disk(monkeypatch, fresh_home):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: FULL)
    findings = doctor.examine(settings.load())
    assert ["0 B are free" in f.text for f in findings if f.level == "error"] == [True]


def test_a_setting_of_the_wrong_kind(tmp_path, fresh_home):
    cells = run(tmp_path, "%env JUPYTER_REMOTE_SLOTS=many", "%%remote_run\n1", "%remote doctor")
    assert "slots" in told(cells[1])
    assert "JUPYTER_REMOTE_" in told(cells[2])


def test_output_beyond_the_limit_is_folded_and_all_of_it_is_in_the_log(
    tmp_path, fresh_home, monkeypatch
):
    monkeypatch.setenv("JUPYTER_REMOTE_LIVE_OUTPUT_BYTES", str(100_000))
    cells = run(
        tmp_path,
        "%%remote_run -d flood\nfor i in range(400_000):\n    print(i, 'x' * 10)\nlast = i",
        "last",
        "text = jr.Client().job('last').logs()\n(text.count('\\n'), text[:2])",
    )
    assert len(stream(cells[0])) < 400_000
    assert stream(cells[0], "stderr").count("%remote logs") == 1
    assert "of output left out here: %remote logs" in cards(cells[0])[0]["text/plain"]
    assert value(cells[1]) == "399999"
    assert value(cells[2]) == "(400000, '0 ')"
