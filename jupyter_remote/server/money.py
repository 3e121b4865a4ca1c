"""Routes of machines, plans and the account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec

from jupyter_remote import errors, wire
from jupyter_remote.model import Budget, MachineType, OwnerId
from jupyter_remote.money import budgets as money_budgets
from jupyter_remote.money.billing import Billing, least_ucredits
from jupyter_remote.money.catalog import fitting
from jupyter_remote.money.estimate import typical
from jupyter_remote.money.learning import Ask
from jupyter_remote.money.meter import MOST_UCREDITS, credits_of, ucredits_of_usd, usd_of
from jupyter_remote.scheduler.board import LOCAL
from jupyter_remote.server import budgets, cache
from jupyter_remote.server.auth import allow
from jupyter_remote.server.estimates import price_of
from jupyter_remote.server.routing import Call, Endpoint
from jupyter_remote.server.submitting import (
    Price,
    check_code,
    check_label,
    check_segments,
    price,
)
from jupyter_remote.store.views import account_of, midnight

if TYPE_CHECKING:
    from jupyter_remote.server.backend import Backend

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
    offers = call.backend.offers
    await offers.settled()
    slots, free = _slots(call.backend)
    return wire.MachineList(
        [
            m
            for m in offers.had(call.backend.machines)
            if (not gpu or m.gpu.lower() == gpu) and (query.spot is None or m.spot is query.spot)
        ],
        free,
        slots,
        offers.told(),
    )


def _slots(backend: Backend) -> tuple[dict[str, int], dict[str, int]]:
    """Of each pool of workers: all slots, and those that are free."""
    slots: Counter[str] = Counter()
    free: Counter[str] = Counter()
    for agent in backend.scheduler.board.agents.values():
        slots[agent.pool] += 0 if agent.draining else agent.slots
        free[agent.pool] += agent.free
    return dict(slots), dict(free)


async def plan(call: Call) -> wire.PlanReply:
    request: wire.EstimateRequest = call.body
    backend = call.backend
    check_segments(request.segments)
    check_code(request)
    timeout_s, max_cost = request.timeout_s, request.max_cost_ucredits
    await backend.offers.known(request.need)
    asked = price(request.need, timeout_s, max_cost, backend.machines, backend.settings)
    backend.offers.check(asked.machine, {a.pool for a in backend.scheduler.board.agents.values()})
    found = await budgets.of_notebook(backend, call.caller.owner, request.notebook)
    priced, fuse, refused = _within(found, asked)
    missing = await backend.look(backend.store.missing, request.segments, call.caller.owner)
    balance = await backend.look(backend.store.balance, call.caller.owner)
    others = [_within(found, other)[0] for other in _others(call, priced)]
    offers = [await _offer(call, one, fresh=one is priced) for one in [priced, *others]]
    pool = _pool(priced.machine)
    board = backend.scheduler.board
    same_python = pool == LOCAL and backend.facts.embedded and bool(request.executable)
    return wire.PlanReply(
        machine=priced.machine,
        rate_ucredits_per_h=priced.rate_ucredits_per_h,
        hold_ucredits=priced.hold_ucredits,
        max_run_s=priced.max_run_s,
        missing=missing,
        start_s=offers[0].start_s,
        warm=offers[0].warm,
        available_ucredits=balance.available_ucredits,
        cached_from=await cache.would_be_given(call, request.cache_key),
        estimate=offers[0].estimate,
        offers=offers,
        least_ucredits=least_ucredits(priced.rate_ucredits_per_h, Billing()),
        slots_free=_slots(backend)[1].get(pool, 0),
        jobs_waiting=board.waiting,
        same_python=same_python,
        there=None if same_python else backend.fleet.environment_of(backend, pool),
        fuse=fuse,
        refused=refused,
        gpus=priced.gpus,
    )


def _within(found: Sequence[Budget], priced: Price) -> tuple[Price, str, str]:
    """What budgets leave of it, and which is the tightest; or why one leaves nothing."""
    rate, max_run_s, hold = priced.rate_ucredits_per_h, priced.max_run_s, priced.hold_ucredits
    try:
        cut = money_budgets.cut(found, rate, max_run_s, hold)
    except errors.BudgetExceeded as error:
        return priced, "", error.message
    if cut is None:
        return priced, "", ""
    less = msgspec.structs.replace(priced, max_run_s=cut.max_run_s, hold_ucredits=cut.hold_ucredits)
    return less, cut.fuse, ""


def _pool(machine: MachineType) -> str:
    return LOCAL if machine.simulated else machine.id


def _others(call: Call, chosen: Price) -> list[Price]:
    """The cheapest other types that would do, and the next larger ones with the same GPU."""
    request: wire.EstimateRequest = call.body
    machines, settings = call.backend.machines, call.backend.settings
    wanted = msgspec.structs.replace(request.need, machine="")
    if request.need.machine and chosen.machine.gpu and not wanted.gpu:
        wanted = msgspec.structs.replace(wanted, gpu_count=1)
    fit = [m for m in fitting(wanted, machines) if m.id != chosen.machine.id]
    if (most := request.max_cost_ucredits) is not None:
        fit = [m for m in fit if most >= least_ucredits(ucredits_of_usd(m.usd_per_h), Billing())]
    if chosen.machine.gpu:  # who named a machine with a GPU wants one
        fit = [m for m in fit if m.gpu]
    return [
        price(
            wire.Need(machine=m.id),
            request.timeout_s,
            request.max_cost_ucredits,
            machines,
            settings,
        )
        for m in fit[:ALTERNATIVES]
    ]


async def _offer(call: Call, priced: Price, *, fresh: bool) -> wire.Offer:
    request: wire.EstimateRequest = call.body
    backend, machine = call.backend, priced.machine
    ask = Ask(
        machine=machine.id,
        inputs_bytes=sum(s.size_bytes for s in request.segments),
        code_key=request.code_key,
        notebook=request.notebook,
        kind=request.kind,
    )
    charged = price_of(priced.rate_ucredits_per_h, priced.hold_ucredits)
    board = backend.scheduler.board
    pool, owner = _pool(machine), call.caller.owner
    warm = any(a.pool == pool and a.owner in ("", owner) for a in board.agents.values())
    start_s = typical(board.waits, WARM_START_S)
    if not warm and pool in board.types:
        start_s = board.boot_s(pool)
    elif not warm:
        start_s = typical(board.starts, COLD_START_S)
    return wire.Offer(
        machine=machine,
        estimate=await backend.estimates.estimate(call.caller.owner, ask, charged, fresh=fresh),
        hold_ucredits=priced.hold_ucredits,
        start_s=start_s,
        warm=warm,
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
    owner = call.caller.owner
    totals = await backend.read(backend.store.totals, owner, midnight(now))
    rented = [m for m in backend.scheduler.board.machines.values() if m.owner == owner]
    return msgspec.structs.replace(
        account_of(totals, now),
        machines=len(rented),
        machines_usd_per_h=usd_of(sum(m.rate_ucredits_per_h for m in rented)),
    )


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
        policy=allow("read", "submit", "page"),
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
        policy=allow("read", "submit", "page"),
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
