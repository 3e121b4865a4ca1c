"""What ``jupyter remote`` does with a backend. Each command prints text, or JSON if asked."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from jupyter_remote import connection, errors, wire
from jupyter_remote.amounts import force_after_s, size
from jupyter_remote.client import account, embedded, listing
from jupyter_remote.client import doctor as checks
from jupyter_remote.client import page as page_of_jobs
from jupyter_remote.client.machines import INSTANCES, boot_text, left_by_stop, there, words_of
from jupyter_remote.http import Http
from jupyter_remote.money.meter import (
    MOST_UCREDITS,
    UCREDITS_PER_CREDIT,
    amount_text,
    credits_of,
    rate_text,
    text_of,
    ucredits_of_usd,
)
from jupyter_remote.settings import load

Options = argparse.Namespace


def _print(options: Options, value: Any, lines: Iterable[str]) -> int:
    """``value`` as JSON, or ``lines`` for people."""
    text = msgspec.json.encode(value).decode() if options.json else "\n".join(lines)
    sys.stdout.write(text + "\n")
    return 0


def _table(rows: Sequence[Sequence[object]], head: Sequence[str]) -> list[str]:
    texts = [list(map(str, head)), *(list(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [
        "  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip() for row in texts
    ]


def _http() -> Http:
    """To the backend of the settings, or the embedded one if it runs; none is started."""
    settings = load()
    if settings.url:
        return Http(settings.url, settings.token, trust_env=settings.trust_env)
    found = embedded.running(settings)
    if found is None:
        raise errors.BackendUnreachable(
            "No backend runs.", hint="It starts with the first job; or set JUPYTER_REMOTE_URL."
        )
    return embedded.to(found)


def status(options: Options) -> int:
    http = _http()
    info = http.call("GET", "/v1/server", reply=wire.ServerInfo)
    workers = f"{len(info.workers)} workers, {sum(w.busy for w in info.workers)} slots busy"
    lines = [
        f"{http.url}  version {info.version}, process {info.pid}",
        f"{info.jobs_running} jobs running, {info.jobs_queued} queued; {workers}",
    ]
    told = msgspec.to_builtins(info)
    with contextlib.suppress(errors.NotAuthorized):  # a worker's token
        mine = http.call("GET", account.SUMMARY, reply=wire.AccountSummary)
        lines.append(f"yours: {account.line_of(mine)}")
        told["account"] = msgspec.to_builtins(mine)
    return _print(options, told, lines)


def page(options: Options) -> int:
    link = _http().call("POST", page_of_jobs.LINKS, reply=wire.PageLink)
    lines = page_of_jobs.lines_of(link, time.time())
    if options.open and not page_of_jobs.open_here(link, connection.path_of(load()).parent):
        lines.append("No browser was found here: open it yourself.")
    return _print(options, link, lines)


def stop(options: Options) -> int:
    """Ask, wait, and after the timeout kill."""
    settings = load()
    found = next(filter(embedded.is_backend, embedded.told_of(settings)), None)
    if found is None:
        return _print(options, {"stopped": False}, ["No embedded backend runs."])
    left = []
    if embedded.is_alive(found):
        left = left_by_stop(_instances(found), settings.machine_alone_s)
        embedded.to(found).call("POST", "/v1/server/shutdown")
    else:
        os.kill(found.pid, signal.SIGTERM)
    killed = not _gone(found, options.timeout)
    if killed:
        os.kill(found.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        _gone(found, 5.0)
        connection.remove(connection.path_of(settings), found.server_id)
    how = "killed: it did not end by itself" if killed else "stopped"
    lines = [f"The backend was {how}.", *left]
    return _print(options, {"stopped": True, "killed": killed, "left": left}, lines)


def _instances(found: connection.Connection) -> list[wire.InstanceView]:
    with contextlib.suppress(errors.JupyterRemoteError):
        return embedded.to(found).call("GET", INSTANCES, reply=wire.InstanceList).instances
    return []


def _gone(found: connection.Connection, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while embedded.is_backend(found):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def jobs(options: Options) -> int:
    http = _http()

    def page(params: dict[str, object]) -> wire.JobList:
        return http.call("GET", "/v1/jobs", reply=wire.JobList, params=params)

    found = list(listing.jobs(page, options.status, options.limit))
    rows = [
        (j.id, j.status, j.machine, text_of(j.money.cost_ucredits), j.description or j.kind)
        for j in found
    ]
    lines = _table(rows, ("id", "status", "machine", "cost", "what")) if rows else ["No jobs."]
    return _print(options, wire.JobList(found), lines)


def _job(http: Http, id: str) -> str:
    """The whole id that is meant. Raises NotFound, and UsageError when several begin so."""
    last = id == "last"
    params: dict[str, object] = {"limit": 1} if last else {"prefix": id, "limit": 5}
    found = http.call("GET", "/v1/jobs", reply=wire.JobList, params=params).jobs
    if not found:
        raise errors.NotFound(f"No job of yours begins with {id!r}.", hint="jupyter remote jobs")
    if len(found) > 1:
        raise errors.UsageError(f"Several jobs begin with {id!r}.", hint="Give more of the id.")
    return found[0].id


def logs(options: Options) -> int:
    http = _http()
    if options.boot:
        return _boot_log(options, http)
    id = _job(http, options.id)
    parts = http.download(f"/v1/jobs/{id}/log")
    if options.json:
        text = b"".join(parts).decode(errors="replace")
        return _print(options, {"id": id, "log": text}, ())
    for part in parts:
        sys.stdout.buffer.write(part)
    sys.stdout.flush()
    return 0


def _boot_log(options: Options, http: Http) -> int:
    known = http.call("GET", INSTANCES, reply=wire.InstanceList).instances
    id = options.id if options.id in {one.id for one in known} else _job(http, options.id)
    log = http.call("GET", f"{INSTANCES}/{id}/log", reply=wire.BootLog)
    return _print(options, log, [boot_text(log)])


def cancel(options: Options) -> int:
    http = _http()
    path = f"/v1/jobs/{_job(http, options.id)}/cancel"
    after_s = None if options.after is None else force_after_s(options.after)
    asked = wire.CancelRequest(options.force, options.checkpoint, after_s)
    view = http.call("POST", path, asked, wire.JobView)
    return _print(options, view, [f"{view.id}: {view.status}"])


def _running(options: Options) -> int:
    reply = _http().call("GET", INSTANCES, reply=wire.InstanceList)
    rows = [
        (one.id, one.machine, words_of(one, time.time()), f"${one.usd_per_h:.4g}/h", one.job[:8])
        for one in there(reply.instances)
    ]
    lines = _table(rows, ("id", "machine", "state", "price", "job")) if rows else ["No machines."]
    return _print(options, reply, lines)


def sync(options: Options) -> int:
    """The backend is started where it is the embedded one: it has what came."""
    from jupyter_remote.client.api import Client
    from jupyter_remote.client.notebook_files import sync as bring

    with Client() as client:
        synced = bring(options.file, client)
    _print(options, synced, synced.lines)
    return int(any(one.is_trouble for one in synced.jobs))


def machines(options: Options) -> int:
    if options.running:
        return _running(options)
    params = {"gpu": options.gpu or "", **({"spot": "true"} if options.spot else {})}
    reply = _http().call("GET", "/v1/machines", reply=wire.MachineList, params=params)
    rows = [
        (
            m.id,
            f"{m.cpus:g}",
            size(m.memory_bytes),
            f"{m.gpu_count} x {m.gpu}" if m.gpu else "-",
            rate_text(ucredits_of_usd(m.usd_per_h)) + " (simulated)" * m.simulated,
        )
        for m in reply.machines
    ]
    lines = [*_table(rows, ("id", "cpus", "memory", "GPU", "price")), *reply.problems]
    return _print(options, reply, lines)


def token_create(options: Options) -> int:
    request = wire.TokenRequest(
        scopes=options.scope, label=options.label, expires_s=options.expires
    )
    view = _http().call("POST", "/v1/tokens", request, wire.TokenView)
    return _print(options, view, [view.token])


def _tokens(options: Options, reply: wire.TokenList) -> int:
    rows = [
        (t.id, ",".join(t.scopes), "revoked" if t.revoked_at else "valid", t.label)
        for t in reply.tokens
    ]
    return _print(options, reply, _table(rows, ("id", "scopes", "state", "label")))


def token_list(options: Options) -> int:
    return _tokens(options, _http().call("GET", "/v1/tokens", reply=wire.TokenList))


def token_revoke(options: Options) -> int:
    path = f"/v1/tokens/{options.id}"
    return _tokens(options, _http().call("DELETE", path, reply=wire.TokenList))


def _account(options: Options, reply: wire.AccountReply) -> int:
    balance = reply.balance
    line = (
        f"{reply.owner}: {amount_text(balance.available_ucredits)} left,"
        f" {amount_text(balance.held_ucredits)} held,"
        f" {amount_text(balance.spent_ucredits)} spent"
    )
    return _print(options, reply, [line])


def credits_grant(options: Options) -> int:
    amount = options.amount * UCREDITS_PER_CREDIT
    if not 1 <= amount <= MOST_UCREDITS:
        raise errors.UsageError(
            f"{options.amount:g} credits cannot be granted.",
            hint=f"Write an amount above zero, up to {credits_of(MOST_UCREDITS):,.0f}.",
        )
    request = wire.GrantRequest(
        owner=options.owner,
        amount_ucredits=round(amount),
        key=options.key or uuid.uuid4().hex,
    )
    return _account(options, _http().call("POST", "/v1/account/grants", request, wire.AccountReply))


def credits_balance(options: Options) -> int:
    return _account(options, _http().call("GET", "/v1/account", reply=wire.AccountReply))


def doctor(options: Options) -> int:
    findings = checks.examine(load())
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:5} {finding.text}")
        if finding.step:
            lines.append(f"      → {finding.step}")
    _print(options, findings, lines)
    return 1 if any(f.level == "error" for f in findings) else 0
