"""Who may do what: every route, every method, every kind of token."""

from __future__ import annotations

import re
import socket

import msgspec
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from jupyter_remote import errors, wire
from jupyter_remote.clock import FakeClock
from jupyter_remote.http import Http
from jupyter_remote.server.auth import SCOPES, Policy, allow
from jupyter_remote.server.routing import Endpoint, build
from jupyter_remote.server.serve import Options, bind
from jupyter_remote.server.table import ENDPOINTS, SOCKETS

from .conftest import LIMIT_S, Running, Worker, submit, until

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
VALUES = {"id": "00000000-0000-4000-8000-000000000000", "digest": "0" * 64, "name": "no.js"}
SIGNS_OUT = ("DELETE", "/v1/page/session")  # whoever asks is nobody afterwards
TYPED = {"Content-Type": "application/json"}


def path_of(path: str) -> str:
    return re.sub(r"{(\w+)}", lambda m: VALUES[m[1]], path)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", **TYPED}


def statuses(server: Running, headers: dict[str, str]) -> dict[tuple[str, str], int]:
    """The reply to every method of every path; SSE is asked for as a page."""
    page = {**headers, "Accept": "application/json"}
    paths = sorted({e.path for e in ENDPOINTS} - {"/v1/server/shutdown"})
    return {
        (method, path): server.raw(method, path_of(path), page)[0]
        for path in paths
        for method in METHODS
        if (method, path) != SIGNS_OUT
    }


def policies() -> dict[tuple[str, str], Policy]:
    found = {(e.method, e.path): e.policy for e in ENDPOINTS}
    return {key: policy for key, policy in found.items() if policy is not None}


@pytest.mark.parametrize("kind", ["none", "wrong", "expired", "revoked", "basic", "truncated"])
def test_only_open_routes_answer_without_a_good_token(server: Running, kind: str) -> None:
    good = server.token
    headers = {
        "none": TYPED,
        "wrong": bearer("jr_s_" + "x" * 43),
        "expired": bearer(server.make_token(*SCOPES, expires_at=1.0)),
        "revoked": bearer(server.make_token(*SCOPES, revoked_at=1.0)),
        "basic": {"Authorization": f"Basic {good}", **TYPED},
        "truncated": bearer(good[:-1]),
    }[kind]
    declared = policies()
    for (method, path), status in statuses(server, headers).items():
        policy = declared.get((method, path))
        found = 404 if "{" in path else 200  # of an open route: there is no such result
        if (method, path) == ("POST", "/v1/page/session"):
            found = 422  # nothing was sent to sign in with
        expected = 405 if policy is None else found if policy.open else 401
        assert status == expected, (method, path)


def test_what_is_open_is_health_shared_results_and_the_empty_page() -> None:
    assert {path for (_, path), policy in policies().items() if policy.open} == {
        "/health",
        "/jobs",
        "/login",
        "/page/{name}",
        "/results/{id}",
        "/results/{id}/notebook",
        "/v1/page/session",
        "/v1/results",
        "/v1/results/{id}",
    }


@pytest.mark.parametrize("scope", SCOPES)
def test_a_token_opens_what_its_scope_says_and_no_more(
    server: Running, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_remote.server.package.closure", dict)  # a small one will do
    declared = policies()
    for (method, path), status in statuses(server, bearer(server.make_token(scope))).items():
        policy = declared.get((method, path))
        if policy is not None and not policy.open:
            assert (status != 403) is (scope in policy.scopes), (method, path, status)
            assert status not in (401, 500), (method, path, status)


@pytest.mark.parametrize("visibility", ["private", "unlisted", "public"])
def test_another_owners_jobs_look_absent(server: Running, visibility: str) -> None:
    id = submit(server, visibility=visibility).job.id
    stranger = bearer(server.make_token("submit", "read", owner="mallory"))
    for endpoint in ENDPOINTS:
        if "{id}" not in endpoint.path or "jobs" not in endpoint.path:
            continue
        body = msgspec.json.encode({"id": VALUES["id"]}) if endpoint.body else None
        replies = [
            server.raw(endpoint.method, endpoint.path.replace("{id}", i), stranger, body)
            for i in (id, VALUES["id"])
        ]
        assert replies[0] == replies[1], endpoint.path
        assert replies[0][0] == 404, endpoint.path
    listed = server.raw("GET", f"/v1/jobs?prefix={id}", stranger)[1]
    assert msgspec.json.decode(listed, type=wire.JobList).jobs == []


def test_revoking_a_token_works_at_once(server: Running) -> None:
    made = server.http.call(
        "POST", "/v1/tokens", wire.TokenRequest(scopes=["read"]), wire.TokenView
    )
    assert server.raw("GET", "/v1/jobs", bearer(made.token))[0] == 200
    server.http.call("DELETE", f"/v1/tokens/{made.id}", reply=wire.TokenList)
    assert server.raw("GET", "/v1/jobs", bearer(made.token))[0] == 401


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_an_open_stream_ends_with_its_token(
    server: Running, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()  # it stands still: the token is good until the stream is open
    monkeypatch.setattr(server.backend.tokens, "_clock", clock)
    expires_at = clock.now() + 0.5 if end == "expired" else None
    reader = Http(server.url, server.make_token("read", expires_at=expires_at))
    stream = reader.events("/v1/events", {"client": "me"})
    if end == "revoked":
        until(lambda: server.backend.hub.listeners)
        tokens = server.http.call("GET", "/v1/tokens", reply=wire.TokenList).tokens
        [record] = [t for t in tokens if t.scopes == ["read"]]
        server.http.call("DELETE", f"/v1/tokens/{record.id}", reply=wire.TokenList)
    assert list(stream) == []
    until(lambda: not server.backend.hub.listeners)
    reader.close()


def test_a_query_that_makes_no_sense_is_refused(server: Running) -> None:
    many = "&".join(f"f{n}=1" for n in range(60))
    assert server.raw("GET", f"/v1/jobs?{many}", bearer(server.token))[0] == 422
    headers = bearer(server.token) | {"Last-Event-ID": "9" * 5000, "Accept": "application/json"}
    status, page = server.raw("GET", "/v1/events?client=me", headers)
    assert status == 200
    assert msgspec.json.decode(page, type=wire.EventPage).events == []


def test_a_connection_on_which_nothing_is_asked_is_closed(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("jupyter_remote.server.serve.FIRST_REQUEST_S", 0.05)
        with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) as silent:
            assert silent.recv(1) == b""
    assert server.raw("GET", "/health")[0] == 200


def test_who_has_no_token_keeps_no_backend_awake(server: Running) -> None:
    server.backend.used_at = before = server.backend.clock.monotonic() - 1.0
    assert server.raw("GET", "/health")[0] == 200
    assert server.raw("GET", "/v1/jobs", bearer("jr_x"))[0] == 401
    assert server.backend.used_at == before
    assert server.raw("GET", "/v1/jobs", bearer(server.token))[0] == 200
    assert server.backend.used_at > before


def test_shutdown_is_for_administrators(server: Running) -> None:
    token = server.make_token("submit", "read", "worker", "invoke")
    assert server.raw("POST", "/v1/server/shutdown", bearer(token))[0] == 403


@pytest.mark.parametrize("scopes", [("submit", "read", "admin", "invoke"), ()])
def test_only_workers_open_the_workers_socket(server: Running, scopes: tuple[str, ...]) -> None:
    token = server.make_token(*scopes) if scopes else "jr_w_" + "x" * 43
    with pytest.raises(InvalidStatus) as refused:
        Worker(server, token=token)
    assert refused.value.response.status_code == 403


def opens(server: Running, path: str, headers: dict[str, str]) -> bool:
    """Is a WebSocket accepted there?"""
    url = server.url.replace("http", "ws") + path_of(path)
    try:
        with connect(url, additional_headers=headers, proxy=None):
            return True
    except InvalidStatus as refused:
        if refused.response.status_code != 403:
            raise
        return False


@pytest.mark.parametrize("scope", SCOPES)
def test_a_token_opens_the_sockets_of_its_scope_and_no_others(server: Running, scope: str) -> None:
    headers = {"Authorization": f"Bearer {server.make_token(scope)}"}
    for one in SOCKETS:
        assert one.policy is not None
        assert opens(server, one.path, headers) is (scope in one.policy.scopes), one.path


@pytest.mark.parametrize("kind", ["none", "wrong", "expired", "revoked", "foreign"])
def test_no_socket_opens_without_a_good_token(server: Running, kind: str) -> None:
    headers = {
        "none": {},
        "wrong": {"Authorization": "Bearer jr_s_" + "x" * 43},
        "expired": {"Authorization": f"Bearer {server.make_token(*SCOPES, expires_at=1.0)}"},
        "revoked": {"Authorization": f"Bearer {server.make_token(*SCOPES, revoked_at=1.0)}"},
        "foreign": {
            "Authorization": f"Bearer {server.make_token(*SCOPES)}",
            "Origin": "https://evil.example",
        },
    }[kind]
    assert {one.path for one in SOCKETS} == {"/v1/workers/connect", "/v1/sessions/{id}/connect"}
    for one in SOCKETS:
        assert not opens(server, one.path, headers), one.path


def test_a_route_without_a_policy_is_refused(server: Running) -> None:
    async def handler(call: object) -> None:
        raise AssertionError

    forgotten = Endpoint(method="GET", path="/v1/x", handler=handler, summary="")
    with pytest.raises(ValueError, match="no policy"):
        build([*ENDPOINTS, forgotten], [], server.backend)


def test_a_policy_knows_only_real_scopes() -> None:
    with pytest.raises(ValueError, match="scopes"):
        allow("raed")
    with pytest.raises(ValueError, match="scopes"):
        allow()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Host": "localhost:1"},
        {"Host": ""},
    ],
)
def test_a_foreign_host_is_refused_even_with_the_token(
    server: Running, headers: dict[str, str]
) -> None:
    assert server.raw("GET", "/v1/jobs", bearer(server.token) | headers)[0] in (400, 421)
    assert server.raw("GET", "/health", headers)[0] in (400, 421)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_origins_are_refused_even_with_the_token(
    server: Running, headers: dict[str, str]
) -> None:
    assert server.raw("GET", "/v1/jobs", bearer(server.token) | headers)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_loopback_names_are_answered(server: Running, host: str) -> None:
    assert server.raw("GET", "/health", {"Host": f"{host}:{server.port}"})[0] == 200


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_of_another_type_is_415(server: Running, kind: str) -> None:
    headers = {**bearer(server.token), "Content-Type": kind}
    assert server.raw("POST", "/v1/jobs", headers, b"{}")[0] == 415


def test_a_body_above_the_limit_is_413(server: Running) -> None:
    large = b" " * (server.settings.max_body_bytes + 1)
    status, body = server.raw("POST", "/v1/jobs", bearer(server.token), large)
    assert status == 413
    assert msgspec.json.decode(body, type=wire.Problem).code == "too_large"


def test_a_malformed_body_is_422_with_the_place(server: Running) -> None:
    status, body = server.raw("POST", "/v1/jobs", bearer(server.token), b'{"id": 5, "spec": {}}')
    assert status == 422
    assert "$.id" in msgspec.json.decode(body, type=wire.Problem).detail


def test_what_is_unexpected_is_told_by_an_id_only(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(server.backend.store, "balance", broken)
    status, body = server.raw("GET", "/v1/account", bearer(server.token))
    problem = msgspec.json.decode(body, type=wire.Problem)
    assert status == 500
    assert b"secret detail" not in body
    id = re.search(r"error (\w+)", problem.detail)
    assert id is not None
    assert id[1] in caplog.text


@pytest.mark.parametrize(
    "options",
    [Options(host="0.0.0.0"), Options(host="::"), Options(embedded=True, host="192.0.2.1")],
)
def test_listening_beyond_loopback_needs_tls_or_a_proxy(options: Options) -> None:
    with pytest.raises(errors.UsageError):
        bind(options)


def test_behind_a_proxy_any_address_will_do() -> None:
    bind(Options(host="0.0.0.0", behind_proxy=True)).close()
