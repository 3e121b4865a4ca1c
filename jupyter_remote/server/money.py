"""Routes of machines, plans and the account."""

from __future__ import annotations

from typing import Annotated

import msgspec

from jupyter_remote import errors, wire
from jupyter_remote.model import OwnerId
from jupyter_remote.money.catalog import fitting
from jupyter_remote.money.estimate import spread, typical
from jupyter_remote.money.meter import MOST_UCREDITS, credits_of, usd_of
from jupyter_remote.scheduler.board import LOCAL
from jupyter_remote.server import cache
from jupyter_remote.server.auth import allow
from jupyter_remote.server.routing import Call, Endpoint
from jupyter_remote.server.submitting import check_label, check_segments, price
from jupyter_remote.store.views import account_of, midnight

ALTERNATIVES = 5
WARM_START_S, COLD_START_S = 0.1, 2.0  # as long as nothing was measured


class MachinesQuery(msgspec.Struct, frozen=True):
    """Which machine types."""

    gpu: str = ""
    spot: bool | None = None


class EntriesQuery(msgspec.Struct, frozen=True):
    """How many, newest first."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


async def machines(call: Call) -> wire.MachineList:
    query: MachinesQuery = call.query
    gpu = query.gpu.lower()
    return wire.MachineList(
        [
            m
            for m in call.backend.machines
            if (not gpu or m.gpu.lower() == gpu) and (query.spot is None or m.spot is query.spot)
        ]
    )


async def plan(call: Call) -> wire.PlanReply:
    request: wire.EstimateRequest = call.body
    backend = call.backend
    check_segments(request.segments)
    timeout_s, max_cost = request.timeout_s, request.max_cost_ucredits
    priced = price(request.need, timeout_s, max_cost, backend.machines, backend.settings)
    missing = await backend.look(backend.store.missing, request.segments, call.caller.owner)
    balance = await backend.look(backend.store.balance, call.caller.owner)
    runs = await backend.look(backend.store.runs, call.caller.owner, request.code_digest)
    wanted = msgspec.structs.replace(request.need, machine="")
    others = [m for m in fitting(wanted, backend.machines) if m.id != priced.machine.id]
    pool = LOCAL if priced.machine.simulated else priced.machine.id
    warm = any(a.pool == pool for a in backend.scheduler.board.agents.values())
    return wire.PlanReply(
        machine=priced.machine,
        rate_ucredits_per_h=priced.rate_ucredits_per_h,
        hold_ucredits=priced.hold_ucredits,
        max_run_s=priced.max_run_s,
        missing=missing,
        start_s=typical(backend.scheduler.board.waits, WARM_START_S) if warm else COLD_START_S,
        warm=warm,
        available_ucredits=balance.available_ucredits,
        alternatives=others[:ALTERNATIVES],
        typical_run_s=spread(runs),
        cached_from=await cache.would_be_given(call, request.cache_key),
    )


async def _account(call: Call, owner: OwnerId) -> wire.AccountReply:
    balance = await call.backend.look(call.backend.store.balance, owner)
    available = balance.available_ucredits
    return wire.AccountReply(
        owner=owner, balance=balance, credits=credits_of(available), usd=usd_of(available)
    )


async def account(call: Call) -> wire.AccountReply:
    return await _account(call, call.caller.owner)


async def summary(call: Call) -> wire.AccountSummary:
    backend, now = call.backend, call.backend.clock.now()
    totals = await backend.read(backend.store.totals, call.caller.owner, midnight(now))
    return account_of(totals, now)


async def entries(call: Call) -> wire.EntryList:
    backend = call.backend
    found = await backend.read(backend.store.entries, call.caller.owner, call.query.limit)
    return wire.EntryList(found)


async def grant(call: Call) -> wire.AccountReply:
    request: wire.GrantRequest = call.body
    backend = call.backend
    owner = OwnerId(check_label("owner", request.owner) or call.caller.owner)
    key = check_label("key", request.key)
    if not key:
        raise errors.InvalidRequest("A grant needs a key, so that sent twice it is given once.")
    if not 0 < request.amount_ucredits <= MOST_UCREDITS:
        raise errors.InvalidRequest(f"A grant is between 1 and {MOST_UCREDITS} micro-credits.")
    now = backend.clock.now()
    await backend.commit(backend.store.grant, owner, request.amount_ucredits, key, now)
    return await _account(call, owner)


READ, ADMIN = allow("read", "submit"), allow("admin")

ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/v1/machines",
        handler=machines,
        summary="What can be rented, with prices",
        policy=READ,
        query=MachinesQuery,
        reply=wire.MachineList,
    ),
    Endpoint(
        method="POST",
        path="/v1/plans",
        handler=plan,
        summary="What a job would ship, where it would run, what it would cost",
        policy=READ,
        body=wire.EstimateRequest,
        reply=wire.PlanReply,
    ),
    Endpoint(
        method="GET",
        path="/v1/account",
        handler=account,
        summary="Your balance",
        policy=READ,
        reply=wire.AccountReply,
    ),
    Endpoint(
        method="GET",
        path="/v1/account/summary",
        handler=summary,
        summary="What runs and waits, $/h now, spent today, left and held",
        policy=READ,
        reply=wire.AccountSummary,
    ),
    Endpoint(
        method="GET",
        path="/v1/account/entries",
        handler=entries,
        summary="Lines of your ledger, newest first",
        policy=READ,
        query=EntriesQuery,
        reply=wire.EntryList,
    ),
    Endpoint(
        method="POST",
        path="/v1/account/grants",
        handler=grant,
        summary="Give credits to an account, once for each key",
        policy=ADMIN,
        body=wire.GrantRequest,
        reply=wire.AccountReply,
    ),
]
