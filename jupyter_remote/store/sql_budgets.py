"""The statements of budgets."""

from __future__ import annotations

from sqlalchemy import and_, delete, func, insert, or_, select, update
from sqlalchemy import bindparam as _p

from jupyter_remote.store.schema import budget, posting
from jupyter_remote.store.sql import _given as given
from jupyter_remote.store.sql import _lit as lit

_concerned = and_(
    budget.c.owner == _p("owner_is"),
    or_(budget.c.scope != lit("notebook"), budget.c.name == _p("notebook")),
)
_of_budget = select(
    budget.c.scope, budget.c.name, budget.c.limit_ucredits, budget.c.spent_ucredits,
    budget.c.held_ucredits, budget.c.day, budget.c.set_at,
)  # fmt: skip
BUDGETS = _of_budget.where(budget.c.owner == _p("owner")).order_by(budget.c.scope, budget.c.name)
BUDGETS_OF_JOB = _of_budget.where(_concerned).order_by(budget.c.scope)
COUNT_BUDGETS = select(func.count()).where(budget.c.owner == _p("owner"))
ADD_BUDGET = insert(budget).values({c: _p(c.name) for c in budget.c})
MOVE_BUDGETS = (
    update(budget)
    .where(_concerned)
    .values(
        spent_ucredits=budget.c.spent_ucredits + _p("spent"),
        held_ucredits=budget.c.held_ucredits + _p("held"),
    )
)
BEGIN_DAY = (
    update(budget)
    .where(
        budget.c.owner == _p("owner_is"), budget.c.scope == lit("day"), budget.c.day < _p("day_is")
    )
    .values(spent_ucredits=_p("spent"), day=_p("day_is"))
)
CLEAR_BUDGET = delete(budget).where(
    budget.c.owner == _p("owner"), budget.c.scope == _p("scope"), budget.c.name == _p("name")
)
_sum = select(func.coalesce(func.sum(posting.c.amount_ucredits), lit(0))).where(
    given("notebook", posting.c.notebook)
)
HELD = _sum.where(posting.c.target == _p("held"))
NOT_HELD_ANY_MORE = _sum.where(posting.c.source == _p("held"))
_hold = posting.alias()
_sent_since = posting.c.job.in_(
    select(_hold.c.job).where(
        _hold.c.target == _p("held"), _hold.c.kind == lit("hold"), _hold.c.at >= _p("sent_since")
    )
)
HELD_BY_SENT = HELD.where(_sent_since)
GIVEN_BACK_BY_SENT = NOT_HELD_ANY_MORE.where(posting.c.kind == lit("release"), _sent_since)
CHARGED = NOT_HELD_ANY_MORE.where(posting.c.kind == lit("capture"), posting.c.at >= _p("since"))
