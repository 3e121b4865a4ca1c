"""What a page may ask of the backend through a real Jupyter server."""

from __future__ import annotations

import asyncio
import http.cookiejar
import json
import os
import re
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.web import HTTPError

import jupyter_remote as jr
from jupyter_remote.client import embedded
from jupyter_remote.client.link import Link
from jupyter_remote.server.logs import LINE_BYTES
from jupyter_remote.server_extension import handlers
from jupyter_remote.server_extension.backend import (
    LOG_BYTES,
    Answer,
    Backend,
    is_allowed,
)
from jupyter_remote.settings import load
from jupyter_remote.wire import CARD_TYPE
from tests.browser import lab
from tests.conftest import stop_backend

LIMIT_S = 60.0
NOBODYS = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    with lab.server(tmp_path_factory.mktemp("server")) as server:
        yield server


def ask(
    server: lab.Server,
    method: str,
    path: str,
    *,
    token: str | None = None,
    body: dict[str, Any] | None = None,
    **headers: str,
) -> tuple[int, Any]:
    sent = {"Content-Type": "application/json", **headers}
    if (given := server.token if token is None else token) and "Cookie" not in sent:
        sent["Authorization"] = f"token {given}"
    content = json.dumps(body or {}).encode() if method == "POST" else None
    url = f"{server.url}/jupyter-remote/{path}"
    request = urllib.request.Request(url, content, sent, method=method)
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_S) as reply:
            text = reply.read()
            if reply.headers.get_content_type() == "text/plain":
                return reply.status, text.decode()
            return reply.status, json.loads(text) if text else ""
    except urllib.error.HTTPError as error:
        text = error.read()
        return error.code, json.loads(text) if text.startswith(b"{") else text.decode()


def test_looking_starts_no_backend_and_opening_the_panel_does(server):
    stop_backend({})
    assert ask(server, "GET", "v1/jobs") == (204, "")
    assert ask(server, "GET", f"cards?ids={NOBODYS}") == (204, "")
    status, found = ask(server, "GET", "v1/jobs?limit=1&start=1")
    assert status == 200
    assert "jobs" in found


def test_a_job_is_seen_and_cancelled_and_the_token_stays_with_the_server(server):
    job = jr.Client().submit(time.sleep, 60)
    status, found = ask(server, "GET", "v1/jobs?limit=5")
    assert status == 200
    assert found["jobs"][0]["id"] == job.id
    connection = embedded.running(load())
    assert connection is not None
    assert connection.token not in json.dumps(found)
    assert ask(server, "POST", f"v1/jobs/{job.id}/cancel")[0] == 200
    with pytest.raises(jr.JobCancelled):
        job.result(LIMIT_S)
    status, history = ask(server, "GET", f"v1/jobs/{job.id}/history")
    assert any("cancel" in line["text"] for line in history["history"])


def test_what_the_backend_refuses_is_told_as_it_says_it(server):
    status, problem = ask(server, "GET", f"v1/jobs/{NOBODYS}")
    assert (status, problem["code"]) == (404, "not_found")


def test_cards_are_as_the_backend_knows_them_now(server):
    job = jr.Client().submit(sum, [1, 2])
    job.result(LIMIT_S)
    status, [card] = ask(server, "GET", f"cards?ids={job.id},{NOBODYS}")
    assert status == 200
    assert (card["id"], card["status"]) == (job.id, "completed")
    assert card["texts"]["title"] == "sum"
    assert ask(server, "GET", "cards?ids=../tokens")[0] == 400
    assert ask(server, "GET", f"cards?ids={job.id}", token="")[0] in (401, 403)


def test_what_a_job_showed_comes_as_outputs_of_a_cell_with_its_card(server):
    with jr.Client() as client:
        job = client.submit(lambda: print("hello"))
        job.result(LIMIT_S)
    status, home = ask(server, "GET", f"outputs/{job.id}")
    assert (status, home["is_over"]) == (200, True)
    assert home["outputs"] == [{"output_type": "stream", "name": "stdout", "text": "hello\n"}]
    assert home["card"]["data"][CARD_TYPE]["status"] == "completed"
    assert home["card"]["metadata"]["jupyter_remote"]["receipt"]["id"] == job.id
    assert ask(server, "GET", f"outputs/{NOBODYS}") == (200, None)
    assert ask(server, "GET", f"outputs/{job.id}?after=x")[0] == 400
    assert ask(server, "GET", "outputs/..%2ftokens")[0] in (400, 404)
    assert ask(server, "GET", f"outputs/{job.id}", token="")[0] in (401, 403)


def test_what_a_job_fails_with_comes_also_when_it_showed_nothing_new(server, tmp_path):
    def fails(gate):
        print("before")
        while not os.path.exists(gate):
            pass
        raise ValueError("no good")

    with jr.Client() as client:
        job = client.submit(fails, str(tmp_path / "gate"))
        lab.until(lambda: ask(server, "GET", f"outputs/{job.id}")[1]["outputs"])
        home = ask(server, "GET", f"outputs/{job.id}")[1]
        assert ask(server, "GET", f"outputs/{job.id}?after={home['cursor']}")[1]["outputs"] is None
        (tmp_path / "gate").touch()
        job.exception(LIMIT_S)
    _, home = ask(server, "GET", f"outputs/{job.id}?after={home['cursor']}")
    assert [o["output_type"] for o in home["outputs"]] == ["stream", "error"]
    error = home["outputs"][1]
    assert (error["ename"], error["evalue"]) == ("ValueError", "no good")
    assert "fails" in "\n".join(error["traceback"])


def test_all_cards_of_a_notebook_are_one_request_to_the_backend(server, monkeypatch):
    jobs = [jr.Client().submit(sum, [i]) for i in range(3)]
    asked: list[tuple[Link, str]] = []

    def call(link: Link, method: str, path: str, *given: Any, **named: Any) -> Any:
        asked.append((link, path))
        return whole(link, method, path, *given, **named)

    whole = Link.call
    backend = Backend(load())
    assert backend.cards([]).body == b"[]"
    monkeypatch.setattr(Link, "call", call)
    answer = backend.cards([job.id for job in jobs])
    assert {card["id"] for card in json.loads(answer.body)} == {job.id for job in jobs}
    [(link, path)] = asked
    assert path == "/v1/jobs"
    link.close()


def test_a_log_is_text_and_of_a_long_one_the_end(server):
    job = jr.Client().submit(_print_lines, 30_000)
    job.result(LIMIT_S)
    status, text = ask(server, "GET", f"v1/jobs/{job.id}/log")
    assert status == 200
    first, *lines = text.splitlines()
    assert re.fullmatch(r"\[[\d.]+ kB before this: %remote logs has all\]", first)
    assert lines[-1] == f"{'x' * 50} 29999"
    assert all(line.startswith("x" * 50 + " ") for line in lines)
    assert LOG_BYTES - LINE_BYTES < len(text) < LOG_BYTES + 100
    assert ask(server, "GET", f"v1/jobs/{NOBODYS}/log")[0] == 404


def _print_lines(count: int) -> None:
    for i in range(count):
        print("x" * 50, i)


def test_a_job_is_run_again_and_a_plan_is_made(server):
    job = jr.Client().submit(sum, [1, 2])
    job.result(LIMIT_S)
    new = str(uuid.uuid4())
    status, again = ask(server, "POST", f"v1/jobs/{job.id}/repeat", body={"id": new})
    assert (status, again["job"]["id"]) == (200, new)
    assert jr.Client().job(new).result(LIMIT_S) == 3
    status, plan = ask(server, "POST", "v1/plans", body={"need": {"machine": "g5.xlarge.od"}})
    assert (status, plan["machine"]["usd_per_h"]) == (200, 1.006)
    assert ask(server, "GET", "v1/machines/instances") == (200, {"instances": []})


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_is_not_logged_in_sees_nothing(server, method):
    path = "v1/jobs" if method == "GET" else f"v1/jobs/{NOBODYS}/cancel"
    assert ask(server, method, path, token="")[0] in (401, 403)
    assert ask(server, method, path, token="wrong")[0] in (401, 403)


def test_a_page_of_somebody_else_cannot_cancel_with_the_cookie_of_a_user(server):
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    opener.open(f"{server.url}/lab?token={server.token}", timeout=LIMIT_S).close()
    cookies = "; ".join(f"{c.name}={c.value}" for c in jar)
    assert ask(server, "GET", "v1/jobs", Cookie=cookies, Referer=server.url)[0] == 200
    job = jr.Client().submit(time.sleep, 60)
    assert ask(server, "POST", f"v1/jobs/{job.id}/cancel", Cookie=cookies)[0] == 403
    assert job.status != "cancelling"
    job.cancel(force=True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "v1/tokens"),
        ("POST", "v1/tokens"),
        ("POST", "v1/jobs"),
        ("POST", "v1/account/grants"),
        ("GET", "v1/server"),
        ("GET", "v1/blobs/" + "0" * 64),
        ("GET", "v1/jobs/../tokens"),
        ("GET", "v1/jobs/%2e%2e/tokens"),
        ("GET", "v1/workers/connect"),
    ],
)
def test_no_other_route_is_forwarded(server, method, path):
    assert not is_allowed(method, path)
    assert ask(server, method, path)[0] == 404


def test_a_backend_that_died_comes_back_with_the_next_look(server):
    assert ask(server, "GET", "v1/jobs?start=1")[0] == 200
    stop_backend({})
    assert ask(server, "GET", "v1/jobs?start=1")[0] == 200


def test_looking_starts_no_backend_that_was_stopped(server):
    assert ask(server, "GET", "v1/jobs?start=1")[0] == 200
    job = jr.Client().submit(sum, [1, 2])
    job.result(LIMIT_S)
    stop_backend({})
    assert ask(server, "GET", "v1/jobs") == (204, "")
    assert ask(server, "GET", f"cards?ids={job.id}") == (204, "")
    assert embedded.running(load()) is None
    assert ask(server, "GET", "v1/jobs?start=1")[0] == 200
    assert ask(server, "GET", "v1/jobs")[0] == 200


def test_what_opens_a_session_stays_with_the_server(server):
    client = jr.Client()
    session = client.session("panel")
    assert session.apply_sync(sum, [1, 2]) == 3
    told = client.sessions()
    [key] = [one.key for one in told if one.name == "panel"]
    assert key
    status, found = ask(server, "GET", "v1/sessions")
    assert status == 200
    assert [one["name"] for one in found["sessions"]] == [one.name for one in told]
    assert key not in json.dumps(found)
    assert not any("address" in one or "key" in one for one in found["sessions"])
    session.stop()


@pytest.mark.parametrize("page", ["lab", "tree"])
def test_pages_know_the_folder_of_the_notebooks(server, page):
    url = f"{server.url}/{page}?token={server.token}"
    with urllib.request.urlopen(url, timeout=LIMIT_S) as reply:
        assert f'"jupyterRemoteRoot": "{server.folder}"' in reply.read().decode()


async def test_of_a_backend_that_hangs_only_so_many_requests_wait():
    goes_on = threading.Event()
    threads = handlers.Threads()

    def hangs() -> Answer:
        goes_on.wait(LIMIT_S)
        return Answer(200, b"{}")

    many = handlers.THREADS + handlers.WAITING
    asked = [asyncio.ensure_future(threads.run(hangs)) for _ in range(many)]
    await asyncio.sleep(0)
    with pytest.raises(HTTPError) as refused:
        await threads.run(hangs)
    assert refused.value.status_code == 503
    goes_on.set()
    assert {answer.status for answer in await asyncio.gather(*asked)} == {200}
    assert (await threads.run(hangs)).status == 200
