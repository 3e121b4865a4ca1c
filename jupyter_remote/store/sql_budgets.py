"""The statements of budgets."""

from __future__ import annotations

from sqlalchemy import and_, case, delete, func, insert, or_, select, update
from sqlalchemy import bindparam as _p

from jupyter_remote.store.schema import budget, posting
from jupyter_remote.store.session import text_of
from jupyter_remote.store.sql import _given as given
from jupyter_remote.store.sql import _lit as lit

_concerned = and_(
    budget.c.owner == _p("owner_is"),
    or_(budget.c.scope != lit("notebook"), budget.c.name == _p("notebook")),
)
_of_budget = select(
    budget.c.scope, budget.c.name, budget.c.limit_ucredits, budget.c.spent_ucredits,
    budget.c.held_ucredits, budget.c.day,
)  # fmt: skip
BUDGETS = _of_budget.where(budget.c.owner == _p("owner")).order_by(budget.c.scope, budget.c.name)
BUDGETS_OF_JOB = _of_budget.where(_concerned)
COUNT_BUDGETS = select(func.count()).where(budget.c.owner == _p("owner"))
ADD_BUDGET = insert(budget).values({c: _p(c.name) for c in budget.c})
_new_day = and_(budget.c.scope == lit("day"), budget.c.day < _p("day_is"))
MOVE_BUDGETS = (
    update(budget)
    .where(_concerned)
    .values(
        spent_ucredits=case((_new_day, lit(0)), else_=budget.c.spent_ucredits) + _p("spent"),
        held_ucredits=budget.c.held_ucredits + _p("held"),
        day=case((_new_day, _p("day_is")), else_=budget.c.day),
    )
)
CLEAR_BUDGET = delete(budget).where(
    budget.c.owner == _p("owner"), budget.c.scope == _p("scope"), budget.c.name == _p("name")
)
SPENDING = select(
    func.coalesce(
        func.sum(
            case(
                (
                    and_(posting.c.kind == lit("capture"), posting.c.at >= _p("since")),
                    posting.c.amount_ucredits,
                ),
                else_=lit(0),
            )
        ),
        lit(0),
    ),
    func.coalesce(
        func.sum(
            case(
                (posting.c.target == _p("held"), posting.c.amount_ucredits),
                else_=-posting.c.amount_ucredits,
            )
        ),
        lit(0),
    ),
).where(
    or_(posting.c.source == _p("held"), posting.c.target == _p("held")),
    given("notebook", posting.c.notebook),
)

# SQLAlchemy writes code of its own for a CASE when it first compiles one: not while a server runs.
for _statement in (MOVE_BUDGETS, SPENDING):
    text_of(_statement)
