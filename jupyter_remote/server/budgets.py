"""Routes of budgets: what an account, each of its days and its notebooks may spend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from jupyter_remote import errors, wire
from jupyter_remote.model import Budget, OwnerId
from jupyter_remote.money.budgets import NOTEBOOK, SCOPES, concerned
from jupyter_remote.money.meter import MOST_UCREDITS
from jupyter_remote.server.auth import allow
from jupyter_remote.server.routing import Call, Endpoint
from jupyter_remote.server.submitting import NAME_CHARS
from jupyter_remote.store.base_parts import NewJob

if TYPE_CHECKING:
    from jupyter_remote.server.backend import Backend


class BudgetQuery(msgspec.Struct, frozen=True):
    """Which budget."""

    scope: str
    name: str = ""


def _check(scope: str, name: str) -> None:
    if scope not in SCOPES:
        raise errors.InvalidRequest(
            f"There is no budget of {scope[:50]!r}.", hint=f"A scope is {', '.join(SCOPES)}."
        )
    if bool(name) is not (scope == NOTEBOOK):
        raise errors.InvalidRequest(
            "A budget of a notebook says which by its name; the others have none."
        )
    if len(name) > NAME_CHARS:
        raise errors.TooLarge(f"The name of a notebook has at most {NAME_CHARS} characters.")


async def of_notebook(backend: Backend, owner: OwnerId, notebook: str) -> list[Budget]:
    """Those that a job of this notebook counts on, as they are now."""
    found = await backend.look(backend.store.budgets, owner, backend.clock.now())
    return concerned(found, notebook)


async def most_held(backend: Backend, new: NewJob) -> int:
    """What a job will hold: less than it asks for, if its budgets leave less."""
    if not new.hold_ucredits:
        return 0
    found = await of_notebook(backend, new.owner, new.notebook)
    return min([new.hold_ucredits, *(budget.left_ucredits for budget in found)])


async def _all(call: Call) -> wire.BudgetList:
    backend = call.backend
    now = backend.clock.now()
    return wire.BudgetList(await backend.look(backend.store.budgets, call.caller.owner, now))


async def budgets(call: Call) -> wire.BudgetList:
    return await _all(call)


async def set_budget(call: Call) -> wire.BudgetList:
    request: wire.BudgetRequest = call.body
    scope, name, limit = request.scope, request.name, request.limit_ucredits
    _check(scope, name)
    if not 0 <= limit <= MOST_UCREDITS:
        raise errors.InvalidRequest(f"A budget is between 0 and {MOST_UCREDITS} micro-credits.")
    backend, owner = call.backend, call.caller.owner
    now = backend.clock.now()
    await backend.commit(backend.store.set_budget, owner, scope, name, limit, now)
    return await _all(call)


async def rename_budgets(call: Call) -> wire.BudgetList:
    request: wire.BudgetRenames = call.body
    for rename in request.renames:
        _check(NOTEBOOK, rename.name)
        _check(NOTEBOOK, rename.to)
    backend, owner = call.backend, call.caller.owner
    now = backend.clock.now()
    done = await backend.commit(backend.store.rename_budgets, owner, request.renames, now)
    return wire.BudgetList(done)


async def clear_budget(call: Call) -> wire.BudgetList:
    query: BudgetQuery = call.query
    _check(query.scope, query.name)
    backend, owner = call.backend, call.caller.owner
    if not await backend.commit(backend.store.clear_budget, owner, query.scope, query.name):
        raise errors.NotFound("There is no such budget.", hint="`%remote budget` shows all.")
    return await _all(call)


ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/v1/account/budgets",
        handler=budgets,
        summary="Your budgets, with what is spent, held and left",
        policy=allow("read", "submit"),
        reply=wire.BudgetList,
    ),
    Endpoint(
        method="PUT",
        path="/v1/account/budgets",
        handler=set_budget,
        summary="Limit what your account, each day (UTC) or a notebook may spend",
        policy=allow("submit"),
        body=wire.BudgetRequest,
        reply=wire.BudgetList,
    ),
    Endpoint(
        method="POST",
        path="/v1/account/budgets/rename",
        handler=rename_budgets,
        summary="Have what is left of budgets follow notebooks that were renamed",
        policy=allow("submit"),
        body=wire.BudgetRenames,
        reply=wire.BudgetList,
    ),
    Endpoint(
        method="DELETE",
        path="/v1/account/budgets",
        handler=clear_budget,
        summary="Lift a budget",
        policy=allow("submit"),
        query=BudgetQuery,
        reply=wire.BudgetList,
    ),
]
