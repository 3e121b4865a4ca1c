"""The page of jobs: who gets in, what they see there, and what no other page can make them do."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jupyter_remote import wire
from jupyter_remote.clock import Clock, SystemClock
from jupyter_remote.model import OwnerId
from jupyter_remote.server import page, signin
from jupyter_remote.server.auth import Caller
from jupyter_remote.server.table import ENDPOINTS

from .conftest import LIMIT_S, Running, Worker, submit, until

JSON = {"Content-Type": "application/json"}
OWN = {"Sec-Fetch-Site": "same-origin", **JSON}
OPENS = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


class Browser:
    """One that keeps the cookie that it is given, and says where a request comes from."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.cookie = ""
        self.told: http.client.HTTPMessage

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: Any = None
    ) -> tuple[int, bytes]:
        plain = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=LIMIT_S)
        given = {**(OWN if headers is None else headers)}
        if self.cookie:
            given["Cookie"] = f"other=1; {self.cookie}; more=2"
        try:
            plain.request(method, path, msgspec.json.encode(body) if body else None, given)
            reply = plain.getresponse()
            self.told = reply.headers
            if (cookie := reply.headers["set-cookie"]) is not None:
                self.cookie = cookie.partition(";")[0]
            return reply.status, reply.read()
        finally:
            plain.close()

    def sign_in(self, code: str = "", headers: dict[str, str] | None = None) -> int:
        code = code or code_of(self.server)
        return self.ask("POST", "/v1/page/session", headers, {"code": code})[0]


def code_of(server: Running, token: str = "") -> str:
    headers = {"Authorization": f"Bearer {token or server.token}"}
    _, body = server.raw("POST", "/v1/page/links", headers)
    return msgspec.json.decode(body, type=wire.PageLink).url.partition("#")[2]


@pytest.fixture
def browser(server: Running) -> Browser:
    return Browser(server)


def finished(server: Running, result: wire.Result | None = None, **changes: Any) -> str:
    """Id of a job that printed something and ended."""
    worker = Worker(server, id=f"w-{uuid.uuid4()}")
    worker.hello()
    job = submit(server, **changes).job
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    text = wire.encode({"name": "stdout", "text": "one\ntwo <b>\n"})
    events = [wire.WorkerEvent("stream", text, 1)]
    worker.complete(assign, events=events, result=result or wire.Result(text="42"))
    worker.close()
    until(lambda: server.backend.store.job(assign.job).ended_at)
    return job.id


# --- signing in ------------------------------------------------------------------------------
def test_a_link_signs_in_once(server: Running, browser: Browser) -> None:
    code = code_of(server)
    assert browser.ask("GET", "/v1/jobs")[0] == 401
    assert browser.sign_in(code) == 200
    assert browser.ask("GET", "/v1/jobs")[0] == 200
    told = msgspec.json.decode(browser.ask("GET", "/v1/page/session")[1], type=wire.PageSession)
    assert (told.owner, told.scopes) == (server.backend.facts.owner, ["cancel", "page"])
    second = Browser(server)
    assert second.sign_in(code) == 401
    assert second.cookie == ""
    assert second.ask("GET", "/v1/jobs")[0] == 401


def test_looking_at_a_link_uses_nothing_up(server: Running, browser: Browser) -> None:
    code = code_of(server)
    elsewhere = {"Sec-Fetch-Site": "cross-site", **OPENS}
    for headers in ({"User-Agent": "chat preview"}, elsewhere):
        for method in ("GET", "HEAD"):
            browser.ask(method, "/login", headers)
    assert browser.ask("GET", f"/login?code={code}", elsewhere)[0] == 200
    assert browser.sign_in(code) == 200


def test_the_cookie_is_for_this_backend_only_and_no_script_reads_it(browser: Browser) -> None:
    browser.sign_in()
    name, *attributes = browser.told["set-cookie"].split("; ")
    assert name.startswith(f"jupyter-remote-{browser.server.port}=jr_p_")
    assert set(attributes) == {"Path=/", "Max-Age=604800", "HttpOnly", "SameSite=Strict"}


def test_backends_of_one_host_have_cookies_of_their_own() -> None:
    hosts = ("a.example", "a.example:8443", "[::1]", "[::1]:8888")
    names = {signin.cookie_name(scheme, host) for scheme in ("http", "https") for host in hosts}
    assert len(names) == 6  # two that say no port have the same


NAME = "jobs.example"


def test_behind_a_proxy_with_tls_link_and_cookie_are_of_its_name_and_for_https_only(
    tmp_path: Path,
) -> None:
    server = Running(tmp_path, worker_url=f"https://{NAME}")
    link = server.http.call("POST", "/v1/page/links", reply=wire.PageLink)  # on this computer
    assert link.url.startswith(f"https://{NAME}/login#")
    browser = Browser(server)
    own = {"Host": NAME, "Origin": f"https://{NAME}", **OWN}
    assert browser.sign_in(link.url.partition("#")[2], own) == 200
    assert browser.told["set-cookie"].startswith("__Host-jupyter-remote-443=jr_p_")
    assert browser.told["set-cookie"].endswith("; Secure")
    id = submit(server).job.id
    cancel = ("POST", f"/v1/jobs/{id}/cancel")
    foreign = {**own, "Origin": server.url}
    assert browser.ask(*cancel, foreign, {"force": False})[0] == 403
    assert browser.ask(*cancel, own, {"force": False})[0] == 200
    assert browser.ask("GET", "/v1/jobs")[0] == 401  # it has another cookie for this computer
    assert browser.sign_in() == 200
    assert "Secure" not in browser.told["set-cookie"]
    server.stop()


def test_a_code_is_no_token_and_a_token_no_code(server: Running, browser: Browser) -> None:
    code = code_of(server)
    for token in (code, f"jr_p_{code}"):
        headers = {"Authorization": f"Bearer {token}"}
        assert server.raw("GET", "/v1/jobs", headers)[0] == 401
    assert browser.sign_in(server.token) == 401
    assert browser.sign_in("x" * 43) == 401


def test_neither_code_nor_cookie_is_stored(server: Running, browser: Browser) -> None:
    code = code_of(server)
    browser.sign_in(code)
    secret = browser.cookie.partition("=")[2]
    stored = b"".join(p.read_bytes() for p in Path(server.settings.home).iterdir() if p.is_file())
    assert secret.encode() not in stored
    assert code.encode() not in stored
    assert code not in repr(server.backend.sign_ins.__dict__)


def test_a_link_that_nobody_could_be_signed_in_with_is_still_good(
    server: Running, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jupyter_remote import errors

    def full(*_: object) -> None:
        raise errors.StorageFull("The disk is full.")

    code = code_of(server)
    with monkeypatch.context() as broken:
        broken.setattr(server.backend.store, "add_token", full)
        assert browser.sign_in(code) == 507
    assert browser.sign_in(code) == 200


def test_signing_out_ends_the_session_for_whoever_has_the_cookie(
    server: Running, browser: Browser
) -> None:
    browser.sign_in()
    copy = browser.cookie
    assert browser.ask("DELETE", "/v1/page/session")[0] == 200
    assert "Max-Age=0" in browser.told["set-cookie"]
    browser.cookie = copy
    assert browser.ask("GET", "/v1/jobs")[0] == 401


@pytest.mark.parametrize("embedded", [True, False])
def test_a_cookie_is_good_for_a_later_backend_only_where_nobody_can_take_its_port(
    tmp_path: Path, embedded: bool
) -> None:
    first = Running(tmp_path, embedded=embedded)
    browser = Browser(first)
    assert browser.sign_in() == 200
    first.stop()
    browser.server = second = Running(tmp_path, embedded=embedded)
    browser.cookie = f"jupyter-remote-{second.port}={browser.cookie.partition('=')[2]}"
    assert browser.ask("GET", "/v1/jobs")[0] == (401 if embedded else 200)
    second.stop()


class Later(Clock):
    """The clock of a computer, put forward."""

    def __init__(self, by_s: float) -> None:
        self.by_s = by_s
        self._clock = SystemClock()

    def now(self) -> float:
        return self._clock.now() + self.by_s

    def monotonic(self) -> float:
        return self._clock.monotonic() + self.by_s


def test_a_link_is_good_for_minutes_and_a_session_for_days(
    server: Running, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = server.backend
    code = code_of(server)
    monkeypatch.setattr(backend.sign_ins, "_clock", Later(signin.LINK_S + 1))
    assert browser.sign_in(code) == 401
    monkeypatch.undo()
    assert browser.sign_in() == 200
    monkeypatch.setattr(backend.tokens, "_clock", Later(signin.SESSION_S - 60))
    assert browser.ask("GET", "/v1/jobs")[0] == 200
    monkeypatch.setattr(backend.tokens, "_clock", Later(signin.SESSION_S + 1))
    assert browser.ask("GET", "/v1/jobs")[0] == 401


def test_a_session_does_not_outlive_the_token_of_its_link(server: Running) -> None:
    clock = SystemClock()
    ends_at = clock.now() + 60
    caller = Caller(OwnerId("me"), frozenset({"read"}), "t", expires_at=ends_at)
    _, link = signin.SignIns(clock).make(caller)
    assert (link.expires_at, link.ends_at) == (ends_at, ends_at)


def test_of_links_that_nobody_uses_the_newest_are_kept() -> None:
    links = signin.SignIns(SystemClock())
    caller = Caller(OwnerId("me"), frozenset({"read"}), "t")
    other, _ = links.make(Caller(OwnerId("another"), frozenset({"read"}), "u"))
    codes = [links.make(caller)[0] for _ in range(signin.MOST_LINKS + 5)]
    assert len(links._links) == signin.MOST_LINKS + 1
    assert links.take(other).owner == "another"
    assert links.take(codes[5]).owner == "me"
    with pytest.raises(Exception, match="used already"):
        links.take(codes[4])


def test_revoking_a_token_ends_what_was_made_with_it(server: Running, browser: Browser) -> None:
    made = server.http.call(
        "POST", "/v1/tokens", wire.TokenRequest(scopes=["read"]), wire.TokenView
    )
    browser.sign_in(code_of(server, made.token))
    unused = code_of(server, made.token)
    others = Browser(server)
    others.sign_in()
    assert browser.ask("GET", "/v1/jobs")[0] == 200
    server.http.call("DELETE", f"/v1/tokens/{made.id}", reply=wire.TokenList)
    assert browser.ask("GET", "/v1/jobs")[0] == 401
    assert Browser(server).sign_in(unused) == 401
    assert others.ask("GET", "/v1/jobs")[0] == 200


def test_a_token_that_is_revoked_while_somebody_signs_in_lets_nobody_in(
    server: Running, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = server.http.call(
        "POST", "/v1/tokens", wire.TokenRequest(scopes=["read"]), wire.TokenView
    )
    code = code_of(server, made.token)
    store, owner = server.backend.store, server.backend.facts.owner
    add_token = store.add_token

    def revoked_first(*given: Any) -> Any:
        store.revoke_token(made.id, owner, 1.0)
        return add_token(*given)

    monkeypatch.setattr(store, "add_token", revoked_first)
    assert browser.sign_in(code) == 401
    assert browser.cookie == ""
    listed = server.http.call("GET", "/v1/tokens", reply=wire.TokenList).tokens
    assert [t.revoked_at is not None for t in listed if t.label == page.LABEL] == [True]


def test_a_session_is_listed_among_the_tokens_and_revoked_as_one(
    server: Running, browser: Browser
) -> None:
    browser.sign_in()
    listed = server.http.call("GET", "/v1/tokens", reply=wire.TokenList).tokens
    [session] = [token for token in listed if token.label == page.LABEL]
    assert session.expires_at is not None
    server.http.call("DELETE", f"/v1/tokens/{session.id}", reply=wire.TokenList)
    assert browser.ask("GET", "/v1/jobs")[0] == 401


# --- what a session may ----------------------------------------------------------------------
def test_a_session_opens_what_the_page_shows_and_nothing_else(browser: Browser) -> None:
    browser.sign_in()
    may = {
        (e.method, e.path)
        for e in ENDPOINTS
        if e.policy is not None and e.policy.scopes & {"page", "cancel"}
    }
    assert may == {
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/{id}"),
        ("GET", "/v1/jobs/{id}/card"),
        ("GET", "/v1/jobs/{id}/history"),
        ("GET", "/v1/jobs/{id}/log"),
        ("GET", "/v1/jobs/{id}/receipt"),
        ("POST", "/v1/jobs/{id}/cancel"),
        ("GET", "/v1/sessions"),
        ("GET", "/v1/account/summary"),
        ("GET", "/v1/machines"),
        ("GET", "/v1/machines/instances"),
        ("GET", "/v1/page/session"),
        ("DELETE", "/v1/page/session"),
        ("GET", "/jobs/{id}/result"),
        ("GET", "/jobs/{id}/notebook"),
    }
    for endpoint in ENDPOINTS:
        if (
            endpoint.policy
            and not endpoint.policy.open
            and (endpoint.method, endpoint.path) not in may
        ):
            path = re.sub(r"{\w+}", "0" * 64, endpoint.path)
            status, _ = browser.ask(endpoint.method, path)
            assert status == 401, (endpoint.method, path)


def test_who_may_not_submit_gives_nobody_the_right_to_cancel(
    server: Running, browser: Browser
) -> None:
    id = submit(server).job.id
    browser.sign_in(code_of(server, server.make_token("read")))
    assert browser.ask("GET", f"/v1/jobs/{id}")[0] == 200
    assert browser.ask("POST", f"/v1/jobs/{id}/cancel", body={"force": False})[0] == 403
    assert server.backend.store.job(id).ended_at is None


def test_a_worker_and_a_session_make_no_links(server: Running, browser: Browser) -> None:
    for scope in ("worker", "page", "invoke"):
        headers = {"Authorization": f"Bearer {server.make_token(scope)}"}
        assert server.raw("POST", "/v1/page/links", headers)[0] == 403
    browser.sign_in()
    assert browser.ask("POST", "/v1/page/links")[0] == 401


def test_nobody_asks_for_a_token_that_is_a_session(server: Running) -> None:
    headers = {"Authorization": f"Bearer {server.token}", **JSON}
    for scope in ("page", "cancel"):
        body = msgspec.json.encode({"scopes": [scope]})
        assert server.raw("POST", "/v1/tokens", headers, body)[0] == 422


def test_another_owners_jobs_look_absent_in_a_session(server: Running, browser: Browser) -> None:
    id = finished(server, visibility="private")
    mallory = server.make_token("read", "submit", owner="mallory")
    browser.sign_in(code_of(server, mallory))
    assert msgspec.json.decode(browser.ask("GET", "/v1/jobs")[1])["jobs"] == []
    for path in (f"/v1/jobs/{id}", f"/v1/jobs/{id}/log", f"/jobs/{id}/result"):
        absent = browser.ask("GET", path.replace(id, "0" * 8))
        assert browser.ask("GET", path) == absent, path
        assert absent[0] == 404
    assert browser.ask("POST", f"/v1/jobs/{id}/cancel", body={"force": True})[0] == 404


def test_a_session_does_not_hear_the_keys_of_kernels(server: Running, browser: Browser) -> None:
    spec = wire.JobSpec(kind="session", session="s")
    id = submit(server, spec=spec).job.id
    worker = Worker(server)
    worker.hello()
    assign = worker.pull(wire.Assign)
    worker.start(assign)
    worker.send(wire.Listening(job=id, epoch=assign.epoch, address="/a/socket", key="the key"))
    until(lambda: server.backend.switchboard.find(id))
    assert (
        b"the key"
        in server.raw("GET", "/v1/sessions", {"Authorization": f"Bearer {server.token}"})[1]
    )
    browser.sign_in()
    [seen] = msgspec.json.decode(
        browser.ask("GET", "/v1/sessions")[1], type=wire.SessionList
    ).sessions
    assert (seen.listening, seen.address, seen.key) == (True, "", "")
    worker.close()


# --- what other pages cannot do --------------------------------------------------------------
FORGED = {
    "no word of where it comes from": JSON,
    "from nowhere": {"Sec-Fetch-Site": "none", **JSON},
    "from another site": {"Sec-Fetch-Site": "cross-site", **JSON},
    "from the same site": {"Sec-Fetch-Site": "same-site", **JSON},
    "from another origin": {"Origin": "https://evil.example", **JSON},
    "as a form": {"Sec-Fetch-Site": "same-origin", "Content-Type": "text/plain"},
    "without a type": {"Sec-Fetch-Site": "same-origin"},
}


@pytest.mark.parametrize("how", FORGED)
def test_a_change_that_another_page_asks_for_is_refused(
    server: Running, browser: Browser, how: str
) -> None:
    id = submit(server).job.id
    browser.sign_in()
    status = browser.ask("POST", f"/v1/jobs/{id}/cancel", FORGED[how], {"force": False})[0]
    assert status in (403, 415)
    assert browser.ask("DELETE", "/v1/page/session", FORGED[how])[0] == status
    assert browser.ask("GET", "/v1/page/session")[0] == 200
    assert server.backend.store.job(id).ended_at is None
    assert browser.ask("POST", f"/v1/jobs/{id}/cancel", body={"force": False})[0] == 200
    assert server.backend.store.job(id).ended_at is not None


@pytest.mark.parametrize("how", FORGED)
def test_nobody_is_signed_in_by_another_page(server: Running, browser: Browser, how: str) -> None:
    code = code_of(server)
    assert browser.sign_in(code, FORGED[how]) in (403, 415)
    assert browser.cookie == ""
    assert browser.sign_in(code) == 200


def test_a_browser_without_fetch_metadata_says_its_origin(
    server: Running, browser: Browser
) -> None:
    headers = {"Origin": server.url, **JSON}
    assert browser.sign_in(headers=headers) == 200
    id = submit(server).job.id
    assert browser.ask("POST", f"/v1/jobs/{id}/cancel", headers, {"force": False})[0] == 200


def test_a_cookie_opens_no_socket_and_no_name_of_another_host(browser: Browser) -> None:
    browser.sign_in()
    assert browser.ask("GET", "/v1/jobs", {"Host": "evil.example", **OWN})[0] == 421
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    assert browser.ask("GET", "/v1/sessions/x/connect", {**upgrade, **key})[0] == 403


def test_only_the_empty_page_is_opened_from_another_site(server: Running, browser: Browser) -> None:
    id = finished(server)
    browser.sign_in()
    elsewhere = {"Sec-Fetch-Site": "cross-site", **OPENS}
    assert browser.ask("GET", "/jobs", elsewhere)[0] == 200
    assert browser.ask("GET", "/login", elsewhere)[0] == 200
    for path in (f"/jobs/{id}/result", f"/jobs/{id}/notebook", "/v1/jobs", "/page/x.js"):
        assert browser.ask("GET", path, elsewhere)[0] == 403, path
    framed = {**elsewhere, "Sec-Fetch-Dest": "iframe"}
    assert browser.ask("GET", "/jobs", framed)[0] == 403


# --- the page --------------------------------------------------------------------------------
@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of a page as a build leaves them."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("page.1a2b.js", "page.3c4d.css", "icon.5e6f.svg"):
        (folder / name).write_text(f"/* {name} */")
    monkeypatch.setattr(page, "BUILT", folder)
    return folder


@pytest.mark.parametrize("path", ["/jobs", "/login"])
def test_the_page_runs_its_own_script_and_nothing_else(
    browser: Browser, built: Path, path: str
) -> None:
    status, body = browser.ask("GET", path, {})
    assert status == 200
    assert re.findall(rb"(?:src|href)=\"([^\"]+)\"", body) == [
        b"page/icon.5e6f.svg",
        b"page/page.3c4d.css",
        b"page/page.1a2b.js",
    ]
    assert re.findall(rb"<script[^>]*>([^<]*)", body) == [b""]
    assert b"style=" not in body
    policy = browser.told["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert browser.told["referrer-policy"] == "no-referrer"
    assert browser.told["x-frame-options"] == "DENY"
    assert browser.told["cache-control"] == "no-store"


def test_files_of_the_page_are_kept_by_browsers_and_others_are_absent(
    browser: Browser, built: Path
) -> None:
    (built / "secret.txt").write_text("not one of them")
    status, body = browser.ask("GET", "/page/page.1a2b.js", {})
    assert (status, body) == (200, b"/* page.1a2b.js */")
    assert browser.told["content-type"] == "text/javascript; charset=utf-8"
    assert "immutable" in browser.told["cache-control"]
    for name in ("secret.txt", "..%2fpage.py", "page.js", ""):
        assert browser.ask("GET", f"/page/{name}", {})[0] == 404, name


def test_without_npm_the_page_says_so(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "BUILT", tmp_path / "absent")
    status, body = browser.ask("GET", "/jobs", {})
    assert status == 200
    assert b"built without npm" in body
    assert b"<script" not in body


# --- results ---------------------------------------------------------------------------------
def test_the_owner_sees_results_that_are_not_shared(server: Running, browser: Browser) -> None:
    id = finished(server, visibility="private", description="a <script> of mine")
    browser.sign_in()
    status, body = browser.ask("GET", f"/jobs/{id}/result", {"Sec-Fetch-Site": "same-origin"})
    assert status == 200
    for text in (b"a &lt;script&gt; of mine", b"two &lt;b&gt;", b'<h2>Value</h2><pre class="">42'):
        assert text in body
    assert "sandbox" in browser.told["content-security-policy"]
    assert b"<script" not in body
    assert browser.told["cache-control"] == "no-store"


def test_the_owner_has_the_executed_notebook_and_another_does_not(
    server: Running, browser: Browser
) -> None:
    content = b'{"cells": [], "nbformat": 4}'
    value = wire.Parcel([wire.Segment("0" * 64, len(content), content)], format="raw")
    spec = wire.JobSpec(kind="notebook", name="n.ipynb")
    id = finished(server, wire.Result(value=value), visibility="private", spec=spec)
    cell = finished(server)
    browser.sign_in()
    assert browser.ask("GET", f"/jobs/{id}/notebook") == (200, content)
    assert browser.told["content-disposition"].startswith("attachment; ")
    assert b"Download" not in browser.ask("GET", f"/jobs/{id}/result")[1]  # see the page's own link
    assert browser.ask("GET", f"/jobs/{cell}/notebook")[0] == 404
    stranger = Browser(server)
    stranger.sign_in(code_of(server, server.make_token("read", owner="mallory")))
    assert stranger.ask("GET", f"/jobs/{id}/notebook")[0] == 404


def test_a_result_is_seen_while_its_job_goes_on(server: Running, browser: Browser) -> None:
    worker = Worker(server)
    worker.hello()
    id = submit(server).job.id
    worker.start(worker.pull(wire.Assign))
    until(lambda: server.backend.store.job(id).started_at)
    browser.sign_in()
    status, body = browser.ask("GET", f"/jobs/{id}/result")
    assert status == 200
    assert b"running" in body
    worker.close()


def test_whoever_is_signed_out_is_told_how_to_sign_in_where_a_result_was(
    server: Running, browser: Browser
) -> None:
    status, body = browser.ask("GET", f"/jobs/{finished(server)}/result")
    assert status == 401
    assert browser.told["content-type"].startswith("text/html")
    assert b"jupyter remote page" in body


def test_the_card_and_the_end_of_the_log_are_read(server: Running, browser: Browser) -> None:
    id = finished(server)
    browser.sign_in()
    card = json.loads(browser.ask("GET", f"/v1/jobs/{id}/card")[1])
    assert (card["id"], card["status"], card["texts"]["status"]) == (id, "completed", "completed")
    assert browser.ask("GET", f"/v1/jobs/{id}/log")[1] == b"one\ntwo <b>\n"
    assert browser.ask("GET", f"/v1/jobs/{id}/log?last_bytes=12")[1] == b"one\ntwo <b>\n"
    cut = browser.ask("GET", f"/v1/jobs/{id}/log?last_bytes=10")[1]
    assert cut == b"[4 B before this: %remote logs has all]\ntwo <b>\n"
    assert browser.ask("GET", f"/v1/jobs/{id}/log?last_bytes=0")[0] == 422


# --- the command -----------------------------------------------------------------------------
def run(server: Running, *words: str, **env: str) -> str:
    """What ``jupyter remote …`` prints."""
    ours = {
        "JUPYTER_REMOTE_URL": server.url,
        "JUPYTER_REMOTE_TOKEN": server.token,
        "JUPYTER_REMOTE_RUNTIME": server.settings.runtime,
    }
    command = [sys.executable, "-m", "jupyter_remote", *words]
    return subprocess.run(
        command, env={**os.environ, **ours, **env}, check=True, capture_output=True, text=True
    ).stdout


def test_the_command_prints_a_link_that_signs_in(browser: Browser) -> None:
    url, told = run(browser.server, "page").splitlines()
    assert url.startswith(f"{browser.server.url}/login#")
    assert told == (
        "Good once, for 10 minutes: whoever opens it sees and may cancel your jobs."
        " It opens on this computer only."
    )
    assert browser.sign_in(url.partition("#")[2]) == 200
    assert set(json.loads(run(browser.server, "page", "--json"))) == {"url", "expires_at"}


def test_the_command_opens_the_link_by_way_of_a_file_that_nobody_else_reads(
    server: Running, tmp_path: Path
) -> None:
    opener = tmp_path / "browser"
    opener.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    opener.chmod(0o755)
    url = run(server, "page", "--open", BROWSER=str(opener)).splitlines()[0]
    address = until(lambda: (tmp_path / "asked").exists() and (tmp_path / "asked").read_text())
    path = Path(address.strip().removeprefix("file://"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert url in path.read_text()


def test_the_command_says_when_there_is_no_browser(server: Running) -> None:
    told = run(server, "page", "--open", BROWSER="", PATH="/nowhere")
    assert told.endswith("No browser was found here: open it yourself.\n")
